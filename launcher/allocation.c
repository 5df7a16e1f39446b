/*
 * Slurm's, PBS's, LSF's and Grid Engine's variables (sbatch(1), and the manuals of the others). Only the outermost
 * process of an allocation may take its slots: what mpirun, srun with several tasks, torchrun or `tandem run` itself
 * has started is one of the slots, and starts one rank unless told otherwise.
 */
#include "launcher/allocation.h"

#include "base/number.h"
#include "dist/job_mark.h"

#include <stdlib.h>
#include <string.h>

typedef struct env {
    td_env_lookup *lookup;
    void *cookie;
} env;

static const char *get(const env *e, const char *name) {
    const char *value = e->lookup(name, e->cookie);
    return value && *value ? value : NULL;
}

static td_status get_count(const env *e, const char *name, int *count) {
    const char *text = get(e, name);
    int64_t number;
    if (!text) return TD_OK;
    if (td_parse_i64(text, &number) || number < 1 || number > 1 << 20)
        return td_fail(TD_ERR_ARG, 0, "launcher", "%s=%s in the environment is not a number from 1 up", name,
                       text);
    *count = (int)number;
    return TD_OK;
}

/* Has a launcher inside the allocation started this process? */
static bool is_dealt_out(const env *e) {
    static const char *const marks[] = {TD_ENV_JOB, "OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (get(e, marks[i])) return true;
    return get(e, "RANK") && get(e, "WORLD_SIZE");
}

/* A batch script, or the shell of salloc, is a step of one task or no step at all. */
static td_status is_one_of_many(const env *e, bool *is) {
    int tasks = 1;
    TD_TRY(get_count(e, "SLURM_STEP_NUM_TASKS", &tasks));
    *is = tasks > 1;
    return TD_OK;
}

static td_status read_slurm(const env *e, launcher_allocation *a) {
    bool task;
    TD_TRY(is_one_of_many(e, &task));
    if (task) return TD_OK;
    a->system = "Slurm";
    TD_TRY(get_count(e, "SLURM_NNODES", &a->nodes));
    TD_TRY(get_count(e, "SLURM_JOB_NUM_NODES", &a->nodes));
    TD_TRY(get_count(e, "SLURM_CPUS_ON_NODE", &a->cpus));
    TD_TRY(get_count(e, "SLURM_NTASKS", &a->slots));
    const char *list = get(e, "SLURM_TASKS_PER_NODE"); /* "4", of several nodes "2(x3),1" */
    if (a->slots == 0 && list && strspn(list, "0123456789") == strlen(list))
        TD_TRY(get_count(e, "SLURM_TASKS_PER_NODE", &a->slots));
    return TD_OK;
}

static int count_words(const char *text) {
    int words = 0;
    for (; text && *(text += strspn(text, " ")); text += strcspn(text, " ")) words++;
    return words;
}

/* The others say slots and nodes in one variable each. */
static const struct system {
    const char *name, *job, *slots, *nodes;
    bool nodes_in_pairs; /* "host 4 host 4" */
} systems[] = {
    {"PBS", "PBS_JOBID", "PBS_NP", "PBS_NUM_NODES", false},
    {"LSF", "LSB_JOBID", "LSB_DJOB_NUMPROC", "LSB_MCPU_HOSTS", true},
    {"Grid Engine", "PE_HOSTFILE", "NSLOTS", "NHOSTS", false},
};

static td_status read_other(const env *e, const struct system *s, launcher_allocation *a) {
    a->system = s->name;
    TD_TRY(get_count(e, s->slots, &a->slots));
    if (!s->nodes_in_pairs) return get_count(e, s->nodes, &a->nodes);
    int pairs = count_words(get(e, s->nodes)) / 2;
    if (pairs > 1) a->nodes = pairs;
    return TD_OK;
}

td_status launcher_allocation_read(td_env_lookup *lookup, void *cookie, launcher_allocation *allocation) {
    const env e = {lookup, cookie};
    launcher_allocation a = {.nodes = 1};
    if (is_dealt_out(&e)) {
        *allocation = a;
        return TD_OK;
    }
    if (get(&e, "SLURM_JOB_ID")) {
        TD_TRY(read_slurm(&e, &a));
    } else {
        for (size_t i = 0; !a.system && i < sizeof systems / sizeof *systems; i++)
            if (get(&e, systems[i].job)) TD_TRY(read_other(&e, &systems[i], &a));
    }
    *allocation = a;
    return TD_OK;
}
