/* All that one rank of a training run holds, in the order in which train.c obtains it. Plain data of the
 * training thread. */
#ifndef TANDEM_WORKER_RUN_H
#define TANDEM_WORKER_RUN_H

#include "dist/group.h"
#include "dist/job.h"
#include "model/parallel/ddp.h"
#include "model/parallel/sample_groups.h"
#include "model/zoo/zoo.h"
#include "sampler/loader.h"
#include "worker/checkpoint.h"
#include "worker/data.h"
#include "worker/display.h"
#include "worker/meter.h"
#include "worker/options.h"
#include "worker/resume.h"

struct worker_run {
    worker_options options;
    char **arguments; /* of the command line, ends with NULL */
    int64_t started_ns;

    td_job *job;
    td_group *group;
    int rank, world_size, threads;
    worker_display *display; /* of rank 0; NULL on the others */

    td_context *context;
    worker_data data;

    const td_zoo_model *zoo;
    td_module *model;
    int64_t parameters;
    td_sync sync;
    char sync_refusal[512];   /* why it is not shared; "" if nobody need be told */
    td_ddp *ddp;              /* one of the two */
    td_sample_groups *groups; /* with --deterministic world */
    td_optimizer *optimizer;
    td_sampler *sampler;
    td_loader *loader; /* of the training samples */

    int64_t epochs, steps_per_epoch, steps; /* to do */
    int64_t batches_per_epoch;              /* --accumulate of them make a step */
    int64_t step;                           /* done */
    worker_resume *resume;                  /* until it has been used; NULL when the run began anew */
    worker_position position;               /* where the last step ended */
    worker_saver saver;
    bool stopping;  /* asked to, and all ranks know */
    int64_t cursor; /* of the sampler, after the last batch */
    worker_meter meter;
    worker_totals totals; /* at the last meeting */
};

#endif
