/* Which cores ranks get, on machines that hwloc is told of. */
#include "base/memory.h"
#include "base/plugin.h"
#include "launcher/placement.h"
#include "support/check.h"

#include <jansson.h>
#include <stdio.h>

static const launcher_machine_reader *reader(void) {
    const void *table;
    return td_plugin_load("hwloc", &table) < 0 ? NULL : table;
}

const char *skip_reason(void) { return reader() ? NULL : "built without hwloc"; }

/* CPUs of a core are numbered beside each other, unless a machine says otherwise. */
#define LAPTOP   "package:1 core:2 pu:1"
#define DESKTOP  "package:1 core:8 pu:2"
#define SERVER   "package:2 numa:1 core:4 pu:2"      /* 2 nodes of 4 cores, 16 CPUs */
#define EPYC     "package:2 numa:4 l3:2 core:8 pu:1" /* 8 nodes of 16 cores, 128 CPUs */
#define LOPSIDED "package:1 numa:3 core:4 pu:1"
/* As Linux numbers: first one thread of every core, then the others. */
#define LINUX_SMT "package:2 numa:1 core:2 pu:2(indexes=0,4,1,5,2,6,3,7)"

enum { RANKS_MOST = 8, GPUS_MOST = 8 };

/* clang-format off: the table keeps a case on a few lines */
static const struct {
    const char *machine;
    launcher_placing placing;
    const char *error;
    launcher_bind bound;
    const char *cpus[RANKS_MOST]; /* of each rank; NULL: not bound */
    int threads[RANKS_MOST];
    int gpu_numa[GPUS_MOST];
} cases[] = {
    /* not bound: a share of all cores */
    {LAPTOP, {.ranks = 1, .bind = LAUNCHER_BIND_NONE}, NULL, LAUNCHER_BIND_NONE, {NULL}, {2}},
    {DESKTOP, {.ranks = 3}, NULL, LAUNCHER_BIND_NONE, {NULL}, {2, 2, 2}},
    {LAPTOP, {.ranks = 5}, NULL, LAUNCHER_BIND_NONE, {NULL}, {1, 1, 1, 1, 1}},
    {EPYC, {.ranks = 1, .cpu_limit = 2}, NULL, LAUNCHER_BIND_NONE, {NULL}, {2}},
    {EPYC, {.ranks = 2, .cpu_limit = 6.5}, NULL, LAUNCHER_BIND_NONE, {NULL}, {3, 3}},
    {EPYC, {.ranks = 8, .cpu_limit = 2}, NULL, LAUNCHER_BIND_NONE, {NULL}, {1, 1, 1, 1, 1, 1, 1, 1}},

    /* core: whole cores, no core twice, whole nodes where that fits */
    {LAPTOP, {.ranks = 2, .bind = LAUNCHER_BIND_CORE}, NULL, LAUNCHER_BIND_CORE, {"0", "1"}, {1, 1}},
    {DESKTOP,
     {.ranks = 3, .bind = LAUNCHER_BIND_CORE},
     NULL,
     LAUNCHER_BIND_CORE,
     {"0-5", "6-11", "12-15"},
     {3, 3, 2}},
    {SERVER, {.ranks = 2, .bind = LAUNCHER_BIND_CORE}, NULL, LAUNCHER_BIND_CORE, {"0-7", "8-15"}, {4, 4}},
    {SERVER,
     {.ranks = 3, .bind = LAUNCHER_BIND_CORE},
     NULL,
     LAUNCHER_BIND_CORE,
     {"0-3", "4-7", "8-15"},
     {2, 2, 4}},
    {SERVER,
     {.ranks = 5, .bind = LAUNCHER_BIND_CORE},
     NULL,
     LAUNCHER_BIND_CORE,
     {"0-3", "4-5", "6-7", "8-11", "12-15"},
     {2, 1, 1, 2, 2}},
    {LINUX_SMT,
     {.ranks = 4, .bind = LAUNCHER_BIND_CORE},
     NULL,
     LAUNCHER_BIND_CORE,
     {"0,4", "1,5", "2,6", "3,7"},
     {1, 1, 1, 1}},
    {LINUX_SMT, {.ranks = 1, .bind = LAUNCHER_BIND_CORE}, NULL, LAUNCHER_BIND_CORE, {"0-7"}, {4}},
    {EPYC, {.ranks = 2, .bind = LAUNCHER_BIND_CORE}, NULL, LAUNCHER_BIND_CORE, {"0-63", "64-127"}, {64, 64}},
    {EPYC,
     {.ranks = 2, .bind = LAUNCHER_BIND_CORE, .cpu_limit = 8},
     NULL,
     LAUNCHER_BIND_CORE,
     {"0-63", "64-127"},
     {4, 4}},
    /* an even share would not fit into a node of 4: 6 cores each, across nodes */
    {LOPSIDED, {.ranks = 2, .bind = LAUNCHER_BIND_CORE}, NULL, LAUNCHER_BIND_CORE, {"0-5", "6-11"}, {6, 6}},
    {LOPSIDED,
     {.ranks = 4, .bind = LAUNCHER_BIND_CORE},
     NULL,
     LAUNCHER_BIND_CORE,
     {"0-2", "3-5", "6-8", "9-11"},
     {3, 3, 3, 3}},
    {LAPTOP, {.ranks = 3, .bind = LAUNCHER_BIND_CORE}, "there are 2 cores for 3 ranks"},

    /* numa, package: all of what the share lies on; threads are still the share */
    {SERVER,
     {.ranks = 4, .bind = LAUNCHER_BIND_NUMA},
     NULL,
     LAUNCHER_BIND_NUMA,
     {"0-7", "0-7", "8-15", "8-15"},
     {2, 2, 2, 2}},
    {SERVER, {.ranks = 1, .bind = LAUNCHER_BIND_NUMA}, NULL, LAUNCHER_BIND_NUMA, {"0-15"}, {8}},
    {LAPTOP,
     {.ranks = 5, .bind = LAUNCHER_BIND_NUMA},
     NULL,
     LAUNCHER_BIND_NUMA,
     {"0-1", "0-1", "0-1", "0-1", "0-1"},
     {1, 1, 1, 1, 1}},
    {EPYC,
     {.ranks = 8, .bind = LAUNCHER_BIND_PACKAGE},
     NULL,
     LAUNCHER_BIND_PACKAGE,
     {"0-63", "0-63", "0-63", "0-63", "64-127", "64-127", "64-127", "64-127"},
     {16, 16, 16, 16, 16, 16, 16, 16}},

    /* map-by: in turn */
    {SERVER,
     {.ranks = 4, .bind = LAUNCHER_BIND_CORE, .map = LAUNCHER_MAP_NUMA},
     NULL,
     LAUNCHER_BIND_CORE,
     {"0-3", "8-11", "4-7", "12-15"},
     {2, 2, 2, 2}},
    {EPYC,
     {.ranks = 3, .bind = LAUNCHER_BIND_CORE, .map = LAUNCHER_MAP_PACKAGE},
     NULL,
     LAUNCHER_BIND_CORE,
     {"0-31", "64-127", "32-63"},
     {32, 64, 32}},
    {SERVER,
     {.ranks = 1, .bind = LAUNCHER_BIND_CORE, .map = LAUNCHER_MAP_NUMA},
     NULL,
     LAUNCHER_BIND_CORE,
     {"0-7"},
     {4}},

    /* automatic only where the CPUs are the job's own, and only while each rank has a core */
    {SERVER, {.ranks = 2, .alone = true}, NULL, LAUNCHER_BIND_CORE, {"0-7", "8-15"}, {4, 4}},
    {LAPTOP, {.ranks = 4, .alone = true}, NULL, LAUNCHER_BIND_NONE, {NULL}, {1, 1, 1, 1}},

    /* with GPUs: near them */
    {SERVER,
     {.ranks = 2, .bind = LAUNCHER_BIND_CORE, .gpus = 2},
     NULL,
     LAUNCHER_BIND_CORE,
     {"8-15", "0-7"},
     {4, 4},
     {1, 0}},
    {SERVER,
     {.ranks = 2, .bind = LAUNCHER_BIND_CORE, .gpus = 2},
     NULL,
     LAUNCHER_BIND_CORE,
     {"8-11", "12-15"},
     {2, 2},
     {1, 1}},
    {SERVER,
     {.ranks = 2, .bind = LAUNCHER_BIND_CORE, .gpus = 2},
     NULL,
     LAUNCHER_BIND_CORE,
     {"0-7", "8-15"},
     {4, 4},
     {-1, -1}},
    {SERVER,
     {.ranks = 2, .bind = LAUNCHER_BIND_CORE, .gpus = 2},
     NULL,
     LAUNCHER_BIND_CORE,
     {"0-7", "8-15"},
     {4, 4},
     {7, 7}},
    {SERVER,
     {.ranks = 6, .bind = LAUNCHER_BIND_CORE, .gpus = 6},
     "4 cores for 6 ranks on one NUMA node",
     .gpu_numa = {1, 1, 1, 1, 1, 1}},
    {DESKTOP,
     {.ranks = 2, .bind = LAUNCHER_BIND_CORE, .gpus = 2},
     NULL,
     LAUNCHER_BIND_CORE,
     {"0-7", "8-15"},
     {4, 4},
     {-1, -1}},

    /* torchrun's modes: node, socket, exclusive, core-complex */
    {SERVER,
     {.ranks = 3, .gpus = 3, .numa_binding = LAUNCHER_NUMA_NODE},
     NULL,
     LAUNCHER_BIND_CORE,
     {"8-15", "0-7", "8-15"},
     {2, 4, 2},
     {1, 0, 1}},
    {EPYC,
     {.ranks = 2, .gpus = 4, .numa_binding = LAUNCHER_NUMA_SOCKET},
     NULL,
     LAUNCHER_BIND_CORE,
     {"64-127", "0-63"},
     {64, 64},
     {5, 1, 2, 7}},
    /* the cores are divided among all GPUs of a node, also those without a rank; the first get the odd ones */
    {DESKTOP,
     {.ranks = 2, .gpus = 3, .numa_binding = LAUNCHER_NUMA_EXCLUSIVE},
     NULL,
     LAUNCHER_BIND_CORE,
     {"0-5", "6-11"},
     {3, 3},
     {0, 0, 0}},
    {LINUX_SMT,
     {.ranks = 2, .gpus = 2, .numa_binding = LAUNCHER_NUMA_EXCLUSIVE},
     NULL,
     LAUNCHER_BIND_CORE,
     {"2,6", "3,7"},
     {1, 1},
     {1, 1}},
    {LINUX_SMT,
     {.ranks = 1, .gpus = 3, .numa_binding = LAUNCHER_NUMA_EXCLUSIVE},
     "NUMA node 1 has 2 cores for the 3",
     .gpu_numa = {1, 1, 1}},
    {EPYC,
     {.ranks = 3, .gpus = 3, .numa_binding = LAUNCHER_NUMA_CORE_COMPLEX},
     NULL,
     LAUNCHER_BIND_CORE,
     {"16-23", "24-31", "16-23"},
     {4, 8, 4},
     {1, 1, 1}},
    {SERVER,
     {.ranks = 1, .gpus = 1, .numa_binding = LAUNCHER_NUMA_NODE},
     NULL,
     LAUNCHER_BIND_CORE,
     {"0-7"},
     {4},
     {-1}},
    {SERVER,
     {.ranks = 1, .gpus = 1, .numa_binding = LAUNCHER_NUMA_NODE},
     "NUMA node 5, where the GPU of rank 0 is, has no CPU",
     .gpu_numa = {5}},
    {SERVER,
     {.ranks = 2, .gpus = 1, .numa_binding = LAUNCHER_NUMA_NODE},
     "rank 1 has no GPU of its own",
     .gpu_numa = {0}},
    /* without GPUs, where torchrun refuses */
    {SERVER,
     {.ranks = 2, .numa_binding = LAUNCHER_NUMA_NODE},
     NULL,
     LAUNCHER_BIND_CORE,
     {"0-7", "8-15"},
     {4, 4}},
    {EPYC,
     {.ranks = 2, .numa_binding = LAUNCHER_NUMA_NODE},
     NULL,
     LAUNCHER_BIND_CORE,
     {"0-15", "64-79"},
     {16, 16}},
    {SERVER,
     {.ranks = 4, .numa_binding = LAUNCHER_NUMA_EXCLUSIVE},
     NULL,
     LAUNCHER_BIND_CORE,
     {"0-3", "4-7", "8-11", "12-15"},
     {2, 2, 2, 2}},
};
/* clang-format on */

static void compare_seat(int which, int rank, const launcher_plan *plan) {
    const launcher_seat *seat = &plan->seats[rank];
    const char *wanted = cases[which].cpus[rank];
    char text[256] = "none";
    if (seat->mask) launcher_cpu_list(seat->mask, plan->mask_bytes, text, sizeof text);
    ck_expect(strcmp(text, wanted ? wanted : "none") == 0, "case %d, rank %d: CPUs %s, not %s", which, rank,
              text, wanted ? wanted : "none");
    ck_expect(seat->threads == cases[which].threads[rank], "case %d, rank %d: %d threads, not %d", which,
              rank, seat->threads, cases[which].threads[rank]);
}

START_TEST(ranks_get_the_cores_they_should) {
    launcher_machine *machine;
    launcher_plan *plan = NULL;
    launcher_placing placing = cases[_i].placing;
    placing.gpu_numa = cases[_i].gpu_numa;
    ck_ok(reader()->read_described(cases[_i].machine, &machine));
    td_status status = launcher_plan_make(machine, &placing, &plan);
    if (cases[_i].error) {
        ck_assert_int_eq(status, TD_ERR_ARG);
        ck_assert_ptr_null(plan);
        ck_expect(strstr(td_error_last()->text, cases[_i].error), "case %d says: %s", _i,
                  td_error_last()->text);
    } else {
        ck_expect(status == TD_OK, "case %d: %s", _i, td_error_last()->text);
        ck_expect(plan->bound == cases[_i].bound, "case %d: bound %d", _i, plan->bound);
        ck_assert_int_eq(plan->ranks, placing.ranks);
        for (int r = 0; r < placing.ranks; r++) compare_seat(_i, r, plan);
    }
    td_free(plan);
    td_free(machine);
}
END_TEST

static const char *const machines[] = {LAPTOP,
                                       DESKTOP,
                                       SERVER,
                                       EPYC,
                                       LOPSIDED,
                                       LINUX_SMT,
                                       "package:3 numa:2 core:3 pu:2",
                                       "numa:1 core:7 pu:1",
                                       "core:5 pu:1"};

/* For any number of ranks: each has a core, none has another's, and shares differ by what locality asks. */
START_TEST(no_core_is_given_twice) {
    launcher_machine *machine;
    ck_ok(reader()->read_described(machines[_i], &machine));
    int cores = machine->cpus[machine->count - 1].core + 1;
    for (int n = 1; n <= cores; n++)
        for (launcher_map map = LAUNCHER_MAP_SLOT; map <= LAUNCHER_MAP_PACKAGE; map++) {
            launcher_plan *plan = NULL;
            launcher_placing placing = {.ranks = n, .bind = LAUNCHER_BIND_CORE, .map = map};
            if (launcher_plan_make(machine, &placing, &plan) < 0) {
                ck_quietly(map != LAUNCHER_MAP_SLOT); /* in turn over unequal nodes it may not fit */
                continue;
            }
            int seen[256] = {0};
            for (int r = 0; r < n; r++) {
                ck_quietly(plan->seats[r].threads == plan->seats[r].cores);
                ck_quietly(map != LAUNCHER_MAP_SLOT || plan->seats[r].cores >= cores / n);
                for (int i = 0; i < machine->count; i++)
                    seen[i] += CPU_ISSET_S(machine->cpus[i].os, plan->mask_bytes, plan->seats[r].mask) != 0;
            }
            for (int i = 0; i < machine->count; i++) ck_quietly(seen[i] <= 1);
            td_free(plan);
        }
    td_free(machine);
}
END_TEST

static void compare_with_torchrun(const json_t *row, int number) {
    static const char *const modes[] = {"none", "node", "socket", "exclusive", "core-complex"};
    const json_t *gpus = json_object_get(row, "gpu_numa"), *cpus = json_object_get(row, "cpus");
    int gpu_numa[16];
    launcher_placing placing = {.ranks = (int)json_integer_value(json_object_get(row, "ranks")),
                                .gpus = (int)json_array_size(gpus),
                                .gpu_numa = gpu_numa};
    for (int i = 0; i < placing.gpus; i++)
        gpu_numa[i] = (int)json_integer_value(json_array_get(gpus, (size_t)i));
    for (int m = 1; m < 5; m++)
        if (strcmp(modes[m], json_string_value(json_object_get(row, "mode"))) == 0)
            placing.numa_binding = (launcher_numa_binding)m;
    launcher_machine *machine;
    launcher_plan *plan = NULL;
    ck_ok(reader()->read_described(json_string_value(json_object_get(row, "machine")), &machine));
    td_status status = launcher_plan_make(machine, &placing, &plan);
    ck_expect((status < 0) == json_is_null(cpus), "case %d: %s", number, td_status_name(status));
    for (int r = 0; status >= 0 && r < placing.ranks; r++) {
        char text[256];
        const char *wanted = json_string_value(json_array_get(cpus, (size_t)r));
        launcher_cpu_list(plan->seats[r].mask, plan->mask_bytes, text, sizeof text);
        ck_expect(strcmp(text, wanted) == 0, "case %d, rank %d: CPUs %s, torchrun's %s", number, r, text,
                  wanted);
    }
    td_free(plan);
    td_free(machine);
}

START_TEST(numa_binding_is_torchruns) {
    json_t *golden = json_load_file(TD_TEST_DATA "/golden/numa_binding.json", 0, NULL);
    const json_t *row;
    size_t i;
    ck_assert_ptr_nonnull(golden);
    ck_assert_uint_gt(json_array_size(json_object_get(golden, "cases")), 200);
    json_array_foreach(json_object_get(golden, "cases"), i, row) compare_with_torchrun(row, (int)i);
    json_decref(golden);
}
END_TEST

START_TEST(a_machine_is_read_as_it_lies) {
    launcher_machine *machine;
    ck_ok(reader()->read_described(LINUX_SMT, &machine));
    ck_assert_int_eq(machine->count, 8);
    ck_assert_int_eq(machine->whole_count, 8);
    ck_assert(!machine->here);
    ck_assert_int_eq(machine->cpus[1].os, 4);
    ck_assert_int_eq(machine->cpus[1].core, machine->cpus[0].core);
    ck_assert_int_eq(machine->cpus[7].numa, 1);
    ck_assert_int_eq(machine->cpus[7].package, 1);
    td_free(machine);
    ck_ok(reader()->read_described(EPYC, &machine));
    ck_assert_int_eq(machine->cpus[8].complex, 1);
    ck_assert_int_eq(machine->cpus[16].numa, 1);
    td_free(machine);
}
END_TEST

START_TEST(this_machine_is_read_within_its_mask) {
    cpu_set_t all, one;
    launcher_machine *machine;
    ck_assert_int_eq(sched_getaffinity(0, sizeof all, &all), 0);
    ck_ok(reader()->read(&machine));
    ck_assert(machine->here);
    ck_assert_int_eq(machine->count, CPU_COUNT(&all));
    td_free(machine);
    CPU_ZERO(&one);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &all)) {
            CPU_SET(cpu, &one);
            break;
        }
    ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
    ck_ok(reader()->read(&machine));
    ck_assert_int_eq(machine->count, 1);
    ck_assert(CPU_ISSET((size_t)machine->cpus[0].os, &one));
    td_free(machine);
    ck_assert_int_eq(sched_setaffinity(0, sizeof all, &all), 0);
}
END_TEST

START_TEST(a_bad_description_is_a_status) {
    launcher_machine *machine = NULL;
    ck_fails(reader()->read_described("a heap of cores", &machine), TD_ERR_SYSTEM, "describes no machine");
    ck_fails(reader()->read_described("/nowhere/machine.xml", &machine), TD_ERR_SYSTEM,
             "/nowhere/machine.xml");
    ck_assert_ptr_null(machine);
}
END_TEST

START_TEST(without_memory_it_is_a_status) {
    launcher_machine *machine;
    ck_ok(reader()->read_described(SERVER, &machine));
    launcher_placing placing = {.ranks = 2, .bind = LAUNCHER_BIND_CORE};
    for (int k = 0; k < 2; k++) {
        launcher_plan *plan = NULL;
        td_alloc_fail_after(k);
        ck_fails(launcher_plan_make(machine, &placing, &plan), TD_ERR_MEMORY, "");
        ck_assert_ptr_null(plan);
    }
    td_free(machine);
}
END_TEST

START_TEST(cpu_lists_are_short_and_stay_within_their_room) {
    cpu_set_t mask;
    char text[64], tiny[30];
    CPU_ZERO(&mask);
    launcher_cpu_list(&mask, sizeof mask, text, sizeof text);
    ck_assert_str_eq(text, "");
    for (size_t cpu = 1; cpu < 1024; cpu += 2) CPU_SET(cpu, &mask);
    launcher_cpu_list(&mask, sizeof mask, tiny, sizeof tiny);
    ck_assert_uint_lt(strlen(tiny), sizeof tiny);
    CPU_ZERO(&mask);
    CPU_SET(0, &mask), CPU_SET(1, &mask), CPU_SET(5, &mask), CPU_SET(1023, &mask);
    launcher_cpu_list(&mask, sizeof mask, text, sizeof text);
    ck_assert_str_eq(text, "0-1,5,1023");
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("placement");
    TCase *tcase = tcase_create("placement");
    tcase_add_loop_test(tcase, ranks_get_the_cores_they_should, 0, (int)(sizeof cases / sizeof *cases));
    tcase_add_loop_test(tcase, no_core_is_given_twice, 0, (int)(sizeof machines / sizeof *machines));
    tcase_add_test(tcase, numa_binding_is_torchruns);
    tcase_add_test(tcase, a_machine_is_read_as_it_lies);
    tcase_add_test(tcase, this_machine_is_read_within_its_mask);
    tcase_add_test(tcase, a_bad_description_is_a_status);
    tcase_add_test(tcase, without_memory_it_is_a_status);
    tcase_add_test(tcase, cpu_lists_are_short_and_stay_within_their_room);
    suite_add_tcase(suite, tcase);
    return suite;
}
