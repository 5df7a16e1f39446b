/* `tandem sampler` as a user runs it. */
#include "launcher/launch.h"
#include "support/check.h"

#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

static launch run(const char *const *argv) {
    launch l = launch_start_with((launch_setup){0}, argv);
    launch_finish(&l);
    return l;
}
#define SAMPLER(...) run((const char *[]){TANDEM, "sampler", __VA_ARGS__, NULL})

static const char table[] = "16 samples, 2 ranks, batches of 2, seed 0\n"
                            "\n"
                            "epoch 0\n"
                            "    step  rank 0    rank 1\n"
                            "       0  12 9      10 6\n"
                            "       1  11 13     8 5\n"
                            "       2  2 15      14 0\n"
                            "       3  4 7       3 1\n"
                            "\n"
                            "epoch 1\n"
                            "    step  rank 0    rank 1\n"
                            "       0  5 6       15 4\n"
                            "       1  11 7      2 12\n"
                            "       2  1 9       0 8\n"
                            "       3  10 13     3 14\n"
                            "\n"
                            "Epoch 1 has another order than epoch 0.\n"
                            "In each epoch every sample goes to exactly one rank: no two ranks share one.\n";

START_TEST(the_well_known_experiment_is_shown) {
    launch l = SAMPLER("--size", "16", "--world-size", "2", "--batch-size", "2", "--epochs", "2");
    ck_code(&l, 0);
    ck_assert_str_eq(l.output, table);
    ck_assert_str_eq(l.errors, "");
    launch_free(&l);
}
END_TEST

/* What it concludes, for settings in which something else is true. */
static const struct {
    const char *arguments[12];
    const char *conclusion;
} conclusions[] = {
    {{"--size=16", "--world-size=2", "--epochs=2", "--no-set-epoch"},
     "Both epochs have the same order: each pass is epoch 0's without set_epoch.\n"},
    {{"--size=16", "--world-size=2", "--epochs=3", "--no-shuffle"}, "All 3 epochs have the same order.\n"},
    {{"--size=3", "--epochs=9"}, "1 of 8 later epochs have the order of epoch 0.\n"},
    {{"--size=16", "--epochs=4"}, "No later epoch repeats the order of epoch 0.\n"},
    {{"--size=10", "--world-size=4"},
     "In each epoch 2 of the samples given were given before: 10 do not divide by 4 ranks.\n"},
    {{"--size=10", "--world-size=4", "--drop-last"},
     "No two ranks share a sample; 2 of 10 are left out in each epoch.\n"},
    {{"--size=10", "--world-size=4", "--global-batch-size=6", "--drop-last"},
     "No two ranks share a sample; 4 of 10 are left out in each epoch.\n"},
    {{"--size=10", "--world-size=4", "--global-batch-size=6"}, "no two ranks share one.\n"},
};

START_TEST(what_it_concludes_it_has_counted) {
    const char *argv[16] = {TANDEM, "sampler"};
    for (int i = 0; conclusions[_i].arguments[i]; i++) argv[2 + i] = conclusions[_i].arguments[i];
    launch l = run(argv);
    ck_code(&l, 0);
    ck_contains(l.output, conclusions[_i].conclusion);
    launch_free(&l);
}
END_TEST

START_TEST(json_has_a_line_for_each_rank_and_step_and_nothing_else) {
    static const int64_t expected[4][2] = {{12, 9}, {10, 6}, {11, 13}, {8, 5}};
    launch l = SAMPLER("--size", "16", "--world-size", "2", "--batch-size", "2", "--json");
    ck_code(&l, 0);
    ck_contains(l.output, "{\"epoch\":0,\"rank\":1,\"step\":0,\"indices\":[10,6]}\n");
    ck_contains(l.errors, "no two ranks share one");
    int lines = 0;
    char *state, *line = strtok_r(l.output, "\n", &state);
    for (; line; line = strtok_r(NULL, "\n", &state), lines++) {
        json_error_t error;
        json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, &error);
        ck_assert_msg(object != NULL, "%s: %s", line, error.text);
        ck_assert_int_eq(json_integer_value(json_object_get(object, "rank")), lines % 2);
        ck_assert_int_eq(json_integer_value(json_object_get(object, "step")), lines / 2);
        for (size_t k = 0; lines < 4 && k < 2; k++)
            ck_assert_int_eq(json_integer_value(json_array_get(json_object_get(object, "indices"), k)),
                             expected[lines][k]);
        json_decref(object);
    }
    ck_assert_int_eq(lines, 8);
    launch_free(&l);
}
END_TEST

START_TEST(one_rank_can_be_shown_alone) {
    launch l = SAMPLER("--size=10", "--world-size=4", "--rank=2", "--batch-size=3", "--json");
    ck_code(&l, 0);
    ck_assert_str_eq(l.output, "{\"epoch\":0,\"rank\":2,\"step\":0,\"indices\":[7,0,4]}\n");
    ck_assert_ptr_null(strstr(l.errors, "share"));
    launch_free(&l);
}
END_TEST

/* Lists of rank 0 of 4 over 10 samples, whose order is 4, 3, 6 and, in epoch 1, 5, 0, 7. */
static const struct {
    const char *text, *epochs;
    int code;
    const char *said;
} checks[] = {
    {"[4, 3, 6]\n", "1", 0, "all 3 indices are equal"},
    {"4\n3\n6\n", "1", 0, "all 3 indices are equal"},
    {"tensor([4, 3, 6])", "1", 0, "all 3 indices are equal"},
    {"[4, 3, 6]\n[5, 0, 7]\n", "2", 0, "all 6 indices are equal"},
    {"[4, 9, 6]", "1", 1, "differs at position 1 (epoch 0, step 1): 9 there, 3 here"},
    {"[4, 3, 6][5, 1]", "2", 1, "differs at position 4 (epoch 1, step 1): 1 there, 0 here"},
    {"[4, 3]", "1", 1, "differs at position 2 (epoch 0, step 2): the file ends there, 6 here"},
    {"[4, 3, 6, 8]", "1", 1, "differs at position 3: 8 there, but rank 0's list ends here"},
    {"", "1", 1, "position 0 (epoch 0, step 0): the file ends there, 4 here"},
    {"[4, 3,\nx]", "1", 2, "line 2: 'x' is not a sample's number"},
    {"[4, -3]", "1", 2, "line 1: '-3' is not a sample's number"},
    {"[99999999999999999999]", "1", 2, "is not a sample's number"},
    {"tensor([4, 3, ..., 6])", "1", 2, "print a list, not a tensor"},
};

START_TEST(a_list_is_compared_and_the_first_difference_named) {
    char path[] = "/tmp/tandem-list-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, checks[_i].text, strlen(checks[_i].text)), (ssize_t)strlen(checks[_i].text));
    close(fd);
    launch l =
        SAMPLER("--size=10", "--world-size=4", "--rank=0", "--epochs", checks[_i].epochs, "--check", path);
    unlink(path);
    ck_code(&l, checks[_i].code);
    ck_contains(checks[_i].code ? l.errors : l.output, checks[_i].said);
    ck_assert_str_eq(checks[_i].code ? l.output : l.errors, "");
    launch_free(&l);
}
END_TEST

static const struct {
    const char *arguments[8];
    const char *said;
} wrong[] = {
    {{NULL}, "--size N is needed"},
    {{"--size=0"}, "--size: 0 is below the least possible, 1"},
    {{"--size=-5"}, "--size: -5"},
    {{"--size=ten"}, "--size: "},
    {{"--size=4", "--world-size=0"}, "--world-size: 0 is not between 1 and 65536"},
    {{"--size=4", "--batch-size=0"}, "--batch-size: 0"},
    {{"--size=4", "--epochs=0"}, "--epochs: 0"},
    {{"--size=4", "--world-size=2", "--rank=2"}, "--rank 2, but a world of 2 has ranks 0 to 1"},
    {{"--size=4", "--batch-size=1", "--global-batch-size=2"},
     "--batch-size or --global-batch-size, not both"},
    {{"--size=4", "--world-size=2", "--check=x"}, "say which of 2 with --rank"},
    {{"--size=4", "--check=x", "--json"}, "--check or --json, not both"},
    {{"--size=4", "--check=/nowhere/x"}, "/nowhere/x"},
    {{"--size=4", "--epoch=3"}, "did you mean --epochs?"},
#ifndef __SANITIZE_ADDRESS__ /* which warns of such a size by itself */
    {{"--size=9007199254740992"}, "no memory for"},
#endif
};

START_TEST(wrong_usage_is_one_line_and_status_2) {
    const char *argv[12] = {TANDEM, "sampler"};
    for (int i = 0; wrong[_i].arguments[i]; i++) argv[2 + i] = wrong[_i].arguments[i];
    launch l = run(argv);
    ck_code(&l, 2);
    ck_contains(l.errors, wrong[_i].said);
    ck_assert_str_eq(l.output, "");
    ck_assert_ptr_eq(strchr(l.errors, '\n'), l.errors + strlen(l.errors) - 1);
    launch_free(&l);
}
END_TEST

START_TEST(help_leads_with_an_example) {
    launch l = SAMPLER("--help");
    ck_code(&l, 0);
    ck_contains(l.output, "Example\n  tandem sampler --size 16");
    ck_contains(l.output, "--no-set-epoch");
    launch_free(&l);
}
END_TEST

START_TEST(output_that_cannot_be_written_is_told) {
    const char *const argv[] = {TANDEM, "sampler", "--size=16", NULL};
    launch l = launch_start_with((launch_setup){.output_path = "/dev/full"}, argv);
    launch_finish(&l);
    ck_code(&l, 2);
    ck_contains(l.errors, "No space left on device");
    launch_free(&l);
}
END_TEST

#define LENGTH(array) ((int)(sizeof(array) / sizeof *(array)))

Suite *make_suite(void) {
    Suite *suite = suite_create("tandem sampler");
    TCase *tcase = tcase_create("command");
    tcase_add_test(tcase, the_well_known_experiment_is_shown);
    tcase_add_loop_test(tcase, what_it_concludes_it_has_counted, 0, LENGTH(conclusions));
    tcase_add_test(tcase, json_has_a_line_for_each_rank_and_step_and_nothing_else);
    tcase_add_test(tcase, one_rank_can_be_shown_alone);
    tcase_add_loop_test(tcase, a_list_is_compared_and_the_first_difference_named, 0, LENGTH(checks));
    tcase_add_loop_test(tcase, wrong_usage_is_one_line_and_status_2, 0, LENGTH(wrong));
    tcase_add_test(tcase, help_leads_with_an_example);
    tcase_add_test(tcase, output_that_cannot_be_written_is_told);
    suite_add_tcase(suite, tcase);
    return suite;
}
