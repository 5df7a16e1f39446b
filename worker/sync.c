/* How weights are kept equal: as asked for, or by a shared update wherever that is possible. */
#include "worker/sync.h"

#include "base/status.h"

#include <stdio.h>
#include <string.h>

static td_sync find_sync(const char *name) {
    for (td_sync sync = TD_SYNC_REPLICATED; sync < TD_SYNC_ZERO1; sync++)
        if (strcmp(name, td_sync_name(sync)) == 0) return sync;
    return TD_SYNC_ZERO1; /* the option table knows no other */
}

td_status worker_sync_choose(worker_run *run) {
    if (run->options.sync) {
        run->sync = find_sync(run->options.sync);
        return td_ddp_can_sync(run->model, run->group, run->sync);
    }
    run->sync = TD_SYNC_REPLICATED;
    if (run->world_size == 1 || run->options.sample_groups) return TD_OK;
    if (td_ddp_can_sync(run->model, run->group, TD_SYNC_SHARED) == TD_OK)
        run->sync = TD_SYNC_SHARED;
    else
        snprintf(run->sync_refusal, sizeof run->sync_refusal, "%s", td_error_last()->text);
    td_error_clear();
    return TD_OK;
}

void worker_sync_say(const worker_run *run) {
    if (!run->options.verbose || run->world_size == 1) return;
    worker_display_line(run->display, "weights are kept equal by --sync %s%s%s", td_sync_name(run->sync),
                        *run->sync_refusal ? "; " : "", run->sync_refusal);
}
