/* A rank of DDP's tests under a launcher: ddp_ranks BACKEND runs every mode, says "ok", or what is wrong and leaves
 * with 1. */
#include "base/context.h"
#include "base/parallel.h"
#include "dist/group.h"
#include "dist/job.h"
#include "model/ddp_modes.h"

#include <stdio.h>

int main(int argc, char **argv) {
    td_job *job;
    td_group *group;
    td_context *context;
    td_group_options options = {.backend = argc > 1 ? argv[1] : NULL, .stall_timeout = 20};
    if (td_job_open(&job) < 0 || td_group_open(job, &options, &group) < 0 || td_context_open(&context) < 0 ||
        td_parallel_set_threads(1) < 0) {
        fprintf(stderr, "%s\n", td_error_last()->text);
        return 1;
    }
    for (const ddp_mode *mode = ddp_modes; mode->name; mode++) {
        const char *wrong = ddp_mode_run(mode, group);
        if (!wrong) continue;
        fprintf(stderr, "rank %d: %s\n", td_group_rank(group), wrong);
        return 1;
    }
    td_group_close(&group);
    td_job_close(&job);
    td_context_close(&context);
    printf("ok\n");
    return 0;
}
