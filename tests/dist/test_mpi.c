/* Groups over MPI, in processes that Open MPI's mpirun or `tandem run` has started. */
#include "launcher/launch.h"

#include <stdio.h>
#include <unistd.h>

#define RANKS TD_TEST_BUILD "/tests/mpi_ranks"

const char *skip_reason(void) {
    if (access(TD_TEST_BUILD "/tandem-mpi.so", R_OK)) return "the mpi plug-in is not built";
    return system("command -v mpirun >/dev/null 2>&1") ? "there is no mpirun" : NULL;
}

static launch run_under(bool mpirun, const char *n, const char *what, const char *variable) {
    const char *const environment[] = {"OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1",
                                       "OMPI_MCA_mpi_yield_when_idle=1", variable, NULL};
    const launch_setup setup = {.environment = environment};
    /* A job whose rank is killed goes on, so that the others can say what they know. */
    const char *patience = strcmp(what, "kill") == 0 ? "--enable-recovery" : "--oversubscribe";
    const char *const theirs[] = {"mpirun", "-np", n, "--oversubscribe", patience, RANKS, what, NULL};
    const char *const ours[] = {TANDEM, "run", "-n", n, "--", RANKS, what, NULL};
    launch l = launch_start_with(setup, mpirun ? theirs : ours);
    launch_finish(&l);
    return l;
}

static int count_of(const char *text, const char *part) {
    int count = 0;
    while ((text = strstr(text, part))) text++, count++;
    return count;
}

static const char *const sizes[] = {"1", "2", "3", "4"};

START_TEST(every_call_gives_what_its_definition_says) {
    launch l = run_under(_i % 2, sizes[_i / 2], "all", NULL);
    ck_code(&l, 0);
    ck_assert_int_eq(count_of(l.output, "ok\n"), atoi(sizes[_i / 2]));
    launch_free(&l);
}
END_TEST

static const struct form {
    const char *ranks, *what, *variable;
} forms[] = {
    {"4", "groups", NULL},
    {"3", "threads", NULL},
    {"3", "threads", "TANDEM_MPI_THREADS=single"}, /* MPI knows of no threads: one call at a time */
    {"3", "threads", "TANDEM_MPI_THREADS=serialized"},
    {"3", "all", "TANDEM_MPI_PIECE=1000"}, /* many messages, as if MPI's counts ended there */
};

START_TEST(groups_threads_and_long_messages_come_together) {
    const struct form *f = &forms[_i];
    launch l = run_under(true, f->ranks, f->what, f->variable);
    ck_code(&l, 0);
    ck_assert_int_eq(count_of(l.output, "ok\n"), atoi(f->ranks));
    launch_free(&l);
}
END_TEST

/* What every rank (or all but the one to blame) is told. */
static const struct fault {
    const char *what, *said;
    int ranks;
} faults[] = {
    {"mismatch", "rank 0 calls all_reduce(sum) of 1 f32 (call 1), but rank 1 calls barrier (call 1)", 3},
    {"late", "has waited 1 s for rank 1", 2},
    {"abort", "rank 1 gave up: out of cheese", 3},
    {"leave", "all_reduce(sum) of 1 f32 (call 1): rank 1 has left the group", 2},
    {"kill", "all_reduce(sum) of 1 f32 (call 1): rank 1 (process ", 2},
    {"stop", "has waited 1 s for rank 1; its process is stopped", 2},
    {"split", "has waited 6 s (--stall-timeout) for rank 1", 2},
    {"message",
     "tag 2147483647: rank 0 calls send of 3 f32 to rank 1 (message 2), but rank 1 calls recv of 4 f32", 3},
    {"absent", "MPI_Init_thread has not returned within 1 s: do all 3 ranks open a group?", 2},
};

START_TEST(a_fault_is_an_error_on_all_ranks) {
    const struct fault *f = &faults[_i];
    launch l = run_under(true, "3", f->what, NULL);
    ck_assert_msg(count_of(l.output, f->said) + count_of(l.errors, f->said) >= f->ranks,
                  "not %d times '%s' in:\n%s%s", f->ranks, f->said, l.output, l.errors);
    launch_free(&l);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("mpi");
    TCase *tcase = tcase_create("mpi");
    tcase_add_loop_test(tcase, every_call_gives_what_its_definition_says, 0,
                        2 * (int)(sizeof sizes / sizeof *sizes));
    tcase_add_loop_test(tcase, groups_threads_and_long_messages_come_together, 0,
                        sizeof forms / sizeof *forms);
    tcase_add_loop_test(tcase, a_fault_is_an_error_on_all_ranks, 0, sizeof faults / sizeof *faults);
    suite_add_tcase(suite, tcase);
    return suite;
}
