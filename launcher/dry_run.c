/*
 * The same functions that a job uses say what a rank would be given; what is made only at the start (the port,
 * descriptors, the run's id) is shown as open. As JSON one line for the job, then one for each rank.
 */
#include "launcher/dry_run.h"

#include "base/memory.h"
#include "base/parallel.h"
#include "dist/job_mark.h"
#include "launcher/attempt.h"
#include "launcher/places.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_MOST = 1024 };

/* JSON takes only UTF-8; a byte that is none becomes a question mark. */
static json_t *make_text(const char *text) {
    json_t *made = json_string(text);
    char *copy = made ? NULL : td_strdup(text);
    for (char *c = copy; c && *c; c++)
        if ((unsigned char)*c >= 0x80) *c = '?';
    if (copy) made = json_string(copy);
    td_free(copy);
    return made;
}

/* --- one rank ------------------------------------------------------------------------------------------- */

/* Is the value made only when the job starts? */
static bool is_open(const char *name, const char *value, const launcher_facts *facts) {
    static const char *const made[] = {TD_ENV_ARENA_FD, TD_ENV_CONTROL_FD, TD_ENV_PROGRESS_FD,
                                       "TORCHELASTIC_ERROR_FILE"};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        if (strcmp(name, made[i]) == 0) return true;
    if (strcmp(name, "MASTER_PORT") == 0 || strcmp(name, TD_ENV_JOB) == 0) return facts->port == 0;
    return strcmp(name, "TORCHELASTIC_RUN_ID") == 0 && !*value;
}

static bool is_among(const char *entry, char *const *list) {
    for (; *list; list++)
        if (*list == entry) return true;
    return false;
}

/* All of a rank's environment; td_free. */
static td_status make_environment(const launcher_constants *job, int rank, launcher_facts *facts,
                                  char ***environment) {
    extern char **environ;
    *facts = (launcher_facts){.arena_fd = -1, .progress_fd = -1};
    launcher_attempt_facts(job, 0, facts);
    facts->port = launcher_rendezvous_port(&job->options->rendezvous);
    launcher_rank_facts own = launcher_attempt_rank_facts(job->options, rank);
    return launcher_environment_make(facts, &own, environ, environment);
}

/* What we would set: the entries that are not the launcher's own. */
static td_status list_environment(const launcher_constants *job, int rank, json_t **set) {
    extern char **environ;
    launcher_facts facts;
    char **environment, name[256];
    TD_TRY(make_environment(job, rank, &facts, &environment));
    *set = json_object();
    for (char **e = environment; *e; e++) {
        const char *value = strchr(*e, '=');
        if (is_among(*e, environ) || !value) continue;
        snprintf(name, sizeof name, "%.*s", (int)(value - *e), *e);
        json_object_set_new(*set, name,
                            is_open(name, value + 1, &facts) ? json_null() : make_text(value + 1));
    }
    td_free(environment);
    return TD_OK;
}

/* The NUMA nodes that a mask (NULL: every CPU) touches, in rising order. */
static json_t *list_nodes(const launcher_places *p, const launcher_seat *seat) {
    json_t *nodes = json_array();
    for (int last = -1;;) {
        int next = -1;
        for (int i = 0; i < p->machine->count; i++) {
            const launcher_cpu *cpu = &p->machine->cpus[i];
            bool in = !seat->mask || CPU_ISSET_S((size_t)cpu->os, p->plan->mask_bytes, seat->mask);
            if (in && cpu->numa > last && (next < 0 || cpu->numa < next)) next = cpu->numa;
        }
        if (next < 0) return nodes;
        json_array_append_new(nodes, json_integer(next));
        last = next;
    }
}

static json_t *describe_gpu(const launcher_places *p, int rank) {
    if (!p->gpus || rank >= p->gpus->count) return json_null();
    const launcher_gpu *gpu = &p->gpus->gpu[rank];
    return json_pack("{ss ss ss so}", "uuid", gpu->uuid, "name", gpu->name, "visible_as", gpu->visible,
                     "numa", gpu->numa < 0 ? json_null() : json_integer(gpu->numa));
}

/* The value that the rank will see: the user's wins. */
static int threads_of(const launcher_places *p, int rank) {
    const char *set = getenv("OMP_NUM_THREADS");
    int threads = set ? atoi(set) : 0;
    return threads > 0 ? threads : launcher_places_threads(p, rank);
}

static td_status describe_rank(const launcher_constants *job, int rank, json_t **line) {
    const launcher_places *p = job->options->places;
    char list[LIST_MOST];
    json_t *environment, *cpus = json_null(), *nodes = json_null(), *cores = json_null();
    TD_TRY(list_environment(job, rank, &environment));
    if (p->plan) {
        const launcher_seat *seat = &p->plan->seats[rank];
        nodes = list_nodes(p, seat);
        if (seat->mask) {
            launcher_cpu_list(seat->mask, p->plan->mask_bytes, list, sizeof list);
            cpus = json_string(list);
            cores = json_integer(seat->cores);
        }
    }
    *line =
        json_pack("{ss si si so so so si so so}", "event", "rank", "rank", rank, "local_rank",
                  job->options->virtual_local_rank ? 0 : rank, "cpus", cpus, "cores", cores, "numa", nodes,
                  "threads", threads_of(p, rank), "gpu", describe_gpu(p, rank), "environment", environment);
    return *line ? TD_OK : td_fail(TD_ERR_MEMORY, 0, "launcher", "cannot describe rank %d", rank);
}

/* --- the job -------------------------------------------------------------------------------------------- */

static const char *name_binding(const launcher_places *p) {
    static const char *const names[] = {"auto", "none", "core", "numa", "package"};
    return p->plan ? names[p->plan->bound] : "none";
}

/* Variables that the launcher has and ranks do not get. */
static json_t *list_removed(const launcher_constants *job) {
    extern char **environ;
    launcher_facts facts;
    char **environment;
    json_t *removed = json_array();
    if (make_environment(job, 0, &facts, &environment) < 0) return removed;
    for (char **e = environ; *e; e++) {
        size_t n = strcspn(*e, "=");
        bool there = is_among(*e, environment);
        for (char **k = environment; !there && *k; k++) there = strncmp(*k, *e, n + 1) == 0;
        if (!there) json_array_append_new(removed, json_stringn(*e, n));
    }
    td_free(environment);
    return removed;
}

static json_t *describe_machine(const launcher_machine *m) {
    if (!m) return json_null();
    int cores = 0, last = -1;
    for (int i = 0; i < m->count; i++) {
        cores += m->cpus[i].core != last;
        last = m->cpus[i].core;
    }
    return json_pack("{si si si}", "cpus", m->whole_count, "usable_cpus", m->count, "usable_cores", cores);
}

/* The program as rank 0 gets it. */
static td_status list_arguments(const launcher_program *program, json_t **arguments) {
    char **argv;
    TD_TRY(launcher_program_arguments(program, 0, &argv));
    *arguments = json_array();
    for (char **a = argv; *a; a++) json_array_append_new(*arguments, make_text(*a));
    td_free(argv);
    return TD_OK;
}

static td_status describe_job(const launcher_constants *job, json_t **line) {
    const launcher_places *p = job->options->places;
    double quota = td_cpu_quota();
    json_t *program;
    TD_TRY(list_arguments(&job->program, &program));
    *line = json_pack(
        "{ss si ss so so ss so so so so}", "event", "job", "ranks", p->ranks, "ranks_from", p->ranks_from,
        "program", program, "path", make_text(job->program.path), "binding", name_binding(p), "machine",
        describe_machine(p->machine), "cpu_limit", quota > 0 ? json_real(quota) : json_null(), "allocation",
        p->allocation.system ? json_string(p->allocation.system) : json_null(), "removed", list_removed(job));
    return *line ? TD_OK : td_fail(TD_ERR_MEMORY, 0, "launcher", "cannot describe the job");
}

/* --- for people ----------------------------------------------------------------------------------------- */

static void print_value(const char *name, const json_t *value) {
    printf("  %s=%s\n", name, json_is_null(value) ? "(made at the start)" : json_string_value(value));
}

/* What every rank has alike. */
static bool is_common(json_t *const *ranks, int n, const char *name, const json_t *value) {
    for (int i = 1; i < n; i++)
        if (!json_equal(json_object_get(json_object_get(ranks[i], "environment"), name), value)) return false;
    return true;
}

static void print_rank(const json_t *rank) {
    const char *cpus = json_string_value(json_object_get(rank, "cpus"));
    const json_t *gpu = json_object_get(rank, "gpu"), *node;
    const char *uuid = json_string_value(json_object_get(gpu, "uuid"));
    char nodes[64] = "";
    size_t i;
    json_array_foreach(json_object_get(rank, "numa"), i, node) if (strlen(nodes) < 50)
        snprintf(nodes + strlen(nodes), sizeof nodes - strlen(nodes), "%s%d", i ? "," : "",
                 (int)json_integer_value(node));
    printf("%6d  %-20s  %-8s  %7d  %s\n", (int)json_integer_value(json_object_get(rank, "rank")),
           cpus ? cpus : "any", *nodes ? nodes : "-",
           (int)json_integer_value(json_object_get(rank, "threads")), uuid ? uuid : "-");
}

static void print_plan(const launcher_options *options, const json_t *job, json_t *const *ranks, int n) {
    const json_t *value, *machine = json_object_get(job, "machine");
    const char *name;
    size_t i;
    printf("%d rank%s (%s), bound to: %s\nprogram:", n, n == 1 ? "" : "s", options->places->ranks_from,
           name_binding(options->places));
    json_array_foreach(json_object_get(job, "program"), i, value) printf(" %s", json_string_value(value));
    if (json_is_object(machine))
        printf("\nusable: %d cores, %d of the machine's %d CPUs",
               (int)json_integer_value(json_object_get(machine, "usable_cores")),
               (int)json_integer_value(json_object_get(machine, "usable_cpus")),
               (int)json_integer_value(json_object_get(machine, "cpus")));
    if (json_is_real(json_object_get(job, "cpu_limit")))
        printf("; limited to %g CPUs", json_real_value(json_object_get(job, "cpu_limit")));
    printf("\n\n%6s  %-20s  %-8s  %7s  %s\n", "rank", "CPUs", "NUMA", "threads", "GPU");
    for (int r = 0; r < n; r++) print_rank(ranks[r]);
    printf("\nevery rank's environment:\n");
    json_object_foreach(json_object_get(ranks[0], "environment"), name,
                        value) if (is_common(ranks, n, name, value)) print_value(name, value);
    for (int r = 0; r < n && n > 1; r++) {
        printf("rank %d:\n", r);
        json_object_foreach(json_object_get(ranks[r], "environment"), name,
                            value) if (!is_common(ranks, n, name,
                                                  json_object_get(json_object_get(ranks[0], "environment"),
                                                                  name))) print_value(name, value);
    }
    if (json_array_size(json_object_get(job, "removed"))) printf("removed:\n");
    json_array_foreach(json_object_get(job, "removed"), i, value) printf("  %s\n", json_string_value(value));
}

static void print_lines(const json_t *job, json_t *const *ranks, int n) {
    json_dumpf(job, stdout, JSON_COMPACT);
    putchar('\n');
    for (int r = 0; r < n; r++) {
        json_dumpf(ranks[r], stdout, JSON_COMPACT);
        putchar('\n');
    }
}

static td_status show(const launcher_constants *job, json_t **ranks) {
    const launcher_options *options = job->options;
    int n = options->places->ranks;
    json_t *line;
    for (int r = 0; r < n; r++) TD_TRY(describe_rank(job, r, &ranks[r]));
    TD_TRY(describe_job(job, &line));
    if (options->json)
        print_lines(line, ranks, n);
    else
        print_plan(options, line, ranks, n);
    json_decref(line);
    return fflush(stdout) == 0 ? TD_OK
                               : td_fail(TD_ERR_SYSTEM, 0, "launcher", "the plan could not be written");
}

int launcher_dry_run(const launcher_options *options) {
    launcher_constants job = {.options = options};
    int exit_code = LAUNCHER_EXIT_OWN;
    job.run_id = launcher_rendezvous_id(&options->rendezvous);
    if (!job.run_id) job.run_id = ""; /* a random one */
    json_t **ranks = td_calloc((size_t)options->places->ranks, sizeof(json_t *));
    td_status status = ranks ? TD_OK : TD_ERR_MEMORY;
    if (status >= 0) status = launcher_program_find(options, &job.program, &exit_code);
    if (status >= 0) status = show(&job, ranks);
    for (int r = 0; ranks && r < options->places->ranks; r++) json_decref(ranks[r]);
    td_free(ranks);
    if (status >= 0) return 0;
    fprintf(stderr, "tandem: %s\n", td_error_last()->text);
    return exit_code;
}
