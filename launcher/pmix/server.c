/*
 * libpmix's server for one job on one node. The keys are those without which MPI_Init of Open MPI 4.1 and 5 fails
 * or does not find its neighbours; fences among local ranks are completed inside the library, so of its
 * upcalls we only need to know who comes, who goes and who aborts. They run in the library's thread; this
 * one waits for the launcher to close the socket.
 */
#include "base/memory.h"
#include "base/plugin.h"
#include "config.h"
#include "launcher/pmix.h"

#include <pmix.h>
#include <pmix_server.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Upcalls have no cookie but a rank's; libpmix knows one server per process anyway. */
static struct {
    int socket;
    launcher_pmix_sayer *say;
} launcher;

static void say(launcher_pmix_kind kind, int rank, int value, const char *text) {
    launcher.say(launcher.socket, kind, rank, value, text);
}

/* --- upcalls -------------------------------------------------------------------------------------------- */

static pmix_status_t take_entered(const pmix_proc_t *who, void *cookie, pmix_op_cbfunc_t done, void *more) {
    (void)cookie, (void)done, (void)more;
    say(LAUNCHER_PMIX_ENTERED, (int)who->rank, 0, "");
    return PMIX_OPERATION_SUCCEEDED;
}

static pmix_status_t take_left(const pmix_proc_t *who, void *cookie, pmix_op_cbfunc_t done, void *more) {
    (void)cookie, (void)done, (void)more;
    say(LAUNCHER_PMIX_LEFT, (int)who->rank, 0, "");
    return PMIX_OPERATION_SUCCEEDED;
}

static pmix_status_t take_abort(const pmix_proc_t *who, void *cookie, int code, const char *text,
                                pmix_proc_t *whom, size_t n, pmix_op_cbfunc_t done, void *more) {
    (void)cookie, (void)text, (void)whom, (void)n, (void)done, (void)more;
    say(LAUNCHER_PMIX_ABORTED, (int)who->rank, code, "");
    return PMIX_OPERATION_SUCCEEDED;
}

/* --- calls that end in the library's thread --------------------------------------------------------------- */

typedef struct call {
    sem_t over;
    pmix_status_t status;
} call;

static void end_call(pmix_status_t status, void *cookie) {
    call *c = cookie;
    c->status = status;
    sem_post(&c->over);
}

static pmix_status_t wait_for(call *c, pmix_status_t begun) {
    if (begun == PMIX_OPERATION_SUCCEEDED) return PMIX_SUCCESS;
    if (begun != PMIX_SUCCESS) return begun;
    while (sem_wait(&c->over) != 0) continue;
    return c->status;
}

/* --- what the job is -------------------------------------------------------------------------------------- */

enum { JOB_KEYS = 16, RANK_KEYS = 8 };

typedef struct keys {
    pmix_info_t *info;
    size_t n;
} keys;

static void put_text(keys *k, const char *key, const char *text, pmix_data_type_t type) {
    PMIX_INFO_LOAD(&k->info[k->n++], key, text, type);
}

static void put_number(keys *k, const char *key, int number, pmix_data_type_t type) {
    uint32_t wide = (uint32_t)number;
    uint16_t narrow = (uint16_t)number;
    PMIX_INFO_LOAD(&k->info[k->n++], key, type == PMIX_UINT16 ? (void *)&narrow : (void *)&wide, type);
}

static void put_rank(keys *job, int rank, const char *host) {
    keys own = {0};
    PMIX_INFO_CREATE(own.info, RANK_KEYS);
    put_number(&own, PMIX_RANK, rank, PMIX_PROC_RANK);
    put_number(&own, PMIX_LOCAL_RANK, rank, PMIX_UINT16);
    put_number(&own, PMIX_NODE_RANK, rank, PMIX_UINT16);
    put_number(&own, PMIX_APPNUM, 0, PMIX_UINT32);
    put_number(&own, PMIX_GLOBAL_RANK, rank, PMIX_UINT32);
    put_number(&own, PMIX_NODEID, 0, PMIX_UINT32);
    put_text(&own, PMIX_HOSTNAME, host, PMIX_STRING);
    pmix_data_array_t list = {.type = PMIX_INFO, .size = own.n, .array = own.info};
    PMIX_INFO_LOAD(&job->info[job->n++], PMIX_PROC_DATA, &list, PMIX_DATA_ARRAY); /* copies */
    PMIX_INFO_FREE(own.info, RANK_KEYS);
}

/* "0,1,2" */
static char *list_ranks(int n) {
    char *list = td_alloc((size_t)n * 12 + 1), *end = list;
    if (list) *list = 0;
    for (int i = 0; list && i < n; i++) end += sprintf(end, i > 0 ? ",%d" : "%d", i);
    return list;
}

static pmix_status_t register_job(const launcher_pmix_job *job, const char *ranks) {
    char host[256] = "localhost", *nodes = NULL, *placed = NULL;
    bool removed = true;
    size_t n = (size_t)job->ranks + JOB_KEYS;
    keys k = {0};
    gethostname(host, sizeof host - 1);
    pmix_status_t status = PMIx_generate_regex(host, &nodes);
    if (status == PMIX_SUCCESS) status = PMIx_generate_ppn(ranks, &placed);
    if (status != PMIX_SUCCESS) return status;
    PMIX_INFO_CREATE(k.info, n);
    const char *const counts[] = {PMIX_JOB_SIZE,   PMIX_MAX_PROCS, PMIX_UNIV_SIZE,
                                  PMIX_LOCAL_SIZE, PMIX_NODE_SIZE, NULL};
    for (int i = 0; counts[i]; i++) put_number(&k, counts[i], job->ranks, PMIX_UINT32);
    put_number(&k, PMIX_NUM_NODES, 1, PMIX_UINT32);
    put_text(&k, PMIX_LOCAL_PEERS, ranks, PMIX_STRING);
    put_text(&k, PMIX_NODE_MAP, nodes, PMIX_REGEX);
    put_text(&k, PMIX_PROC_MAP, placed, PMIX_REGEX);
    put_text(&k, PMIX_JOBID, job->name, PMIX_STRING);
    put_text(&k, PMIX_TMPDIR, job->folder, PMIX_STRING);
    put_text(&k, PMIX_NSDIR, job->folder, PMIX_STRING);
    PMIX_INFO_LOAD(&k.info[k.n++], PMIX_TDIR_RMCLEAN, &removed, PMIX_BOOL);
    for (int i = 0; i < job->ranks; i++) put_rank(&k, i, host);
    call c = {.status = PMIX_ERROR};
    sem_init(&c.over, 0, 0);
    status = wait_for(&c, PMIx_server_register_nspace(job->name, job->ranks, k.info, k.n, end_call, &c));
    PMIX_INFO_FREE(k.info, n);
    free(nodes);
    free(placed);
    return status;
}

/* --- what a rank is told ---------------------------------------------------------------------------------- */

static td_status fail_pmix(const char *what, pmix_status_t status) {
    return td_fail(TD_ERR_SYSTEM, 0, "launcher", "libpmix cannot %s: %s", what, PMIx_Error_string(status));
}

static td_status say_environment(int rank, char *const *entries) {
    char text[LAUNCHER_PMIX_TEXT_MOST] = "", *end = text;
    for (; entries && *entries; entries++) {
        size_t n = strlen(*entries);
        if (n + 2 > sizeof text - (size_t)(end - text) || strpbrk(*entries, "\n\x1f"))
            return td_fail(TD_ERR_SYSTEM, 0, "launcher", "libpmix asks for an environment that is too long");
        if (end > text) *end++ = LAUNCHER_PMIX_BETWEEN;
        end = stpcpy(end, *entries);
    }
    say(LAUNCHER_PMIX_ENVIRONMENT, rank, 0, text);
    return TD_OK;
}

static td_status add_rank(const launcher_pmix_job *job, int rank) {
    pmix_proc_t who;
    PMIX_LOAD_PROCID(&who, job->name, (pmix_rank_t)rank);
    call c = {.status = PMIX_ERROR};
    sem_init(&c.over, 0, 0);
    pmix_status_t status =
        wait_for(&c, PMIx_server_register_client(&who, getuid(), getgid(), NULL, end_call, &c));
    if (status != PMIX_SUCCESS) return fail_pmix("take a rank", status);
    char **environment = calloc(1, sizeof *environment); /* grown by the library */
    if (!environment) return TD_ERR_MEMORY;
    status = PMIx_server_setup_fork(&who, &environment);
    td_status said =
        status == PMIX_SUCCESS ? say_environment(rank, environment) : fail_pmix("set up a rank", status);
    for (char **entry = environment; entry && *entry; entry++) free(*entry);
    free(environment);
    return said;
}

static td_status begin(const launcher_pmix_job *job) {
    static pmix_server_module_t module = {
        .client_connected = take_entered, .client_finalized = take_left, .abort = take_abort};
    pmix_info_t where[2];
    PMIX_INFO_LOAD(&where[0], PMIX_SERVER_TMPDIR, job->folder, PMIX_STRING);
    PMIX_INFO_LOAD(&where[1], PMIX_SYSTEM_TMPDIR, job->folder, PMIX_STRING);
    pmix_status_t status = PMIx_server_init(&module, where, 2);
    if (status != PMIX_SUCCESS) return fail_pmix("begin", status);
    char *ranks = list_ranks(job->ranks);
    if (!ranks) return TD_ERR_MEMORY;
    status = register_job(job, ranks);
    td_free(ranks);
    if (status != PMIX_SUCCESS) return fail_pmix("take the job", status);
    for (int rank = 0; rank < job->ranks; rank++) TD_TRY(add_rank(job, rank));
    return TD_OK;
}

static void serve(const launcher_pmix_job *job, int socket, launcher_pmix_sayer *sayer) {
    char none;
    launcher.socket = socket;
    launcher.say = sayer;
    if (begin(job) < 0)
        say(LAUNCHER_PMIX_FAILED, -1, 0, td_error_last()->text);
    else
        while (read(socket, &none, 1) > 0) continue;
}

static const launcher_pmix_server table = {serve};
TD_PLUGIN_SYMBOL = {TD_BUILD_ID, "pmix", &table};
