/* Memory of the arena is taken by all ranks together, but only the reader knows how much a file needs and
 * when. So the others listen: each notice from the reader says "take so much", "it is read" or "it cannot be
 * read". */
#include "worker/data.h"

#include "base/memory.h"
#include "dist/arena.h"
#include "model/tensor/scope.h"
#include "model/tensor/storage.h"
#include "model/tensor/tensor.h"
#include "sampler/mnist.h"

#include <stdio.h>

enum { READER = 0 };      /* the rank that reads, for its whole machine */
enum { MOST_BLOCKS = 4 }; /* that reading a set may ask for; MNIST takes two */

typedef enum notice_kind { NOTICE_TAKE, NOTICE_READ, NOTICE_FAILED } notice_kind;

typedef struct notice {
    notice_kind kind;
    size_t bytes;                           /* TAKE */
    int64_t count, rows, columns;           /* READ, and where: */
    int images, labels;                     /* numbers of blocks, in order of taking */
    char text[sizeof((td_error *)0)->text]; /* FAILED: why */
} notice;

typedef struct reading {
    td_group *group;
    void *blocks[MOST_BLOCKS];
    int n_blocks;
} reading;

static td_status pass_on(td_group *group, notice *n) {
    td_device cpu = {0};
    return td_group_broadcast(group, n, sizeof *n, TD_DTYPE_U8, READER, cpu, NULL, NULL);
}

static td_status take(reading *r, size_t bytes) {
    if (r->n_blocks == MOST_BLOCKS)
        return td_fail(TD_ERR_INTERNAL, 0, "train", "a data set in more than 4 parts");
    TD_TRY(td_arena_alloc_one(td_group_arena(r->group), bytes, &r->blocks[r->n_blocks]));
    r->n_blocks++;
    return TD_OK;
}

/* The reader's allocator: all ranks take the block. */
static void *take_together(size_t bytes, void *cookie) {
    reading *r = cookie;
    notice n = {.kind = NOTICE_TAKE, .bytes = bytes};
    if (pass_on(r->group, &n) < 0 || take(r, bytes) < 0) return NULL;
    return r->blocks[r->n_blocks - 1];
}

static void leave_to_group(void *block, void *cookie) {
    (void)block; /* after a failed read the run ends, and its arena with it */
    (void)cookie;
}

static int number_of(const reading *r, const void *block) {
    for (int i = 0; i < r->n_blocks; i++)
        if (r->blocks[i] == block) return i;
    return -1;
}

static td_status check_fit(const td_mnist *set, const char *folder, const td_zoo_model *model) {
    int64_t pixels = 1;
    for (int d = 0; d < model->input_dims; d++) pixels *= model->input[d];
    if (set->rows * set->columns != pixels)
        return td_fail(TD_ERR_ARG, 0, "train", "model %s takes images of %lld pixels, but %s has %lld x %lld",
                       model->name, (long long)pixels, folder, (long long)set->rows, (long long)set->columns);
    if (set->count == 0) return td_fail(TD_ERR_ARG, 0, "train", "there are no samples in %s", folder);
    for (int64_t i = 0; i < set->count; i++)
        if (set->labels[i] >= model->classes)
            return td_fail(TD_ERR_ARG, 0, "train",
                           "sample %lld in %s has label %d, but model %s knows 0 to %lld", (long long)i,
                           folder, set->labels[i], model->name, (long long)model->classes - 1);
    return TD_OK;
}

static td_status read_and_tell(reading *r, const char *folder, bool train, const td_zoo_model *model,
                               notice *outcome) {
    td_mnist_memory memory = {take_together, leave_to_group, r};
    td_mnist set;
    td_status status = td_mnist_read(folder, train, &memory, &set);
    if (status >= 0) status = check_fit(&set, folder, model);
    if (status < 0) {
        td_error why = *td_error_last();
        *outcome = (notice){.kind = NOTICE_FAILED};
        snprintf(outcome->text, sizeof outcome->text, "%s", why.text);
        pass_on(r->group, outcome); /* should that fail too, they know already */
        td_error_restore(&why);
        return status;
    }
    *outcome = (notice){.kind = NOTICE_READ,
                        .count = set.count,
                        .rows = set.rows,
                        .columns = set.columns,
                        .images = number_of(r, set.images),
                        .labels = number_of(r, set.labels)};
    return pass_on(r->group, outcome);
}

static td_status listen(reading *r, notice *outcome) {
    for (;;) {
        TD_TRY(pass_on(r->group, outcome));
        if (outcome->kind == NOTICE_READ) return TD_OK;
        if (outcome->kind == NOTICE_FAILED) {
            /* The reader leaves: waiting for it tells the launcher that we lost it, and not it us. */
            td_group_barrier(r->group, NULL);
            return td_fail(TD_ERR_PEER, 0, "train", "rank %d could not read the data: %s",
                           td_group_job_rank(r->group, READER), outcome->text);
        }
        TD_TRY(take(r, outcome->bytes));
    }
}

static td_status open_set(td_group *group, const char *folder, bool train, const td_zoo_model *model,
                          td_dataset **dataset) {
    reading r = {.group = group};
    notice outcome = {0};
    if (td_group_rank(group) == READER)
        TD_TRY(read_and_tell(&r, folder, train, model, &outcome));
    else
        TD_TRY(listen(&r, &outcome));
    td_mnist set = {.count = outcome.count,
                    .rows = outcome.rows,
                    .columns = outcome.columns,
                    .images = r.blocks[outcome.images],
                    .labels = r.blocks[outcome.labels]};
    return td_mnist_dataset(&set, dataset);
}

/* For this rank alone; `own` keeps the memory. Others learn of a failure when this rank gives up. */
static td_status open_alone(const char *folder, bool train, const td_zoo_model *model, uint8_t *own[2],
                            td_dataset **dataset) {
    td_mnist set;
    TD_TRY(td_mnist_read(folder, train, NULL, &set));
    own[0] = set.images;
    own[1] = set.labels;
    TD_TRY(check_fit(&set, folder, model));
    return td_mnist_dataset(&set, dataset);
}

/* Do all ranks of a group see one memory? */
static td_status try_sharing(td_group *group, bool *shared) {
    void *block = NULL;
    td_status status = td_arena_alloc_one(td_group_arena(group), 1, &block);
    *shared = status >= 0;
    td_arena_free(td_group_arena(group), &block);
    return status == TD_ERR_UNSUPPORTED ? TD_OK : status;
}

/* The ranks that share memory with this one; NULL: none. */
static td_status find_sharers(td_group *group, worker_data *data, td_group **sharers) {
    bool shared;
    TD_TRY(try_sharing(group, &shared));
    *sharers = shared ? group : NULL;
    if (shared) return TD_OK;
    TD_TRY(td_group_split(group, td_group_machine(group), td_group_rank(group), &data->machine));
    TD_TRY(try_sharing(data->machine, &shared));
    if (shared) *sharers = data->machine;
    return TD_OK;
}

td_status worker_data_open(td_group *group, const char *folder, const td_zoo_model *model,
                           worker_data *data) {
    td_group *sharers;
    TD_TRY(find_sharers(group, data, &sharers));
    if (!sharers) {
        TD_TRY(open_alone(folder, true, model, data->own, &data->train));
        return open_alone(folder, false, model, data->own + 2, &data->test);
    }
    TD_TRY(open_set(sharers, folder, true, model, &data->train));
    return open_set(sharers, folder, false, model, &data->test);
}

void worker_data_close(worker_data *data) {
    td_dataset_close(&data->train);
    td_dataset_close(&data->test);
    for (int i = 0; i < 4; i++) td_free(data->own[i]);
    td_group_close(&data->machine);
}

/* Tensors are made over memory that is only read, so dropping the const is safe. */
static td_tensor *lay_over(const void *data, td_dtype dtype, td_ints sizes) {
    size_t bytes = td_dtype_size(dtype);
    for (int64_t d = 0; d < sizes.count; d++) bytes *= (size_t)sizes.at[d];
    td_storage *storage = NULL;
    td_status status = td_storage_wrap((void *)data, bytes, NULL, NULL, &storage);
    if (status < 0) return td_scope_fail(status);
    td_tensor *x = td_tensor_wrap(storage, 0, dtype, sizes, NULL);
    td_storage_release(&storage);
    return x;
}

td_tensor *worker_batch_inputs(const td_batch *batch, const td_zoo_model *model) {
    td_ints sizes = {.count = 1 + model->input_dims, .at = {batch->count}};
    for (int d = 0; d < model->input_dims; d++) sizes.at[1 + d] = model->input[d];
    return lay_over(batch->inputs, TD_DTYPE_F32, sizes);
}

td_tensor *worker_batch_labels(const td_batch *batch) {
    return lay_over(batch->labels, TD_DTYPE_I64, TD_INTS(batch->count));
}
