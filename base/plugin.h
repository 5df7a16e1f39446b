/*
 * Shared objects that hold what is slow to load or may be absent (oneDNN, MPI, CUDA, NCCL). A plug-in exports
 * one symbol, `td_plugin`, whose build id must be this library's. Looked for in TANDEM_PLUGIN_PATH (folders,
 * colon between), then beside the build tree of the running library, then in libdir/tandem. A loaded
 * plug-in stays for the life of the process. Any thread may call.
 */
#ifndef TANDEM_BASE_PLUGIN_H
#define TANDEM_BASE_PLUGIN_H

#include "base/status.h"

TD_BEGIN_DECLS

typedef struct td_plugin {
    const char *build_id; /* TD_BUILD_ID of its compilation */
    const char *name;     /* "onednn" */
    const void *table;    /* what it provides; the asker knows the type from the name */
} td_plugin;

/* A plug-in's one definition: `TD_PLUGIN_SYMBOL = {TD_BUILD_ID, "onednn", &table};`. The type has taken the
 * symbol's name in C, hence the detour. */
#define TD_PLUGIN_SYMBOL                                                                                     \
    extern const td_plugin td_plugin_symbol __asm__("td_plugin");                                            \
    TD_API const td_plugin td_plugin_symbol

/* Load tandem-<name>.so once and give its table. TD_ERR_UNSUPPORTED with the reason when it is absent, does
 * not load or is of another build. */
TD_API td_status td_plugin_load(const char *name, const void **table);

/* Where a shared object of ours lies that others load, or load uses: `name` is its path in the build folder, which
 * is also that below libdir/tandem. The places are those of plug-ins. Writes its path; TD_ERR_UNSUPPORTED. */
TD_API td_status td_shipped_path(const char *name, char *path, size_t bytes);

/* A data file shipped with Tandem ("mnist/train-images-idx3-ubyte.gz"): in TANDEM_DATA, the source tree of
 * an uninstalled build, or datadir/tandem. Writes its path; TD_ERR_SYSTEM names the places looked at. */
TD_API td_status td_data_path(const char *name, char *path, size_t bytes);

TD_END_DECLS

#endif
