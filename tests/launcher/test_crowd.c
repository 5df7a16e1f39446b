/* Many jobs on one host at the same time, where ports come and go. */
#include "launch.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define RANKS TD_TEST_BUILD "/tests/ranks"

enum { JOBS = 20, PORTS_HELD = 500 };

/* A process that for ever takes free ports, listens at them, and lets the oldest go. */
static pid_t start_churning(void) {
    pid_t pid = fork();
    if (pid != 0) return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int held[PORTS_HELD];
    for (int i = 0;; i++) {
        int *s = &held[i % PORTS_HELD];
        if (i >= PORTS_HELD) close(*s);
        *s = socket(AF_INET, SOCK_STREAM, 0);
        struct sockaddr_in any = {.sin_family = AF_INET};
        if (bind(*s, (struct sockaddr *)&any, sizeof any) == 0) listen(*s, 1);
        if (i % 100 == 0) usleep(1000); /* there is other work to do on this machine */
    }
}

/* Ranks of a job find one another at its port and in its memory, and nobody else's. */
START_TEST(twenty_jobs_beside_a_churn_of_ports_never_meet) {
    launch jobs[JOBS];
    pid_t churn = start_churning();
    for (int i = 0; i < JOBS; i++)
        jobs[i] = START("-n", "2", "--", RANKS, "*", "meet", "*", "join", "*", "reduce:20", "*", "leave");
    for (int i = 0; i < JOBS; i++) {
        launch_finish(&jobs[i]);
        ck_code(&jobs[i], 0);
        ck_assert_str_eq(jobs[i].output, "sum 2\nsum 2\n");
        launch_free(&jobs[i]);
    }
    kill(churn, SIGKILL);
    waitpid(churn, NULL, 0);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("crowd");
    TCase *tcase = tcase_create("crowd");
    tcase_add_test(tcase, twenty_jobs_beside_a_churn_of_ports_never_meet);
    suite_add_tcase(suite, tcase);
    return suite;
}
