/* Initial values, as torch.nn.init. Internal to model/; drawn from the context's default generator. */
#ifndef TANDEM_MODEL_NN_INIT_H
#define TANDEM_MODEL_NN_INIT_H

#include "model/tensor/tensor.h"

/* What Linear and Conv begin with: a new f32 tensor of `sizes`, filled by kaiming_uniform_(a=sqrt(5)) for a
 * fan-in of `fan_in`, in the current scope. NULL after marking it. */
td_tensor *init_weight(td_ints sizes, int64_t fan_in);

/* Their bias: uniform within 1/sqrt(fan_in). */
td_tensor *init_bias(int64_t count, int64_t fan_in);

#endif
