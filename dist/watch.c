/*
 * Questions cost MPI's progress engine a microsecond or less, so they come at once at first; a wait that lasts
 * gives the core away between them: to other threads at first, later by sleeping, so that a computing rank or
 * thread beside it is not slowed. Nothing but these questions moves data: there is no thread of progress.
 */
#include "dist/watch.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "dist/internal.h"
#include "dist/recorder_ring.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SPIN_TURNS = 100, YIELD_TURNS = 1000, NAP_TURNS = 5000, LOOK_MS = 20, GAP_MS = 1000, LEFT_MS = 100 };

static uint64_t mix(uint64_t hash, const char *text, size_t size) {
    for (size_t i = 0; i < size; i++) hash = (hash ^ (uint8_t)text[i]) * UINT64_C(1099511628211);
    return hash;
}

/* The kernel that runs, and what a container or a network namespace hides of it: ranks meet over an abstract socket,
 * and watch each other by pid. The job's id tells apart nodes that are only said to be some. */
static uint64_t machine_of(const td_job *job) {
    char text[128] = "";
    struct stat about = {0};
    uint64_t hash = UINT64_C(14695981039346656037);
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (file) {
        hash = mix(hash, text, fread(text, 1, sizeof text, file));
        fclose(file);
    }
    if (gethostname(text, sizeof text - 1) == 0) hash = mix(hash, text, strlen(text));
    if (stat("/proc/self/ns/net", &about) == 0)
        hash = mix(hash, (const char *)&about.st_ino, sizeof about.st_ino);
    return mix(hash, job->facts.id, strlen(job->facts.id));
}

td_who td_who_self(const td_job *job) {
    td_process self = td_process_self();
    return (td_who){.machine = machine_of(job),
                    .pid_space = self.pid_space,
                    .started = self.started,
                    .pid = self.pid,
                    .local_rank = job->facts.local_rank,
                    .local_world_size = job->facts.local_world_size};
}

/* Is this the first rank of its machine? */
static bool is_first(const td_who *whos, int r) {
    for (int before = 0; before < r; before++)
        if (whos[before].machine == whos[r].machine) return false;
    return true;
}

int td_who_node(const td_who *whos, int r) {
    int node = 0;
    for (int first = 0; whos[first].machine != whos[r].machine; first++) node += is_first(whos, first);
    return node;
}

td_status td_watch_open(td_watch *watch, const td_who *whos, int rank, int size) {
    td_watch w = {.rank = rank, .size = size, .dead = -1};
    w.memory = td_alloc_aligned((size_t)size * sizeof *w.seats + TD_LINE);
    w.peers = td_peers_open(size);
    if (!w.memory || !w.peers) {
        td_watch_close(&w);
        return TD_ERR_MEMORY;
    }
    w.seats = (td_room_seat *)(((uintptr_t)w.memory + TD_LINE - 1) & ~(uintptr_t)(TD_LINE - 1));
    memset(w.seats, 0, (size_t)size * sizeof *w.seats);
    for (int r = 0; r < size; r++) {
        td_room_seat *seat = &w.seats[r];
        seat->pid = whos[r].pid;
        seat->started = whos[r].started;
        /* Pids of other machines mean nothing here. */
        seat->pid_space = whos[r].machine == whos[rank].machine ? whos[r].pid_space : 0;
        atomic_store(&seat->entered, 1);
    }
    *watch = w;
    return TD_OK;
}

void td_watch_close(td_watch *watch) {
    td_peers_close(&watch->peers, watch->size);
    td_free(watch->memory);
    *watch = (td_watch){0};
}

void td_watch_note_left(td_watch *watch, int rank) { atomic_store(&watch->seats[rank].left, 1); }

void td_watch_tell_lost(td_watch *watch, td_group *group, int culprit, td_status status,
                        const td_doing *doing) {
    if (watch->told || culprit < 0 || culprit == group->rank) return;
    watch->told = true;
    atomic_store(&group->job->lost, true);
    td_control_message message = {
        .kind = TD_CONTROL_LOST, .rank = td_group_name(group, culprit), .value = status};
    snprintf(message.text, sizeof message.text, "%s", td_doing_describe(doing).text);
    td_job_tell(group->job, &message);
}

/* One wait. */
typedef struct vigil {
    td_watch *watch;
    td_group *group;
    td_work *work;
    const td_asked *ask;
    int *culprit;
    int64_t began, last_look, deadline, report_at;
    uint64_t holds; /* of the job's clocks, when it began */
    double waited, report_every;
} vigil;

static int64_t later(int64_t now, double seconds) {
    return seconds < 1e9 ? now + (int64_t)(seconds * 1e9) : INT64_MAX;
}

static double patience_of(const vigil *v) {
    return v->work->call.timeout > 0 ? v->work->call.timeout : v->group->stall_timeout;
}

static void begin(vigil *v, int64_t now) {
    v->deadline = later(now, patience_of(v));
    v->report_at = later(now, v->group->stall_report);
    v->report_every = v->group->stall_report;
    v->waited = 0;
    v->holds = td_progress_holds(v->group->job->progress);
}

static bool is_neighbour(const td_watch *watch, int r) {
    const td_room_seat *seat = &watch->seats[r], *own = &watch->seats[watch->rank];
    return seat->pid_space && seat->pid_space == own->pid_space && seat->pid != own->pid;
}

/* Does the launcher hold the job's clocks, or has it meanwhile; or does somebody debug a rank? */
static bool is_held(const vigil *v) {
    uint64_t holds = td_progress_holds(v->group->job->progress);
    if (holds & 1 || holds != v->holds) return true;
    for (int r = 0; r < v->watch->size; r++)
        if (is_neighbour(v->watch, r) && td_process_is_traced(v->watch->seats[r].pid)) return true;
    return false;
}

static int find_stopped(const td_watch *watch) {
    for (int r = 0; r < watch->size; r++)
        if (is_neighbour(watch, r) && !atomic_load(&watch->seats[r].left) &&
            td_process_is_stopped(watch->seats[r].pid))
            return r;
    return -1;
}

/* "rank 1", "ranks 1, 3"; the first is returned. */
static int describe_missing(const vigil *v, int stopped, char *text, size_t size) {
    int first = stopped >= 0 ? stopped : v->ask->missing(v->group, v->work, -1), others = 0;
    if (first < 0) {
        snprintf(text, size, "a rank");
        return -1;
    }
    char list[160] = "";
    size_t used = (size_t)snprintf(list, sizeof list, "%d", td_group_name(v->group, first));
    for (int r = v->ask->missing(v->group, v->work, -1); r >= 0 && used < sizeof list;
         r = v->ask->missing(v->group, v->work, r))
        if (r != first) {
            used += (size_t)snprintf(list + used, sizeof list - used, ", %d", td_group_name(v->group, r));
            others++;
        }
    snprintf(text, size, "%s %.150s", others ? "ranks" : "rank", list);
    return first;
}

/* A peer that is gone fails the wait unless what it had sent before ends it; so it gets another look's time. */
static td_status look_at_peers(vigil *v, int64_t now) {
    td_watch *watch = v->watch;
    int missing = v->ask->missing(v->group, v->work, -1), before = watch->dead;
    td_doing doing = v->ask->doing(v->group, v->work);
    watch->dead = td_peers_find_dead(watch->peers, watch->seats, watch->rank, watch->size, missing);
    if (watch->dead >= 0 && watch->dead == before) {
        *v->culprit = watch->dead;
        return td_fail(TD_ERR_PEER, 0, "dist", "%s: rank %d (process %d) is gone",
                       td_doing_describe(&doing).text, td_group_name(v->group, watch->dead),
                       (int)watch->seats[watch->dead].pid);
    }
    if (missing < 0 || !atomic_load(&watch->seats[missing].left) ||
        now - v->began < LEFT_MS * INT64_C(1000000))
        return TD_OK;
    *v->culprit = missing;
    return td_fail(TD_ERR_PEER, 0, "dist", "%s: rank %d has left the group", td_doing_describe(&doing).text,
                   td_group_name(v->group, missing));
}

static td_status look_at_clock(vigil *v, int64_t now) {
    char missing[160];
    if (now < v->deadline && now < v->report_at) return TD_OK;
    if (is_held(v)) {
        begin(v, now);
        return TD_OK;
    }
    int stopped = find_stopped(v->watch), peer = describe_missing(v, stopped, missing, sizeof missing);
    td_doing doing = v->ask->doing(v->group, v->work);
    td_doing_text text = td_doing_describe(&doing);
    const char *state = stopped >= 0 ? "; its process is stopped" : "";
    if (now >= v->deadline) {
        *v->culprit = peer;
        return td_fail(TD_ERR_TIMEOUT, 0, "dist", "%s: rank %d has waited %g s%s for %s%s", text.text,
                       td_group_name(v->group, v->group->rank), patience_of(v),
                       v->work->call.timeout > 0 ? "" : " (--stall-timeout)", missing, state);
    }
    v->waited += v->report_every;
    td_log_line(TD_LOG_WARN, "dist", "rank %d has waited %g s for %s in %s%s",
                td_group_name(v->group, v->group->rank), v->waited, missing, text.text, state);
    td_control_message message = {.kind = TD_CONTROL_STUCK,
                                  .rank = peer < 0 ? -1 : td_group_name(v->group, peer),
                                  .value = (int)v->waited};
    snprintf(message.text, sizeof message.text, "%s", text.text);
    if (peer >= 0) td_job_tell(v->group->job, &message);
    td_recorder_stall(v->group->job, message.text);
    v->report_every = v->waited; /* and again when twice as much has passed */
    v->report_at = later(now, v->report_every);
    return TD_OK;
}

static td_status look(vigil *v) {
    int64_t now = td_clock_ns(), gap = now - v->last_look;
    if (gap < LOOK_MS * INT64_C(1000000)) return TD_OK;
    v->last_look = now;
    if (gap > GAP_MS * INT64_C(1000000)) begin(v, now); /* this process itself was stopped */
    TD_TRY(look_at_peers(v, now));
    return look_at_clock(v, now);
}

static td_status keep(vigil *v) {
    for (long turns = 0;; turns++) {
        TD_TRY(v->ask->test(v->group));
        if (v->work->status != TD_PENDING) return v->work->status;
        if (turns < SPIN_TURNS) continue;
        if (turns < YIELD_TURNS) {
            sched_yield();
            continue;
        }
        if (turns == YIELD_TURNS) {
            int missing = v->ask->missing(v->group, v->work, -1);
            td_recorder_note_wait(v->group->job);
            if (missing >= 0) td_progress_await(v->group->job->progress, td_group_name(v->group, missing));
        }
        nanosleep(&(struct timespec){0, turns < NAP_TURNS ? 20000 : 200000}, NULL);
        TD_TRY(look(v));
    }
}

td_status td_watch_wait(td_watch *watch, td_group *group, td_work *work, const td_asked *ask, int *culprit) {
    int64_t now = td_clock_ns();
    vigil v = {.watch = watch, .group = group, .work = work, .ask = ask, .culprit = culprit};
    v.began = v.last_look = now;
    *culprit = -1;
    begin(&v, now);
    watch->dead = -1;
    td_status status = keep(&v);
    td_progress_await(group->job->progress, -1);
    return status;
}
