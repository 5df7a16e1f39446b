/* The job object: facts from the environment, the inherited descriptors, and the channel to the launcher. */
#include "base/clock.h"
#include "base/memory.h"
#include "dist/internal.h"
#include "dist/job_mark.h"
#include "dist/recorder_ring.h"
#include "dist/rendezvous.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Our own copy of an inherited descriptor; neither goes on to programs that this rank starts. */
static td_status adopt(int inherited, const char *name, bool right, int *fd) {
    int copy = right ? fcntl(inherited, F_DUPFD_CLOEXEC, 0) : -1;
    if (copy < 0)
        return td_fail(
            TD_ERR_STATE, right ? errno : 0, "dist",
            "%s=%d is not what `tandem run` passed on: was this program started by a rank that closed it?",
            name, inherited);
    fcntl(inherited, F_SETFD, FD_CLOEXEC);
    *fd = copy;
    return TD_OK;
}

static bool is_arena(int fd) {
    int seals = fcntl(fd, F_GET_SEALS);
    return seals >= 0 && seals & F_SEAL_SHRINK;
}

static bool is_socket(int fd) {
    struct stat about;
    return !fstat(fd, &about) && S_ISSOCK(about.st_mode);
}

static td_status open_with_facts(const td_job_facts *facts, td_job **job) {
    td_job *made = td_calloc(1, sizeof *made);
    if (!made) return TD_ERR_MEMORY;
    made->facts = *facts;
    made->arena_fd = made->control_fd = -1;
    td_status status = TD_OK;
    if (facts->arena_fd >= 0)
        status = adopt(facts->arena_fd, TD_ENV_ARENA_FD, is_arena(facts->arena_fd), &made->arena_fd);
    if (status >= 0 && facts->control_fd >= 0)
        status = adopt(facts->control_fd, TD_ENV_CONTROL_FD, is_socket(facts->control_fd), &made->control_fd);
    if (status >= 0 && facts->progress_fd >= 0) {
        fcntl(facts->progress_fd, F_SETFD, FD_CLOEXEC);
        status = td_progress_map(facts->progress_fd, facts->rank, &made->progress);
    }
    if (status < 0) {
        td_job_close(&made);
        return status;
    }
    td_job_tell(
        made, &(td_control_message){.kind = TD_CONTROL_JOINED, .rank = facts->rank, .value = (int)getpid()});
    *job = made;
    return TD_OK;
}

td_status td_job_open_with(td_env_lookup *lookup, void *cookie, td_job **job) {
    td_job_facts facts;
    TD_TRY(td_job_facts_read(lookup, cookie, &facts));
    return open_with_facts(&facts, job);
}

static const char *look_up_process(const char *name, void *cookie) {
    (void)cookie;
    return getenv(name);
}

td_status td_job_open(td_job **job) { return td_job_open_with(look_up_process, NULL, job); }

td_status td_job_open_threads(int world_size, td_job *jobs[]) {
    if (world_size < 1)
        return td_fail(TD_ERR_ARG, 0, "dist", "a job of %d ranks: at least one is needed", world_size);
    td_job *made[TD_SEGMENT_RANKS_MAX] = {0};
    if (world_size > TD_SEGMENT_RANKS_MAX)
        return td_fail(TD_ERR_ARG, 0, "dist", "a job of %d ranks: at most %d can be threads of one process",
                       world_size, TD_SEGMENT_RANKS_MAX);
    td_segment *segment = NULL;
    int fd;
    TD_TRY(td_job_make_arena(&fd));
    td_status status = td_segment_map(fd, &segment);
    close(fd);
    for (int r = 0; r < world_size && status >= 0; r++) {
        td_job_facts facts = {.launcher = TD_LAUNCHER_THREADS,
                              .rank = r,
                              .world_size = world_size,
                              .local_rank = r,
                              .local_world_size = world_size,
                              .node_count = 1,
                              .arena_fd = -1,
                              .control_fd = -1,
                              .progress_fd = -1,
                              .stall_timeout = TD_STALL_TIMEOUT_DEFAULT};
        status = open_with_facts(&facts, &made[r]);
        if (status >= 0) made[r]->segment = td_segment_retain(segment);
    }
    td_segment_release(&segment);
    for (int r = 0; r < world_size; r++)
        if (status < 0)
            td_job_close(&made[r]);
        else
            jobs[r] = made[r];
    return status;
}

void td_job_close(td_job **job) {
    td_job *j = *job;
    *job = NULL;
    if (!j) return;
    if (!j->lost) td_job_tell(j, &(td_control_message){.kind = TD_CONTROL_LEAVING, .rank = j->facts.rank});
    td_progress_close(&j->progress);
    td_recorder_close(j);
    td_segment_release(&j->segment);
    if (j->arena_fd >= 0) close(j->arena_fd);
    if (j->control_fd >= 0) close(j->control_fd);
    td_free(j);
}

td_status td_job_segment(td_job *job, double timeout, td_segment **segment) {
    if (!job->segment) {
        if (job->arena_fd < 0) TD_TRY(td_rendezvous(&job->facts, timeout, &job->arena_fd));
        TD_TRY(td_segment_map(job->arena_fd, &job->segment));
    }
    td_recorder_open(job); /* before others are waited for: that they did not come shall be known */
    *segment = job->segment;
    return TD_OK;
}

void td_job_tell(td_job *job, const td_control_message *message) {
    uint8_t frame[TD_CONTROL_FRAME_MAX];
    if (job->control_fd < 0) return;
    size_t size = td_control_encode(message, frame);
    /* A launcher that does not read for so long that the socket is full gets no news. */
    ssize_t sent = send(job->control_fd, frame, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)sent;
}

/* Read what the launcher has said; false when it says no more. */
static bool read_inbox(td_job *job) {
    ssize_t got = recv(job->control_fd, job->inbox + job->inbox_used, sizeof job->inbox - job->inbox_used,
                       MSG_DONTWAIT);
    if (got == 0) return false;
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    job->inbox_used += (size_t)got;
    size_t at = 0, used = 0;
    td_control_message message;
    td_status status;
    while (!(status = td_control_decode(job->inbox + at, job->inbox_used - at, &used, &message))) {
        at += used;
        if (message.kind != TD_CONTROL_TERMINAL) continue;
        job->answered = true;
        job->terminal_columns = message.value;
    }
    job->inbox_used -= at;
    memmove(job->inbox, job->inbox + at, job->inbox_used);
    return status >= 0;
}

int td_job_terminal_columns(td_job *job) {
    enum { PATIENCE_MS = 200 };
    int64_t deadline = td_clock_ns() + PATIENCE_MS * INT64_C(1000000);
    if (job->control_fd < 0) return job->terminal_columns;
    do {
        struct pollfd p = {.fd = job->control_fd, .events = POLLIN};
        if (poll(&p, 1, job->answered ? 0 : PATIENCE_MS / 10) > 0 && !read_inbox(job)) {
            close(job->control_fd);
            job->control_fd = -1;
            job->terminal_columns = 0;
            break;
        }
    } while (!job->answered && td_clock_ns() < deadline);
    job->answered = true; /* a launcher that has not answered by now is not waited for again */
    return job->terminal_columns;
}

void td_job_progress(td_job *job, td_phase phase, int64_t step) {
    td_progress_say(job->progress, phase, step);
    if (job->recorder) atomic_store_explicit(&job->recorder->step, step, memory_order_relaxed);
}
void td_job_offers_stacks(td_job *job) { td_progress_say_stacks(job->progress); }

int td_job_rank(const td_job *job) { return job->facts.rank; }
int td_job_world_size(const td_job *job) { return job->facts.world_size; }
int td_job_local_rank(const td_job *job) { return job->facts.local_rank; }
int td_job_local_world_size(const td_job *job) { return job->facts.local_world_size; }
int td_job_node(const td_job *job) { return job->facts.node; }
int td_job_node_count(const td_job *job) { return job->facts.node_count; }
td_launcher td_job_launcher(const td_job *job) { return job->facts.launcher; }
const char *td_job_id(const td_job *job) { return job->facts.id; }
double td_job_stall_timeout(const td_job *job) { return job->facts.stall_timeout; }

const char *td_launcher_name(td_launcher launcher) {
    static const char *const names[] = {
        [TD_LAUNCHER_NONE] = "none",         [TD_LAUNCHER_TANDEM] = "tandem run",
        [TD_LAUNCHER_TORCHRUN] = "torchrun", [TD_LAUNCHER_OPENMPI] = "Open MPI",
        [TD_LAUNCHER_PMI] = "PMI",           [TD_LAUNCHER_SLURM] = "Slurm",
        [TD_LAUNCHER_THREADS] = "threads",
    };
    return (unsigned)launcher < TD_LAUNCHER_COUNT ? names[launcher] : "?";
}
