/* Opening with the first backend that can serve, and the life of a group. */
#include "base/log.h"
#include "base/memory.h"
#include "base/plugin.h"
#include "dist/internal.h"
#include "dist/recorder_ring.h"

#include <stdio.h>
#include <string.h>

enum { STALL_REPORT_DEFAULT = 10 };

static void note_refusal(td_group *group, const td_backend *backend) {
    size_t used = strlen(group->refusals);
    const char *why = td_error_last()->text;
    td_log_line(TD_LOG_DEBUG, "dist", "backend %s cannot serve: %s", backend->name, why);
    snprintf(group->refusals + used, sizeof group->refusals - used, "%s%s: %s", used ? "\n" : "",
             backend->name, why);
}

static td_status unknown_backend(const char *name) {
    char known[128] = "";
    for (size_t i = 0, used = 0; td_backends[i] && used < sizeof known; i++)
        used +=
            (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", td_backends[i]->name);
    return td_fail(TD_ERR_ARG, 0, "dist", "there is no backend '%s'; this build has %s", name, known);
}

/* The wanted backend, or the first that can. */
static td_status choose(td_group *group, const td_group_options *options) {
    td_error before = *td_error_last();
    bool known = false;
    for (size_t i = 0; td_backends[i] && !group->backend; i++) {
        const td_backend *backend = td_backends[i];
        if (options->backend && strcmp(options->backend, backend->name)) continue;
        known = true;
        const void *loaded = backend;
        bool there = !backend->plugin || td_plugin_load(backend->plugin, &loaded) >= 0;
        if (there) backend = loaded;
        if (there && backend->can(group->job, options) == TD_OK)
            group->backend = backend;
        else
            note_refusal(group, backend);
    }
    if (!known) return unknown_backend(options->backend);
    if (!group->backend)
        return td_fail(TD_ERR_UNSUPPORTED, 0, "dist", "no backend can serve: %s", group->refusals);
    td_error_restore(&before); /* a refusal is no failure */
    return TD_OK;
}

static td_status check_options(const td_group_options *options) {
    if (!(options->stall_timeout >= 0) || !(options->stall_report >= 0))
        return td_fail(TD_ERR_ARG, 0, "dist", "a stall time is negative: timeout %g s, report %g s",
                       options->stall_timeout, options->stall_report);
    if ((unsigned)options->device >= TD_DEVICE_COUNT)
        return td_fail(TD_ERR_ARG, 0, "dist", "there is no device kind %d", (int)options->device);
    return TD_OK;
}

td_status td_group_open(td_job *job, const td_group_options *options, td_group **group) {
    const td_group_options defaults = {0};
    if (!options) options = &defaults;
    TD_TRY(check_options(options));
    td_group *made = td_calloc(1, sizeof *made);
    if (!made) return TD_ERR_MEMORY;
    made->job = job;
    made->rank = job->facts.rank;
    made->size = job->facts.world_size;
    made->stall_timeout = options->stall_timeout > 0 ? options->stall_timeout : job->facts.stall_timeout;
    made->stall_report = options->stall_report > 0 ? options->stall_report : STALL_REPORT_DEFAULT;
    made->compute_threads = 1;
    made->arena.group = made;
    td_status status = choose(made, options);
    if (status >= 0) status = made->backend->open(made);
    if (status < 0) {
        td_free(made);
        return status;
    }
    td_recorder_enter(made, NULL);
    *group = made;
    return TD_OK;
}

void td_group_close(td_group **group) {
    td_group *g = *group;
    *group = NULL;
    if (!g) return;
    g->backend->close(g);
    td_recorder_leave(g);
    td_arena_forget(&g->arena);
    while (g->works) {
        td_work *work = g->works;
        g->works = work->all;
        td_free(work);
    }
    td_free(g->members);
    td_free(g);
}

td_status td_group_break(td_group *group) {
    if (group->broken.status == TD_OK) {
        group->broken = *td_error_last();
        td_recorder_break(group);
    }
    td_error_restore(&group->broken);
    return group->broken.status;
}

void td_group_abort(td_group *group, const char *why) {
    td_fail(TD_ERR_PEER, 0, "dist", "rank %d gave up: %s", td_group_name(group, group->rank), why);
    if (group->backend->abort && group->broken.status == TD_OK) group->backend->abort(group, group->rank);
    td_group_break(group);
}

td_status td_group_give_up(td_group *group) {
    td_error own = *td_error_last();
    td_group_abort(group, own.text);
    td_error_restore(&own);
    return own.status;
}

int td_group_rank(const td_group *group) { return group->rank; }
int td_group_size(const td_group *group) { return group->size; }
int td_group_job_rank(const td_group *group, int rank) {
    return rank < 0 || rank >= group->size ? -1 : td_group_name(group, rank);
}
int td_group_machine(const td_group *group) { return group->node; }
const char *td_group_backend(const td_group *group) { return group->backend->name; }
const char *td_group_refusals(const td_group *group) { return group->refusals; }
int td_group_compute_threads(const td_group *group) { return group->compute_threads; }
td_arena *td_group_arena(td_group *group) { return &group->arena; }
