/*
 * One table says every variable that a rank is given. A variable of the table replaces the outer one, and
 * what outer launchers tell their own processes is dropped, so that a rank sees exactly one launcher: us.
 */
#include "launcher/environment.h"

#include "base/memory.h"
#include "dist/job_mark.h"
#include "launcher/pmix.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct asker {
    const launcher_facts *facts;
    const launcher_rank_facts *rank;
    char *const *outer;
    char text[64]; /* for values that are made */
} asker;

/* The value, *lent* until the next is asked for; NULL: the rank is not given the variable, but may have it from
 * outside. */
typedef const char *value_of(asker *a);

static bool begins_with(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool names(const char *entry, const char *name) {
    size_t n = strlen(name);
    return strncmp(entry, name, n) == 0 && entry[n] == '=';
}

static const char *find_entry(char *const *outer, const char *name) {
    for (; *outer; outer++)
        if (names(*outer, name)) return *outer + strlen(name) + 1;
    return NULL;
}

static const char *put_number(asker *a, int number) {
    snprintf(a->text, sizeof a->text, "%d", number);
    return a->text;
}
static const char *rank_of(asker *a) { return put_number(a, a->rank->rank); }
static const char *local_rank_of(asker *a) {
    return put_number(a, a->facts->virtual_local_rank ? 0 : a->rank->rank);
}
static const char *world_of(asker *a) { return put_number(a, a->facts->world_size); }
static const char *port_of(asker *a) { return put_number(a, a->facts->port); }
static const char *threads_of(asker *a) { return put_number(a, a->rank->threads); }
static const char *arena_of(asker *a) { return put_number(a, a->facts->arena_fd); }
static const char *progress_of(asker *a) { return put_number(a, a->facts->progress_fd); }
static const char *control_of(asker *a) { return put_number(a, a->rank->control_fd); }
static const char *restart_of(asker *a) { return put_number(a, a->facts->restart_count); }
static const char *restarts_of(asker *a) { return put_number(a, a->facts->max_restarts); }
static const char *run_id_of(asker *a) { return a->facts->run_id; }
/* The plus sign tells our ranks from those of a nearer launcher (dist/job_facts.c); who reads numbers reads over it. */
static const char *pmi_fd_of(asker *a) {
    if (a->rank->pmi_fd == 0) return NULL;
    snprintf(a->text, sizeof a->text, "+%d", a->rank->pmi_fd);
    return a->text;
}
static const char *mpi_rank_of(asker *a) { return a->rank->pmi_fd ? rank_of(a) : NULL; }
static const char *mpi_local_rank_of(asker *a) { return a->rank->pmi_fd ? local_rank_of(a) : NULL; }
static const char *mpi_world_of(asker *a) { return a->rank->pmi_fd ? world_of(a) : NULL; }
static const char *mpi_components_of(asker *a) { return a->facts->mpi_components; }
static const char *role_of(asker *a) { return a->facts->role; }
static const char *address_of(asker *a) { return a->facts->master_addr; }
static const char *signals_of(asker *a) { return a->facts->signals; }
static const char *error_file_of(asker *a) { return a->rank->error_file; }
static const char *folder_of(asker *a) { return a->facts->folder; }
static const char *zero(asker *a) { return put_number(a, 0); }
static const char *one(asker *a) { return put_number(a, 1); }
static const char *no(asker *a) { return (void)a, "False"; }
static const char *mark_of(asker *a) {
    td_job_mark mark = {a->rank->rank, a->facts->world_size, a->facts->port};
    snprintf(a->text, sizeof a->text, "%s", td_job_mark_format(mark).text);
    return a->text;
}
static const char *stall_of(asker *a) {
    if (isinf(a->facts->stall_timeout)) return "inf";
    snprintf(a->text, sizeof a->text, "%.9g", a->facts->stall_timeout);
    return a->text;
}

/* The list of which rank r is to see entry r: AMD's variable, where it is set, is the one that counts. */
static const char *outer_devices(const asker *a, bool of_amd) {
    const char *list = find_entry(a->outer, "HIP_VISIBLE_DEVICES");
    if (of_amd || (list && *list)) return list;
    return find_entry(a->outer, "CUDA_VISIBLE_DEVICES");
}

/* The `rank`th of a list with commas, *n long; NULL: it is too short. */
static const char *find_device(const char *list, int rank, size_t *n) {
    for (; rank > 0; rank--) {
        list = strchr(list, ',');
        if (!list) return NULL;
        list++;
    }
    list += strspn(list, " ");
    *n = strcspn(list, ", ");
    return list;
}

static const char *device_of(asker *a) {
    if (!a->facts->virtual_local_rank) return NULL;
    const char *list = outer_devices(a, false), *device;
    size_t n = 0;
    if (!list) return a->rank->gpu ? a->rank->gpu : rank_of(a);
    device = find_device(list, a->rank->rank, &n);
    snprintf(a->text, sizeof a->text, "%.*s", (int)n, device ? device : "");
    return a->text;
}
static const char *amd_device_of(asker *a) {
    const char *list = outer_devices(a, true);
    return list && *list ? device_of(a) : NULL;
}

/* torchrun's names and meanings (torch/distributed/elastic/agent/server/local_elastic_agent.py), then ours.
 */
static const struct row {
    const char *name;
    value_of *value;
    bool outer_wins; /* a value that the user has set stays */
} rows[] = {
    // clang-format off
    {"RANK",                            rank_of,       false},
    {"LOCAL_RANK",                      local_rank_of, false},
    {"GROUP_RANK",                      zero,          false},
    {"ROLE_RANK",                       rank_of,       false},
    {"ROLE_NAME",                       role_of,       false},
    {"WORLD_SIZE",                      world_of,      false},
    {"LOCAL_WORLD_SIZE",                world_of,      false},
    {"GROUP_WORLD_SIZE",                one,           false},
    {"ROLE_WORLD_SIZE",                 world_of,      false},
    {"MASTER_ADDR",                     address_of,    false},
    {"MASTER_PORT",                     port_of,       false},
    {"TORCHELASTIC_RESTART_COUNT",      restart_of,    false},
    {"TORCHELASTIC_MAX_RESTARTS",       restarts_of,   false},
    {"TORCHELASTIC_RUN_ID",             run_id_of,     false},
    {"TORCHELASTIC_USE_AGENT_STORE",    no,            false}, /* rank 0 serves its own */
    {"TORCHELASTIC_ERROR_FILE",         error_file_of, false},
    {"TORCHELASTIC_SIGNALS_TO_HANDLE",  signals_of,    false},
    {"TORCH_NCCL_ASYNC_ERROR_HANDLING", one,           true},
    {"OMP_NUM_THREADS",                 threads_of,    true},
    {"CUDA_VISIBLE_DEVICES",            device_of,     false},
    {"HIP_VISIBLE_DEVICES",             amd_device_of, false},
    {"PWD",                             folder_of,     false},
    {"PMI_FD",                          pmi_fd_of,     false}, /* MPICH's, hydra's, Open MPI's; see docs/launcher.md */
    {"PMI_RANK",                        mpi_rank_of,   false},
    {"PMI_SIZE",                        mpi_world_of,  false},
    {"MPI_LOCALRANKID",                 mpi_local_rank_of, false},
    {"MPI_LOCALNRANKS",                 mpi_world_of,  false},
    {"OMPI_COMM_WORLD_RANK",            mpi_rank_of,   false},
    {"OMPI_COMM_WORLD_SIZE",            mpi_world_of,  false},
    {"OMPI_COMM_WORLD_LOCAL_RANK",      mpi_local_rank_of, false},
    {"OMPI_COMM_WORLD_LOCAL_SIZE",      mpi_world_of,  false},
    {"OMPI_COMM_WORLD_NODE_RANK",       mpi_local_rank_of, false},
    {"OMPI_MCA_mca_base_component_path", mpi_components_of, false},
    {TD_ENV_JOB,                        mark_of,       false},
    {TD_ENV_ARENA_FD,                   arena_of,      false},
    {TD_ENV_CONTROL_FD,                 control_of,    false},
    {TD_ENV_PROGRESS_FD,                progress_of,   false},
    {TD_ENV_STALL_TIMEOUT,              stall_of,      false},
    // clang-format on
};
enum { ROWS = sizeof rows / sizeof *rows };

/* Does this entry come from an outer launcher? What a user sets for Open MPI himself (OMPI_MCA_*, and root's
 * permission, which mpirun only reads) stays, unless an outer mpirun is there and has set its own. */
static bool is_of_outer_launcher(const char *entry, bool under_mpirun) {
    if (begins_with(entry, "PMI_") || (begins_with(entry, "PMIX_") && !begins_with(entry, "PMIX_MCA_")))
        return true;
    if (!begins_with(entry, "OMPI_") || begins_with(entry, "OMPI_ALLOW_RUN_AS_ROOT")) return false;
    return under_mpirun || !begins_with(entry, "OMPI_MCA_");
}

/* The value that the rank is given by this row; NULL: none. */
static const char *ask(asker *a, const struct row *row) {
    return row->outer_wins && find_entry(a->outer, row->name) ? NULL : row->value(a);
}

static bool is_replaced(asker *a, const char *entry) {
    for (int i = 0; i < ROWS; i++)
        if (names(entry, rows[i].name)) return ask(a, &rows[i]) != NULL;
    return false;
}

static bool is_dropped(const char *entry, bool under_mpirun) {
    /* torchrun's error file of an outer job is not for our ranks to write. */
    return is_of_outer_launcher(entry, under_mpirun) || names(entry, "TORCHELASTIC_ERROR_FILE");
}

static td_status check_device(const asker *a) {
    const char *list = outer_devices(a, false);
    size_t n = 0;
    if (!a->facts->virtual_local_rank || !list) return TD_OK;
    if (find_device(list, a->rank->rank, &n) && n > 0) return TD_OK;
    return td_fail(TD_ERR_ARG, 0, "launcher",
                   "--virtual-local-rank: rank %d needs a GPU of its own, but the visible ones are only '%s'",
                   a->rank->rank, list);
}

td_status launcher_environment_make(const launcher_facts *facts, const launcher_rank_facts *rank,
                                    char *const *outer, char ***environment) {
    asker a = {facts, rank, outer, {0}};
    const char *pmi = find_entry(outer, "PMI_FD");
    bool under_us = pmi && *pmi == '+'; /* another `tandem run` has set some of Open MPI's variables */
    bool under_mpirun =
        find_entry(outer, "PMIX_NAMESPACE") || (find_entry(outer, "OMPI_COMM_WORLD_SIZE") && !under_us);
    TD_TRY(check_device(&a));
    const char *pmix = rank->pmix ? rank->pmix : "";
    size_t n = 0, kept = 0, own = strlen(pmix) + 1, more = 1; /* entries, and bytes of our own ones */
    for (const char *at = pmix; (at = strchr(at, LAUNCHER_PMIX_BETWEEN)); at++) more++;
    while (outer[n]) n++;
    for (int i = 0; i < ROWS; i++) {
        const char *value = ask(&a, &rows[i]);
        if (value) own += strlen(rows[i].name) + strlen(value) + 2;
    }
    char **list =
        td_alloc((n + ROWS + more + 1) * sizeof *list + own); /* the pointers, then our own entries */
    if (!list) return TD_ERR_MEMORY;
    for (size_t i = 0; i < n; i++)
        if (!is_dropped(outer[i], under_mpirun) && !is_replaced(&a, outer[i])) list[kept++] = outer[i];
    char *text = (char *)(list + n + ROWS + more + 1);
    for (int i = 0; i < ROWS; i++) {
        const char *value = ask(&a, &rows[i]);
        if (!value) continue;
        list[kept++] = text;
        text = stpcpy(stpcpy(stpcpy(text, rows[i].name), "="), value) + 1;
    }
    strcpy(text, pmix);
    for (char *entry; (entry = strsep(&text, (char[]){LAUNCHER_PMIX_BETWEEN, 0}));)
        if (*entry) list[kept++] = entry;
    list[kept] = NULL;
    *environment = list;
    return TD_OK;
}
