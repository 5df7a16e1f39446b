/* The command line: torchrun's and mpirun's options, what they come to in the ranks, and what is refused. */
#include "base/parallel.h"
#include "launch.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Prints its arguments, and says that it is Python. */
#define SCRIPT                                                                                               \
    "import os, sys; print('python', int(sys.stdout.write_through), __name__, sys.argv, os.getcwd())\n"

typedef struct folder {
    char path[64];
} folder;

static folder make_folder(void) {
    folder f = {"/tmp/tandem-command-XXXXXX"};
    ck_assert_ptr_nonnull(mkdtemp(f.path));
    return f;
}

static const char *add_file(const folder *f, const char *name, const char *text, int mode) {
    static char paths[4][128];
    static int n;
    char *path = paths[n++ % 4];
    snprintf(path, 128, "%s/%s", f->path, name);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
    chmod(path, (mode_t)mode);
    return path;
}

static void remove_folder(const folder *f) {
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", f->path);
    ck_assert_int_eq(system(command), 0);
}

/* --- what options come to in the environment ------------------------------------------------------------ */

/* Options and variables, and what rank 1 of 2 then has of one variable. */
static const struct setting {
    const char *arguments[8];
    const char *outer; /* NAME=value */
    const char *name, *value;
} settings[] = {
    {{"-np", "2"}, NULL, "WORLD_SIZE", "2"},
    {{"--np=2"}, NULL, "WORLD_SIZE", "2"},
    {{"--nproc_per_node", "2"}, NULL, "LOCAL_WORLD_SIZE", "2"},
    {{NULL}, "PET_NPROC_PER_NODE=2", "WORLD_SIZE", "2"},
    {{"-n", "2"}, "PET_NPROC_PER_NODE=3", "WORLD_SIZE", "2"},
    {{"-n2", "--nnodes", "1"}, NULL, "GROUP_WORLD_SIZE", "1"},
    {{"-n2", "--nnodes=1:1", "--node-rank", "0"}, "PET_NNODES=1", "GROUP_RANK", "0"},
    {{"-n2", "--standalone"}, NULL, "MASTER_ADDR", "127.0.0.1"},
    {{"-n2", "--master-addr", "localhost"}, NULL, "MASTER_ADDR", "localhost"},
    {{"-n2", "--master_addr", "localhost", "--standalone"}, NULL, "MASTER_ADDR", "127.0.0.1"},
    {{"-n2"}, "PET_MASTER_ADDR=here", "MASTER_ADDR", "here"},
    {{"-n2", "--local-addr", "10.1.2.3"}, NULL, "MASTER_ADDR", "10.1.2.3"},
    {{"-n2", "--rdzv-backend", "c10d", "--rdzv-endpoint", "else:0"}, NULL, "MASTER_ADDR", "127.0.0.1"},
    {{"-n2", "--rdzv-endpoint", "else:0"}, NULL, "MASTER_ADDR", "else"},
    {{"-n2", "--rdzv-endpoint", "[::1]:0"}, NULL, "MASTER_ADDR", "::1"},
    {{"-n2", "--rdzv-id", "job7"}, NULL, "TORCHELASTIC_RUN_ID", "job7"},
    {{"-n2", "--rdzv-conf", "timeout=5,is_host=1"}, "PET_RDZV_ID=x", "TORCHELASTIC_RUN_ID", "x"},
    {{"-n2", "--role", "trainer"}, NULL, "ROLE_NAME", "trainer"},
    {{"-n2", "--max-restarts", "3"}, NULL, "TORCHELASTIC_MAX_RESTARTS", "3"},
    {{"-n2"}, NULL, "TORCHELASTIC_SIGNALS_TO_HANDLE", "SIGTERM,SIGINT,SIGHUP,SIGQUIT"},
    {{"-n2", "--signals-to-handle", "SIGTERM"}, NULL, "TORCHELASTIC_SIGNALS_TO_HANDLE", "SIGTERM"},
    {{"-n2", "--virtual-local-rank"}, NULL, "LOCAL_RANK", "0"},
    {{"-n2", "--virtual-local-rank"}, "CUDA_VISIBLE_DEVICES=3,5", "CUDA_VISIBLE_DEVICES", "5"},
    {{"-n2"}, "PET_VIRTUAL_LOCAL_RANK=1", "LOCAL_RANK", "0"},
    {{"-n2", "-x", "FRUIT=pear"}, "FRUIT=apple", "FRUIT", "pear"},
    {{"-n2", "-x", "FRUIT", "-xA=1", "--env", "B=2"}, "FRUIT=apple", "B", "2"},
    {{"-n2", "--oversubscribe", "--monitor-interval", "5"}, NULL, "RANK", "1"},
    {{"-n2", "--start-method", "fork", "--event-log-handler", "null"}, NULL, "RANK", "1"},
    {{"-n2", "--logs-specs", "default"}, "PET_START_METHOD=spawn", "RANK", "1"},
    {{"-n2", "--wdir", "/usr"}, NULL, "PWD", "/usr"},
};

START_TEST(an_option_shows_in_the_environment) {
    const struct setting *s = &settings[_i];
    const char *argv[16] = {TANDEM, "run"}, *outer[] = {s->outer, NULL};
    char script[128], expected[128];
    int n = 2;
    while (n < 10 && s->arguments[n - 2]) argv[n] = s->arguments[n - 2], n++;
    snprintf(script, sizeof script, "if [ $RANK = 1 ]; then printenv %s; fi", s->name);
    for (const char **word = (const char *[]){"--", "sh", "-c", script, NULL}; *word; word++)
        argv[n++] = *word;
    snprintf(expected, sizeof expected, "%s\n", s->value);
    launch l = launch_start_with((launch_setup){.environment = outer}, argv);
    launch_finish(&l);
    ck_code(&l, 0);
    ck_assert_str_eq(l.output, expected);
    ck_assert_str_eq(l.errors, "");
    launch_free(&l);
}
END_TEST

START_TEST(as_many_ranks_as_cpus) {
    const char *words[] = {"cpu", "auto"};
    char expected[32];
    snprintf(expected, sizeof expected, "%d\n", td_cpu_count());
    RUN(l, "-n", words[_i], "--", "sh", "-c", "if [ $RANK = 0 ]; then echo $WORLD_SIZE; fi");
    ck_code(&l, 0);
    ck_assert_str_eq(l.output, expected);
    launch_free(&l);
}
END_TEST

/* Rank 0 may bind the port that it was told of, and nobody else is given it. */
START_TEST(a_chosen_port_is_the_master_port) {
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    socklen_t n = sizeof address;
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    ck_assert_int_eq(bind(s, (struct sockaddr *)&address, n), 0);
    ck_assert_int_eq(getsockname(s, (struct sockaddr *)&address, &n), 0);
    char port[16], endpoint[32];
    snprintf(port, sizeof port, "%d", ntohs(address.sin_port));
    snprintf(endpoint, sizeof endpoint, "127.0.0.1:%s", port);
    RUN(l, "--master-port", port, "--", "sh", "-c", "echo port $MASTER_PORT");
    ck_code(&l, 0);
    ck_assert_int_eq(atoi(l.output + 5), atoi(port));
    launch_free(&l);
    RUN(by_endpoint, "--rdzv-backend=c10d", "--rdzv-endpoint", endpoint, "--", "sh", "-c",
        "echo port $MASTER_PORT");
    ck_assert_int_eq(atoi(by_endpoint.output + 5), atoi(port));
    launch_free(&by_endpoint);
    ck_assert_int_eq(listen(s, 1), 0);
    RUN(taken, "--master-port", port, "--", "true");
    ck_code(&taken, 125);
    ck_contains(taken.errors, port);
    ck_contains(taken.errors, "Address already in use");
    launch_free(&taken);
    close(s);
}
END_TEST

START_TEST(a_missing_variable_is_mentioned) {
    RUN(l, "-x", "NO_SUCH_VARIABLE_HERE", "--", "true");
    ck_code(&l, 0);
    ck_contains(l.errors, "-x NO_SUCH_VARIABLE_HERE: there is no such variable");
    launch_free(&l);
}
END_TEST

/* --- which program -------------------------------------------------------------------------------------- */

static bool has_python(void) { return system("python3 -c '' 2>/dev/null") == 0; }

START_TEST(a_path_that_ends_in_py_is_pythons) {
    if (!has_python()) return;
    folder f = make_folder();
    const char *script = add_file(&f, "train.py", SCRIPT, 0644);
    RUN(l, script, "--lr", "0.1", "-n");
    ck_code(&l, 0);
    ck_contains(l.output, "python 1 __main__ ['/tmp/tandem-command-");
    ck_contains(l.output, "train.py', '--lr', '0.1', '-n']");
    launch_free(&l);
    RUN(by_path, "--run-path", script, "a");
    ck_code(&by_path, 0);
    ck_contains(by_path.output, "python 1 __main__ ['/tmp/tandem-command-");
    ck_contains(by_path.output, "train.py', 'a']");
    launch_free(&by_path);
    remove_folder(&f);
}
END_TEST

START_TEST(a_module_is_run_as_python_m) {
    if (!has_python()) return;
    folder f = make_folder();
    add_file(&f, "some_module.py", SCRIPT, 0644);
    RUN(l, "-n", "2", "--wdir", f.path, "-m", "some_module", "x");
    ck_code(&l, 0);
    ck_contains(l.output, "python 1 __main__ ['/tmp/tandem-command-");
    ck_contains(l.output, "/some_module.py', 'x'] /tmp/tandem-command-");
    launch_free(&l);
    const char *flag[] = {"PET_MODULE=1", NULL};
    RUN_WITH(set, (launch_setup){.environment = flag}, "--wdir", f.path, "some_module");
    ck_code(&set, 0);
    ck_contains(set.output, "python 1 __main__");
    launch_free(&set);
    remove_folder(&f);
}
END_TEST

START_TEST(the_interpreter_can_be_chosen) {
    folder f = make_folder();
    char setting[160];
    const char *script = add_file(&f, "train.py", "", 0644);
    snprintf(setting, sizeof setting, "PYTHON_EXEC=%s",
             add_file(&f, "my-python", "#!/bin/sh\necho mine \"$@\"\n", 0755));
    const char *outer[] = {setting, NULL};
    RUN_WITH(l, (launch_setup){.environment = outer}, script, "a b");
    ck_code(&l, 0);
    ck_contains(l.output, "mine -u /tmp/tandem-command-");
    ck_contains(l.output, "/train.py a b\n");
    launch_free(&l);
    const char *none[] = {"PYTHON_EXEC=no-such-python", NULL};
    RUN_WITH(missing, (launch_setup){.environment = none}, script);
    ck_code(&missing, 127);
    ck_contains(missing.errors, "no-such-python is in no folder of PATH");
    launch_free(&missing);
    remove_folder(&f);
}
END_TEST

START_TEST(without_python_even_py_is_executed) {
    folder f = make_folder();
    const char *script = add_file(&f, "shell.py", "#!/bin/sh\necho the shell $1\n", 0755);
    RUN(l, "--no-python", script, "ok");
    ck_code(&l, 0);
    ck_assert_str_eq(l.output, "the shell ok\n");
    launch_free(&l);
    remove_folder(&f);
}
END_TEST

START_TEST(torchruns_macro_is_the_local_rank) {
    RUN(l, "-n", "2", "--prefix", "--no-python", "echo", "${local_rank}", "a$local_rank", "$local_ranks",
        "$$", "$");
    ck_code(&l, 0);
    ck_contains(l.output, "[rank 0] 0 a0 $local_ranks $ $\n");
    ck_contains(l.output, "[rank 1] 1 a1 $local_ranks $ $\n");
    launch_free(&l);
    /* What is no usage of torchrun is not touched. */
    RUN(plain, "--", "sh", "-c", "local_rank=mine; echo ${local_rank} $$");
    ck_code(&plain, 0);
    ck_assert_int_eq(strncmp(plain.output, "mine ", 5), 0);
    ck_assert_int_gt(atoi(plain.output + 5), 1);
    launch_free(&plain);
}
END_TEST

START_TEST(programs_are_looked_for_in_the_folder_of_the_ranks) {
    folder f = make_folder();
    add_file(&f, "here", "#!/bin/sh\npwd\n", 0755);
    RUN(l, "-n", "2", "-wdir", f.path, "./here");
    ck_code(&l, 0);
    ck_contains(l.output, f.path);
    launch_free(&l);
    RUN(missing, "--wdir", f.path, "there/is/none.py");
    ck_code(&missing, 127);
    ck_contains(missing.errors, "/there/is/none.py: No such file");
    launch_free(&missing);
    remove_folder(&f);
}
END_TEST

/* Files that cannot be executed, each for a reason of its own. */
static const struct broken {
    const char *text;
    int mode, code;
    const char *said;
} broken[] = {
    {"#!/no/such/interpreter\n", 0755, 127, ": its interpreter /no/such/interpreter: No such file"},
    {"#! /no/such/interpreter -x\n", 0755, 127, ": its interpreter /no/such/interpreter: No such file"},
    {"#!/etc/passwd\n", 0755, 126, ": its interpreter /etc/passwd: Permission denied"},
    {"#!/bin/sh\r\necho hello\r\n", 0755, 127, "lines that end as on Windows"},
    {"#!/bin/sh\n", 0644, 126, "cannot be executed: Permission denied"},
    {"\177ELF\2\1\1", 0755, 126, "could not be executed: Exec format error"},
};

START_TEST(what_cannot_be_executed_says_why) {
    const struct broken *b = &broken[_i];
    folder f = make_folder();
    RUN(l, "-n", "2", "--", add_file(&f, "program", b->text, b->mode));
    ck_code(&l, b->code);
    ck_contains(l.errors, b->said);
    if (b->text[0] == '#') /* found before anything was started: one line */
        ck_assert_msg(strchr(l.errors, '\n') == l.errors + l.errors_n - 1, "not one line:\n%s", l.errors);
    launch_free(&l);
    remove_folder(&f);
}
END_TEST

START_TEST(mpiruns_habits_are_taken) {
    RUN(l, "-np", "2", "--oversubscribe", "-x", "FRUIT=pear", "-wdir", "/usr", "-tag-output", "sh", "-c",
        "echo $FRUIT $PWD");
    ck_code(&l, 0);
    ck_contains(l.output, "[rank 0] pear /usr\n");
    ck_contains(l.output, "[rank 1] pear /usr\n");
    launch_free(&l);
}
END_TEST

/* --- what is refused ------------------------------------------------------------------------------------ */

static const struct refusal {
    const char *arguments[6];
    const char *outer;
    const char *said;
} refusals[] = {
    {{"-n", "0", "true"}, NULL, "--nproc-per-node: 0 is not between 1 and 4096"},
    {{"-n", "5000", "true"}, NULL, "--nproc-per-node: 5000 is not between"},
    {{"-n", "all", "true"}, NULL, "'all' is not a whole number, auto, cpu or gpu"},
    {{"true"}, "PET_NPROC_PER_NODE=all", "PET_NPROC_PER_NODE: 'all'"},
    {{"true"}, "PET_STANDALONE=yes", "PET_STANDALONE: 'yes' is neither 0 nor 1"},
    {{"--nnodes", "2", "true"}, NULL, "--nnodes: '2' machines, but tandem run starts ranks on this one only"},
    {{"--nnodes", "1:4", "true"}, NULL, "--nnodes: '1:4' machines"},
    {{"--node-rank=1", "true"}, NULL, "--node-rank: '1', but"},
    {{"--rdzv-backend", "etcd-v2", "true"}, NULL, "use c10d or static"},
    {{"--rdzv-backend", "mpi", "true"}, NULL, "'mpi' is not one of: static c10d"},
    {{"--rdzv-endpoint", ":29500", "true"}, NULL, "':29500' is not HOST:PORT"},
    {{"--rdzv-endpoint", "host:http", "true"}, NULL, "--rdzv-endpoint: 'http'"},
    {{"--rdzv-endpoint", "host:70000", "true"}, NULL, "70000 is no port"},
    {{"--rdzv-endpoint", "[::1", "true"}, NULL, "is not [ADDRESS]:PORT"},
    {{"--rdzv-conf", "timeout", "true"}, NULL, "'timeout' is not KEY=VALUE"},
    {{"--master-port", "70000", "true"}, NULL, "--master-port: 70000 is not between 0 and 65535"},
    {{"--start-method", "forkserve", "true"}, NULL, "did you mean forkserver?"},
    {{"--event-log-handler", "mine", "true"}, NULL, "'mine' is a Python class, which only torchrun can load"},
    {{"--logs-specs", "mine", "true"}, NULL, "here there is just 'default'"},
    {{"--no-python", "-m", "true"}, NULL, "--no-python and --module exclude each other"},
    {{"--wdir", "/no/such", "true"}, NULL, "--wdir: /no/such: No such file"},
    {{"-x", "=1", "true"}, NULL, "--env: '=1' names no variable"},
    {{"--print-completion", "powershell", "true"}, NULL, "'powershell' is not one of: bash zsh tcsh"},
    {{"--nproc-per-nod", "2", "true"}, NULL, "did you mean --nproc-per-node?"},
    {{"--standalon", "true"}, NULL, "did you mean --standalone?"},
    {{"-wdri", "/", "true"}, NULL, "did you mean --wdir?"},
    {{"--rdzv_endpont=a:1", "true"}, NULL, "did you mean --rdzv-endpoint?"},
    {{"--role"}, NULL, "--role needs a value, NAME"},
    {{"--standalone"}, NULL, "which program?"},
};

START_TEST(wrong_usage_is_status_125_with_the_reason) {
    const struct refusal *r = &refusals[_i];
    const char *argv[10] = {TANDEM, "run"}, *outer[] = {r->outer, NULL};
    for (int i = 0; i < 6 && r->arguments[i]; i++) argv[2 + i] = r->arguments[i];
    launch l = launch_start_with((launch_setup){.environment = outer}, argv);
    launch_finish(&l);
    ck_code(&l, 125);
    ck_contains(l.errors, r->said);
    ck_assert_msg(strchr(l.errors, '\n') == l.errors + l.errors_n - 1, "not one line:\n%s", l.errors);
    launch_free(&l);
}
END_TEST

/* --- help and completion -------------------------------------------------------------------------------- */

static int count_lines(const char *text) {
    int lines = 0;
    for (; (text = strchr(text, '\n')); text++) lines++;
    return lines;
}

START_TEST(the_short_help_fits_a_screen_and_the_long_one_has_all) {
    RUN(brief, "--help");
    ck_code(&brief, 0);
    ck_assert_int_le(count_lines(brief.output), 40);
    ck_assert_ptr_null(strstr(brief.output, "--rdzv-conf"));
    ck_contains(brief.output, "--help-all");
    launch_free(&brief);
    RUN(whole, "--help-all");
    ck_code(&whole, 0);
    ck_contains(whole.output, "--rdzv-conf");
    ck_contains(whole.output, "--start-method");
    launch_free(&whole);
}
END_TEST

/* The words of a command line whose last is to be completed, and one of the answers; NULL: there is none. */
static const struct completion {
    const char *words, *answer;
} completions[] = {
    {"tandem run --stand", "--standalone\n"},
    {"tandem run -n 2 --stand", "--standalone\n"},
    {"tandem run --start-method forks", "forkserver\n"},
    {"tandem run --report /etc/hostnam", "/etc/hostname\n"},
    {"tandem run -n 2 printen", "printenv\n"},
    {"tandem ru", "run\n"},
    {"tandem run program --stand", NULL},
    {"tandem run -n --stand", NULL},
};

START_TEST(bash_completes) {
    const struct completion *c = &completions[_i];
    char script[512];
    snprintf(script, sizeof script,
             "eval \"$('%s' run --print-completion bash)\"; COMP_WORDS=(%s); "
             "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _tandem_run; printf '%%s\\n' \"${COMPREPLY[@]}\"",
             TANDEM, c->words);
    launch l = launch_start_with((launch_setup){0}, (const char *[]){"bash", "-c", script, NULL});
    launch_finish(&l);
    ck_code(&l, 0);
    if (c->answer)
        ck_contains(l.output, c->answer);
    else
        ck_assert_ptr_null(strstr(l.output, "--standalone"));
    launch_free(&l);
}
END_TEST

START_TEST(each_shell_has_a_script_with_every_option) {
    const char *shells[][3] = {{"bash", "--rdzv-endpoint", "complete -o filenames -F _tandem_run tandem"},
                               {"zsh", "--rdzv-endpoint", "#compdef tandem"},
                               {"tcsh", "rdzv-endpoint", "complete tandem 'p/1/(run)/'"}};
    for (int i = 0; i < 3; i++) {
        RUN(l, "--print-completion", shells[i][0]);
        ck_code(&l, 0);
        ck_contains(l.output, shells[i][1]);
        ck_contains(l.output, shells[i][2]);
        launch_free(&l);
    }
}
END_TEST

#define LOOP(tcase, test, table) tcase_add_loop_test(tcase, test, 0, (int)(sizeof table / sizeof *table))

Suite *make_suite(void) {
    Suite *suite = suite_create("command_line");
    TCase *tcase = tcase_create("command_line");
    LOOP(tcase, an_option_shows_in_the_environment, settings);
    tcase_add_loop_test(tcase, as_many_ranks_as_cpus, 0, 2);
    tcase_add_test(tcase, a_chosen_port_is_the_master_port);
    tcase_add_test(tcase, a_missing_variable_is_mentioned);
    tcase_add_test(tcase, a_path_that_ends_in_py_is_pythons);
    tcase_add_test(tcase, a_module_is_run_as_python_m);
    tcase_add_test(tcase, the_interpreter_can_be_chosen);
    tcase_add_test(tcase, without_python_even_py_is_executed);
    tcase_add_test(tcase, torchruns_macro_is_the_local_rank);
    tcase_add_test(tcase, mpiruns_habits_are_taken);
    tcase_add_test(tcase, programs_are_looked_for_in_the_folder_of_the_ranks);
    LOOP(tcase, what_cannot_be_executed_says_why, broken);
    LOOP(tcase, wrong_usage_is_status_125_with_the_reason, refusals);
    tcase_add_test(tcase, the_short_help_fits_a_screen_and_the_long_one_has_all);
    LOOP(tcase, bash_completes, completions);
    tcase_add_test(tcase, each_shell_has_a_script_with_every_option);
    suite_add_tcase(suite, tcase);
    return suite;
}
