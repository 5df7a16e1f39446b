/* Which GPUs a job may use, with a library that stands for the driver's. */
#include "base/memory.h"
#include "launcher/gpus.h"
#include "support/check.h"

#include <stdio.h>

#define TWO  "GPU-aaaa-1@0,GPU-abbb-2@1"
#define FOUR "GPU-1111@0,GPU-2222@0,GPU-3333@1,GPU-4444@-1"

/* clang-format off */
static const struct {
    const char *machine, *visible;
    const char *uuids; /* joined by spaces, or NULL: */
    td_status status;
    const char *error;
} cases[] = {
    {TWO, NULL, "GPU-aaaa-1 GPU-abbb-2"},
    {TWO, "0", "GPU-aaaa-1"},
    {TWO, "1,0", "GPU-abbb-2 GPU-aaaa-1"},
    {TWO, " 1 , 0 ", "GPU-abbb-2 GPU-aaaa-1"},
    {FOUR, "GPU-3,0", "GPU-3333 GPU-1111"},
    {TWO, "GPU-abbb-2", "GPU-abbb-2"},
    {FOUR, "MIG-x/1,MIG-x/2", "MIG-x/1 MIG-x/2"},
    /* as CUDA: what names no GPU ends the list */
    {FOUR, "2,9,0", "GPU-3333"},
    {FOUR, "1,-1,0", "GPU-2222"},
    {FOUR, "1,0x0,0", "GPU-2222"},
    {FOUR, "3,GPU-,0", "GPU-4444"},
    {TWO, "", NULL, TD_ERR_UNSUPPORTED, "CUDA_VISIBLE_DEVICES= leaves none of the machine's 2"},
    {TWO, "-1", NULL, TD_ERR_UNSUPPORTED, "CUDA_VISIBLE_DEVICES=-1 leaves none"},
    {TWO, "nonsense", NULL, TD_ERR_UNSUPPORTED, "leaves none"},
    {TWO, "7", NULL, TD_ERR_UNSUPPORTED, "leaves none"},
    {TWO, "99999999999999999999", NULL, TD_ERR_UNSUPPORTED, "leaves none"},
    {TWO, "GPU-a", NULL, TD_ERR_UNSUPPORTED, "leaves none"}, /* two begin so */
    {"", NULL, NULL, TD_ERR_UNSUPPORTED, "the driver knows none"},
    {TWO, "0,0", NULL, TD_ERR_ARG, "CUDA_VISIBLE_DEVICES=0,0 names one GPU twice (0, 0)"},
    {TWO, "1,GPU-abbb", NULL, TD_ERR_ARG, "names one GPU twice (1, GPU-abbb)"},
    {FOUR, "MIG-x/1,MIG-x/1", NULL, TD_ERR_ARG, "twice"},
};
/* clang-format on */

START_TEST(the_visible_gpus_are_found_in_order) {
    launcher_gpus *gpus = NULL;
    char uuids[512] = "";
    setenv("TD_TEST_GPUS", cases[_i].machine, 1);
    td_status status = launcher_gpus_find(cases[_i].visible, &gpus);
    if (!cases[_i].uuids) {
        ck_expect(status == cases[_i].status && !gpus, "case %d gave %s", _i, td_status_name(status));
        ck_expect(strstr(td_error_last()->text, cases[_i].error), "case %d says: %s", _i,
                  td_error_last()->text);
        return;
    }
    ck_expect(status == TD_OK, "case %d: %s", _i, td_error_last()->text);
    for (int i = 0; i < gpus->count; i++)
        snprintf(uuids + strlen(uuids), sizeof uuids - strlen(uuids), "%s%s", i ? " " : "",
                 gpus->gpu[i].uuid);
    ck_expect(strcmp(uuids, cases[_i].uuids) == 0, "case %d: %s, not %s", _i, uuids, cases[_i].uuids);
    td_free(gpus);
}
END_TEST

START_TEST(each_has_its_node_its_name_and_the_users_word_for_it) {
    launcher_gpus *gpus;
    setenv("TD_TEST_GPUS", FOUR, 1);
    ck_ok(launcher_gpus_find("3,GPU-3", &gpus));
    ck_assert_int_eq(gpus->count, 2);
    ck_assert_int_eq(gpus->gpu[0].numa, -1);
    ck_assert_int_eq(gpus->gpu[1].numa, 1);
    ck_assert_str_eq(gpus->gpu[0].visible, "3");
    ck_assert_str_eq(gpus->gpu[1].visible, "GPU-3");
    ck_assert_str_eq(gpus->gpu[1].name, "Test GPU");
    td_free(gpus);
    ck_ok(launcher_gpus_find(NULL, &gpus));
    ck_assert_str_eq(gpus->gpu[2].visible, "GPU-3333");
    td_free(gpus);
}
END_TEST

START_TEST(a_driver_that_does_not_answer_is_a_reason) {
    launcher_gpus *gpus = NULL;
    setenv("TD_TEST_NVML_ERROR", "9", 1);
    ck_fails(launcher_gpus_find(NULL, &gpus), TD_ERR_UNSUPPORTED, "Driver Not Loaded");
    ck_assert_ptr_null(gpus);
}
END_TEST

START_TEST(without_memory_it_is_a_status) {
    setenv("TD_TEST_GPUS", TWO, 1);
    for (int k = 0; k < 2; k++) {
        launcher_gpus *gpus = NULL;
        td_alloc_fail_after(k);
        ck_fails(launcher_gpus_find("0", &gpus), TD_ERR_MEMORY, "");
        ck_assert_ptr_null(gpus);
    }
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("gpus");
    TCase *tcase = tcase_create("gpus");
    tcase_add_loop_test(tcase, the_visible_gpus_are_found_in_order, 0, (int)(sizeof cases / sizeof *cases));
    tcase_add_test(tcase, each_has_its_node_its_name_and_the_users_word_for_it);
    tcase_add_test(tcase, a_driver_that_does_not_answer_is_a_reason);
    tcase_add_test(tcase, without_memory_it_is_a_status);
    suite_add_tcase(suite, tcase);
    return suite;
}
