/* From wishes to a plan: first how many ranks, then whether anything must be read for them, then the plan. */
#include "launcher/places.h"

#include "base/memory.h"
#include "base/number.h"
#include "base/parallel.h"
#include "base/plugin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

td_status launcher_count_parse(const char *text, void *member) {
    launcher_count *count = member;
    static const char *const words[] = {"auto", "cpu", "gpu"};
    int64_t number;
    for (int i = 0; i < 3; i++)
        if (strcmp(text, words[i]) == 0) {
            *count = (launcher_count){LAUNCHER_COUNT_AUTO + (launcher_count_kind)i, 0};
            return TD_OK;
        }
    if (td_parse_i64(text, &number) == 0) {
        if (number < 1 || number > LAUNCHER_RANKS_MOST)
            return td_fail(TD_ERR_ARG, 0, "launcher", "%s is not between 1 and %d", text,
                           LAUNCHER_RANKS_MOST);
        *count = (launcher_count){LAUNCHER_COUNT_NUMBER, number};
        return TD_OK;
    }
    return td_fail(TD_ERR_ARG, 0, "launcher", "'%s' is not a whole number, auto, cpu or gpu", text);
}

static const char *lookup_variable(const char *name, void *cookie) {
    (void)cookie;
    return getenv(name);
}

/* --- how many ranks ------------------------------------------------------------------------------------- */

static td_status find_gpus(launcher_places *p) {
    launcher_gpus *gpus;
    TD_TRY(launcher_gpus_find(getenv("CUDA_VISIBLE_DEVICES"), &gpus));
    p->gpus = gpus;
    return TD_OK;
}

/* No number was given: an allocation's slots, or one. */
static td_status take_slots(launcher_places *p) {
    p->ranks = 1;
    p->ranks_from = "default";
    if (p->allocation.system && p->allocation.nodes > 1)
        return td_fail(
            TD_ERR_ARG, 0, "launcher",
            "this %s job has %d nodes, and tandem run starts ranks on this one only: say how many with "
            "-n, or start them everywhere with srun or mpirun",
            p->allocation.system, p->allocation.nodes);
    if (!p->allocation.system || p->allocation.slots == 0) return TD_OK;
    if (p->allocation.slots > LAUNCHER_RANKS_MOST)
        return td_fail(TD_ERR_ARG, 0, "launcher", "%s gives %d slots; -n takes up to %d",
                       p->allocation.system, p->allocation.slots, LAUNCHER_RANKS_MOST);
    p->ranks = p->allocation.slots;
    p->ranks_from = p->allocation.system;
    return TD_OK;
}

static td_status count_ranks(const launcher_options *options, launcher_places *p) {
    launcher_count_kind kind = options->count.kind;
    if (kind == LAUNCHER_COUNT_NONE) return take_slots(p);
    p->ranks_from = "GPUs";
    if (kind == LAUNCHER_COUNT_NUMBER) {
        p->ranks_from = "-n";
        p->ranks = (int)options->count.number;
        return TD_OK;
    }
    if (kind != LAUNCHER_COUNT_CPU) {
        td_status status = find_gpus(p);
        if (status < 0 && (kind == LAUNCHER_COUNT_GPU || status != TD_ERR_UNSUPPORTED)) return status;
    }
    p->ranks = p->gpus ? p->gpus->count : td_cpu_count();
    if (!p->gpus) p->ranks_from = "CPUs";
    return TD_OK;
}

/* A rank that sees one GPU only must have one that no other has. Where ranks may be bound without having been
 * asked to (`alone`), they are near their GPUs if there are any. */
static td_status give_gpus(const launcher_options *options, bool alone, launcher_places *p) {
    bool own = options->virtual_local_rank, near = options->numa_binding != NULL;
    if (!p->gpus && !own && !near && !alone) return TD_OK;
    td_status status = p->gpus ? TD_OK : find_gpus(p);
    if (status < 0 && !own && !near) return TD_OK;
    if (status == TD_ERR_UNSUPPORTED) return TD_OK; /* no driver here to ask, or no GPU */
    TD_TRY(status);
    if (own && p->ranks > p->gpus->count)
        return td_fail(TD_ERR_ARG, 0, "launcher",
                       "--virtual-local-rank: %d ranks need a GPU each, but there are %d", p->ranks,
                       p->gpus->count);
    return TD_OK;
}

/* --- which cores ---------------------------------------------------------------------------------------- */

static int find_word(const char *word, const char *const *words) {
    for (int i = 0; word && words[i]; i++)
        if (strcmp(word, words[i]) == 0) return i;
    return -1;
}

/* A package has two names, as in mpirun. */
static const char *plain(const char *word) { return word && strcmp(word, "socket") == 0 ? "package" : word; }

/* What the user wants, in placement's words; the lists are in the order of its enums. */
static td_status read_wishes(const launcher_options *options, launcher_placing *wish) {
    static const char *const binds[] = {"auto", "none", "core", "numa", "package", NULL};
    static const char *const maps[] = {"slot", "numa", "package", NULL};
    static const char *const modes[] = {"none", "node", "socket", "exclusive", "core-complex", NULL};
    int bind = find_word(plain(options->bind_to), binds), map = find_word(plain(options->map_by), maps);
    int mode = find_word(options->numa_binding, modes);
    if (mode >= 0 && (options->bind_to || options->map_by))
        return td_fail(TD_ERR_ARG, 0, "launcher",
                       "--numa-binding says where ranks go; --bind-to and --map-by do not go with it");
    wish->numa_binding = mode < 0 ? LAUNCHER_NUMA_NONE : (launcher_numa_binding)mode;
    wish->bind = bind < 0 ? LAUNCHER_BIND_AUTO : (launcher_bind)bind;
    wish->map =
        map < 0 ? LAUNCHER_MAP_SLOT : (launcher_map)map; /* "core" is the same: one core after the other */
    /* An order of places means something only for ranks that are bound. */
    if (options->map_by && wish->bind == LAUNCHER_BIND_AUTO) wish->bind = LAUNCHER_BIND_CORE;
    return TD_OK;
}

/* Slurm gave these CPUs to this job and no more, and this launcher uses all of its tasks: nobody else will want
 * the same cores. A mask cut by taskset or a container may be shared, so it is no such sign. */
static bool may_have_cpus_alone(const launcher_places *p) {
    return p->allocation.system && p->allocation.cpus > 0 && p->allocation.nodes == 1 &&
           p->ranks == p->allocation.slots;
}

static td_status read_machine(launcher_places *p) {
    const void *table;
    launcher_machine *machine;
    TD_TRY(td_plugin_load("hwloc", &table));
    TD_TRY(((const launcher_machine_reader *)table)->read(&machine));
    p->machine = machine;
    return TD_OK;
}

static td_status make_plan(const launcher_options *options, launcher_placing *wish, launcher_places *p) {
    int gpu_numa[256];
    wish->ranks = p->ranks;
    wish->cpu_limit = td_cpu_quota();
    wish->alone = may_have_cpus_alone(p) && p->machine->count == p->allocation.cpus;
    for (int i = 0; p->gpus && i < p->gpus->count && i < 256; i++)
        gpu_numa[wish->gpus++] = p->gpus->gpu[i].numa;
    wish->gpu_numa = gpu_numa;
    launcher_plan *plan;
    TD_TRY(launcher_plan_make(p->machine, wish, &plan));
    p->plan = plan;
    if (plan->bound != LAUNCHER_BIND_NONE && !p->machine->here && !options->dry_run)
        return td_fail(
            TD_ERR_ARG, 0, "launcher",
            "HWLOC_XMLFILE or HWLOC_SYNTHETIC describes another machine, whose cores are not here to "
            "bind to; --dry-run shows the plan");
    return TD_OK;
}

static td_status find_places(const launcher_options *options, launcher_places *p) {
    launcher_placing wish = {0};
    TD_TRY(read_wishes(options, &wish));
    TD_TRY(launcher_allocation_read(lookup_variable, NULL, &p->allocation));
    TD_TRY(count_ranks(options, p));
    p->cores = td_core_count();
    bool bind = wish.numa_binding != LAUNCHER_NUMA_NONE || wish.bind > LAUNCHER_BIND_NONE;
    bool maybe = wish.bind == LAUNCHER_BIND_AUTO && !bind && may_have_cpus_alone(p);
    TD_TRY(give_gpus(options, maybe, p));
    if (bind || maybe || options->dry_run) {
        td_status status = read_machine(p);
        if (status >= 0) return make_plan(options, &wish, p);
        if (bind) return status;
    }
    p->threads = launcher_threads_share(p->cores, 0, p->ranks);
    return TD_OK;
}

td_status launcher_places_find(const launcher_options *options, launcher_places *places) {
    launcher_places p = {0};
    td_status status = find_places(options, &p);
    if (status < 0)
        launcher_places_close(&p);
    else
        *places = p;
    return status;
}

void launcher_places_close(launcher_places *p) {
    td_free((void *)p->plan);
    td_free((void *)p->gpus);
    td_free((void *)p->machine);
    *p = (launcher_places){0};
}

int launcher_places_threads(const launcher_places *places, int rank) {
    return places->plan ? places->plan->seats[rank].threads : places->threads;
}
