/* DDP in every mode against one process with all samples: 1 to 8 ranks as threads, over self and shm. */
#include "base/context.h"
#include "base/parallel.h"
#include "dist/ranks.h"
#include "model/ddp_modes.h"
#include "support/check.h"

static const int worlds[] = {1, 2, 3, 4, 8};
enum { WORLDS = sizeof worlds / sizeof *worlds };

static void run_rank(td_job *job, void *cookie) {
    td_context *context;
    td_group *group;
    ck_ok(td_context_open(&context));
    ck_ok(td_parallel_set_threads(1));
    ck_ok(td_group_open(job, NULL, &group));
    ck_assert_str_eq(td_group_backend(group), td_job_world_size(job) == 1 ? "self" : "shm");
    const char *wrong = ddp_mode_run(cookie, group);
    if (wrong) ck_abort_msg("%d ranks: %s", td_job_world_size(job), wrong);
    td_group_close(&group);
    td_context_close(&context);
}

START_TEST(gradients_are_those_of_one_process) {
    ddp_mode mode = ddp_modes[_i / WORLDS];
    run_threads(worlds[_i % WORLDS], run_rank, &mode);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("ddp_modes");
    TCase *tcase = tcase_create("ddp_modes");
    int modes = 0;
    while (ddp_modes[modes].name) modes++;
    tcase_add_loop_test(tcase, gradients_are_those_of_one_process, 0, modes * WORLDS);
    suite_add_tcase(suite, tcase);
    return suite;
}
