/*
 * Batches, assembled ahead of need. A loader takes indices from a sampler and samples from a data set, and a
 * thread of its own copies and converts them into a ring of buffers, so that the next batch is ready when the
 * step before it ends. The order is the sampler's, always. Central object: td_loader.
 *
 * Life: open; for each epoch td_sampler_set_epoch, td_loader_start, then td_loader_next until its count is
 * TD_SAMPLER_END; td_loader_close, at any moment. Data set and sampler outlive the loader.
 *
 * One thread at a time; all random numbers are drawn on that thread, never on the loader's own, so a sampler
 * may share its generator with the caller. A batch that is asked for before it was begun is assembled on the
 * caller's thread, at once.
 */
#ifndef TANDEM_SAMPLER_LOADER_H
#define TANDEM_SAMPLER_LOADER_H

#include "sampler/dataset.h"
#include "sampler/sampler.h"

TD_BEGIN_DECLS

typedef struct td_loader_options {
    int read_ahead; /* 3: batches ready or in the making beyond the one in use; 1 to 64 */
    double mean;    /* 0.1307, MNIST's; of u8 inputs after division by 255 */
    double std;     /* 0.3081 */
    /* NULL, or *lent* until the loader is closed: td_loader_start draws DataLoader's base seed from it (2
     * words), as PyTorch does at the start of every epoch, even when nothing uses that seed. A run that shall
     * follow a PyTorch script passes the context's default generator; evaluations that shall not disturb it
     * pass NULL. */
    td_generator *generator;
} td_loader_options;
#define TD_LOADER_DEFAULTS                                                                                   \
    { 3, 0.1307, 0.3081, NULL }

/* One batch, *lent* until the next call of td_loader_next, td_loader_start or td_loader_close. */
typedef struct td_batch {
    int64_t count; /* samples; 0 for an empty share of a global batch; TD_SAMPLER_END: the pass is over */
    const int64_t *indices; /* [count], which samples */
    const float *inputs; /* [count, ...]: part 0, (x / 255 - mean) / std from u8, unchanged from f32; 64-byte
                            aligned */
    const int64_t *labels; /* [count]: part 1; NULL when the data set has none */
    int64_t cursor; /* the sampler's after this batch: a pass started there goes on with the next one */
} td_batch;

/*
 * Open a loader. Part 0 of the data set must be u8 or f32, part 1, if there is one, a scalar u8, i32 or i64.
 * Data set and sampler are *lent* until the loader is closed; the caller leaves the sampler alone meanwhile,
 * but for td_sampler_set_epoch. All memory is allocated here. NULL options are the defaults. *Yours*.
 * TD_ERR_ARG: an option is wrong, or the sampler runs over more samples than there are.
 */
TD_API td_status td_loader_open(const td_dataset *dataset, td_sampler *sampler,
                                const td_loader_options *options, td_loader **loader);

/* Begin a pass at `cursor` of the sampler, as td_sampler_start; what was left of the pass before is dropped.
 */
TD_API td_status td_loader_start(td_loader *loader, int64_t cursor);

/* The next batch. A failure of the data set comes out here, at the batch that it concerns, and again at each
 * further call until td_loader_start. TD_ERR_STATE before the first start. */
TD_API td_status td_loader_next(td_loader *loader, td_batch *batch);

/* What td_loader_start drew from options.generator; 0 without one. */
TD_API int64_t td_loader_base_seed(const td_loader *loader);

/* Stop the thread and release everything. NULL inside is fine. */
TD_API void td_loader_close(td_loader **loader);

TD_END_DECLS

#endif
