/* Shared by view and reshape. Internal to model/ops. */
#ifndef TANDEM_MODEL_OPS_VIEW_SIZED_H
#define TANDEM_MODEL_OPS_VIEW_SIZED_H

#include "model/ops/parts.h"

/* `size` with its -1 worked out from self's elements. TD_ERR_ARG when they do not agree. */
td_status view_infer_size(const td_tensor *self, const td_ints *size, td_ints *inferred);

/* Strides for out->sizes over self's elements; false when only a copy could have them. */
bool view_find_strides(const td_tensor *self, td_layout *out);

#endif
