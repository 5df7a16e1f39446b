/*
 * A ring of batches between the caller's thread and the loader's own. The caller's thread asks the sampler
 * for the indices of the next batches (so every random number is drawn there); the loader's thread fills them
 * in that order. A caller who comes for a batch that nobody has begun fills it himself rather than wait for
 * the other thread to wake up. A slot of the ring goes round like this:
 *
 *     free --(caller: indices)--> assigned --(thread: samples)--> done --(caller)--> in use --> free
 *
 * Counters of batches since the pass began say which slot is what:
 *
 *     released <= taken <= begun <= assigned <= released + slots
 *
 * `assigned`, `begun` and each slot's `done` are shared and guarded by the lock; a slot's contents are handed
 * over with them.
 */
#include "sampler/loader.h"

#include "base/checked.h"
#include "base/memory.h"
#include "sampler/internal.h"
#include "sampler/normalize.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

enum { MOST_READ_AHEAD = 64, PREFETCH_SAMPLES = 2, CACHE_LINE = 64 };
enum { CALLER, THREAD }; /* who fills a batch */

typedef struct slot {
    int64_t *indices;
    float *inputs;
    int64_t *labels;
    int64_t count, cursor;
    bool done;        /* guarded: it is filled, or filling it failed */
    td_status status; /* of filling it */
    td_error error;
} slot;

struct td_loader {
    const td_dataset *dataset; /* lent */
    td_sampler *sampler;       /* lent */
    td_generator *generator;   /* lent, or NULL */
    int64_t base_seed;
    sampler_normalizer normalizer;
    size_t elements; /* of one sample's input */
    uint8_t *raw[2]; /* [CALLER], [THREAD]: one batch of inputs or labels as the data set has them */
    int slots;
    slot *ring;

    pthread_mutex_t lock;
    pthread_cond_t has_work, has_batch;
    bool has_sync; /* the three above are initialised */
    bool has_thread;
    pthread_t thread;
    bool busy;                /* guarded: the thread fills a batch */
    bool stop;                /* guarded */
    uint64_t assigned, begun; /* guarded */

    uint64_t taken, released; /* the caller's */
    bool started;
    td_status failed; /* in this pass; said again at each call */
    td_error failure;
};

/* Convert rows that lie in the data set's memory, fetching a row ahead into the cache: a random row is a
 * cache miss for each of its lines otherwise. */
static void normalize_rows(td_loader *loader, const uint8_t *rows, const slot *s) {
    size_t bytes = loader->elements;
    for (int64_t i = 0; i < s->count; i++) {
        if (i + PREFETCH_SAMPLES < s->count) {
            const uint8_t *later = rows + (size_t)s->indices[i + PREFETCH_SAMPLES] * bytes;
            for (size_t offset = 0; offset < bytes; offset += CACHE_LINE) __builtin_prefetch(later + offset);
        }
        loader->normalizer.run(&loader->normalizer, rows + (size_t)s->indices[i] * bytes, bytes,
                               s->inputs + (size_t)i * bytes);
    }
}

static td_status fill_inputs(td_loader *loader, slot *s, uint8_t *raw) {
    if (td_dataset_part_of(loader->dataset, 0)->dtype == TD_DTYPE_F32)
        return td_dataset_gather(loader->dataset, 0, s->indices, s->count, s->inputs);
    const uint8_t *rows = td_dataset_rows(loader->dataset, 0);
    if (rows) {
        normalize_rows(loader, rows, s);
        return TD_OK;
    }
    TD_TRY(td_dataset_gather(loader->dataset, 0, s->indices, s->count, raw));
    loader->normalizer.run(&loader->normalizer, raw, (size_t)s->count * loader->elements, s->inputs);
    return TD_OK;
}

static td_status fill_labels(td_loader *loader, slot *s, void *raw) {
    if (!s->labels) return TD_OK;
    td_dtype dtype = td_dataset_part_of(loader->dataset, 1)->dtype;
    void *out = dtype == TD_DTYPE_I64 ? (void *)s->labels : raw;
    TD_TRY(td_dataset_gather(loader->dataset, 1, s->indices, s->count, out));
    for (int64_t i = 0; dtype == TD_DTYPE_U8 && i < s->count; i++) s->labels[i] = ((const uint8_t *)raw)[i];
    for (int64_t i = 0; dtype == TD_DTYPE_I32 && i < s->count; i++) s->labels[i] = ((const int32_t *)raw)[i];
    return TD_OK;
}

/* Fill the next batch that nobody has begun. Called with the lock held, which is given up meanwhile. */
static void fill_next(td_loader *loader, int who) {
    slot *s = &loader->ring[loader->begun++ % (uint64_t)loader->slots];
    pthread_mutex_unlock(&loader->lock);
    s->status = fill_inputs(loader, s, loader->raw[who]);
    if (s->status >= 0) s->status = fill_labels(loader, s, loader->raw[who]);
    if (s->status < 0) s->error = *td_error_last();
    pthread_mutex_lock(&loader->lock);
    s->done = true;
}

static void *run_thread(void *cookie) {
    td_loader *loader = cookie;
    pthread_mutex_lock(&loader->lock);
    while (!loader->stop) {
        if (loader->begun == loader->assigned) {
            pthread_cond_wait(&loader->has_work, &loader->lock);
            continue;
        }
        loader->busy = true;
        fill_next(loader, THREAD);
        loader->busy = false;
        pthread_cond_signal(&loader->has_batch);
    }
    pthread_mutex_unlock(&loader->lock);
    return NULL;
}

/* Signals are for the program's own threads. */
static td_status start_thread(td_loader *loader) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&loader->thread, NULL, run_thread, loader);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) return td_fail_errno(failed, "sampler", "the loader's thread");
    pthread_setname_np(loader->thread, "td-loader");
    loader->has_thread = true;
    return TD_OK;
}

static td_status check_parts(const td_dataset *dataset) {
    td_dtype input = td_dataset_part_of(dataset, 0)->dtype;
    if (input != TD_DTYPE_U8 && input != TD_DTYPE_F32)
        return td_fail(TD_ERR_UNSUPPORTED, 0, "sampler", "loader: inputs of %s, expected u8 or f32",
                       td_dtype_name(input));
    const td_dataset_part *label = td_dataset_part_of(dataset, 1);
    if (!label) return TD_OK;
    bool known = label->dtype == TD_DTYPE_U8 || label->dtype == TD_DTYPE_I32 || label->dtype == TD_DTYPE_I64;
    if (!known || label->dims)
        return td_fail(TD_ERR_UNSUPPORTED, 0, "sampler",
                       "loader: labels of %s with %d dimensions, expected one u8, i32 or i64 a sample",
                       td_dtype_name(label->dtype), label->dims);
    return TD_OK;
}

static td_status check_options(const td_dataset *dataset, const td_sampler *sampler,
                               const td_loader_options *options) {
    if (options->read_ahead < 1 || options->read_ahead > MOST_READ_AHEAD)
        return td_fail(TD_ERR_ARG, 0, "sampler", "loader: read_ahead %d, expected 1 to %d",
                       options->read_ahead, MOST_READ_AHEAD);
    if (!isfinite(options->mean) || !isfinite(options->std) || (float)options->std <= 0)
        return td_fail(TD_ERR_ARG, 0, "sampler", "loader: mean %g and std %g, expected numbers, std above 0",
                       options->mean, options->std);
    if (td_sampler_size(sampler) > td_dataset_count(dataset))
        return td_fail(TD_ERR_ARG, 0, "sampler",
                       "loader: the sampler runs over %lld samples, the data set has %lld",
                       (long long)td_sampler_size(sampler), (long long)td_dataset_count(dataset));
    return check_parts(dataset);
}

static td_status allocate_slot(slot *s, size_t capacity, size_t elements, bool labels) {
    size_t input_bytes = 0;
    bool fits = td_mul_size(capacity, elements, &input_bytes) &&
                td_mul_size(input_bytes, sizeof(float), &input_bytes);
    if (!fits)
        return td_fail(TD_ERR_MEMORY, 0, "sampler",
                       "loader: a batch of %zu x %zu is larger than memory can be", capacity, elements);
    s->indices = td_calloc(capacity, sizeof *s->indices);
    s->inputs = s->indices ? td_alloc_aligned(input_bytes) : NULL;
    if (labels && s->inputs) s->labels = td_calloc(capacity, sizeof *s->labels);
    return s->inputs && (s->labels || !labels) ? TD_OK : TD_ERR_MEMORY;
}

static td_status allocate(td_loader *loader) {
    size_t capacity = (size_t)td_sampler_capacity(loader->sampler);
    size_t input = td_dataset_part_bytes(loader->dataset, 0),
           label = td_dataset_part_bytes(loader->dataset, 1);
    loader->elements = input / td_dtype_size(td_dataset_part_of(loader->dataset, 0)->dtype);
    loader->ring = td_calloc((size_t)loader->slots, sizeof *loader->ring);
    if (!loader->ring) return TD_ERR_MEMORY;
    for (int i = 0; i < loader->slots; i++)
        TD_TRY(allocate_slot(&loader->ring[i], capacity, loader->elements, label != 0));
    bool in_place = td_dataset_rows(loader->dataset, 0) != NULL;
    size_t raw = in_place || input < label ? label : input;
    for (int who = CALLER; who <= THREAD; who++) {
        loader->raw[who] = td_calloc(capacity, raw);
        if (!loader->raw[who]) return TD_ERR_MEMORY;
    }
    return TD_OK;
}

static td_status open_sync(td_loader *loader) {
    int failed = pthread_mutex_init(&loader->lock, NULL);
    if (failed) return td_fail_errno(failed, "sampler", "the loader's lock");
    pthread_cond_init(&loader->has_work, NULL); /* with default attributes it cannot fail on Linux */
    pthread_cond_init(&loader->has_batch, NULL);
    loader->has_sync = true;
    return TD_OK;
}

td_status td_loader_open(const td_dataset *dataset, td_sampler *sampler, const td_loader_options *options,
                         td_loader **loader) {
    static const td_loader_options defaults = TD_LOADER_DEFAULTS;
    if (!options) options = &defaults;
    TD_TRY(check_options(dataset, sampler, options));
    td_loader *made = td_calloc(1, sizeof *made);
    if (!made) return TD_ERR_MEMORY;
    made->dataset = dataset;
    made->sampler = sampler;
    made->generator = options->generator;
    made->slots = options->read_ahead + 1;
    sampler_normalizer_init(&made->normalizer, options->mean, options->std);
    td_status status = allocate(made);
    if (status >= 0) status = open_sync(made);
    if (status < 0)
        td_loader_close(&made);
    else
        *loader = made;
    return status;
}

/* Forget what was assigned and not yet begun, and wait for what the thread is at. */
static void drop_pass(td_loader *loader) {
    pthread_mutex_lock(&loader->lock);
    loader->assigned = loader->begun;
    while (loader->busy) pthread_cond_wait(&loader->has_batch, &loader->lock);
    loader->assigned = loader->begun = 0;
    pthread_mutex_unlock(&loader->lock);
    loader->taken = loader->released = 0;
    loader->started = false;
    loader->failed = TD_OK;
}

td_status td_loader_start(td_loader *loader, int64_t cursor) {
    if (!loader->has_thread) TD_TRY(start_thread(loader));
    drop_pass(loader);
    TD_TRY(td_sampler_start(loader->sampler, cursor));
    if (loader->generator) loader->base_seed = td_generator_random_i64(loader->generator);
    loader->started = true;
    return TD_OK;
}

/* Give every free slot the next batch's indices. */
static td_status assign_ahead(td_loader *loader) {
    uint64_t assigned = loader->assigned; /* only this thread changes it */
    while (assigned < loader->released + (uint64_t)loader->slots) {
        slot *s = &loader->ring[assigned % (uint64_t)loader->slots];
        TD_TRY(sampler_give(loader->sampler, s->indices, &s->count));
        if (s->count == TD_SAMPLER_END) break;
        s->cursor = td_sampler_cursor(loader->sampler);
        s->done = false; /* the slot is free, so nobody else looks at it */
        pthread_mutex_lock(&loader->lock);
        loader->assigned = ++assigned;
        pthread_cond_signal(&loader->has_work);
        pthread_mutex_unlock(&loader->lock);
    }
    return TD_OK;
}

/* The next batch in order, when it is done; NULL after the last. */
static slot *take(td_loader *loader) {
    if (loader->taken == loader->assigned) return NULL;
    slot *s = &loader->ring[loader->taken % (uint64_t)loader->slots];
    pthread_mutex_lock(&loader->lock);
    while (!s->done) {
        if (loader->begun == loader->taken)
            fill_next(loader, CALLER);
        else
            pthread_cond_wait(&loader->has_batch, &loader->lock);
    }
    pthread_mutex_unlock(&loader->lock);
    loader->taken++;
    return s;
}

td_status td_loader_next(td_loader *loader, td_batch *batch) {
    if (!loader->started)
        return td_fail(TD_ERR_STATE, 0, "sampler", "loader: no pass was started (td_loader_start)");
    if (loader->failed) {
        td_error_restore(&loader->failure);
        return loader->failed;
    }
    loader->released = loader->taken;
    TD_TRY(assign_ahead(loader));
    slot *s = take(loader);
    if (s && s->status < 0) {
        loader->failure = s->error;
        loader->failed = s->status;
        td_error_restore(&loader->failure);
        return loader->failed;
    }
    TD_TRY(sampler_finish(loader->sampler, s ? s->count : TD_SAMPLER_END));
    if (s)
        *batch = (td_batch){.count = s->count,
                            .indices = s->indices,
                            .inputs = s->inputs,
                            .labels = s->labels,
                            .cursor = s->cursor};
    else
        *batch = (td_batch){.count = TD_SAMPLER_END, .cursor = td_sampler_cursor(loader->sampler)};
    return TD_OK;
}

int64_t td_loader_base_seed(const td_loader *loader) { return loader->base_seed; }

static void stop_thread(td_loader *loader) {
    pthread_mutex_lock(&loader->lock);
    loader->stop = true;
    pthread_cond_signal(&loader->has_work);
    pthread_mutex_unlock(&loader->lock);
    pthread_join(loader->thread, NULL);
}

void td_loader_close(td_loader **loader) {
    if (!loader || !*loader) return;
    td_loader *l = *loader;
    if (l->has_thread) stop_thread(l);
    if (l->has_sync) {
        pthread_cond_destroy(&l->has_batch);
        pthread_cond_destroy(&l->has_work);
        pthread_mutex_destroy(&l->lock);
    }
    for (int i = 0; l->ring && i < l->slots; i++) {
        td_free(l->ring[i].indices);
        td_free(l->ring[i].inputs);
        td_free(l->ring[i].labels);
    }
    td_free(l->ring);
    td_free(l->raw[CALLER]);
    td_free(l->raw[THREAD]);
    td_free(l);
    *loader = NULL;
}
