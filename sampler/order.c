/* The memory of an order: 4 bytes an entry below 2^31 samples, 8 above. */
#include "base/memory.h"
#include "sampler/internal.h"
#include "sampler/permutation.h"

td_status sampler_order_open(sampler_order *order, int64_t count, int64_t size) {
    sampler_order made = {0};
    if (size <= INT32_MAX)
        made.narrow = td_calloc((size_t)count, sizeof *made.narrow);
    else
        made.wide = td_calloc((size_t)count, sizeof *made.wide);
    if (!made.narrow && !made.wide) return TD_ERR_MEMORY;
    *order = made;
    return TD_OK;
}

void sampler_order_shuffle(sampler_order *order, td_generator *generator, int64_t count) {
    if (order->narrow)
        td_permutation_i32(generator, order->narrow, count);
    else
        td_permutation_i64(generator, order->wide, count);
}

void sampler_order_shrink(sampler_order *order, int64_t count) {
    /* A block that cannot be made smaller is good as it is. */
    void *narrow = order->narrow ? td_realloc(order->narrow, (size_t)count, sizeof *order->narrow) : NULL;
    void *wide = order->wide ? td_realloc(order->wide, (size_t)count, sizeof *order->wide) : NULL;
    if (narrow) order->narrow = narrow;
    if (wide) order->wide = wide;
}

void sampler_order_close(sampler_order *order) {
    td_free(order->narrow);
    td_free(order->wide);
    *order = (sampler_order){0};
}
