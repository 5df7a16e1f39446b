/* Finding and loading plug-ins and shipped data: an environment variable, the build tree, the installation.
 */
#include "base/plugin.h"

#include "config.h"

#include <dlfcn.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The folder of the object that holds this function: libtandem.so, or a program that has it inside. */
static bool own_folder(char *folder, size_t bytes) {
    Dl_info info;
    char resolved[4096];
    if (!dladdr((void *)(uintptr_t)&td_plugin_load, &info) || !info.dli_fname) return false;
    if (!realpath(info.dli_fname, resolved)) return false;
    return snprintf(folder, bytes, "%s", dirname(resolved)) < (int)bytes;
}

/* Is this a build tree? Then what it ships lies there or in the source tree, and nowhere else. */
static bool in_build_tree(const char *folder) {
    return strncmp(folder, TD_BUILD_DIR, strlen(TD_BUILD_DIR)) == 0;
}

static td_status open_plugin(const char *file, const char *name, const void **table) {
    void *handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!handle) return td_fail(TD_ERR_UNSUPPORTED, 0, "base", "plug-in %s: %s", name, dlerror());
    const td_plugin *plugin = dlsym(handle, "td_plugin");
    td_status status = TD_OK;
    if (!plugin)
        status = td_fail(TD_ERR_UNSUPPORTED, 0, "base", "plug-in %s: %s exports no td_plugin", name, file);
    else if (strcmp(plugin->build_id, TD_BUILD_ID) || strcmp(plugin->name, name))
        status =
            td_fail(TD_ERR_UNSUPPORTED, 0, "base", "plug-in %s: %s is '%s' of another build (%s, not %s)",
                    name, file, plugin->name, plugin->build_id, TD_BUILD_ID);
    if (status < 0) {
        dlclose(handle);
        return status;
    }
    *table = plugin->table;
    return TD_OK;
}

td_status td_plugin_load(const char *name, const void **table) {
    char file[4096 + 256], folder[4096];
    const char *path = getenv("TANDEM_PLUGIN_PATH");
    while (path && *path) {
        int length = (int)strcspn(path, ":");
        snprintf(file, sizeof file, "%.*s/tandem-%s.so", length > 4096 ? 4096 : length, path, name);
        if (length && access(file, R_OK) == 0) return open_plugin(file, name, table);
        path += length;
        path += *path == ':';
    }
    bool known = own_folder(folder, sizeof folder);
    if (known && in_build_tree(folder)) {
        snprintf(file, sizeof file, "%s/tandem-%s.so", TD_BUILD_DIR, name);
        if (access(file, R_OK) == 0) return open_plugin(file, name, table);
    }
    snprintf(file, sizeof file, "%s/tandem/tandem-%s.so",
             known && !in_build_tree(folder) ? folder : TD_LIB_DIR, name);
    if (access(file, R_OK) == 0) return open_plugin(file, name, table);
    return td_fail(TD_ERR_UNSUPPORTED, 0, "base",
                   "plug-in %s is not installed (looked in TANDEM_PLUGIN_PATH, the build tree and %s)", name,
                   TD_LIB_DIR "/tandem");
}

td_status td_data_path(const char *name, char *path, size_t bytes) {
    char folder[4096];
    const char *chosen = getenv("TANDEM_DATA"), *root = TD_DATA_DIR;
    if (chosen && *chosen)
        root = chosen;
    else if (own_folder(folder, sizeof folder) && in_build_tree(folder))
        root = TD_SOURCE_DIR "/sampler";
    if (snprintf(path, bytes, "%s/%s", root, name) >= (int)bytes)
        return td_fail(TD_ERR_ARG, 0, "base", "the path %s/%s is too long", root, name);
    if (access(path, R_OK))
        return td_fail(TD_ERR_SYSTEM, 0, "base", "%s is not there (TANDEM_DATA can name another folder)",
                       path);
    return TD_OK;
}
