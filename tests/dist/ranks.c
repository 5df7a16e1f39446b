/* Threads share the process; processes are forked before the job is opened, as a launcher would do. */
#include "dist/ranks.h"

#include "dist/job_mark.h"
#include "support/check.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct rank_thread {
    td_job *job;
    rank_body *body;
    void *cookie;
} rank_thread;

static void *run_thread(void *cookie) {
    rank_thread *t = cookie;
    t->body(t->job, t->cookie);
    td_job_close(&t->job);
    return NULL;
}

void run_threads(int count, rank_body *body, void *cookie) {
    td_job *jobs[RANKS_MAX];
    rank_thread ranks[RANKS_MAX];
    pthread_t threads[RANKS_MAX];
    ck_ok(td_job_open_threads(count, jobs));
    for (int r = 0; r < count; r++) {
        ranks[r] = (rank_thread){jobs[r], body, cookie};
        ck_assert_int_eq(pthread_create(&threads[r], NULL, run_thread, &ranks[r]), 0);
    }
    for (int r = 0; r < count; r++) pthread_join(threads[r], NULL);
}

static const char *look_up(const char *name, void *cookie) {
    size_t length = strlen(name);
    for (const char *const *entry = cookie; *entry; entry++)
        if (!strncmp(*entry, name, length) && (*entry)[length] == '=') return *entry + length + 1;
    return NULL;
}

td_status open_job(const char *const *environment, td_job **job) {
    return td_job_open_with(look_up, (void *)environment, job);
}

pid_t start_rank(int rank, int count, int arena, int control, rank_body *body, void *cookie) {
    fflush(NULL);
    pid_t pid = fork();
    if (pid) return pid;
    enum { PORT = 29871 };
    char mark[80], text[6][48];
    const char *environment[9] = {mark};
    snprintf(mark, sizeof mark, "%s=%s", TD_ENV_JOB,
             td_job_mark_format((td_job_mark){rank, count, PORT}).text);
    const struct {
        const char *name;
        int value;
    } numbers[] = {{"RANK", rank},        {"WORLD_SIZE", count},
                   {"LOCAL_RANK", rank},  {"LOCAL_WORLD_SIZE", count},
                   {"MASTER_PORT", PORT}, {TD_ENV_ARENA_FD, arena}};
    for (int i = 0; i < 6; i++) {
        snprintf(text[i], sizeof text[i], "%s=%d", numbers[i].name, numbers[i].value);
        environment[i + 1] = text[i];
    }
    char channel[48];
    snprintf(channel, sizeof channel, "%s=%d", TD_ENV_CONTROL_FD, control);
    if (control >= 0) environment[7] = channel;
    td_job *job;
    if (open_job(environment, &job) < 0) {
        fprintf(stderr, "rank %d: %s\n", rank, td_error_last()->text);
        _exit(99);
    }
    body(job, cookie);
    td_job_close(&job);
    _exit(0);
}

int reap(pid_t pid) {
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

void run_processes_but(int count, rank_body *body, void *cookie, unsigned lost, int *control) {
    pid_t pids[RANKS_MAX];
    int arena, ends[2] = {-1, -1};
    ck_ok(td_job_make_arena(&arena));
    for (int r = 0; r < count; r++) {
        if (control) {
            ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
            control[r] = ends[0];
        }
        pids[r] = start_rank(r, count, arena, ends[1], body, cookie);
        if (control) close(ends[1]);
    }
    for (int r = 0; r < count; r++) {
        int code = reap(pids[r]);
        ck_assert_msg((code != 0) == (r < 32 && lost >> r & 1), "rank %d of %d ended with %d", r, count,
                      code);
    }
    close(arena);
}

/* The tormentor ends by itself, so that it never leaves its victim stopped. */
struct tormentor {
    _Atomic bool relieved;
    pid_t pid;
};

tormentor *torment(unsigned seed) {
    pid_t victim = getpid();
    tormentor *t = mmap(NULL, sizeof *t, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(t, MAP_FAILED);
    t->pid = fork();
    if (t->pid) return t;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (getppid() == victim && !t->relieved) {
        seed = seed * 1664525u + 1013904223u;
        usleep(seed >> 16 & 0x1fff);
        kill(victim, SIGSTOP);
        usleep(seed >> 8 & 0x0fff);
        kill(victim, SIGCONT);
    }
    _exit(0);
}

void relieve(tormentor *t) {
    t->relieved = true;
    waitpid(t->pid, NULL, 0);
    munmap(t, sizeof *t);
}

void run_processes(int count, rank_body *body, void *cookie) {
    run_processes_but(count, body, cookie, 0, NULL);
}
