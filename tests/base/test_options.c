#include "base/options.h"
#include "support/check.h"

#include <math.h>

typedef struct values {
    int64_t ranks, bytes;
    double lr, grace, betas[2];
    const char *model, *optimizer;
    bool json, shuffle;
    td_option_list exported;
    char even[32];
} values;

static td_status parse_even(const char *text, void *member) {
    if (strlen(text) % 2) return td_fail(TD_ERR_ARG, 0, "test", "'%s' has an odd length", text);
    strcpy(member, text);
    return TD_OK;
}

static const td_option table[] = {
    {"nproc-per-node", 'n', TD_OPTION_INT, offsetof(values, ranks), "N", "ranks to start (1)", .min = 1,
     .max = 4096, .also = "np slots", .group = "Ranks"},
    {"bucket", 0, TD_OPTION_SIZE, offsetof(values, bytes), "SIZE", "bucket size", .rare = true},
    {"lr", 0, TD_OPTION_REAL, offsetof(values, lr), "RATE", "learning rate", .min = 0, .max = 1e30},
    {"shutdown-timeout", 0, TD_OPTION_SECONDS, offsetof(values, grace), "TIME", "grace"},
    {"betas", 0, TD_OPTION_REAL_PAIR, offsetof(values, betas), "A,B", "betas"},
    {"model", 0, TD_OPTION_TEXT, offsetof(values, model), "NAME", "the model"},
    {"optimizer", 0, TD_OPTION_CHOICE, offsetof(values, optimizer), "NAME", "the rule",
     .choices = "sgd adam adamw"},
    {"json", 'j', TD_OPTION_FLAG, offsetof(values, json), NULL, "lines of JSON"},
    {"shuffle", 0, TD_OPTION_FLAG, offsetof(values, shuffle), NULL, "shuffle", .hidden = true},
    {"export", 'x', TD_OPTION_LIST, offsetof(values, exported), "VAR", "export it", .group = "Variables"},
    {"even", 0, TD_OPTION_PARSED, offsetof(values, even), "TEXT", "even text", .parse = parse_even},
    {NULL}};

static const td_command closed = {"tandem x", "Does x.", "  tandem x -n 2", table, NULL, false};
static const td_command open_ended = {"tandem run", "Runs.", NULL, table, "PROGRAM [ARGS]", true};
static const td_command from_environment = {.name = "tandem y", .options = table, .environment = "YY_"};

static td_status parse(const td_command *command, values *v, int *rest, char **argv) {
    int argc = 0;
    while (argv[argc]) argc++;
    return td_options_parse(command, argc, argv, v, rest);
}
#define PARSE(command, ...) parse(&command, &v, &rest, (char *[]){"x", __VA_ARGS__, NULL})

START_TEST(every_kind_is_stored) {
    values v = {.shuffle = true};
    int rest = -1;
    ck_ok(PARSE(closed, "-n2", "--bucket=1M", "--lr", "1e-3", "--shutdown-timeout", "500ms", "--betas",
                "0.8,0.9", "--model", "mlp", "--optimizer", "adam", "--json", "--no-shuffle"));
    ck_assert_int_eq(v.ranks, 2);
    ck_assert_int_eq(v.bytes, 1 << 20);
    ck_assert_double_eq(v.lr, 1e-3);
    ck_assert_double_eq(v.grace, 0.5);
    ck_assert_double_eq(v.betas[1], 0.9);
    ck_assert_str_eq(v.model, "mlp");
    ck_assert_str_eq(v.optimizer, "adam");
    ck_assert(v.json && !v.shuffle);
    ck_assert_int_eq(rest, 0);
    ck_ok(PARSE(closed, "--nproc_per_node", "3", "-j"));
    ck_assert_int_eq(v.ranks, 3);
}
END_TEST

START_TEST(a_mistake_is_answered_with_the_nearest_name) {
    values v = {0};
    int rest;
    ck_fails(PARSE(closed, "--optimiser", "sgd"), TD_ERR_ARG, "did you mean --optimizer?");
    ck_fails(PARSE(closed, "--mode", "sgd"), TD_ERR_ARG, "did you mean --model?");
    ck_fails(PARSE(closed, "--optimizer", "adma"), TD_ERR_ARG, "did you mean adam?");
    ck_fails(PARSE(closed, "--optimizer", "lion"), TD_ERR_ARG, "not one of: sgd adam adamw");
    ck_fails(PARSE(closed, "--zzzzzz"), TD_ERR_ARG, "tandem x --help");
    ck_fails(PARSE(closed, "-z"), TD_ERR_ARG, "unknown option -z");
}
END_TEST

START_TEST(bad_values_name_the_option_and_the_limits) {
    values v = {0};
    int rest;
    ck_fails(PARSE(closed, "-n", "0"), TD_ERR_ARG, "--nproc-per-node: 0 is not between 1 and 4096");
    ck_fails(PARSE(closed, "--lr", "-1"), TD_ERR_ARG, "--lr: -1 is below the least possible, 0");
    ck_fails(PARSE(closed, "--lr", "fast"), TD_ERR_ARG, "'fast' is not a number");
    ck_fails(PARSE(closed, "--lr", "nan"), TD_ERR_ARG, "--lr");
    ck_fails(PARSE(closed, "--betas", "0.9"), TD_ERR_ARG, "comma");
    ck_fails(PARSE(closed, "--lr"), TD_ERR_ARG, "--lr needs a value, RATE");
    ck_fails(PARSE(closed, "-n"), TD_ERR_ARG, "-n needs a value, N");
    ck_fails(PARSE(closed, "--json=yes"), TD_ERR_ARG, "takes no value");
    ck_fails(PARSE(closed, "word"), TD_ERR_ARG, "'word' is not an option");
    ck_fails(PARSE(closed, "--no-model"), TD_ERR_ARG, "unknown option --no-model");
}
END_TEST

START_TEST(what_follows_the_program_is_the_programs) {
    values v = {0};
    int rest;
    char *argv[] = {"run", "-n", "2", "prog", "--json", "-n", "3", NULL};
    ck_ok(td_options_parse(&open_ended, 7, argv, &v, &rest));
    ck_assert_int_eq(rest, 4);
    ck_assert_str_eq(argv[1], "prog");
    ck_assert_str_eq(argv[4], "3");
    ck_assert(!v.json);
    char *after_dashes[] = {"run", "-n2", "--", "--json", NULL};
    ck_ok(td_options_parse(&open_ended, 4, after_dashes, &v, &rest));
    ck_assert_int_eq(rest, 1);
    ck_assert_str_eq(after_dashes[1], "--json");
}
END_TEST

START_TEST(other_names_come_with_one_dash_or_two) {
    values v = {0};
    int rest;
    ck_ok(PARSE(closed, "-np", "3"));
    ck_assert_int_eq(v.ranks, 3);
    ck_ok(PARSE(closed, "--np=4", "-json"));
    ck_assert_int_eq(v.ranks, 4);
    ck_assert(v.json);
    ck_ok(PARSE(closed, "-slots=5"));
    ck_assert_int_eq(v.ranks, 5);
    ck_ok(PARSE(closed, "-nproc_per_node", "6"));
    ck_assert_int_eq(v.ranks, 6);
    ck_fails(PARSE(closed, "-slot", "5"), TD_ERR_ARG, "unknown option -slot");
    ck_fails(PARSE(closed, "-np"), TD_ERR_ARG, "--nproc-per-node needs a value, N");
}
END_TEST

START_TEST(a_list_gathers_and_has_an_end) {
    values v = {0};
    int rest;
    ck_ok(PARSE(closed, "-x", "A", "-xB=1", "--export=C", "-j"));
    ck_assert_int_eq(v.exported.count, 3);
    ck_assert_str_eq(v.exported.items[1], "B=1");
    v.exported.count = TD_OPTION_LIST_MOST;
    ck_fails(PARSE(closed, "-x", "D"), TD_ERR_ARG, "--export: D is one too many, after 64");
}
END_TEST

START_TEST(a_parser_of_the_caller_reads_the_value) {
    values v = {0};
    int rest;
    ck_ok(PARSE(closed, "--even", "ab"));
    ck_assert_str_eq(v.even, "ab");
    ck_fails(PARSE(closed, "--even", "abc"), TD_ERR_ARG, "tandem x: --even: 'abc' has an odd length");
}
END_TEST

START_TEST(the_environment_gives_defaults) {
    values v = {.ranks = 1, .json = true};
    int rest;
    setenv("YY_NPROC_PER_NODE", "7", 1);
    setenv("YY_JSON", "0", 1);
    setenv("YY_SHUFFLE", "1", 1);
    setenv("YY_MODEL", "", 1);
    setenv("YY_EXPORT", "Z", 1);
    ck_ok(PARSE(from_environment, "-x", "A"));
    ck_assert_int_eq(v.ranks, 7);
    ck_assert(!v.json && v.shuffle);
    ck_assert_ptr_null(v.model);
    ck_assert_str_eq(v.exported.items[0], "Z");
    ck_assert_str_eq(v.exported.items[1], "A");
    ck_ok(PARSE(from_environment, "-n", "2"));
    ck_assert_int_eq(v.ranks, 2);
    ck_ok(PARSE(closed, "--json"));
    setenv("YY_NPROC_PER_NODE", "many", 1);
    ck_fails(PARSE(from_environment, "-n", "2"), TD_ERR_ARG, "tandem y: YY_NPROC_PER_NODE: 'many'");
    unsetenv("YY_NPROC_PER_NODE");
    setenv("YY_JSON", "yes", 1);
    ck_fails(PARSE(from_environment, "-n", "2"), TD_ERR_ARG, "YY_JSON: 'yes' is neither 0 nor 1");
}
END_TEST

static char *help_of(void (*help)(const td_command *, FILE *), const td_command *command) {
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    help(command, out);
    fclose(out);
    return text;
}

START_TEST(rare_options_are_in_the_long_help_only) {
    char *brief = help_of(td_options_help, &closed), *whole = help_of(td_options_help_all, &closed);
    ck_assert_ptr_null(strstr(brief, "--bucket"));
    ck_assert_ptr_nonnull(strstr(whole, "--bucket SIZE"));
    ck_assert_ptr_nonnull(strstr(brief, "\nRanks\n  -n, "));
    ck_assert(strstr(brief, "\nVariables\n") > strstr(brief, "--optimizer"));
    ck_assert_ptr_null(strstr(whole, "--shuffle"));
    free(brief);
    free(whole);
}
END_TEST

START_TEST(help_is_asked_for_and_shows_the_table) {
    values v = {0};
    int rest;
    ck_assert_int_eq(PARSE(closed, "--help"), TD_PENDING);
    ck_assert_int_eq(PARSE(closed, "-h"), TD_PENDING);
    char *text = help_of(td_options_help, &closed);
    ck_assert_ptr_nonnull(strstr(text, "-n, --nproc-per-node N"));
    ck_assert_ptr_nonnull(strstr(text, "learning rate"));
    ck_assert_ptr_null(strstr(text, "--shuffle"));
    ck_assert(strstr(text, "tandem x -n 2") < strstr(text, "--lr"));
    free(text);
}
END_TEST

SUITE("options", every_kind_is_stored, a_mistake_is_answered_with_the_nearest_name,
      bad_values_name_the_option_and_the_limits, what_follows_the_program_is_the_programs,
      other_names_come_with_one_dash_or_two, a_list_gathers_and_has_an_end,
      a_parser_of_the_caller_reads_the_value, the_environment_gives_defaults,
      help_is_asked_for_and_shows_the_table, rare_options_are_in_the_long_help_only)
