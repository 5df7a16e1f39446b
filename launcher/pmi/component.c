/*
 * How Open MPI 4 comes to us. `tandem run` adds this library's folder to OMPI_MCA_mca_base_component_path, so that
 * Open MPI loads it as a component of its shmem framework, the first framework whose components are looked
 * for: before any setting that matters here is read. Opened inside a rank, it says, in this process alone,
 * that there is a direct launch (FLUX_JOB_ID) whose PMI library is ourselves, and what suits one node. mpirun
 * loads it too, and would crash with those settings: hence not in the ranks' environment. Then opening
 * fails, as it does for any component that has nothing to do, and Open MPI goes on with its own.
 *
 * An Open MPI that has no flux component (5 has none; 4 may be built without, and OMPI_MCA_pmix may leave it out) is
 * given what libpmix needs to find the launcher's PMIx server, which is started for it.
 *
 * The structure is that of MCA 2.1 (opal/mca/mca.h in Open MPI 2 to 5), whose first parts Open MPI reads by
 * offset.
 */
#include "launcher/pmi/client.h"

#include <dlfcn.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

static bool is_library(const char *path, const char *name) {
    const char *slash = strrchr(path, '/');
    return strncmp(slash ? slash + 1 : path, name, strlen(name)) == 0;
}

static int look_at_library(struct dl_phdr_info *info, size_t size, void *cookie) {
    (void)size;
    *(bool *)cookie |= is_library(info->dlpi_name, "libmpi");
    return 0;
}

/* mpirun and its daemons, which load us too, have no libmpi. */
static bool is_mpi_program(void) {
    bool mpi = false;
    dl_iterate_phdr(look_at_library, &mpi);
    return mpi;
}

/* May the user's choice of pmix components ("a,b" or "^a,b") be flux? */
static bool is_flux_chosen(void) {
    const char *chosen = getenv("OMPI_MCA_pmix");
    if (!chosen || !*chosen) return true;
    return (strstr(chosen, "flux") != NULL) != (*chosen == '^');
}

/* Where Open MPI 2 to 5 say their folders are; the sixteenth is that of its components. */
typedef struct install_folders {
    const char *names[17];
} install_folders;
enum { COMPONENTS_FOLDER = 15 };

/* Open MPI's component for Flux, which takes a PMI-1 library by name: inside its libraries, or a file. */
static bool has_flux(void) {
    if (dlsym(RTLD_DEFAULT, "mca_pmix_flux_component")) return true;
    const install_folders *folders = dlsym(RTLD_DEFAULT, "opal_install_dirs");
    char path[4096];
    if (!folders || !folders->names[COMPONENTS_FOLDER]) return false;
    snprintf(path, sizeof path, "%s/mca_pmix_flux.so", folders->names[COMPONENTS_FOLDER]);
    return access(path, R_OK) == 0;
}

static void set(const char *name, const char *value) { setenv(name, value, 1); }
static void suggest(const char *name, const char *value) { setenv(name, value, 0); } /* the user's own wins */

/* Set each NAME=VALUE of the answer; false: the launcher has no PMIx server, and has said why. */
static bool take_pmix(void) {
    char between[] = "\x1f", *rest = NULL;
    char *line = (char *)pmi_ask("cmd=get_tandem_pmix\n");
    char *entry = line ? strstr(line, " value=") : NULL;
    if (!entry) return false;
    for (entry = strtok_r(entry + strlen(" value="), between, &rest); entry;
         entry = strtok_r(NULL, between, &rest)) {
        char *value = strchr(entry, '=');
        if (!value) continue;
        *value = 0;
        set(entry, value + 1);
    }
    set("JSM_JSRUN_PORT",
        "1"); /* Open MPI 4's schizo/jsm, unlike any other, takes that for a direct launch */
    return true;
}

static bool take_pmi(const char *number) {
    Dl_info own;
    if (!dladdr(&mca_shmem_tandem_component, &own) || !own.dli_fname) return false;
    set("FLUX_JOB_ID", number);
    set("FLUX_PMI_LIBRARY_PATH", own.dli_fname);
    return true;
}

static int open_component(void) {
    if (!pmi_is_rank() || !is_mpi_program()) return MCA_NOT_AVAILABLE;
    const char *line = pmi_ask("cmd=get_tandem_job\n");
    const char *value = line ? strstr(line, " value=") : NULL;
    if (!value) return MCA_NOT_AVAILABLE;
    char number[16], folder[256];
    snprintf(number, sizeof number, "%d", pmi_number(line, " job=", 0));
    snprintf(folder, sizeof folder, "%s", value + strlen(" value="));
    bool crowded = pmi_number(line, " crowded=", 0) != 0;
    if (!(is_flux_chosen() && has_flux() ? take_pmi(number) : take_pmix())) return MCA_NOT_AVAILABLE;
    suggest("OMPI_MCA_pml", "ob1"); /* looking for UCX takes 200 ms and finds shared memory, which ob1 has */
    if (crowded) suggest("OMPI_MCA_mpi_yield_when_idle", "1");
    if (*folder) { /* what a killed rank leaves there goes with the job */
        suggest("OMPI_MCA_btl_vader_backing_directory", folder);
        suggest("OMPI_MCA_btl_sm_backing_directory", folder); /* its name in Open MPI 5 */
        suggest("OMPI_MCA_osc_sm_backing_directory", folder);
        suggest("OMPI_MCA_orte_tmpdir_base", folder);
    }
    return MCA_NOT_AVAILABLE;
}
