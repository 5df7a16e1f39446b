/*
 * The CPUs that a job may use, and how they lie: what placement works on. A plain table, so that plans for
 * machines that are not here can be made and tested. It is read by the plug-in "hwloc", because loading that
 * library and reading the machine takes milliseconds that only jobs that ask for placement should pay.
 */
#ifndef TANDEM_LAUNCHER_MACHINE_H
#define TANDEM_LAUNCHER_MACHINE_H

#include "base/status.h"

/* One CPU (a hardware thread) that we may use. */
typedef struct launcher_cpu {
    int os;      /* the kernel's number, as in an affinity mask */
    int core;    /* CPUs of one core stand beside each other; cores count from 0 */
    int complex; /* those that share the outermost data cache; counts from 0 */
    int numa;    /* the kernel's number of its NUMA node */
    int package; /* counts from 0 */
} launcher_cpu;

/* In the machine's own order: package, NUMA node, cache, core. Freed with td_free, one block. */
typedef struct launcher_machine {
    bool here;       /* this very machine: binding to its CPUs means something */
    int whole_count; /* CPUs of the machine, allowed or not */
    int count;
    launcher_cpu cpus[];
} launcher_machine;

/* What the plug-in "hwloc" provides. */
typedef struct launcher_machine_reader {
    /* The machine as it is for this process: its cpuset and affinity mask applied. hwloc's own variables
     * HWLOC_XMLFILE and HWLOC_SYNTHETIC give another. *Yours*. */
    td_status (*read)(launcher_machine **machine);
    /* One that is described: hwloc's synthetic notation, or the path of an XML file where it has a slash. */
    td_status (*read_described)(const char *description, launcher_machine **machine);
} launcher_machine_reader;

#endif
