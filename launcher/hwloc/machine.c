/* A launcher_machine from hwloc. */
#include "launcher/machine.h"

#include "base/memory.h"
#include "base/plugin.h"
#include "config.h"

#include <errno.h>
#include <hwloc.h>
#include <stdlib.h>
#include <string.h>

static td_status fail_hwloc(const char *what) {
    return td_fail_errno(errno ? errno : EINVAL, "launcher", "hwloc cannot %s", what);
}

/* Only what placement asks for is looked up: no distances, no kinds of cores; devices are left out by default. */
static td_status prepare(hwloc_topology_t topology) {
    unsigned long flags = 0;
#if HWLOC_API_VERSION >= 0x00020800
    flags =
        HWLOC_TOPOLOGY_FLAG_NO_DISTANCES | HWLOC_TOPOLOGY_FLAG_NO_MEMATTRS | HWLOC_TOPOLOGY_FLAG_NO_CPUKINDS;
#endif
    return hwloc_topology_set_flags(topology, flags) == 0 ? TD_OK : fail_hwloc("take its flags");
}

/* hwloc applies the cpuset; the affinity mask (taskset, srun, mpirun) is ours to apply. */
static td_status apply_affinity(hwloc_topology_t topology) {
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    bool failed = !set || hwloc_get_cpubind(topology, set, HWLOC_CPUBIND_THREAD) ||
                  hwloc_topology_restrict(topology, set, 0);
    hwloc_bitmap_free(set);
    return failed ? fail_hwloc("keep to the affinity mask") : TD_OK;
}

/* The NUMA node of a CPU; the first where several kinds of memory (HBM) stand beside each other. */
static int numa_of(hwloc_topology_t topology, hwloc_obj_t pu) {
    for (hwloc_obj_t node = NULL; (node = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE, node));)
        if (hwloc_bitmap_isset(node->cpuset, pu->os_index)) return (int)node->os_index;
    return 0;
}

static launcher_cpu describe(hwloc_topology_t topology, hwloc_obj_t pu) {
    launcher_cpu cpu = {.os = (int)pu->os_index, .core = (int)pu->logical_index};
    hwloc_obj_t outermost = NULL;
    for (hwloc_obj_t above = pu->parent; above; above = above->parent) {
        if (hwloc_obj_type_is_dcache(above->type)) outermost = above;
        if (above->type == HWLOC_OBJ_CORE) cpu.core = (int)above->logical_index;
        if (above->type == HWLOC_OBJ_PACKAGE) cpu.package = (int)above->logical_index;
    }
    cpu.numa = numa_of(topology, pu);
    cpu.complex = outermost ? (int)outermost->logical_index : cpu.numa;
    return cpu;
}

static td_status make_machine(hwloc_topology_t topology, int whole, launcher_machine **machine) {
    int count = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_PU);
    if (count < 1) return td_fail(TD_ERR_STATE, 0, "launcher", "hwloc finds no CPU");
    launcher_machine *m = td_alloc(sizeof *m + (size_t)count * sizeof *m->cpus);
    if (!m) return TD_ERR_MEMORY;
    m->here = hwloc_topology_is_thissystem(topology);
    m->whole_count = whole;
    m->count = count;
    for (int i = 0; i < count; i++)
        m->cpus[i] = describe(topology, hwloc_get_obj_by_type(topology, HWLOC_OBJ_PU, (unsigned)i));
    *machine = m;
    return TD_OK;
}

static td_status load_and_make(hwloc_topology_t topology, const char *description,
                               launcher_machine **machine) {
    TD_TRY(prepare(topology));
    if (description && strchr(description, '/')) {
        if (hwloc_topology_set_xml(topology, description) != 0)
            return td_fail_errno(errno, "launcher", "hwloc cannot read %s", description);
    } else if (description && hwloc_topology_set_synthetic(topology, description) != 0) {
        return td_fail_errno(errno, "launcher", "'%s' describes no machine to hwloc", description);
    }
    if (hwloc_topology_load(topology) != 0) return fail_hwloc("read this machine");
    int whole = hwloc_bitmap_weight(hwloc_topology_get_complete_cpuset(topology));
    if (hwloc_topology_is_thissystem(topology)) TD_TRY(apply_affinity(topology));
    return make_machine(topology, whole, machine);
}

/* hwloc's own plug-ins ask X11, OpenCL and PCI for devices, which takes 4 ms of 6: not for cores and nodes. */
static int begin_without_plugins(hwloc_topology_t *topology) {
    bool ours = setenv("HWLOC_PLUGINS_PATH", "/nowhere", 0) == 0 &&
                strcmp(getenv("HWLOC_PLUGINS_PATH"), "/nowhere") == 0;
    int failed = hwloc_topology_init(topology);
    if (ours) unsetenv("HWLOC_PLUGINS_PATH"); /* ranks must not inherit it */
    return failed;
}

static td_status read_described(const char *description, launcher_machine **machine) {
    hwloc_topology_t topology;
    if (begin_without_plugins(&topology) != 0) return fail_hwloc("begin");
    td_status status = load_and_make(topology, description, machine);
    hwloc_topology_destroy(topology);
    return status;
}

static td_status read_here(launcher_machine **machine) { return read_described(NULL, machine); }

static const launcher_machine_reader table = {read_here, read_described};
TD_PLUGIN_SYMBOL = {TD_BUILD_ID, "hwloc", &table};
