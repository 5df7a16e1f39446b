/* The backends, best first. */
#include "dist/backend.h"

#include "base/plugin.h"

#include <string.h>

static const td_backend mpi = {.name = "mpi", .plugin = "mpi"};

const td_backend *const td_backends[] = {&td_backend_self, &td_backend_shm, &td_backend_hier, &mpi, NULL};

td_status td_backend_find(const char *name, const td_backend **found) {
    for (int i = 0; td_backends[i]; i++) {
        const void *table = td_backends[i];
        if (strcmp(td_backends[i]->name, name) != 0) continue;
        if (td_backends[i]->plugin) TD_TRY(td_plugin_load(td_backends[i]->plugin, &table));
        *found = table;
        return TD_OK;
    }
    return td_fail(TD_ERR_UNSUPPORTED, 0, "dist", "there is no backend '%s'", name);
}
