/*
 * The monotonic clock, for deadlines and durations: nanoseconds from an arbitrary start, the same for all
 * processes of one machine. Any thread may call.
 */
#ifndef TANDEM_BASE_CLOCK_H
#define TANDEM_BASE_CLOCK_H

#include "base/types.h"

TD_BEGIN_DECLS

TD_API int64_t td_clock_ns(void);

TD_END_DECLS

#endif
