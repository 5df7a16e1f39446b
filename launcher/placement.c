/*
 * Ranks get cores in two steps. First each is given a share: a run of cores of its own, within one domain (the
 * node of its GPU, a NUMA node, a package) where one is asked for or where shares fit into domains anyway. Then
 * the share is widened to whole nodes or packages where that is what the user wants. Threads are counted from
 * the result: a core that k ranks have counts as 1/k for each.
 */
#include "launcher/placement.h"

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A core: the CPUs from `first` on, `count` of them. */
typedef struct core {
    int first, count;
    int lowest; /* its smallest CPU number */
    int numa, package, complex;
} core;

typedef struct planner {
    const launcher_machine *machine;
    const launcher_placing *placing;
    int n, cores, numa_count;
    core *core;
    int *numas;         /* the NUMA nodes, in the machine's order */
    int *list;          /* the numbers of some cores */
    int *domain;        /* of each rank (of each GPU, for torchrun's binding): a NUMA node or package; ANY */
    int *counts;        /* of ranks by domain */
    unsigned char *has; /* [rank * cores + core] */
} planner;

enum { ANY = -1 };

/* --- what there is -------------------------------------------------------------------------------------- */

static void find_cores(planner *p) {
    const launcher_machine *m = p->machine;
    for (int i = 0; i < m->count; i++) {
        const launcher_cpu *cpu = &m->cpus[i];
        if (i > 0 && m->cpus[i - 1].core == cpu->core) {
            core *last = &p->core[p->cores - 1];
            last->count++;
            if (cpu->os < last->lowest) last->lowest = cpu->os;
            continue;
        }
        p->core[p->cores++] = (core){i, 1, cpu->os, cpu->numa, cpu->package, cpu->complex};
        int k = 0;
        while (k < p->numa_count && p->numas[k] != cpu->numa) k++;
        if (k == p->numa_count) p->numas[p->numa_count++] = cpu->numa;
    }
}

typedef int of_core(const core *c);
static int numa_of(const core *c) { return c->numa; }
static int package_of(const core *c) { return c->package; }
static int complex_of(const core *c) { return c->complex; }

/* Put the numbers of the cores whose `key` is `value` (ANY: all) into p->list; how many. */
static int list_cores(planner *p, of_core *key, int value) {
    int m = 0;
    for (int c = 0; c < p->cores; c++)
        if (value == ANY || key(&p->core[c]) == value) p->list[m++] = c;
    return m;
}

/* --- shares --------------------------------------------------------------------------------------------- */

static unsigned char *hold(planner *p, int rank, int core_number) {
    return &p->has[(size_t)rank * (size_t)p->cores + (size_t)core_number];
}

/* Part `k` of `parts` of the `m` cores in p->list; the first ones are larger by one. One core, shared, where
 * there are more parts than cores. */
static void give_part(planner *p, int rank, int k, int parts, int m) {
    if (parts > m) {
        *hold(p, rank, p->list[(int)((int64_t)k * m / parts)]) = 1;
        return;
    }
    int base = m / parts, extra = m % parts, begin = k * base + (k < extra ? k : extra);
    for (int i = begin; i < begin + base + (k < extra); i++) *hold(p, rank, p->list[i]) = 1;
}

/* Ranks in order over the NUMA nodes, each next one where the share is then largest; all ANY when a rank would
 * get less than by dividing all cores regardless of nodes. */
static void spread_over_numas(planner *p, int n) {
    int least = p->cores, *sizes = p->list;
    memset(p->counts, 0, (size_t)p->numa_count * sizeof *p->counts);
    for (int d = 0; d < p->numa_count; d++) {
        sizes[d] = 0;
        for (int c = 0; c < p->cores; c++) sizes[d] += p->core[c].numa == p->numas[d];
    }
    for (int r = 0; r < n; r++) {
        int best = 0;
        for (int d = 1; d < p->numa_count; d++)
            if ((int64_t)sizes[d] * (p->counts[best] + 1) > (int64_t)sizes[best] * (p->counts[d] + 1))
                best = d;
        p->counts[best]++;
    }
    for (int d = 0; d < p->numa_count; d++)
        if (p->counts[d] && sizes[d] / p->counts[d] < least) least = sizes[d] / p->counts[d];
    bool local = least >= p->cores / n;
    for (int r = 0, d = 0; r < n; r++) {
        while (p->counts[d] == 0) d++;
        p->domain[r] = local ? p->numas[d] : ANY;
        p->counts[d]--;
    }
}

/* Each rank to its GPU's node; false when a node is not known or has no core for us. */
static bool follow_gpus(planner *p) {
    for (int r = 0; r < p->n; r++) {
        int numa = p->placing->gpu_numa[r];
        if (numa < 0 && p->numa_count == 1) numa = p->numas[0];
        if (numa < 0 || list_cores(p, numa_of, numa) == 0) return false;
        p->domain[r] = numa;
    }
    return true;
}

/* Each rank's domain, and by what domains are told apart. */
static of_core *choose_domains(planner *p) {
    if (p->placing->gpus >= p->n && follow_gpus(p)) return numa_of;
    if (p->placing->map == LAUNCHER_MAP_SLOT) {
        spread_over_numas(p, p->n);
        return numa_of;
    }
    bool by_package = p->placing->map == LAUNCHER_MAP_PACKAGE;
    int count = 0;
    for (int c = 0; c < p->cores; c++) { /* p->list: the domains in the machine's order */
        int d = by_package ? p->core[c].package : p->core[c].numa, k = 0;
        while (k < count && p->list[k] != d) k++;
        if (k == count) p->list[count++] = d;
    }
    for (int r = 0; r < p->n; r++) p->domain[r] = p->list[r % count];
    return by_package ? package_of : numa_of;
}

/* How many of the first `n` have the domain of `rank`, and how many of them come before it. */
static int find_neighbours(const planner *p, int n, int rank, int *before) {
    int all = 0;
    *before = 0;
    for (int r = 0; r < n; r++) {
        if (p->domain[r] != p->domain[rank]) continue;
        all++;
        *before += r < rank;
    }
    return all;
}

static td_status refuse_crowd(int cores, int ranks, const char *where) {
    return td_fail(
        TD_ERR_ARG, 0, "launcher",
        "there are %d cores for %d ranks%s, so they cannot be bound to cores of their own; try --bind-to "
        "none or numa",
        cores, ranks, where);
}

static td_status give_shares(planner *p, bool crowd) {
    if (p->n > p->cores && !crowd) return refuse_crowd(p->cores, p->n, "");
    of_core *key = choose_domains(p);
    for (int r = 0; r < p->n; r++) {
        int before, parts = find_neighbours(p, p->n, r, &before), m = list_cores(p, key, p->domain[r]);
        if (parts > m && !crowd)
            return refuse_crowd(m, parts, key == numa_of ? " on one NUMA node" : " on one package");
        give_part(p, r, before, parts, m);
    }
    return TD_OK;
}

/* Every rank gets all of each domain that it has a core of. */
static void widen(planner *p, of_core *key) {
    for (int r = 0; r < p->n; r++)
        for (int a = 0; a < p->cores; a++) {
            if (*hold(p, r, a) != 1) continue;
            for (int b = 0; b < p->cores; b++) /* 2: held because of another */
                if (key(&p->core[a]) == key(&p->core[b]) && !*hold(p, r, b)) *hold(p, r, b) = 2;
        }
}

/* --- torchrun's --numa-binding -------------------------------------------------------------------------- */

static int compare_ints(const void *a, const void *b) {
    return (*(const int *)a > *(const int *)b) - (*(const int *)a < *(const int *)b);
}

/* The k-th (modulo their number) of the node's core complexes: those with more CPUs first, then by number. */
static int choose_complex(planner *p, int m, int k) {
    struct found {
        int complex, cpus, lowest;
    } best = {ANY, 0, 0}, last = {ANY, 1 << 30, -1};
    int count = 0;
    for (int i = 0; i < m; i++) {
        int j = 0;
        while (p->core[p->list[j]].complex != p->core[p->list[i]].complex) j++;
        count += j == i;
    }
    /* Selection, one after another: nodes have a handful. */
    for (int round = 0; round <= k % count; round++, last = best) {
        best = (struct found){ANY, 0, 0};
        for (int i = 0; i < m; i++) {
            struct found one = {p->core[p->list[i]].complex, 0, 1 << 30};
            for (int j = 0; j < m; j++) {
                const core *c = &p->core[p->list[j]];
                if (c->complex != one.complex) continue;
                one.cpus += c->count;
                if (c->lowest < one.lowest) one.lowest = c->lowest;
            }
            bool after = one.cpus < last.cpus || (one.cpus == last.cpus && one.lowest > last.lowest);
            bool better = one.cpus > best.cpus || (one.cpus == best.cpus && one.lowest < best.lowest);
            if (after && (best.complex == ANY || better)) best = one;
        }
    }
    return best.complex;
}

static void give_all(planner *p, int rank, of_core *key, int value) {
    int m = list_cores(p, key, value);
    for (int i = 0; i < m; i++) *hold(p, rank, p->list[i]) = 1;
}

/* The package of the node's lowest CPU, as torchrun has it. */
static int find_package(planner *p, int m) {
    const core *lowest = &p->core[p->list[0]];
    for (int i = 1; i < m; i++)
        if (p->core[p->list[i]].lowest < lowest->lowest) lowest = &p->core[p->list[i]];
    return lowest->package;
}

/* The node of each device, into p->domain. */
static td_status place_devices(planner *p, int devices) {
    if (p->placing->gpus == 0) {
        spread_over_numas(p, devices);
        for (int d = 0; d < devices; d++)
            if (p->domain[d] == ANY) p->domain[d] = p->core[(int)((int64_t)d * p->cores / devices)].numa;
        return TD_OK;
    }
    if (p->n > devices)
        return td_fail(TD_ERR_ARG, 0, "launcher",
                       "--numa-binding: rank %d has no GPU of its own, for %d are visible", devices, devices);
    for (int d = 0; d < devices; d++) {
        int numa = p->placing->gpu_numa[d];
        p->domain[d] = numa < 0 ? 0 : numa; /* as torchrun: machines with one node often do not say */
    }
    return TD_OK;
}

static td_status bind_as_torchrun(planner *p) {
    int devices = p->placing->gpus ? p->placing->gpus : p->n;
    TD_TRY(place_devices(p, devices));
    for (int r = 0; r < p->n; r++) {
        int before, parts = find_neighbours(p, devices, r, &before);
        int m = list_cores(p, numa_of, p->domain[r]);
        if (m == 0)
            return td_fail(
                TD_ERR_ARG, 0, "launcher",
                "--numa-binding: NUMA node %d, where the GPU of rank %d is, has no CPU for this job",
                p->domain[r], r);
        switch (p->placing->numa_binding) {
        case LAUNCHER_NUMA_SOCKET: give_all(p, r, package_of, find_package(p, m)); break;
        case LAUNCHER_NUMA_CORE_COMPLEX: give_all(p, r, complex_of, choose_complex(p, m, before)); break;
        case LAUNCHER_NUMA_EXCLUSIVE:
            if (m < parts)
                return td_fail(
                    TD_ERR_ARG, 0, "launcher",
                    "--numa-binding exclusive: NUMA node %d has %d cores for the %d ranks or GPUs there",
                    p->domain[r], m, parts);
            for (int i = 0; i < m; i++) p->list[i] = p->core[p->list[i]].lowest;
            qsort(p->list, (size_t)m, sizeof *p->list, compare_ints);
            for (int i = 0; i < m; i++) { /* back from lowest CPU to core */
                int c = 0;
                while (p->core[c].lowest != p->list[i]) c++;
                p->list[i] = c;
            }
            give_part(p, r, before, parts, m);
            break;
        default: give_all(p, r, numa_of, p->domain[r]); break;
        }
    }
    return TD_OK;
}

/* --- the plan ------------------------------------------------------------------------------------------- */

int launcher_threads_share(double cores, double cpu_limit, int ranks) {
    double whole = cpu_limit > 0 ? (double)(int64_t)(cpu_limit + 0.999) : cores;
    if (whole > cores) whole = cores;
    int share = (int)(whole / ranks + 1e-9);
    return share < 1 ? 1 : share;
}

static td_status place_ranks(planner *p, launcher_bind *bound) {
    const launcher_placing *wish = p->placing;
    *bound = wish->bind;
    if (wish->numa_binding != LAUNCHER_NUMA_NONE) {
        *bound = LAUNCHER_BIND_CORE;
        return bind_as_torchrun(p);
    }
    if (wish->bind == LAUNCHER_BIND_NONE) return TD_OK;
    if (wish->bind == LAUNCHER_BIND_AUTO) {
        *bound = wish->alone && give_shares(p, false) >= 0 ? LAUNCHER_BIND_CORE : LAUNCHER_BIND_NONE;
        return TD_OK;
    }
    TD_TRY(give_shares(p, wish->bind != LAUNCHER_BIND_CORE));
    if (wish->bind == LAUNCHER_BIND_NUMA) widen(p, numa_of);
    if (wish->bind == LAUNCHER_BIND_PACKAGE) widen(p, package_of);
    return TD_OK;
}

/* A seat's mask, its cores, and its part of those that it shares; p->counts has each core's sharers. */
static void fill_seat(planner *p, int rank, size_t mask_bytes, launcher_seat *seat) {
    double part = 0;
    for (int c = 0; c < p->cores; c++) {
        if (!*hold(p, rank, c)) continue;
        part += 1.0 / p->counts[c];
        seat->cores++;
        for (int i = p->core[c].first; i < p->core[c].first + p->core[c].count; i++)
            CPU_SET_S((size_t)p->machine->cpus[i].os, mask_bytes, seat->mask);
    }
    int most = launcher_threads_share(p->cores, p->placing->cpu_limit, p->n);
    int own = launcher_threads_share(part, 0, 1);
    seat->threads = p->placing->cpu_limit > 0 && most < own ? most : own;
}

static td_status make_plan(planner *p, launcher_bind bound, launcher_plan **plan) {
    int highest = 0;
    for (int i = 0; i < p->machine->count; i++)
        if (p->machine->cpus[i].os > highest) highest = p->machine->cpus[i].os;
    size_t bytes = CPU_ALLOC_SIZE(highest + 1), n = (size_t)p->n;
    launcher_plan *made = td_calloc(1, sizeof *made + n * sizeof *made->seats + n * bytes);
    if (!made) return TD_ERR_MEMORY;
    made->bound = bound;
    made->mask_bytes = bytes;
    made->ranks = p->n;
    made->seats = (launcher_seat *)(made + 1);
    for (int c = 0; c < p->cores; c++) {
        p->counts[c] = 0;
        for (int r = 0; r < p->n; r++) p->counts[c] += *hold(p, r, c) != 0;
    }
    for (int r = 0; r < p->n; r++) {
        launcher_seat *seat = &made->seats[r];
        if (bound == LAUNCHER_BIND_NONE) {
            seat->cores = p->cores;
            seat->threads = launcher_threads_share(p->cores, p->placing->cpu_limit, p->n);
            continue;
        }
        seat->mask = (cpu_set_t *)((char *)(made->seats + n) + (size_t)r * bytes);
        fill_seat(p, r, bytes, seat);
    }
    *plan = made;
    return TD_OK;
}

td_status launcher_plan_make(const launcher_machine *machine, const launcher_placing *placing,
                             launcher_plan **plan) {
    size_t cpus = (size_t)machine->count, n = (size_t)placing->ranks;
    size_t domains = n > (size_t)placing->gpus ? n : (size_t)placing->gpus;
    planner p = {.machine = machine, .placing = placing, .n = placing->ranks};
    char *block = td_calloc(1, cpus * sizeof(core) + (3 * cpus + domains) * sizeof(int) + n * cpus);
    if (!block) return TD_ERR_MEMORY;
    p.core = (core *)block;
    p.numas = (int *)(p.core + cpus);
    p.list = p.numas + cpus;
    p.counts = p.list + cpus;
    p.domain = p.counts + cpus;
    p.has = (unsigned char *)(p.domain + domains);
    find_cores(&p);
    launcher_bind bound;
    td_status status = place_ranks(&p, &bound);
    if (status >= 0) status = make_plan(&p, bound, plan);
    td_free(block);
    return status;
}

void launcher_cpu_list(const cpu_set_t *mask, size_t bytes, char *text, size_t size) {
    size_t used = 0;
    if (size) *text = 0;
    for (size_t cpu = 0; cpu < bytes * 8 && used + 24 < size; cpu++) {
        if (!CPU_ISSET_S(cpu, bytes, mask)) continue;
        size_t last = cpu;
        while (last + 1 < bytes * 8 && CPU_ISSET_S(last + 1, bytes, mask)) last++;
        const char *comma = used ? "," : "";
        used += (size_t)(last == cpu ? snprintf(text + used, size - used, "%s%zu", comma, cpu)
                                     : snprintf(text + used, size - used, "%s%zu-%zu", comma, cpu, last));
        cpu = last;
    }
}
