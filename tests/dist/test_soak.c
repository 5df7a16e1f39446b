/*
 * Hours of use in minutes: again and again a job of 2 to 12 ranks on however few cores there are, whose ranks go through
 * collectives of all kinds, in the group and in both halves of it at once, while one of them is stopped and goes on at
 * random. In every third job a rank is killed, and the others must be told. TANDEM_SOAK_SECONDS (600) says how long;
 * TANDEM_SOAK_SEED repeats a run. Not part of the ordinary tests: `meson test --suite soak`.
 */
#include "base/clock.h"
#include "dist/conformance.h"
#include "dist/ranks.h"
#include "support/check.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

enum { RANKS_MOST = 12, PATIENCE = 60 };

typedef struct episode {
    unsigned seed;
    int victim; /* the rank that is killed, or -1 */
    _Atomic int status[RANKS_MOST];
    _Atomic int64_t killed;
    int64_t told[RANKS_MOST];
    char text[RANKS_MOST][512];
} episode;

static unsigned draw(unsigned *seed, unsigned below) {
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 8) % below;
}

static unsigned number_of(const char *name, unsigned otherwise) {
    const char *text = getenv(name);
    return text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

/* The same walk on all ranks. */
static bool walk(td_group *world, episode *e, char failure[512]) {
    unsigned seed = e->seed;
    td_group *half;
    long cases;
    for (int i = 0; i < 2; i++) {
        conformance_options options = {.exact = true,
                                       .brief = draw(&seed, 4) != 0,
                                       .kind = (int)(TD_CALL_ALL_REDUCE + draw(&seed, TD_CALL_SEND))};
        if (!conforms(world, &options, failure, &cases)) return false;
        if (td_group_split(world, td_group_rank(world) % 2, td_group_rank(world), &half) < 0) {
            snprintf(failure, 512, "split: %.400s", td_error_last()->text);
            return false;
        }
        options.kind = (int)(TD_CALL_ALL_REDUCE + draw(&seed, TD_CALL_SEND));
        bool right = conforms(half, &options, failure, &cases);
        td_group_close(&half);
        if (!right) return false;
    }
    return true;
}

static void live(td_job *job, void *cookie) {
    episode *e = cookie;
    char failure[512] = "";
    td_group *world;
    int rank = td_job_rank(job), size = td_job_world_size(job);
    unsigned seed = e->seed + 1;
    ck_ok(td_group_open(job, &(td_group_options){.stall_timeout = PATIENCE}, &world));
    int slow = (int)draw(&seed, (unsigned)size);
    tormentor *t = rank == slow && rank != e->victim ? torment(seed) : NULL;
    pid_t self = getpid();
    if (rank == e->victim && fork() == 0) {
        usleep(draw(&seed, 300000));
        e->killed = td_clock_ns();
        kill(self, SIGKILL);
        _exit(0);
    }
    bool right = walk(world, e, failure);
    while (right && e->victim >= 0 && td_group_barrier(world, NULL) >= 0) usleep(100);
    if (t) relieve(t);
    if (e->victim < 0) {
        ck_assert_msg(right, "%s", failure);
    } else {
        if (!right) td_group_abort(world, failure); /* the other half is still well */
        e->told[rank] = td_clock_ns();
        e->status[rank] = td_group_barrier(world, NULL);
        snprintf(e->text[rank], sizeof e->text[rank], "%s", td_error_last()->text);
    }
    td_group_close(&world);
}

/* The ranks may stand in different groups when one dies; then some learn of it from those who leave. */
static void check_loss(const episode *e, int ranks) {
    char name[32];
    bool named = false;
    snprintf(name, sizeof name, "rank %d (process", e->victim);
    for (int r = 0; r < ranks; r++) {
        if (r == e->victim) continue;
        ck_assert_msg(e->status[r] == TD_ERR_PEER, "rank %d: %s", r, e->text[r]);
        ck_assert_double_lt((double)(e->told[r] - e->killed) * 1e-9, PATIENCE / 2);
        named = named || strstr(e->text[r], name);
    }
    ck_assert_msg(named, "nobody names rank %d: %s", e->victim, e->text[e->victim == 0]);
}

static int count_names(const char *path) {
    int count = 0;
    DIR *folder = opendir(path);
    while (folder && readdir(folder)) count++;
    if (folder) closedir(folder);
    return count;
}

START_TEST(ranks_stay_in_step_for_a_long_time) {
    unsigned seed = number_of("TANDEM_SOAK_SEED", (unsigned)td_clock_ns()), first = seed;
    int64_t until = td_clock_ns() + (int64_t)number_of("TANDEM_SOAK_SECONDS", 600) * 1000000000;
    int jobs = 0, losses = 0, names = count_names("/dev/shm"), descriptors = count_names("/proc/self/fd");
    printf("# TANDEM_SOAK_SEED=%u\n", first);
    for (; td_clock_ns() < until; jobs++) {
        int ranks = 2 + (int)draw(&seed, RANKS_MOST - 1);
        episode *e = mmap(NULL, sizeof *e, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        ck_assert_ptr_ne(e, MAP_FAILED);
        *e = (episode){.seed = seed, .victim = draw(&seed, 3) ? -1 : (int)draw(&seed, (unsigned)ranks)};
        run_processes_but(ranks, live, e, e->victim < 0 ? 0 : 1u << e->victim, NULL);
        if (e->victim >= 0) check_loss(e, ranks);
        losses += e->victim >= 0;
        munmap(e, sizeof *e);
        ck_assert_int_eq(count_names("/proc/self/fd"), descriptors);
    }
    ck_assert_int_le(count_names("/dev/shm"), names + 5); /* other programs' */
    printf("# %d jobs, in %d of which a rank was killed\n", jobs, losses);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("soak");
    TCase *tcase = tcase_create("soak");
    tcase_set_timeout(tcase, number_of("TANDEM_SOAK_SECONDS", 600) + 300);
    tcase_add_test(tcase, ranks_stay_in_step_for_a_long_time);
    suite_add_tcase(suite, tcase);
    return suite;
}
