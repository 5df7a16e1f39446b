/*
 * What is around a program that starts, times who starts it: the nearest launcher counts, and only a true
 * contradiction is an error. Launchers that are not here (torchrun, srun, MPICH's mpiexec) are simulated by their
 * variables.
 */
#include "launch.h"

#include <stdio.h>

#define PLACE TD_TEST_BUILD "/tests/place"

/* --- around --------------------------------------------------------------------------------------------- */

typedef enum around { CLEAN, ALLOCATION, BARE_WORLD_SIZE, STALE_RANK, AROUND_COUNT } around;

static const char *const around_names[] = {"clean", "a Slurm allocation", "a bare WORLD_SIZE",
                                           "a stale RANK"};

static const char *const surroundings[AROUND_COUNT][16] = {
    [CLEAN] = {NULL},
    /* of a batch script that asked for two tasks */
    [ALLOCATION] = {"SLURM_JOB_ID=4711", "SLURM_JOBID=4711", "SLURM_NTASKS=2", "SLURM_NPROCS=2",
                    "SLURM_PROCID=0", "SLURM_LOCALID=0", "SLURM_NODEID=0", "SLURM_NNODES=1",
                    "SLURM_JOB_NUM_NODES=1", "SLURM_TASKS_PER_NODE=2", "SLURM_JOB_NODELIST=here",
                    "SLURM_SUBMIT_DIR=/tmp", NULL},
    [BARE_WORLD_SIZE] = {"WORLD_SIZE=4", NULL},
    [STALE_RANK] = {"RANK=3", NULL},
};

/* --- launchers ------------------------------------------------------------------------------------------ */

typedef enum starter {
    ALONE,
    TANDEM_RUN,
    MPIRUN,
    TORCHRUN,
    BY_HAND,
    SRUN,
    SRUN_PMI2,
    HYDRA,
    STARTER_COUNT
} starter;

/* %R is the rank, of two. */
static const struct {
    const char *name; /* as td_launcher_name has it */
    const char *argv[12];
    const char *variables[20];
    int ranks; /* how many processes we start ourselves */
} starters[STARTER_COUNT] = {
    [ALONE] = {"none", {PLACE}, {NULL}, 1},
    [TANDEM_RUN] = {"tandem run", {TANDEM, "run", "-n", "2", "--", PLACE}, {NULL}, 1},
    /* Told not to believe the allocation: there is no srun here to start its daemons. */
    [MPIRUN] = {"Open MPI",
                {"mpirun", "-np", "2", "--oversubscribe", PLACE},
                {"OMPI_MCA_plm=isolated", "OMPI_MCA_ras=^slurm", "OMPI_ALLOW_RUN_AS_ROOT=1",
                 "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1", NULL},
                1},
    [TORCHRUN] = {"torchrun",
                  {PLACE},
                  {"RANK=%R", "LOCAL_RANK=%R", "GROUP_RANK=0", "ROLE_RANK=%R", "ROLE_NAME=default",
                   "WORLD_SIZE=2", "LOCAL_WORLD_SIZE=2", "GROUP_WORLD_SIZE=1", "ROLE_WORLD_SIZE=2",
                   "MASTER_ADDR=localhost", "MASTER_PORT=29511", "TORCHELASTIC_RESTART_COUNT=0",
                   "TORCHELASTIC_RUN_ID=x", NULL},
                  2},
    [BY_HAND] = {"torchrun",
                 {PLACE},
                 {"RANK=%R", "WORLD_SIZE=2", "MASTER_ADDR=localhost", "MASTER_PORT=29511", NULL},
                 2},
    [SRUN] = {"Slurm",
              {PLACE},
              {"SLURM_JOB_ID=4711", "SLURM_PROCID=%R", "SLURM_LOCALID=%R", "SLURM_NODEID=0",
               "SLURM_STEP_ID=0", "SLURM_STEP_NUM_TASKS=2", "SLURM_STEP_NUM_NODES=1",
               "SLURM_STEP_TASKS_PER_NODE=2", "SLURM_NTASKS=2", "PMIX_RANK=%R",
               "PMIX_NAMESPACE=slurm.pmix.4711.0", NULL},
              2},
    [SRUN_PMI2] = {"Slurm",
                   {PLACE},
                   {"SLURM_JOB_ID=4711", "SLURM_PROCID=%R", "SLURM_LOCALID=%R", "SLURM_NODEID=0",
                    "SLURM_STEP_ID=0", "SLURM_STEP_NUM_TASKS=2", "SLURM_STEP_NUM_NODES=1",
                    "SLURM_STEP_TASKS_PER_NODE=2", "PMI_RANK=%R", "PMI_SIZE=2", "PMI_FD=9", NULL},
                   2},
    [HYDRA] = {"PMI", /* MPICH's mpiexec */
               {PLACE},
               {"PMI_RANK=%R", "PMI_SIZE=2", "PMI_FD=9", "MPI_LOCALRANKID=%R", "MPI_LOCALNRANKS=2", NULL},
               2},
};

/* The true contradictions; everywhere else each rank knows its place. */
static const char *contradiction(around a, starter s) {
    if (a == BARE_WORLD_SIZE && s == ALONE) return "WORLD_SIZE=4 is set in the environment, but RANK is not";
    if (a != STALE_RANK) return NULL;
    if (s == ALONE) return "RANK=3 is set in the environment, but WORLD_SIZE is not";
    if (s == MPIRUN) return "RANK=3, but OMPI_COMM_WORLD_RANK=";
    if (s == SRUN || s == SRUN_PMI2) return "RANK=3, but SLURM_PROCID=";
    return s == HYDRA ? "RANK=3, but PMI_RANK=" : NULL;
}

/* --- the matrix ----------------------------------------------------------------------------------------- */

static bool have_mpirun(void) { return system("command -v mpirun >/dev/null 2>&1") == 0; }

/* Start one process of the cell; output and errors are *yours*. */
static launch start_one(around a, starter s, int rank, const char *const *argv) {
    /* What may surround the tests themselves. */
    static const char *const own[] = {"RANK",         "WORLD_SIZE",   "LOCAL_RANK", "LOCAL_WORLD_SIZE",
                                      "SLURM_JOB_ID", "SLURM_NTASKS", "TANDEM_JOB", "PMI_RANK",
                                      "SLURM_PROCID", "PMIX_RANK",    NULL};
    static char texts[32][64];
    const char *environment[64];
    int n = 0, k = 0;
    for (int i = 0; own[i]; i++) environment[n++] = own[i];
    for (int i = 0; surroundings[a][i]; i++) environment[n++] = surroundings[a][i];
    for (int i = 0; starters[s].variables[i]; i++) {
        const char *text = starters[s].variables[i], *mark = strstr(text, "%R");
        if (mark)
            snprintf(texts[k], sizeof texts[k], "%.*s%d", (int)(mark - text), text, rank);
        else
            snprintf(texts[k], sizeof texts[k], "%s", text);
        environment[n++] = texts[k++];
    }
    environment[n] = NULL;
    launch l = launch_start_with((launch_setup){.environment = environment}, argv);
    launch_finish(&l);
    return l;
}

static void expect_place(const char *output, const char *launcher, int rank, int world, const char *cell) {
    char place[80];
    snprintf(place, sizeof place, "%s %d/%d %d/%d\n", launcher, rank, world, rank, world);
    ck_expect(strstr(output, place), "%s: no '%s' in:\n%s", cell, place, output);
}

START_TEST(the_nearest_launcher_says_who_we_are) {
    around a = _i / STARTER_COUNT;
    starter s = _i % STARTER_COUNT;
    char cell[80];
    if (s == MPIRUN && !have_mpirun()) return;
    snprintf(cell, sizeof cell, "%s, started by %s (%d)", around_names[a], starters[s].name, s);
    const char *error = contradiction(a, s);
    int world = s == ALONE ? 1 : 2;
    for (int rank = 0; rank < starters[s].ranks; rank++) {
        launch l = start_one(a, s, rank, starters[s].argv);
        if (error) {
            ck_expect(launch_code(&l) != 0, "%s: no failure", cell);
            ck_expect(strstr(l.errors, error), "%s: %s", cell, l.errors);
        } else {
            ck_expect(launch_code(&l) == 0, "%s: %s", cell, l.errors);
            bool all = starters[s].ranks == 1;
            for (int r = all ? 0 : rank; r < (all ? world : rank + 1); r++)
                expect_place(l.output, starters[s].name, r, world, cell);
        }
        launch_free(&l);
    }
}
END_TEST

/* --- launchers within launchers ------------------------------------------------------------------------- */

/* clang-format off */
static const struct {
    around around;
    starter starter; /* its variables only */
    const char *argv[16];
    const char *launcher;
    int world;
} nests[] = {
    {CLEAN, ALONE, {TANDEM, "run", "--", TANDEM, "run", "-n", "2", "--", PLACE}, "tandem run", 2},
    {CLEAN, ALONE, {TANDEM, "run", "-n", "1", "--", "mpirun", "-np", "2", "--oversubscribe", PLACE}, "Open MPI", 2},
    {CLEAN, MPIRUN, {"mpirun", "-np", "1", TANDEM, "run", "-n", "2", "--", PLACE}, "tandem run", 2},
    {ALLOCATION, MPIRUN, {"mpirun", "-np", "1", TANDEM, "run", "-n", "2", "--", PLACE}, "tandem run", 2},
    {STALE_RANK, MPIRUN, {"mpirun", "-np", "1", TANDEM, "run", "-n", "2", "--", PLACE}, "tandem run", 2},
    {CLEAN, SRUN, {TANDEM, "run", "-n", "2", "--", PLACE}, "tandem run", 2},
    {CLEAN, TORCHRUN, {TANDEM, "run", "-n", "2", "--", PLACE}, "tandem run", 2},
    {CLEAN, HYDRA, {TANDEM, "run", "-n", "2", "--", PLACE}, "tandem run", 2},
    {CLEAN, ALONE, {TANDEM, "run", "--", "env", "RANK=1", "LOCAL_RANK=1", "WORLD_SIZE=2", "LOCAL_WORLD_SIZE=2", "MASTER_PORT=7", PLACE}, "torchrun", 2},
    /* an allocation's tasks, without -n */
    {ALLOCATION, ALONE, {TANDEM, "run", "--", PLACE}, "tandem run", 2},
    {ALLOCATION, ALONE, {TANDEM, "run", "--", TANDEM, "run", "-n", "1", "--", PLACE}, "tandem run", 1},
    {ALLOCATION, SRUN, {TANDEM, "run", "--", PLACE}, "tandem run", 1},
};
/* clang-format on */

START_TEST(launchers_within_launchers_hide_one_another) {
    bool mpi = false;
    for (int i = 0; nests[_i].argv[i]; i++) mpi |= strcmp(nests[_i].argv[i], "mpirun") == 0;
    if (mpi && !have_mpirun()) return;
    char cell[32];
    snprintf(cell, sizeof cell, "nest %d", _i);
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    launch l = start_one(nests[_i].around, nests[_i].starter, 0, nests[_i].argv);
    ck_expect(launch_code(&l) == 0, "%s: %s", cell, l.errors);
    bool one = strcmp(nests[_i].launcher, "torchrun") == 0;
    for (int r = one ? 1 : 0; r < nests[_i].world; r++)
        expect_place(l.output, nests[_i].launcher, r, nests[_i].world, cell);
    launch_free(&l);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("nesting");
    TCase *tcase = tcase_create("nesting");
    tcase_add_loop_test(tcase, the_nearest_launcher_says_who_we_are, 0, AROUND_COUNT * STARTER_COUNT);
    tcase_add_loop_test(tcase, launchers_within_launchers_hide_one_another, 0,
                        (int)(sizeof nests / sizeof *nests));
    suite_add_tcase(suite, tcase);
    return suite;
}
