#include "base/memory.h"
#include "dist/job_mark.h"
#include "launch.h"
#include "launcher/environment.h"

#include <stdio.h>

static const launcher_facts facts = {.world_size = 4,
                                     .port = 31234,
                                     .stall_timeout = 600,
                                     .arena_fd = 7,
                                     .progress_fd = 8,
                                     .restart_count = 1,
                                     .max_restarts = 2,
                                     .run_id = "abc",
                                     .role = "trainer",
                                     .master_addr = "10.0.0.1",
                                     .signals = "SIGTERM,SIGUSR1",
                                     .mpi_components = "/lib/x:SYS_DEFAULT"};

#define RANK(number) (&(launcher_rank_facts){(number), 3, 9, 10, "/tmp/error.json"})

static const char *value_of(char *const *environment, const char *name) {
    const char *found = NULL;
    size_t n = strlen(name);
    for (; *environment; environment++) {
        if (strncmp(*environment, name, n) != 0 || (*environment)[n] != '=') continue;
        ck_assert_msg(!found, "%s is there twice", name);
        found = *environment + n + 1;
    }
    return found;
}

/* torchrun's contract and ours, for rank 2 of 4. */
static const char *const contract[][2] = {
    {"RANK", "2"},
    {"LOCAL_RANK", "2"},
    {"GROUP_RANK", "0"},
    {"ROLE_RANK", "2"},
    {"ROLE_NAME", "trainer"},
    {"WORLD_SIZE", "4"},
    {"LOCAL_WORLD_SIZE", "4"},
    {"GROUP_WORLD_SIZE", "1"},
    {"ROLE_WORLD_SIZE", "4"},
    {"MASTER_ADDR", "10.0.0.1"},
    {"MASTER_PORT", "31234"},
    {"TORCHELASTIC_RESTART_COUNT", "1"},
    {"TORCHELASTIC_MAX_RESTARTS", "2"},
    {"TORCHELASTIC_RUN_ID", "abc"},
    {"TORCHELASTIC_USE_AGENT_STORE", "False"},
    {"TORCHELASTIC_ERROR_FILE", "/tmp/error.json"},
    {"TORCHELASTIC_SIGNALS_TO_HANDLE", "SIGTERM,SIGUSR1"},
    {"TORCH_NCCL_ASYNC_ERROR_HANDLING", "1"},
    {"OMP_NUM_THREADS", "3"},
    {"PMI_FD", "+10"},
    {"PMI_RANK", "2"},
    {"PMI_SIZE", "4"},
    {"MPI_LOCALRANKID", "2"},
    {"MPI_LOCALNRANKS", "4"},
    {"OMPI_COMM_WORLD_RANK", "2"},
    {"OMPI_COMM_WORLD_SIZE", "4"},
    {"OMPI_COMM_WORLD_LOCAL_RANK", "2"},
    {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"},
    {"OMPI_COMM_WORLD_NODE_RANK", "2"},
    {"OMPI_MCA_mca_base_component_path", "/lib/x:SYS_DEFAULT"},
    {TD_ENV_JOB, "1:2:4:31234"},
    {TD_ENV_ARENA_FD, "7"},
    {TD_ENV_PROGRESS_FD, "8"},
    {TD_ENV_CONTROL_FD, "9"},
    {TD_ENV_STALL_TIMEOUT, "600"},
    {"HOME", "/home/me"},
};

/* Stale values of the same names, which must be replaced; only OMP_NUM_THREADS is left out. */
static char *const stale[] = {
    "HOME=/home/me", "RANK=9", "WORLD_SIZE=99", "MASTER_PORT=1", "TANDEM_JOB=1:0:1:5", "LOCAL_RANK=", NULL};

START_TEST(a_rank_gets_the_whole_contract) {
    char **environment;
    ck_ok(launcher_environment_make(&facts, RANK(2), stale, &environment));
    const char *value = value_of(environment, contract[_i][0]);
    ck_assert_msg(value && strcmp(value, contract[_i][1]) == 0, "%s is %s, not %s", contract[_i][0],
                  value ? value : "absent", contract[_i][1]);
    td_free(environment);
}
END_TEST

START_TEST(what_the_user_sets_stays) {
    char **environment;
    char *const outer[] = {"OMP_NUM_THREADS=5",        "OMPI_MCA_btl=self",
                           "OMPI_ALLOW_RUN_AS_ROOT=1", "TORCH_NCCL_ASYNC_ERROR_HANDLING=0",
                           "SLURM_PROCID=3",           NULL};
    ck_ok(launcher_environment_make(&facts, RANK(0), outer, &environment));
    ck_assert_str_eq(value_of(environment, "OMP_NUM_THREADS"), "5");
    ck_assert_str_eq(value_of(environment, "OMPI_MCA_btl"), "self");
    ck_assert_str_eq(value_of(environment, "OMPI_ALLOW_RUN_AS_ROOT"), "1");
    ck_assert_str_eq(value_of(environment, "TORCH_NCCL_ASYNC_ERROR_HANDLING"), "0");
    ck_assert_str_eq(value_of(environment, "SLURM_PROCID"), "3");
    td_free(environment);
}
END_TEST

static char *const of_mpirun[] = {"OMPI_COMM_WORLD_RANK=1",
                                  "OMPI_COMM_WORLD_SIZE=2",
                                  "PMIX_RANK=1",
                                  "PMIX_NAMESPACE=x",
                                  "PMI_RANK=1",
                                  "OMPI_MCA_ess=pmi",
                                  "TORCHELASTIC_ERROR_FILE=/tmp/e.json",
                                  NULL};

START_TEST(what_outer_launchers_set_is_removed) {
    char **environment;
    launcher_rank_facts no_error_file = {.control_fd = 9};
    ck_ok(launcher_environment_make(&facts, &no_error_file, of_mpirun, &environment));
    for (char *const *entry = of_mpirun; *entry; entry++) {
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(*entry, "="), *entry);
        ck_assert_msg(!value_of(environment, name), "%s is still there", name);
    }
    td_free(environment);
}
END_TEST

START_TEST(what_a_pmix_client_needs_is_added) {
    char **environment;
    launcher_rank_facts own = {.control_fd = 9, .pmix = "PMIX_RANK=0\x1fPMIX_SERVER_URI4=a=b;c"};
    ck_ok(launcher_environment_make(&facts, &own, of_mpirun, &environment));
    ck_assert_str_eq(value_of(environment, "PMIX_RANK"), "0");
    ck_assert_str_eq(value_of(environment, "PMIX_SERVER_URI4"), "a=b;c");
    ck_assert_ptr_null(value_of(environment, "PMIX_NAMESPACE"));
    td_free(environment);
}
END_TEST

/* Another `tandem run` has given us some of Open MPI's variables; what the user has set is his all the same. */
START_TEST(under_tandem_run_the_settings_for_open_mpi_stay) {
    char **environment;
    char *const outer[] = {"OMPI_COMM_WORLD_SIZE=2", "PMI_FD=+7", "OMPI_MCA_btl=self", NULL};
    ck_ok(launcher_environment_make(&facts, RANK(0), outer, &environment));
    ck_assert_str_eq(value_of(environment, "OMPI_MCA_btl"), "self");
    ck_assert_str_eq(value_of(environment, "PMI_FD"), "+10");
    td_free(environment);
}
END_TEST

START_TEST(an_endless_stall_timeout_is_passed_on) {
    launcher_facts endless = facts;
    char **environment;
    endless.stall_timeout = __builtin_inf();
    ck_ok(launcher_environment_make(&endless, RANK(0), stale, &environment));
    ck_assert_str_eq(value_of(environment, TD_ENV_STALL_TIMEOUT), "inf");
    td_free(environment);
}
END_TEST

/* What a rank sees of the GPUs that the launcher sees; NULL: there is no such variable. */
static const struct devices {
    const char *outer[3];
    int rank;
    const char *cuda, *hip;
} devices[] = {
    {{NULL}, 2, "2", NULL},
    {{"CUDA_VISIBLE_DEVICES=4,5, GPU-6 "}, 2, "GPU-6", NULL},
    {{"CUDA_VISIBLE_DEVICES=4"}, 0, "4", NULL},
    {{"HIP_VISIBLE_DEVICES=7,8", "CUDA_VISIBLE_DEVICES=1"}, 1, "8", "8"},
};

START_TEST(with_virtual_local_ranks_each_sees_one_gpu) {
    const struct devices *d = &devices[_i];
    launcher_facts each = facts;
    char **environment;
    each.virtual_local_rank = true;
    ck_ok(launcher_environment_make(&each, RANK(d->rank), (char *const *)d->outer, &environment));
    const char *cuda = value_of(environment, "CUDA_VISIBLE_DEVICES");
    const char *hip = value_of(environment, "HIP_VISIBLE_DEVICES");
    ck_assert_str_eq(value_of(environment, "LOCAL_RANK"), "0");
    ck_assert_str_eq(cuda, d->cuda);
    ck_assert_pstr_eq(hip, d->hip);
    td_free(environment);
}
END_TEST

START_TEST(too_few_gpus_for_virtual_local_ranks_are_refused) {
    launcher_facts each = facts;
    char *const one[] = {"CUDA_VISIBLE_DEVICES=0", NULL}, *const none[] = {"CUDA_VISIBLE_DEVICES=", NULL};
    char **environment = NULL;
    each.virtual_local_rank = true;
    ck_fails(launcher_environment_make(&each, RANK(1), one, &environment), TD_ERR_ARG,
             "rank 1 needs a GPU of its own");
    ck_fails(launcher_environment_make(&each, RANK(0), none, &environment), TD_ERR_ARG, "only ''");
    ck_assert_ptr_null(environment);
}
END_TEST

START_TEST(without_memory_it_is_a_status) {
    char **environment = NULL;
    td_alloc_fail_after(0);
    ck_fails(launcher_environment_make(&facts, RANK(0), stale, &environment), TD_ERR_MEMORY, "");
    ck_assert_ptr_null(environment);
}
END_TEST

START_TEST(ranks_really_see_it) {
    const char *outer[] = {"OMPI_COMM_WORLD_SIZE=9", "PMIX_RANK=0", "RANK=5", "OMP_NUM_THREADS", NULL};
    RUN_WITH(l, (launch_setup){.environment = outer}, "-n", "2", "--stall-timeout", "90", "--", "env");
    ck_code(&l, 0);
    ck_contains(l.output, "RANK=0\n");
    ck_contains(l.output, "RANK=1\n");
    ck_contains(l.output, "TANDEM_STALL_TIMEOUT=90\n");
    ck_contains(l.output, "OMP_NUM_THREADS=");
    ck_contains(l.output, "OMPI_COMM_WORLD_RANK=1\n"); /* ours, of an MPI job of two */
    ck_assert(!strstr(l.output, "PMIX_RANK"));
    launch_free(&l);
}
END_TEST

START_TEST(ranks_share_one_memory_and_each_has_a_channel) {
    RUN(l, "-n", "2", "--", "sh", "-c",
        "echo $(stat -L -c %i /proc/$$/fd/$TANDEM_ARENA_FD) $(stat -L -c %F /proc/$$/fd/$TANDEM_CONTROL_FD)");
    ck_code(&l, 0);
    char arenas[2][64], channels[2][64];
    ck_assert_int_eq(sscanf(l.output, "%63s %63s %63s %63s", arenas[0], channels[0], arenas[1], channels[1]),
                     4);
    ck_assert_str_eq(arenas[0], arenas[1]);
    ck_assert_str_eq(channels[0], "socket");
    ck_assert_str_eq(channels[1], "socket");
    launch_free(&l);
}
END_TEST

/* So nothing of it can be left, and no other job can take it for its own. */
START_TEST(the_shared_memory_has_no_name) {
    RUN(l, "--", "sh", "-c",
        "readlink /proc/$$/fd/$TANDEM_ARENA_FD /proc/$$/fd/$TANDEM_PROGRESS_FD | sed 's/.*(deleted)$/gone/'");
    ck_code(&l, 0);
    ck_assert_str_eq(l.output, "gone\ngone\n");
    launch_free(&l);
}
END_TEST

/* Standard ones, the arena, the progress page, the channel, the PMI socket, and the folder that ls itself opens. */
START_TEST(no_other_descriptor_is_inherited) {
    RUN(l, "--", "sh", "-c", "exec ls /proc/self/fd");
    ck_code(&l, 0);
    int count = 0;
    for (const char *p = l.output; (p = strchr(p, '\n')); p++) count++;
    ck_assert_msg(count == 8, "%d descriptors:\n%s", count, l.output);
    launch_free(&l);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("environment");
    TCase *tcase = tcase_create("environment");
    tcase_add_loop_test(tcase, a_rank_gets_the_whole_contract, 0, (int)(sizeof contract / sizeof *contract));
    tcase_add_test(tcase, what_the_user_sets_stays);
    tcase_add_test(tcase, what_outer_launchers_set_is_removed);
    tcase_add_test(tcase, what_a_pmix_client_needs_is_added);
    tcase_add_test(tcase, under_tandem_run_the_settings_for_open_mpi_stay);
    tcase_add_test(tcase, an_endless_stall_timeout_is_passed_on);
    tcase_add_loop_test(tcase, with_virtual_local_ranks_each_sees_one_gpu, 0,
                        (int)(sizeof devices / sizeof *devices));
    tcase_add_test(tcase, too_few_gpus_for_virtual_local_ranks_are_refused);
    tcase_add_test(tcase, without_memory_it_is_a_status);
    tcase_add_test(tcase, ranks_really_see_it);
    tcase_add_test(tcase, ranks_share_one_memory_and_each_has_a_channel);
    tcase_add_test(tcase, the_shared_memory_has_no_name);
    tcase_add_test(tcase, no_other_descriptor_is_inherited);
    suite_add_tcase(suite, tcase);
    return suite;
}
