/* What all kinds of samplers share: the cursor, the cut into batches, the end of a pass. */
#include "sampler/sampler.h"

#include "base/memory.h"
#include "sampler/internal.h"

td_status sampler_create(const sampler_kind *kind, size_t bytes, const char *name, int64_t size,
                         int64_t batch_size, bool drop_short_batch, td_sampler **sampler) {
    if (size < 0 || size > SAMPLER_SIZE_LIMIT)
        return td_fail(TD_ERR_ARG, 0, "sampler", "%s sampler: size %lld, expected 0 to 2^53", name,
                       (long long)size);
    if (batch_size < 1 || batch_size > SAMPLER_SIZE_LIMIT)
        return td_fail(TD_ERR_ARG, 0, "sampler", "%s sampler: batch size %lld, expected 1 to 2^53", name,
                       (long long)batch_size);
    td_sampler *made = td_calloc(1, bytes);
    if (!made) return TD_ERR_MEMORY;
    made->kind = kind;
    made->name = name;
    made->size = size;
    made->step = batch_size;
    made->drop_short_batch = drop_short_batch;
    *sampler = made;
    return TD_OK;
}

void td_sampler_close(td_sampler **sampler) {
    if (!sampler || !*sampler) return;
    (*sampler)->kind->release(*sampler);
    td_free(*sampler);
    *sampler = NULL;
}

void td_sampler_set_epoch(td_sampler *sampler, uint64_t epoch) { sampler->epoch = epoch; }

td_status td_sampler_start(td_sampler *sampler, int64_t cursor) {
    if (cursor < 0 || cursor > sampler->end)
        return td_fail(TD_ERR_ARG, 0, "sampler", "%s sampler: start at %lld, but a pass goes from 0 to %lld",
                       sampler->name, (long long)cursor, (long long)sampler->end);
    sampler->kind->start(sampler);
    sampler->cursor = cursor;
    sampler->finished = false;
    return TD_OK;
}

int64_t td_sampler_cursor(const td_sampler *sampler) { return sampler->cursor; }
int64_t td_sampler_capacity(const td_sampler *sampler) { return sampler->capacity; }
int64_t td_sampler_length(const td_sampler *sampler) { return sampler->length; }
int64_t td_sampler_size(const td_sampler *sampler) { return sampler->size; }

int64_t td_sampler_batches_left(const td_sampler *sampler) {
    int64_t left = sampler->end - sampler->cursor;
    bool last_is_short = left % sampler->step != 0;
    return left / sampler->step + (last_is_short && !sampler->drop_short_batch);
}

td_status sampler_give(td_sampler *sampler, int64_t *indices, int64_t *count) {
    if (td_sampler_batches_left(sampler) == 0) {
        *count = TD_SAMPLER_END;
        return TD_OK;
    }
    TD_TRY(sampler->kind->prepare(sampler));
    int64_t begin = sampler->cursor, left = sampler->end - begin;
    int64_t end = begin + (left < sampler->step ? left : sampler->step);
    *count = sampler->kind->give(sampler, begin, end, indices);
    sampler->cursor = end;
    return TD_OK;
}

td_status sampler_finish(td_sampler *sampler, int64_t count) {
    if (count == sampler->step || sampler->finished || !sampler->kind->finish) return TD_OK;
    TD_TRY(sampler->kind->finish(sampler));
    sampler->finished = true;
    return TD_OK;
}

td_status td_sampler_next(td_sampler *sampler, int64_t *indices, int64_t *count) {
    int64_t given;
    TD_TRY(sampler_give(sampler, indices, &given));
    TD_TRY(sampler_finish(sampler, given));
    *count = given;
    return TD_OK;
}
