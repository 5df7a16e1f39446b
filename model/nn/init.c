/*
 * Bounds are worked out in double in the order of torch/nn/init.py, since a last bit there can be a last bit
 * of the weights.
 */
#include "model/nn/init.h"

#include "model/ops/ops.h"

#include <math.h>

static td_tensor *uniform(td_ints sizes, double bound) { return td_uniform_(td_empty(sizes), -bound, bound); }

td_tensor *init_weight(td_ints sizes, int64_t fan_in) {
    const double a = sqrt(5);
    double gain = sqrt(2 / (1 + a * a));
    double std = gain / sqrt((double)fan_in);
    return uniform(sizes, sqrt(3) * std);
}

td_tensor *init_bias(int64_t count, int64_t fan_in) {
    return uniform(TD_INTS(count), fan_in > 0 ? 1 / sqrt((double)fan_in) : 0);
}
