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

/* Is it there? Then `path` names it. */
static bool found_in(const char *folder, int length, const char *name, char *path, size_t bytes) {
    int n = snprintf(path, bytes, "%.*s/%s", length, folder, name);
    return n < (int)bytes && access(path, R_OK) == 0;
}

td_status td_shipped_path(const char *name, char *path, size_t bytes) {
    char found[4096 + 256], folder[4096];
    size_t room = sizeof found;
    const char *list = getenv("TANDEM_PLUGIN_PATH");
    bool is_found = false;
    while (!is_found && list && *list) {
        int length = (int)strcspn(list, ":");
        is_found = length > 0 && length < 4096 && found_in(list, length, name, found, room);
        list += length;
        list += *list == ':';
    }
    bool known = own_folder(folder, sizeof folder), built = known && in_build_tree(folder);
    if (!is_found && built) is_found = found_in(TD_BUILD_DIR, 4096, name, found, room);
    if (!is_found) {
        char library[4096 + 16];
        snprintf(library, sizeof library, "%s/tandem", known && !built ? folder : TD_LIB_DIR);
        is_found = found_in(library, 4096 + 16, name, found, room);
    }
    if (!is_found || snprintf(path, bytes, "%s", found) >= (int)bytes)
        return td_fail(TD_ERR_UNSUPPORTED, 0, "base",
                       "%s is not installed (looked in TANDEM_PLUGIN_PATH, the build tree and %s)", name,
                       TD_LIB_DIR "/tandem");
    return TD_OK;
}

td_status td_plugin_load(const char *name, const void **table) {
    char file[256], path[4096 + 256];
    snprintf(file, sizeof file, "tandem-%s.so", name);
    td_status status = td_shipped_path(file, path, sizeof path);
    return status < 0 ? status : open_plugin(path, name, table);
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
