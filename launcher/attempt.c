/* Everything is made before the guardian is forked, so that a rank never waits for anything of ours. */
#include "launcher/attempt.h"

#include "base/memory.h"
#include "dist/job_mark.h"
#include "launcher/errors.h"
#include "launcher/places.h"
#include "launcher/port.h"
#include "launcher/proc.h"
#include "launcher/uv.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- what ranks are given ------------------------------------------------------------------------------- */

static td_status make_ranks(launcher_attempt *a) {
    size_t n = (size_t)a->n;
    a->ranks = td_calloc(n, sizeof *a->ranks);
    a->tails = td_calloc(n, sizeof *a->tails);
    a->spawns = td_calloc(n, sizeof *a->spawns);
    if (!a->ranks || !a->tails || !a->spawns) return TD_ERR_MEMORY;
    for (int i = 0; i < a->n; i++) {
        a->ranks[i].lost = -1;
        a->ranks[i].step = -1;
        a->tails[i] = &a->ranks[i].errors;
    }
    return TD_OK;
}

static td_status open_descriptors(launcher_attempt *a) {
    a->null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (a->null < 0) return td_fail_errno(errno, "launcher", "cannot open /dev/null");
    TD_TRY(td_job_make_arena(&a->arena));
    if (td_progress_make(a->n, &a->progress) < 0) a->progress = NULL; /* ulimit -f: it goes without */
    TD_TRY(launcher_port_reserve(launcher_rendezvous_port(&a->constants->options->rendezvous), &a->facts.port,
                                 &a->port));
    launcher_output_setup output = {a->n, a->number, a->constants->logs, a->tails};
    TD_TRY(launcher_output_open(&output, &a->output));
    TD_TRY(launcher_control_open(a->ranks, a->n, &a->control));
    a->mpi_folder = launcher_mpi_name_folder(a->constants->run_id, a->number);
    launcher_mpi_facts facts = {.attempt = a->number,
                                .crowded = a->n > a->constants->options->places->cores,
                                .folder = a->mpi_folder.path};
    TD_TRY(launcher_mpi_open(a->ranks, a->n, facts, &a->mpi));
    const char *how = a->constants->options->mpi;
    return how && strcmp(how, "pmix") == 0 ? launcher_mpi_start_pmix(a->mpi) : TD_OK;
}

/* Without our library a program of Open MPI would be as many jobs of one rank. */
static void find_mpi_components(launcher_attempt *a) {
    const char *outer = getenv("OMPI_MCA_mca_base_component_path");
    if (launcher_mpi_component_path(outer, &a->mpi_components) < 0 && a->number == 0)
        fprintf(stderr, "tandem: Open MPI's programs will not find one another: %s\n", td_error_last()->text);
    a->facts.mpi_components = a->mpi_components;
}

void launcher_attempt_facts(const launcher_constants *constants, int number, launcher_facts *facts) {
    const launcher_options *options = constants->options;
    facts->world_size = (int)options->ranks;
    facts->stall_timeout =
        options->stall_timeout >= 0 ? options->stall_timeout : LAUNCHER_STALL_TIMEOUT_DEFAULT;
    facts->restart_count = number;
    facts->max_restarts = (int)options->max_restarts;
    facts->run_id = constants->run_id;
    facts->role = options->role;
    facts->master_addr = launcher_rendezvous_address(&options->rendezvous);
    facts->folder = *constants->program.folder ? constants->program.folder : NULL;
    facts->virtual_local_rank = options->virtual_local_rank;
    facts->signals = options->stop_signals.text;
}

launcher_rank_facts launcher_attempt_rank_facts(const launcher_options *options, int rank) {
    const launcher_gpus *gpus = options->places->gpus;
    return (launcher_rank_facts){.rank = rank,
                                 .threads = launcher_places_threads(options->places, rank),
                                 .gpu = gpus && rank < gpus->count ? gpus->gpu[rank].uuid : NULL,
                                 .control_fd = -1};
}

/* Where a rank may say what ended it; NULL: nowhere. */
static const char *error_path(const launcher_attempt *a, int rank, char path[PATH_MAX]) {
    const launcher_logs *logs = a->constants->logs;
    if (!launcher_logs_folder(logs) && !*a->error_folder) return NULL;
    if (launcher_logs_folder(logs))
        launcher_logs_path(logs, a->number, rank, "error.json", path, PATH_MAX);
    else
        snprintf(path, PATH_MAX, "%.*s/%d.json", PATH_MAX - 32, a->error_folder, rank);
    return path;
}

static td_status prepare_ranks(launcher_attempt *a) {
    extern char **environ;
    const launcher_plan *plan = a->constants->options->places->plan;
    const launcher_program *program = &a->constants->program;
    for (int i = 0; i < a->n; i++) {
        launcher_spawn *s = &a->spawns[i];
        int control = launcher_control_end(a->control, i), pmi = launcher_mpi_end(a->mpi, i);
        *s = (launcher_spawn){.path = program->path,
                              .text = program->text,
                              .folder = *program->folder ? program->folder : NULL,
                              .cgroup = a->group.folder,
                              .inherited = &a->constants->inherited};
        TD_TRY(launcher_program_arguments(program, i, &s->argv));
        char path[PATH_MAX];
        launcher_rank_facts own = launcher_attempt_rank_facts(a->constants->options, i);
        own.control_fd = control;
        own.pmi_fd = pmi;
        own.pmix = launcher_mpi_environment(a->mpi, i);
        own.error_file = error_path(a, i, path);
        TD_TRY(launcher_environment_make(&a->facts, &own, environ, &s->envp));
        launcher_output_give(a->output, i, a->null, s);
        s->kept[0] = a->arena;
        s->kept[1] = control;
        s->kept[2] = pmi;
        s->kept[3] = a->facts.progress_fd; /* or -1, the end */
        s->kept[4] = -1;
        if (!plan) continue;
        s->mask = plan->seats[i].mask;
        s->mask_bytes = plan->mask_bytes;
    }
    return TD_OK;
}

static td_status start(launcher_attempt *a, const launcher_constants *constants, int number) {
    *a = (launcher_attempt){.constants = constants,
                            .number = number,
                            .n = (int)constants->options->ranks,
                            .null = -1,
                            .arena = -1,
                            .port = -1,
                            .socket = -1};
    TD_TRY(make_ranks(a));
    TD_TRY(open_descriptors(a));
    a->facts.arena_fd = a->arena;
    a->facts.progress_fd = td_progress_fd(a->progress);
    launcher_attempt_facts(constants, number, &a->facts);
    if (!launcher_logs_folder(constants->logs)) launcher_errors_make_folder(a->error_folder);
    find_mpi_components(a);
    if (!constants->options->leave_daemons) launcher_cgroup_make(&a->group, number);
    TD_TRY(prepare_ranks(a));
    a->oom_kills = launcher_proc_oom_kills("");
    launcher_guardian_folders folders = {a->error_folder, a->mpi_folder.path, &a->group};
    return launcher_guardian_start(a->spawns, a->n, folders, &a->guardian, &a->socket);
}

/* A signal that would end us waits until there is a guardian, who removes the folders. */
td_status launcher_attempt_start(launcher_attempt *a, const launcher_constants *constants, int number) {
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    td_status status = start(a, constants, number);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return status;
}

/* --- watching ------------------------------------------------------------------------------------------- */

static void on_guardian(uv_poll_t *watch, int status, int events) {
    launcher_attempt *a = watch->data;
    (void)status, (void)events;
    a->events.guardian(a, a->events.cookie);
}

td_status launcher_attempt_watch(launcher_attempt *a, uv_loop_t *loop, launcher_attempt_events events) {
    a->events = events;
    TD_TRY(launcher_from_uv(uv_poll_init(loop, &a->guardian_watch, a->socket), "cannot watch the guardian"));
    a->guardian_watch.data = a;
    a->watched = true;
    TD_TRY(launcher_from_uv(uv_poll_start(&a->guardian_watch, UV_READABLE | UV_DISCONNECT, on_guardian),
                            "cannot watch the guardian"));
    TD_TRY(launcher_control_start(a->control, loop, events.silent, events.cookie));
    launcher_mpi_events mpi = {events.mpi_failed, events.mpi_refused, events.cookie};
    TD_TRY(launcher_mpi_start(a->mpi, loop, mpi));
    return launcher_output_start(a->output, loop, events.output);
}

void launcher_attempt_order(const launcher_attempt *a, guardian_order order) {
    if (a->socket >= 0) send(a->socket, &order, sizeof order, MSG_NOSIGNAL);
}

int launcher_attempt_next_event(const launcher_attempt *a, guardian_event *event) {
    ssize_t got;
    do got = recv(a->socket, event, sizeof *event, 0);
    while (got < 0 && errno == EINTR);
    if (got == (ssize_t)sizeof *event) return 1;
    return got < 0 && errno == EAGAIN ? 0 : -1;
}

/* --- the end -------------------------------------------------------------------------------------------- */

void launcher_attempt_read_errors(launcher_attempt *a) {
    for (int i = 0; i < a->n; i++) {
        launcher_rank *rank = &a->ranks[i];
        char path[PATH_MAX];
        if (rank->life == LAUNCHER_ENDED && rank->wait_status != 0 && error_path(a, i, path))
            launcher_errors_read(path, &rank->exception, &rank->traceback);
    }
}

void launcher_attempt_finish(launcher_attempt *a) {
    uv_poll_stop(&a->guardian_watch);
    if (a->socket >= 0) close(a->socket); /* the guardian's leave */
    a->socket = -1;
    launcher_output_finish(a->output);
}

void launcher_attempt_stop(launcher_attempt *a) {
    if (!a->watched) return;
    a->watched = false;
    launcher_output_stop(a->output);
    launcher_control_stop(a->control);
    launcher_mpi_stop(a->mpi);
    uv_close((uv_handle_t *)&a->guardian_watch, NULL);
}

void launcher_attempt_close(launcher_attempt *a) {
    launcher_output_close(&a->output);
    launcher_control_close(&a->control);
    launcher_mpi_close(&a->mpi);
    td_progress_close(&a->progress);
    if (a->socket >= 0) close(a->socket); /* ends the guardian, and with it whatever runs */
    if (a->guardian > 0) waitpid(a->guardian, NULL, 0);
    launcher_errors_remove_folder(a->error_folder); /* if the guardian was killed before it did */
    if (*a->mpi_folder.path) launcher_mpi_remove_folder(a->mpi_folder.path); /* unless the guardian has */
    launcher_cgroup_remove(&a->group);
    launcher_cgroup_close(&a->group);
    td_free(a->mpi_components);
    for (int i = 0; i < a->n && a->ranks && a->spawns; i++) {
        launcher_tail_free(&a->ranks[i].errors);
        free(a->ranks[i].exception);
        free(a->ranks[i].traceback);
        td_free(a->spawns[i].argv);
        td_free(a->spawns[i].envp);
    }
    td_free(a->ranks);
    td_free(a->tails);
    td_free(a->spawns);
    for (const int *fd = (int[]){a->null, a->arena, a->port, INT_MIN}; *fd != INT_MIN; fd++)
        if (*fd >= 0) close(*fd);
    *a = (launcher_attempt){.socket = -1, .null = -1, .arena = -1, .port = -1};
}
