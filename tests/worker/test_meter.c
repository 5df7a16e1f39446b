/* Ranks as threads that train at different paces and still hold the same meetings. */
#include "dist/group.h"
#include "dist/job.h"
#include "support/check.h"
#include "worker/meter.h"

#include <math.h>
#include <pthread.h>
#include <time.h>

enum { RANKS = 3, STEPS = 40 };

typedef struct member {
    td_job *job;
    int rank, meetings;
    worker_totals totals;
    char trouble[256];
} member;

static td_status train(member *m) {
    td_group *group = NULL;
    worker_meter meter = {0};
    TD_TRY(td_group_open(m->job, NULL, &group));
    worker_meter_begin(&meter);
    worker_meter_begin_epoch(&meter);
    td_status status = TD_OK;
    for (int64_t step = 1; step <= STEPS && status >= 0; step++) {
        nanosleep(&(struct timespec){0, 200000 * (m->rank + 1)}, NULL);
        /* Rank r has r + 1 samples with a loss of r each, and gets the first of them right. */
        worker_meter_add(&meter, m->rank * (m->rank + 1), m->rank + 1, 1);
        if (step != meter.next_meeting && step != STEPS) continue;
        status = worker_meter_meet(&meter, group, step, 0.002, &m->totals);
        m->meetings++;
    }
    td_group_close(&group);
    return status;
}

static void *run_member(void *cookie) {
    member *m = cookie;
    if (train(m) < 0) memcpy(m->trouble, td_error_last()->text, sizeof m->trouble - 1);
    td_job_close(&m->job);
    return NULL;
}

START_TEST(ranks_hold_the_same_meetings_and_agree) {
    td_job *jobs[RANKS];
    member members[RANKS] = {0};
    pthread_t threads[RANKS];
    ck_ok(td_job_open_threads(RANKS, jobs));
    for (int r = 0; r < RANKS; r++) {
        members[r].job = jobs[r];
        members[r].rank = r;
        pthread_create(&threads[r], NULL, run_member, &members[r]);
    }
    for (int r = 0; r < RANKS; r++) pthread_join(threads[r], NULL);
    for (int r = 0; r < RANKS; r++) {
        ck_assert_str_eq(members[r].trouble, "");
        ck_assert_int_eq(members[r].meetings, members[0].meetings);
        ck_assert_int_ge(members[r].meetings, 2);
        ck_assert_int_eq(members[r].totals.samples, 6);
        ck_assert_double_eq_tol(members[r].totals.loss, 8.0 / 6, 1e-12);
        ck_assert_double_eq_tol(members[r].totals.accuracy, 3.0 / 6, 1e-12);
        ck_assert(members[r].totals.samples_per_second > 0 && isfinite(members[r].totals.samples_per_second));
    }
}
END_TEST

START_TEST(time_set_aside_is_not_training) {
    td_job *job;
    td_group *group;
    ck_ok(td_job_open_threads(1, &job));
    ck_ok(td_group_open(job, NULL, &group));
    worker_meter meter = {0};
    worker_totals totals;
    worker_meter_begin(&meter);
    worker_meter_add(&meter, 1, 1, 1);
    worker_meter_pause(&meter);
    nanosleep(&(struct timespec){0, 300000000}, NULL);
    worker_meter_resume(&meter);
    worker_meter_add(&meter, 1, 1, 1);
    ck_ok(worker_meter_meet(&meter, group, 2, 1, &totals));
    ck_assert_double_lt(totals.seconds_per_step, 0.2);
    td_group_close(&group);
    td_job_close(&job);
}
END_TEST

SUITE("meter", ranks_hold_the_same_meetings_and_agree, time_set_aside_is_not_training)
