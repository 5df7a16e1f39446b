/* How many ranks there are, and where they go, as `tandem run` does it; other machines by hwloc's variables and a
 * library that stands for the GPU driver's. */
#include "base/parallel.h"
#include "base/plugin.h"
#include "launch.h"

#include <jansson.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define SERVER "HWLOC_SYNTHETIC=package:2 numa:1 core:4 pu:2" /* 2 nodes of 4 cores, 16 CPUs */
#define NVML   "LD_LIBRARY_PATH=" TD_TEST_BUILD "/tests/launcher/nvml"
/* Nothing of what may surround the tests. */
#define CLEAN                                                                                                \
    "SLURM_JOB_ID", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "RANK", "WORLD_SIZE"

const char *skip_reason(void) {
    const void *table;
    return td_plugin_load("hwloc", &table) < 0 ? "built without hwloc" : NULL;
}

/* --- dry runs ------------------------------------------------------------------------------------------- */

/* What each rank's line must say, as "rank: cpus threads gpu". */
/* clang-format off: the table keeps a case on a few lines */
static const struct {
    const char *environment[10];
    const char *arguments[8];
    const char *from, *binding;
    int ranks;
    const char *places[4];
} plans[] = {
    {{SERVER}, {"-n", "2"}, "-n", "none", 2, {"any 4 -", "any 4 -"}},
    {{SERVER}, {NULL}, "default", "none", 1, {"any 8 -"}},
    {{SERVER, "OMP_NUM_THREADS=7"}, {"-n", "2"}, "-n", "none", 2, {"any 7 -", "any 7 -"}},
    {{SERVER}, {"-n", "2", "--bind-to", "core"}, "-n", "core", 2, {"0-7 4 -", "8-15 4 -"}},
    {{SERVER}, {"-n", "2", "--bind-to", "none", "--map-by", "numa"}, "-n", "none", 2, {"any 4 -", "any 4 -"}},
    {{SERVER}, {"-n", "3", "--map-by", "socket"}, "-n", "core", 3, {"0-3 2 -", "8-15 4 -", "4-7 2 -"}},
    {{SERVER}, {"-n", "2", "--numa_binding", "exclusive"}, "-n", "core", 2, {"0-7 4 -", "8-15 4 -"}},
    /* GPUs */
    {{SERVER, NVML, "TD_TEST_GPUS=GPU-a@1,GPU-b@0"},
     {"-n", "gpu"},
     "GPUs",
     "none",
     2,
     {"any 4 GPU-a", "any 4 GPU-b"}},
    {{SERVER, NVML, "TD_TEST_GPUS=GPU-a@1,GPU-b@0"},
     {"-n", "auto", "--bind-to", "core"},
     "GPUs",
     "core",
     2,
     {"8-15 4 GPU-a", "0-7 4 GPU-b"}},
    {{SERVER, NVML, "TD_TEST_GPUS=GPU-a@1,GPU-b@0", "CUDA_VISIBLE_DEVICES=1"},
     {"-n", "gpu"},
     "GPUs",
     "none",
     1,
     {"any 8 GPU-b"}},
    {{SERVER, NVML, "TD_TEST_GPUS=GPU-a@1,GPU-b@1"},
     {"-n", "1", "--numa-binding", "exclusive"},
     "-n",
     "core",
     1,
     {"8-11 2 GPU-a"}},
    {{SERVER, NVML, "TD_TEST_GPUS=GPU-a@1"},
     {"-n", "2", "--bind-to", "core"},
     "-n",
     "core",
     2,
     {"0-7 4 -", "8-15 4 -"}},
    /* Slurm: its tasks are ours; bound where all of its CPUs are */
    {{SERVER, "SLURM_JOB_ID=7", "SLURM_NTASKS=4", "SLURM_CPUS_ON_NODE=16", "SLURM_NNODES=1"},
     {NULL},
     "Slurm",
     "core",
     4,
     {"0-3 2 -", "4-7 2 -", "8-11 2 -", "12-15 2 -"}},
    {{SERVER, "SLURM_JOB_ID=7", "SLURM_NTASKS=4", "SLURM_CPUS_ON_NODE=16"},
     {"--bind-to", "none"},
     "Slurm",
     "none",
     4,
     {"any 2 -", "any 2 -", "any 2 -", "any 2 -"}},
    {{SERVER, "SLURM_JOB_ID=7", "SLURM_NTASKS=2", "SLURM_CPUS_ON_NODE=4"},
     {NULL},
     "Slurm",
     "none",
     2,
     {"any 4 -", "any 4 -"}},
    {{SERVER, "SLURM_JOB_ID=7", "SLURM_NTASKS=4", "SLURM_CPUS_ON_NODE=16"},
     {"-n", "2"},
     "-n",
     "none",
     2,
     {"any 4 -", "any 4 -"}},
    {{SERVER, "SLURM_JOB_ID=7", "SLURM_NTASKS=2", "SLURM_CPUS_ON_NODE=16"},
     {"-n", "2"},
     "-n",
     "core",
     2,
     {"0-7 4 -", "8-15 4 -"}},
    /* near their GPUs, where there is one for each */
    {{SERVER, "SLURM_JOB_ID=7", "SLURM_NTASKS=2", "SLURM_CPUS_ON_NODE=16", NVML,
      "TD_TEST_GPUS=GPU-a@1,GPU-b@0"},
     {NULL},
     "Slurm",
     "core",
     2,
     {"8-15 4 GPU-a", "0-7 4 GPU-b"}},
    {{SERVER, "SLURM_JOB_ID=7", "SLURM_NTASKS=2", "SLURM_CPUS_ON_NODE=16", NVML, "TD_TEST_GPUS=GPU-a@1"},
     {NULL},
     "Slurm",
     "core",
     2,
     {"0-7 4 GPU-a", "8-15 4 -"}},
    {{SERVER, "SLURM_JOB_ID=7", "SLURM_NTASKS=2", "PET_NPROC_PER_NODE=1"},
     {NULL},
     "-n",
     "none",
     1,
     {"any 8 -"}},
};

/* What cannot be. */
static const struct {
    const char *environment[8];
    const char *arguments[8];
    const char *error;
} refusals[] = {
    {{NULL}, {"-n", "gpu"}, "there is no GPU to use: libnvidia-ml.so.1"},
    {{NVML, "TD_TEST_GPUS="}, {"-n", "gpu"}, "the driver knows none"},
    {{NVML, "TD_TEST_NVML_ERROR=9"}, {"-n", "gpu"}, "Driver Not Loaded"},
    {{NVML, "TD_TEST_GPUS=GPU-a@0", "CUDA_VISIBLE_DEVICES="},
     {"-n", "gpu"},
     "CUDA_VISIBLE_DEVICES= leaves none"},
    {{NVML, "TD_TEST_GPUS=GPU-a@0", "CUDA_VISIBLE_DEVICES=0,GPU-a"}, {"-n", "gpu"}, "names one GPU twice"},
    {{NVML, "TD_TEST_GPUS=GPU-a@0", "CUDA_VISIBLE_DEVICES=0,0"}, {"-n", "auto"}, "names one GPU twice"},
    {{NVML, "TD_TEST_GPUS=GPU-a@0"},
     {"-n", "2", "--virtual-local-rank"},
     "2 ranks need a GPU each, but there are 1"},
    {{NVML, "TD_TEST_GPUS=GPU-a@0"}, {"-n", "2", "--numa-binding", "node"}, "rank 1 has no GPU of its own"},
    {{NULL}, {"-n", "xpu"}, "'xpu' is not a whole number"},
    {{NULL}, {"-n", "0"}, "0 is not between 1 and 4096"},
    {{NULL}, {"-n", "5000"}, "5000 is not between"},
    {{NULL}, {"-n", "-1"}, "-1 is not between"},
    {{SERVER}, {"-n", "9", "--bind-to", "core"}, "there are 8 cores for 9 ranks"},
    {{SERVER}, {"-n", "2", "--bind-to", "core"}, "describes another machine"},
    {{"HWLOC_SYNTHETIC=nonsense"},
     {"-n", "1", "--bind-to", "core"},
     NULL}, /* hwloc goes by the real machine */
    {{NULL}, {"--bind-to", "cores"}, "cores"},
    {{NULL}, {"--map-by", "node"}, "node"},
    {{NULL}, {"--numa-binding", "core"}, "core"},
    {{NULL}, {"--numa-binding", "node", "--bind-to", "core"}, "do not go with it"},
    {{NULL}, {"--json"}, "--json goes with --dry-run"},
    {{"SLURM_JOB_ID=7", "SLURM_NTASKS=8", "SLURM_NNODES=2"}, {NULL}, "this Slurm job has 2 nodes"},
    {{"SLURM_JOB_ID=7", "SLURM_NTASKS=many"}, {NULL}, "SLURM_NTASKS=many"},
    {{"SLURM_JOB_ID=7", "SLURM_NTASKS=9999"}, {NULL}, "9999 slots"},
    {{"PBS_JOBID=7", "PBS_NP=8", "PBS_NUM_NODES=4"}, {NULL}, "this PBS job has 4 nodes"},
    {{"LSB_JOBID=7", "LSB_DJOB_NUMPROC=8", "LSB_MCPU_HOSTS=a 4 b 4"}, {NULL}, "this LSF job has 2 nodes"},
};

/* Only how many. */
static const struct {
    const char *environment[8];
    int ranks;
} slots[] = {
    {{"SLURM_JOB_ID=7"}, 1},
    {{"SLURM_JOB_ID=7", "SLURM_TASKS_PER_NODE=3"}, 3},
    {{"SLURM_JOB_ID=7", "SLURM_NTASKS=2", "SLURM_PROCID=0", "SLURM_LOCALID=0"}, 2}, /* a batch script */
    {{"SLURM_JOB_ID=7", "SLURM_NTASKS=2", "SLURM_PROCID=0", "SLURM_STEP_ID=0", "SLURM_STEP_NUM_TASKS=1"}, 2},
    /* one of srun's tasks, of mpirun's, of torchrun's, of ours: that one */
    {{"SLURM_JOB_ID=7", "SLURM_NTASKS=2", "SLURM_PROCID=1", "SLURM_STEP_ID=0", "SLURM_STEP_NUM_TASKS=2"}, 1},
    {{"SLURM_JOB_ID=7", "SLURM_NTASKS=2", "OMPI_COMM_WORLD_RANK=0", "OMPI_COMM_WORLD_SIZE=2",
      "OMPI_UNIVERSE_SIZE=8"},
     1},
    {{"SLURM_JOB_ID=7", "SLURM_NTASKS=2", "RANK=0", "WORLD_SIZE=2"}, 1},
    {{"SLURM_JOB_ID=7", "SLURM_NTASKS=2", "TANDEM_JOB=1:0:2:4711"}, 1},
    /* left over */
    {{"SLURM_JOB_ID=7", "SLURM_NTASKS=2", "WORLD_SIZE=4"}, 2},
    {{"SLURM_NTASKS=2"}, 1},
    {{"PBS_JOBID=7", "PBS_NP=3", "PBS_NUM_NODES=1"}, 3},
    {{"LSB_JOBID=7", "LSB_DJOB_NUMPROC=3", "LSB_MCPU_HOSTS=a 3"}, 3},
    {{"PE_HOSTFILE=/x", "NSLOTS=3", "NHOSTS=1"}, 3},
};
/* clang-format on */

/* `tandem run [--dry-run --json] ARGUMENTS -- true` with these variables. */
static launch plan_with(const char *const *variables, const char *const *arguments, bool dry) {
    const char *environment[32] = {CLEAN}, *argv[24] = {TANDEM, "run"};
    int n = 0, k = 2;
    while (environment[n]) n++;
    for (; *variables; variables++) environment[n++] = *variables;
    if (dry) argv[k++] = "--dry-run", argv[k++] = "--json";
    for (; *arguments; arguments++) argv[k++] = *arguments;
    argv[k++] = "--", argv[k++] = "true";
    launch l = launch_start_with((launch_setup){.environment = environment}, argv);
    launch_finish(&l);
    return l;
}

/* The line that begins at *at; moves on. *Yours*. */
static json_t *next_line(const char **at) {
    size_t n = strcspn(*at, "\n");
    json_t *line = json_loadb(*at, n, 0, NULL);
    ck_assert_msg(line, "not JSON: %s", *at);
    *at += n + (*at + n)[0] / '\n';
    return line;
}

static const char *text_of(const json_t *o, const char *key) {
    return json_string_value(json_object_get(o, key));
}

START_TEST(a_dry_run_shows_where_ranks_go) {
    launch l = plan_with(plans[_i].environment, plans[_i].arguments, true);
    ck_expect(launch_code(&l) == 0, "case %d: %s", _i, l.errors);
    const char *at = l.output;
    json_t *job = next_line(&at);
    ck_expect(strcmp(text_of(job, "ranks_from"), plans[_i].from) == 0, "case %d: %s", _i, l.output);
    ck_expect(strcmp(text_of(job, "binding"), plans[_i].binding) == 0, "case %d: %s", _i, l.output);
    ck_expect(json_integer_value(json_object_get(job, "ranks")) == plans[_i].ranks, "case %d: %s", _i,
              l.output);
    json_decref(job);
    for (int r = 0; r < plans[_i].ranks; r++) {
        json_t *rank = next_line(&at);
        const char *cpus = text_of(rank, "cpus"), *gpu = text_of(json_object_get(rank, "gpu"), "uuid");
        char place[128];
        snprintf(place, sizeof place, "%s %d %s", cpus ? cpus : "any",
                 (int)json_integer_value(json_object_get(rank, "threads")), gpu ? gpu : "-");
        ck_expect(strcmp(place, plans[_i].places[r]) == 0, "case %d, rank %d: %s", _i, r, place);
        json_decref(rank);
    }
    ck_assert_str_eq(at, "");
    launch_free(&l);
}
END_TEST

START_TEST(what_cannot_be_is_said) {
    launch l = plan_with(refusals[_i].environment, refusals[_i].arguments, false);
    if (refusals[_i].error) {
        ck_expect(launch_code(&l) == 125, "case %d: status %d, %s", _i, launch_code(&l), l.errors);
        ck_expect(strstr(l.errors, refusals[_i].error), "case %d says: %s", _i, l.errors);
    }
    launch_free(&l);
}
END_TEST

START_TEST(slots_of_an_allocation_are_taken_once) {
    launch l = plan_with(slots[_i].environment, (const char *const[]){NULL}, true);
    ck_expect(launch_code(&l) == 0, "case %d: %s", _i, l.errors);
    const char *at = l.output;
    json_t *job = next_line(&at);
    ck_expect(json_integer_value(json_object_get(job, "ranks")) == slots[_i].ranks, "case %d: %s", _i,
              l.output);
    json_decref(job);
    launch_free(&l);
}
END_TEST

START_TEST(a_dry_run_starts_nothing_and_shows_the_environment) {
    char path[] = "/tmp/tandem-places-XXXXXX";
    ck_assert_int_ge(mkstemp(path), 0);
    unlink(path);
    const char *environment[] = {CLEAN, "OMPI_COMM_WORLD_SIZE=2", "PMIX_RANK=0", NULL};
    RUN_WITH(l, (launch_setup){.environment = environment}, "--dry-run", "-n", "2", "--", "touch", path);
    ck_code(&l, 0);
    ck_assert_int_ne(access(path, F_OK), 0);
    ck_contains(l.output, "2 ranks (-n)");
    ck_contains(l.output, "WORLD_SIZE=2\n");
    ck_contains(l.output, "MASTER_PORT=(made at the start)\n");
    ck_contains(l.output, "rank 1:\n  RANK=1\n");
    ck_contains(l.output, "removed:\n");
    ck_contains(l.output, "  PMIX_RANK\n");
    ck_contains(l.output, path);
    launch_free(&l);
}
END_TEST

START_TEST(a_dry_run_of_nothing_fails_as_the_run_would) {
    RUN(l, "--dry-run", "--", "no-such-program-here");
    ck_code(&l, 127);
    launch_free(&l);
    RUN(k, "--dry-run", "--json", "--", "true", "\xff\xfe");
    ck_code(&k, 0);
    ck_contains(k.output, "\"??\"");
    launch_free(&k);
}
END_TEST

/* --- real ranks ----------------------------------------------------------------------------------------- */

START_TEST(bound_ranks_run_on_cores_of_their_own) {
    int n = td_core_count() < 2 ? 1 : 2;
    const char *environment[] = {CLEAN, NULL};
    RUN_WITH(l, (launch_setup){.environment = environment}, "-n", n == 2 ? "2" : "1", "--bind-to", "core",
             "--", "sh", "-c", "grep Cpus_allowed: /proc/self/status");
    ck_code(&l, 0);
    unsigned long masks[2] = {0}, sum = 0;
    ck_assert_int_eq(sscanf(l.output, "Cpus_allowed: %lx Cpus_allowed: %lx", &masks[0], &masks[1]), n);
    for (int i = 0; i < n; i++) {
        ck_assert_uint_ne(masks[i], 0);
        ck_assert_uint_eq(sum & masks[i], 0);
        sum |= masks[i];
    }
    launch_free(&l);
}
END_TEST

START_TEST(a_taskset_is_kept_and_counted) {
    cpu_set_t all, one;
    CPU_ZERO(&one);
    ck_assert_int_eq(sched_getaffinity(0, sizeof all, &all), 0);
    for (size_t cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++)
        if (CPU_ISSET(cpu, &all)) CPU_SET(cpu, &one);
    ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
    const char *environment[] = {CLEAN, NULL};
    RUN_WITH(l, (launch_setup){.environment = environment}, "-n", "cpu", "--", "sh", "-c",
             "echo $WORLD_SIZE ranks, $OMP_NUM_THREADS threads");
    ck_code(&l, 0);
    ck_assert_str_eq(l.output, "1 ranks, 1 threads\n");
    launch_free(&l);
}
END_TEST

/* A real limit, where we may make a group of version 1: one CPU's worth of all. */
START_TEST(a_control_groups_limit_is_counted) {
    char group[128], path[192], command[1024];
    snprintf(group, sizeof group, "/sys/fs/cgroup/cpu/tandem-test-%d", (int)getpid());
    if (mkdir(group, 0700) != 0) return; /* no such right, or another version of groups */
    snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", group);
    FILE *file = fopen(path, "w");
    if (file) fputs("100000", file), fclose(file);
    snprintf(command, sizeof command,
             "echo $$ > %s/cgroup.procs && exec " TANDEM
             " run -n cpu -- sh -c 'echo $WORLD_SIZE ranks, $OMP_NUM_THREADS threads'",
             group);
    const char *environment[] = {CLEAN, NULL};
    launch l = launch_start_with((launch_setup){.environment = environment},
                                 (const char *[]){"sh", "-c", command, NULL});
    launch_finish(&l);
    for (int tries = 0; tries < 100 && rmdir(group) != 0; tries++) usleep(10000);
    ck_code(&l, 0);
    if (file) ck_assert_str_eq(l.output, "1 ranks, 1 threads\n");
    launch_free(&l);
}
END_TEST

START_TEST(each_gets_its_share_of_the_cores_and_the_users_number_wins) {
    const char *unset[] = {CLEAN, NULL}, *set[] = {CLEAN, "OMP_NUM_THREADS=5", NULL};
    char share[64];
    snprintf(share, sizeof share, "%d\n", td_core_count());
    RUN_WITH(l, (launch_setup){.environment = unset}, "-n", "1", "--", "sh", "-c", "echo $OMP_NUM_THREADS");
    ck_assert_str_eq(l.output, share);
    launch_free(&l);
    RUN_WITH(k, (launch_setup){.environment = set}, "-n", "2", "--", "sh", "-c", "echo $OMP_NUM_THREADS");
    ck_assert_str_eq(k.output, "5\n5\n");
    launch_free(&k);
}
END_TEST

START_TEST(a_rank_that_sees_one_gpu_sees_its_own) {
    const char *environment[] = {CLEAN, NVML, "TD_TEST_GPUS=GPU-a@0,GPU-b@0", NULL};
    RUN_WITH(l, (launch_setup){.environment = environment}, "-n", "gpu", "--virtual-local-rank", "--", "sh",
             "-c", "echo $RANK $LOCAL_RANK $CUDA_VISIBLE_DEVICES");
    ck_code(&l, 0);
    ck_contains(l.output, "0 0 GPU-a\n");
    ck_contains(l.output, "1 0 GPU-b\n");
    launch_free(&l);
    RUN_WITH(k, (launch_setup){.environment = environment}, "-n", "gpu", "--", "sh", "-c",
             "echo $LOCAL_RANK${CUDA_VISIBLE_DEVICES-none}");
    ck_contains(k.output, "0none\n");
    ck_contains(k.output, "1none\n"); /* torchrun leaves the variable alone */
    launch_free(&k);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("places");
    TCase *tcase = tcase_create("places");
    tcase_add_loop_test(tcase, a_dry_run_shows_where_ranks_go, 0, (int)(sizeof plans / sizeof *plans));
    tcase_add_loop_test(tcase, what_cannot_be_is_said, 0, (int)(sizeof refusals / sizeof *refusals));
    tcase_add_loop_test(tcase, slots_of_an_allocation_are_taken_once, 0, (int)(sizeof slots / sizeof *slots));
    tcase_add_test(tcase, a_dry_run_starts_nothing_and_shows_the_environment);
    tcase_add_test(tcase, a_dry_run_of_nothing_fails_as_the_run_would);
    tcase_add_test(tcase, bound_ranks_run_on_cores_of_their_own);
    tcase_add_test(tcase, a_taskset_is_kept_and_counted);
    tcase_add_test(tcase, a_control_groups_limit_is_counted);
    tcase_add_test(tcase, each_gets_its_share_of_the_cores_and_the_users_number_wins);
    tcase_add_test(tcase, a_rank_that_sees_one_gpu_sees_its_own);
    suite_add_tcase(suite, tcase);
    return suite;
}
