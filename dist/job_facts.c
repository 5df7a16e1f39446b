/*
 * From environment variables to a rank. One function per launcher, asked in the order in which one hides the
 * next: our mark, RANK, Open MPI, PMI/PMIx, Slurm, nothing. Names and meanings are those of torchrun
 * (torch/distributed/elastic/agent), Open MPI's mpirun, MPICH's hydra and Slurm's srun.
 */
#include "dist/job_facts.h"

#include "base/number.h"
#include "dist/job_mark.h"
#include "dist/recorder.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct env {
    td_env_lookup *lookup;
    void *cookie;
} env;

static const char *get(const env *e, const char *name) {
    const char *value = e->lookup(name, e->cookie);
    return value && *value ? value : NULL; /* set to nothing counts as unset, as in torchrun */
}

/* An unset variable leaves *value alone. */
static td_status get_int(const env *e, const char *name, int *value) {
    const char *text = get(e, name);
    int64_t number;
    if (!text) return TD_OK;
    if (td_parse_i64(text, &number) || number < 0 || number > 1 << 24)
        return td_fail(TD_ERR_ARG, 0, "dist", "%s=%s in the environment is not a number from 0 up", name,
                       text);
    *value = (int)number;
    return TD_OK;
}

static td_status need_int(const env *e, const char *name, const char *beside, int *value) {
    if (!get(e, name))
        return td_fail(TD_ERR_ARG, 0, "dist", "%s=%s is set in the environment, but %s is not", beside,
                       get(e, beside), name);
    return get_int(e, name, value);
}

/* The four numbers fit together; names are those to show. */
static td_status check_place(const td_job_facts *f, const char *rank, const char *size,
                             const char *local_rank, const char *local_size) {
    if (f->world_size < 1)
        return td_fail(TD_ERR_ARG, 0, "dist", "%s=%d: a job has at least one rank", size, f->world_size);
    if (f->rank >= f->world_size)
        return td_fail(TD_ERR_ARG, 0, "dist", "%s=%d, but %s=%d: ranks count from 0", rank, f->rank, size,
                       f->world_size);
    if (f->local_world_size < 1 || f->local_world_size > f->world_size)
        return td_fail(TD_ERR_ARG, 0, "dist", "%s=%d, but %s=%d", local_size, f->local_world_size, size,
                       f->world_size);
    if (f->local_rank >= f->local_world_size)
        return td_fail(TD_ERR_ARG, 0, "dist", "%s=%d, but %s=%d: local ranks count from 0", local_rank,
                       f->local_rank, local_size, f->local_world_size);
    return TD_OK;
}

static void guess_nodes(td_job_facts *f) {
    f->node = f->rank / f->local_world_size;
    f->node_count = (f->world_size + f->local_world_size - 1) / f->local_world_size;
}

static td_status read_torchrun(const env *e, td_job_facts *f) {
    TD_TRY(get_int(e, "RANK", &f->rank));
    TD_TRY(need_int(e, "WORLD_SIZE", "RANK", &f->world_size));
    /* Set by hand, often only these two are there: then the job is on one machine. */
    f->local_rank = f->rank;
    f->local_world_size = f->world_size;
    TD_TRY(get_int(e, "LOCAL_RANK", &f->local_rank));
    TD_TRY(get_int(e, "LOCAL_WORLD_SIZE", &f->local_world_size));
    if (f->local_rank != f->rank && !get(e, "LOCAL_WORLD_SIZE"))
        return td_fail(TD_ERR_ARG, 0, "dist",
                       "RANK=%d and LOCAL_RANK=%d differ, so LOCAL_WORLD_SIZE must be set too", f->rank,
                       f->local_rank);
    if (f->local_world_size != f->world_size && !get(e, "LOCAL_RANK"))
        return td_fail(TD_ERR_ARG, 0, "dist", "LOCAL_WORLD_SIZE=%d is set, but LOCAL_RANK is not",
                       f->local_world_size);
    TD_TRY(check_place(f, "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"));
    guess_nodes(f);
    TD_TRY(get_int(e, "GROUP_RANK", &f->node));
    TD_TRY(get_int(e, "GROUP_WORLD_SIZE", &f->node_count));
    return TD_OK;
}

/* Torchrun's id, restart and port together are unique; by hand there is only the address. */
static void name_torchrun(const env *e, td_job_facts *f) {
    const char *id = get(e, "TORCHELASTIC_RUN_ID"), *restart = get(e, "TORCHELASTIC_RESTART_COUNT");
    const char *host = get(e, "MASTER_ADDR"), *port = get(e, "MASTER_PORT");
    if (id)
        snprintf(f->id, sizeof f->id, "torchrun:%s:%s:%s", id, restart ? restart : "0", port ? port : "");
    else
        snprintf(f->id, sizeof f->id, "hand:%s:%s", host ? host : "", port ? port : "");
}

static td_status read_openmpi(const env *e, td_job_facts *f) {
    const char *rank = "OMPI_COMM_WORLD_RANK";
    TD_TRY(get_int(e, rank, &f->rank));
    TD_TRY(need_int(e, "OMPI_COMM_WORLD_SIZE", rank, &f->world_size));
    TD_TRY(need_int(e, "OMPI_COMM_WORLD_LOCAL_RANK", rank, &f->local_rank));
    TD_TRY(need_int(e, "OMPI_COMM_WORLD_LOCAL_SIZE", rank, &f->local_world_size));
    guess_nodes(f);
    const char *space = get(e, "PMIX_NAMESPACE");
    if (!space) space = get(e, "OMPI_MCA_ess_base_jobid");
    snprintf(f->id, sizeof f->id, "openmpi:%s:%d", space ? space : "", space ? 0 : (int)getppid());
    return check_place(f, rank, "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
                       "OMPI_COMM_WORLD_LOCAL_SIZE");
}

/* Hydra tells no id of the job, but its proxy is the parent of all ranks of a machine. */
static td_status read_pmi(const env *e, td_job_facts *f) {
    TD_TRY(get_int(e, "PMI_RANK", &f->rank));
    TD_TRY(need_int(e, "PMI_SIZE", "PMI_RANK", &f->world_size));
    f->local_rank = f->rank;
    f->local_world_size = f->world_size;
    TD_TRY(get_int(e, "MPI_LOCALRANKID", &f->local_rank));
    TD_TRY(get_int(e, "MPI_LOCALNRANKS", &f->local_world_size));
    guess_nodes(f);
    const char *id = get(e, "PMI_JOBID");
    snprintf(f->id, sizeof f->id, "pmi:%s:%d", id ? id : "", id ? 0 : (int)getppid());
    return check_place(f, "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS");
}

/* Entry `node` of a list like "2(x3),1": 2, 2, 2, 1. False when the text ends before or is none. */
static bool tasks_of_node(const char *list, int node, int *tasks) {
    while (*list) {
        int count, times = 1, used = 0;
        if (sscanf(list, "%d%n", &count, &used) != 1) return false;
        list += used;
        if (*list == '(' && sscanf(list, "(x%d)%n", &times, &used) == 1) list += used;
        if (node < times) {
            *tasks = count;
            return true;
        }
        node -= times;
        if (*list == ',') list++;
    }
    return false;
}

/* Only inside a step that srun started; a batch script has SLURM_PROCID=0 too, but is one process. */
static bool in_slurm_step(const env *e) {
    return get(e, "SLURM_PROCID") && (get(e, "SLURM_STEP_NUM_TASKS") || get(e, "SLURM_STEP_ID")) &&
           (get(e, "SLURM_STEP_NUM_TASKS") || get(e, "SLURM_NTASKS"));
}

static td_status read_slurm(const env *e, td_job_facts *f) {
    bool step = get(e, "SLURM_STEP_NUM_TASKS");
    const char *size = step ? "SLURM_STEP_NUM_TASKS" : "SLURM_NTASKS";
    TD_TRY(get_int(e, "SLURM_PROCID", &f->rank));
    TD_TRY(get_int(e, size, &f->world_size));
    TD_TRY(need_int(e, "SLURM_LOCALID", "SLURM_PROCID", &f->local_rank));
    f->local_world_size = f->world_size;
    TD_TRY(get_int(e, "SLURM_NODEID", &f->node));
    f->node_count = 1;
    TD_TRY(
        get_int(e, get(e, "SLURM_STEP_NUM_NODES") ? "SLURM_STEP_NUM_NODES" : "SLURM_NNODES", &f->node_count));
    const char *list = get(e, "SLURM_STEP_TASKS_PER_NODE");
    if (!list) list = get(e, "SLURM_TASKS_PER_NODE");
    if (list && !tasks_of_node(list, f->node, &f->local_world_size))
        return td_fail(TD_ERR_ARG, 0, "dist", "SLURM_TASKS_PER_NODE=%s has no entry for SLURM_NODEID=%d",
                       list, f->node);
    if (!list && f->node_count > 1)
        return td_fail(TD_ERR_ARG, 0, "dist", "Slurm gives %d nodes, but not the tasks of each",
                       f->node_count);
    const char *job = get(e, "SLURM_JOB_ID"), *number = get(e, "SLURM_STEP_ID");
    snprintf(f->id, sizeof f->id, "slurm:%s.%s", job ? job : "", number ? number : "");
    return check_place(f, "SLURM_PROCID", size, "SLURM_LOCALID", "SLURM_TASKS_PER_NODE");
}

/* TD_ENV_NODES: the ranks of one machine play several. What they share is then one node's, so nothing is
 * inherited from a launcher, and their meeting place has the node in its name. */
static td_status cut_nodes(const env *e, td_job_facts *f) {
    const char *list = get(e, TD_ENV_NODES);
    int begin = 0, tasks = 0, node = 0, own = -1;
    if (!list || f->world_size == 1) return TD_OK;
    for (; begin < f->world_size && tasks_of_node(list, node, &tasks) && tasks > 0; begin += tasks, node++) {
        if (f->rank < begin || f->rank >= begin + tasks) continue;
        own = node;
        f->local_rank = f->rank - begin;
        f->local_world_size = tasks;
    }
    if (begin != f->world_size || tasks_of_node(list, node, &tasks))
        return td_fail(TD_ERR_ARG, 0, "dist",
                       TD_ENV_NODES "=%s does not say how many of %d ranks each node has", list,
                       f->world_size);
    f->node = own;
    f->node_count = node;
    f->arena_fd = -1;
    size_t used = strlen(f->id);
    snprintf(f->id + used, sizeof f->id - used, "/node%d", own);
    return TD_OK;
}

static td_status differ(const char *ours, int a, const char *theirs, int b) {
    return td_fail(TD_ERR_ARG, 0, "dist",
                   "two launchers disagree: %s=%d, but %s=%d; unset those of the launcher that did not start "
                   "this process",
                   ours, a, theirs, b);
}

/* `tandem run` gives its ranks the variables of MPI's launchers too. Only it writes this one with a plus sign. */
static bool has_foreign_pmi(const env *e) {
    const char *fd = get(e, "PMI_FD");
    return get(e, "PMI_RANK") && !(fd && *fd == '+');
}
static bool has_foreign_openmpi(const env *e) {
    return get(e, "OMPI_COMM_WORLD_RANK") && (!get(e, TD_ENV_JOB) || get(e, "PMIX_RANK"));
}

/* RANK is in charge; Open MPI's variables beside it must say the same. */
static td_status agree_with_openmpi(const env *e, const td_job_facts *f) {
    int rank = f->rank, size = f->world_size, local = f->local_rank;
    if (!has_foreign_openmpi(e)) return TD_OK;
    TD_TRY(get_int(e, "OMPI_COMM_WORLD_RANK", &rank));
    TD_TRY(get_int(e, "OMPI_COMM_WORLD_SIZE", &size));
    TD_TRY(get_int(e, "OMPI_COMM_WORLD_LOCAL_RANK", &local));
    if (rank != f->rank) return differ("RANK", f->rank, "OMPI_COMM_WORLD_RANK", rank);
    if (size != f->world_size) return differ("WORLD_SIZE", f->world_size, "OMPI_COMM_WORLD_SIZE", size);
    if (get(e, "LOCAL_RANK") && local != f->local_rank)
        return differ("LOCAL_RANK", f->local_rank, "OMPI_COMM_WORLD_LOCAL_RANK", local);
    return TD_OK;
}

/* What our mark is worth. */
typedef enum mark_state {
    MARK_NONE,
    MARK_HOLDS,
    MARK_OUTER_RANK, /* an MPI launcher is nearer; RANK and its like are still our outer launcher's */
    MARK_STALE       /* a launcher that sets RANK is nearer */
} mark_state;

static td_status read_mark(const env *e, mark_state *state) {
    const char *text = get(e, TD_ENV_JOB);
    td_job_mark mark;
    int rank = -1, size = -1, port = -1;
    *state = MARK_NONE;
    if (!text) return TD_OK;
    TD_TRY(td_job_mark_parse(text, &mark));
    TD_TRY(get_int(e, "RANK", &rank));
    TD_TRY(get_int(e, "WORLD_SIZE", &size));
    TD_TRY(get_int(e, "MASTER_PORT", &port));
    if (rank != mark.rank || size != mark.world_size || port != mark.port)
        *state = MARK_STALE;
    else if (get(e, "PMIX_RANK") || has_foreign_openmpi(e) || has_foreign_pmi(e))
        *state = MARK_OUTER_RANK;
    else
        *state = MARK_HOLDS;
    return TD_OK;
}

static td_status read_ours(const env *e, td_job_facts *f) {
    f->launcher = TD_LAUNCHER_TANDEM;
    TD_TRY(read_torchrun(e, f));
    TD_TRY(get_int(e, TD_ENV_ARENA_FD, &f->arena_fd));
    TD_TRY(get_int(e, TD_ENV_CONTROL_FD, &f->control_fd));
    TD_TRY(get_int(e, TD_ENV_PROGRESS_FD, &f->progress_fd));
    snprintf(f->id, sizeof f->id, "tandem:%s", get(e, "MASTER_PORT"));
    const char *stall = get(e, TD_ENV_STALL_TIMEOUT);
    if (stall && (td_parse_seconds(stall, &f->stall_timeout) || f->stall_timeout <= 0))
        return td_fail(TD_ERR_ARG, 0, "dist", TD_ENV_STALL_TIMEOUT "=%s is not a time in seconds", stall);
    return TD_OK;
}

/* Slurm's PMI-1 and PMI-2 tell no local rank, but Slurm's own variables beside them do. */
static bool is_pmi_of_slurm(const env *e) {
    int pmi = -1, slurm = -1;
    return !get(e, "MPI_LOCALRANKID") && in_slurm_step(e) && get_int(e, "PMI_RANK", &pmi) >= 0 &&
           get_int(e, "SLURM_PROCID", &slurm) >= 0 && pmi == slurm;
}

static td_status read_mpi_or_slurm(const env *e, td_job_facts *f) {
    if (has_foreign_openmpi(e)) {
        f->launcher = TD_LAUNCHER_OPENMPI;
        return read_openmpi(e, f);
    }
    if (has_foreign_pmi(e) && !is_pmi_of_slurm(e)) {
        f->launcher = TD_LAUNCHER_PMI;
        return read_pmi(e, f);
    }
    if (in_slurm_step(e)) {
        f->launcher = TD_LAUNCHER_SLURM;
        return read_slurm(e, f);
    }
    if (get(e, "PMIX_RANK"))
        return td_fail(
            TD_ERR_ARG, 0, "dist",
            "PMIX_RANK=%s is set, but nothing says how many ranks there are: set RANK and WORLD_SIZE",
            get(e, "PMIX_RANK"));
    return TD_OK;
}

/* RANK without WORLD_SIZE is half of a contract: left over, or set by hand beside an MPI launcher or srun. Those
 * know both numbers, and RANK must not say otherwise. */
static td_status read_beside_rank(const env *e, td_job_facts *f) {
    int rank = 0, size;
    TD_TRY(read_mpi_or_slurm(e, f));
    if (f->launcher == TD_LAUNCHER_NONE) return need_int(e, "WORLD_SIZE", "RANK", &size);
    TD_TRY(get_int(e, "RANK", &rank));
    const char *theirs = f->launcher == TD_LAUNCHER_OPENMPI ? "OMPI_COMM_WORLD_RANK"
                         : f->launcher == TD_LAUNCHER_PMI   ? "PMI_RANK"
                                                            : "SLURM_PROCID";
    return rank == f->rank ? TD_OK : differ("RANK", rank, theirs, f->rank);
}

td_status td_job_facts_read(td_env_lookup *lookup, void *cookie, td_job_facts *facts) {
    const env e = {lookup, cookie};
    td_job_facts f = {.world_size = 1,
                      .local_world_size = 1,
                      .node_count = 1,
                      .arena_fd = -1,
                      .control_fd = -1,
                      .progress_fd = -1,
                      .stall_timeout = TD_STALL_TIMEOUT_DEFAULT};
    mark_state mark;
    TD_TRY(read_mark(&e, &mark));
    if (mark == MARK_HOLDS) {
        TD_TRY(read_ours(&e, &f));
    } else if (mark != MARK_OUTER_RANK && get(&e, "RANK") && !get(&e, "WORLD_SIZE")) {
        TD_TRY(read_beside_rank(&e, &f));
    } else if (mark != MARK_OUTER_RANK && get(&e, "RANK")) {
        f.launcher = TD_LAUNCHER_TORCHRUN;
        TD_TRY(read_torchrun(&e, &f));
        TD_TRY(agree_with_openmpi(&e, &f));
        name_torchrun(&e, &f);
    } else {
        TD_TRY(read_mpi_or_slurm(&e, &f));
        int size = 1;
        if (f.launcher == TD_LAUNCHER_NONE) TD_TRY(get_int(&e, "WORLD_SIZE", &size));
        if (size > 1)
            return td_fail(TD_ERR_ARG, 0, "dist", "WORLD_SIZE=%d is set in the environment, but RANK is not",
                           size);
    }
    TD_TRY(cut_nodes(&e, &f));
    if (f.world_size == 1) f.id[0] = 0;
    const char *folder = get(&e, TD_ENV_TRACE_DIR);
    if (folder && snprintf(f.trace_dir, sizeof f.trace_dir, "%s", folder) >= (int)sizeof f.trace_dir)
        return td_fail(TD_ERR_ARG, 0, "dist", TD_ENV_TRACE_DIR " is longer than %zu bytes",
                       sizeof f.trace_dir - 1);
    *facts = f;
    return TD_OK;
}
