/*
 * How Open MPI 4 comes to us. `tandem run` adds this library's folder to OMPI_MCA_mca_base_component_path, so that
 * Open MPI loads it as a component of its shmem framework, the first framework whose components are looked
 * for: before any setting that matters here is read. Opened inside a rank, it says, in this process alone,
 * that there is a direct launch (FLUX_JOB_ID) whose PMI library is ourselves, and what suits one node. mpirun
 * loads it too, and would crash with those settings: hence not in the ranks' environment. Then opening
 * fails, as it does for any component that has nothing to do, and Open MPI goes on with its own.
 *
 * The structure is that of MCA 2.1 (opal/mca/mca.h in Open MPI 2 to 5), whose first parts Open MPI reads by
 * offset. Open MPI 5 has no flux component; it is told by its libraries and left alone.
 */
#include "launcher/pmi/client.h"

#include <dlfcn.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MCA_NOT_AVAILABLE = -16 }; /* OPAL_ERR_NOT_AVAILABLE: no message */

static int open_component(void);

typedef struct mca_component {
    int mca_version[3];
    char project[16];
    int project_version[3];
    char framework[32];
    int framework_version[3];
    char name[64];
    int version[3];
    int (*open)(void);
    int (*close)(void);
    int (*query)(void **module, int *priority);
    int (*settings)(void);
    int32_t flags;
    char reserved[28];
    char more[256]; /* what components of shmem have behind that; nobody looks, for opening fails */
} mca_component;

extern const mca_component mca_shmem_tandem_component;
__attribute__((visibility("default"))) const mca_component mca_shmem_tandem_component = {
    .mca_version = {2, 1, 0},
    .project = "opal",
    .project_version = {4, 1, 0},
    .framework = "shmem",
    .framework_version = {2, 0, 0},
    .name = "tandem",
    .version = {1, 0, 0},
    .open = open_component,
};

typedef struct found {
    bool mpi, orte;
} found;

static bool is_library(const char *path, const char *name) {
    const char *slash = strrchr(path, '/');
    return strncmp(slash ? slash + 1 : path, name, strlen(name)) == 0;
}

static int look_at_library(struct dl_phdr_info *info, size_t size, void *cookie) {
    found *f = cookie;
    (void)size;
    f->mpi |= is_library(info->dlpi_name, "libmpi");
    f->orte |= is_library(info->dlpi_name, "libopen-rte.");
    return 0;
}

/* A program that uses MPI, of an Open MPI that knows direct launches: mpirun and its daemons have no libmpi. */
static bool is_mpi_program(void) {
    found f = {0};
    dl_iterate_phdr(look_at_library, &f);
    return f.mpi && f.orte;
}

static void set(const char *name, const char *value) { setenv(name, value, 1); }
static void suggest(const char *name, const char *value) { setenv(name, value, 0); } /* the user's own wins */

static int open_component(void) {
    Dl_info own;
    if (!pmi_is_rank() || !is_mpi_program()) return MCA_NOT_AVAILABLE;
    if (!dladdr(&mca_shmem_tandem_component, &own) || !own.dli_fname) return MCA_NOT_AVAILABLE;
    const char *line = pmi_ask("cmd=get_tandem_job\n");
    const char *folder = line ? strstr(line, " value=") : NULL;
    if (!folder) return MCA_NOT_AVAILABLE;
    folder += strlen(" value=");
    char job[16];
    snprintf(job, sizeof job, "%d", pmi_number(line, " job=", 0));
    set("FLUX_JOB_ID", job);
    set("FLUX_PMI_LIBRARY_PATH", own.dli_fname);
    suggest("OMPI_MCA_pml", "ob1"); /* looking for UCX takes 200 ms and finds shared memory, which ob1 has */
    if (pmi_number(line, " crowded=", 0)) suggest("OMPI_MCA_mpi_yield_when_idle", "1");
    if (*folder) { /* what a killed rank leaves there goes with the job */
        suggest("OMPI_MCA_btl_vader_backing_directory", folder);
        suggest("OMPI_MCA_osc_sm_backing_directory", folder);
        suggest("OMPI_MCA_orte_tmpdir_base", folder);
    }
    return MCA_NOT_AVAILABLE;
}
