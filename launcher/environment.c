/*
 * One table says every variable that a rank is given. A variable of the table replaces the outer one, and
 * what outer launchers tell their own processes is dropped, so that a rank sees exactly one launcher: us.
 */
#include "launcher/environment.h"

#include "base/memory.h"
#include "dist/job_mark.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VALUE_MOST = 64 };

typedef struct asker {
    const launcher_facts *facts;
    int rank, control_fd;
} asker;

typedef void make_value(const asker *a, char value[VALUE_MOST]);

static void put_number(char value[VALUE_MOST], int number) { snprintf(value, VALUE_MOST, "%d", number); }
static void make_rank(const asker *a, char v[VALUE_MOST]) { put_number(v, a->rank); }
static void make_world(const asker *a, char v[VALUE_MOST]) { put_number(v, a->facts->world_size); }
static void make_port(const asker *a, char v[VALUE_MOST]) { put_number(v, a->facts->port); }
static void make_threads(const asker *a, char v[VALUE_MOST]) { put_number(v, a->facts->threads); }
static void make_arena(const asker *a, char v[VALUE_MOST]) { put_number(v, a->facts->arena_fd); }
static void make_progress(const asker *a, char v[VALUE_MOST]) { put_number(v, a->facts->progress_fd); }
static void make_control(const asker *a, char v[VALUE_MOST]) { put_number(v, a->control_fd); }
static void make_run_id(const asker *a, char v[VALUE_MOST]) {
    snprintf(v, VALUE_MOST, "%s", a->facts->run_id);
}
static void make_restarts(const asker *a, char v[VALUE_MOST]) {
    snprintf(v, VALUE_MOST, "%d", a->facts->restart_count);
}
static void make_most(const asker *a, char v[VALUE_MOST]) {
    snprintf(v, VALUE_MOST, "%d", a->facts->max_restarts);
}
static void make_mark(const asker *a, char v[VALUE_MOST]) {
    td_job_mark mark = {a->rank, a->facts->world_size, a->facts->port};
    snprintf(v, VALUE_MOST, "%s", td_job_mark_format(mark).text);
}
static void make_stall(const asker *a, char v[VALUE_MOST]) {
    if (isinf(a->facts->stall_timeout))
        snprintf(v, VALUE_MOST, "inf");
    else
        snprintf(v, VALUE_MOST, "%.9g", a->facts->stall_timeout);
}

/* torchrun's names and meanings (torch/distributed/elastic/agent/server/local_elastic_agent.py), then ours.
 */
static const struct row {
    const char *name;
    make_value *make;  /* or NULL: */
    const char *value; /* always the same */
    bool outer_wins;   /* a value that the user has set stays */
} rows[] = {
    // clang-format off
    {"RANK",                          make_rank,    NULL,        false},
    {"LOCAL_RANK",                    make_rank,    NULL,        false},
    {"GROUP_RANK",                    NULL,         "0",         false},
    {"ROLE_RANK",                     make_rank,    NULL,        false},
    {"ROLE_NAME",                     NULL,         "default",   false},
    {"WORLD_SIZE",                    make_world,   NULL,        false},
    {"LOCAL_WORLD_SIZE",              make_world,   NULL,        false},
    {"GROUP_WORLD_SIZE",              NULL,         "1",         false},
    {"ROLE_WORLD_SIZE",               make_world,   NULL,        false},
    {"MASTER_ADDR",                   NULL,         "127.0.0.1", false},
    {"MASTER_PORT",                   make_port,    NULL,        false},
    {"TORCHELASTIC_RESTART_COUNT",    make_restarts, NULL,       false},
    {"TORCHELASTIC_MAX_RESTARTS",     make_most,    NULL,        false},
    {"TORCHELASTIC_RUN_ID",           make_run_id,  NULL,        false},
    {"TORCHELASTIC_USE_AGENT_STORE",  NULL,         "False",     false}, /* rank 0 serves its own */
    {"TORCH_NCCL_ASYNC_ERROR_HANDLING", NULL,       "1",         true},
    {"OMP_NUM_THREADS",               make_threads, NULL,        true},
    {TD_ENV_JOB,                      make_mark,    NULL,        false},
    {TD_ENV_ARENA_FD,                 make_arena,   NULL,        false},
    {TD_ENV_CONTROL_FD,               make_control, NULL,        false},
    {TD_ENV_PROGRESS_FD,              make_progress, NULL,       false},
    {TD_ENV_STALL_TIMEOUT,            make_stall,   NULL,        false},
    // clang-format on
};
enum { ROWS = sizeof rows / sizeof *rows };

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

/* Does this entry come from an outer launcher? What a user sets for Open MPI himself (OMPI_MCA_*, and root's
 * permission, which mpirun only reads) stays, unless an outer mpirun is there and has set its own. */
static bool is_of_outer_launcher(const char *entry, bool under_mpirun) {
    if (begins_with(entry, "PMI_") || begins_with(entry, "PMIX_")) return true;
    if (!begins_with(entry, "OMPI_") || begins_with(entry, "OMPI_ALLOW_RUN_AS_ROOT")) return false;
    return under_mpirun || !begins_with(entry, "OMPI_MCA_");
}

static bool is_replaced(const char *entry) {
    for (int i = 0; i < ROWS; i++)
        if (!rows[i].outer_wins && names(entry, rows[i].name)) return true;
    /* torchrun's error file of an outer job is not for our ranks to write. */
    return names(entry, "TORCHELASTIC_ERROR_FILE");
}

td_status launcher_environment_make(const launcher_facts *facts, int rank, int control_fd, char *const *outer,
                                    char ***environment) {
    bool under_mpirun = find_entry(outer, "OMPI_COMM_WORLD_SIZE") || find_entry(outer, "PMIX_NAMESPACE");
    size_t n = 0, kept = 0;
    while (outer[n]) n++;
    /* The pointers, then room for our own entries. */
    size_t entry_most = VALUE_MOST + 40;
    char **list = td_alloc((n + ROWS + 1) * sizeof *list + ROWS * entry_most);
    if (!list) return TD_ERR_MEMORY;
    char *text = (char *)(list + n + ROWS + 1);
    for (size_t i = 0; i < n; i++)
        if (!is_of_outer_launcher(outer[i], under_mpirun) && !is_replaced(outer[i])) list[kept++] = outer[i];

    asker a = {facts, rank, control_fd};
    for (int i = 0; i < ROWS; i++) {
        if (rows[i].outer_wins && find_entry(outer, rows[i].name)) continue;
        char value[VALUE_MOST];
        if (rows[i].make) rows[i].make(&a, value);
        snprintf(text, entry_most, "%s=%s", rows[i].name, rows[i].make ? value : rows[i].value);
        list[kept++] = text;
        text += entry_most;
    }
    list[kept] = NULL;
    *environment = list;
    return TD_OK;
}
