/*
 * The sums, compiled once for each instruction set (TD_SUM_TABLE, TD_SUM_BYTES: vector width). Four vectors
 * at a time are summed over all inputs and then stored to all outputs, so each input is read once and outputs
 * may be inputs. The lines are written right after they were read, so ordinary stores are best (non-temporal
 * ones were 1.5 to 7.5 times slower).
 */
#include "dist/shm/sum.h"

#define UNROLL 4
#define INLINE static inline __attribute__((always_inline))

/* Where pointers are read through `to` and `from`, the compiler must take each store for a change of them; so
 * two ranks, the common case, have a loop of their own with the pointers in registers. */
#define DEFINE_SUM(name, element, wrapping, divide)                                                          \
    enum { name##_lanes = TD_SUM_BYTES / sizeof(element), name##_step = UNROLL * name##_lanes };             \
    typedef wrapping name##_vector                                                                           \
        __attribute__((vector_size(TD_SUM_BYTES), aligned(sizeof(element)), may_alias));                     \
    INLINE void name##_pair(wrapping *a, wrapping *b, size_t count, bool average) {                          \
        size_t i = 0;                                                                                        \
        for (; i + name##_step <= count; i += name##_step) {                                                 \
            name##_vector sum[UNROLL];                                                                       \
            for (int u = 0; u < UNROLL; u++) {                                                               \
                size_t at = i + (size_t)u * name##_lanes;                                                    \
                sum[u] = *(const name##_vector *)(a + at) + *(const name##_vector *)(b + at);                \
                if (average) sum[u] = divide(sum[u], (element)2);                                            \
            }                                                                                                \
            for (int u = 0; u < UNROLL; u++) {                                                               \
                size_t at = i + (size_t)u * name##_lanes;                                                    \
                *(name##_vector *)(a + at) = sum[u];                                                         \
                *(name##_vector *)(b + at) = sum[u];                                                         \
            }                                                                                                \
        }                                                                                                    \
        for (; i < count; i++) {                                                                             \
            wrapping sum = a[i] + b[i];                                                                      \
            if (average) sum = divide(sum, (element)2);                                                      \
            a[i] = b[i] = sum;                                                                               \
        }                                                                                                    \
    }                                                                                                        \
    INLINE void name##_any(void *const *to, size_t outputs, const void *const *from, size_t inputs,          \
                           size_t count, bool average) {                                                     \
        size_t i = 0;                                                                                        \
        for (; i + name##_step <= count; i += name##_step) {                                                 \
            name##_vector sum[UNROLL];                                                                       \
            for (int u = 0; u < UNROLL; u++)                                                                 \
                sum[u] = *(const name##_vector *)((const wrapping *)from[0] + i + (size_t)u * name##_lanes); \
            for (size_t r = 1; r < inputs; r++)                                                              \
                for (int u = 0; u < UNROLL; u++)                                                             \
                    sum[u] +=                                                                                \
                        *(const name##_vector *)((const wrapping *)from[r] + i + (size_t)u * name##_lanes);  \
            if (average)                                                                                     \
                for (int u = 0; u < UNROLL; u++) sum[u] = divide(sum[u], (element)inputs);                   \
            for (size_t o = 0; o < outputs; o++)                                                             \
                for (int u = 0; u < UNROLL; u++)                                                             \
                    *(name##_vector *)((wrapping *)to[o] + i + (size_t)u * name##_lanes) = sum[u];           \
        }                                                                                                    \
        for (; i < count; i++) {                                                                             \
            wrapping sum = ((const wrapping *)from[0])[i];                                                   \
            for (size_t r = 1; r < inputs; r++) sum += ((const wrapping *)from[r])[i];                       \
            if (average) sum = divide(sum, (element)inputs);                                                 \
            for (size_t o = 0; o < outputs; o++) ((wrapping *)to[o])[i] = sum;                               \
        }                                                                                                    \
    }                                                                                                        \
    static void name(void *const *to, size_t outputs, const void *const *from, size_t inputs, size_t count,  \
                     bool average) {                                                                         \
        bool in_place = inputs == 2 && outputs == 2 && to[0] == from[0] && to[1] == from[1];                 \
        if (in_place && average)                                                                             \
            name##_pair(to[0], to[1], count, true);                                                          \
        else if (in_place)                                                                                   \
            name##_pair(to[0], to[1], count, false);                                                         \
        else                                                                                                 \
            name##_any(to, outputs, from, inputs, count, average);                                           \
    }

#define DIVIDE(sum, by) ((sum) / (by))
#define KEEP(sum, by)   ((void)(by), (sum))

DEFINE_SUM(sum_f32, float, float, DIVIDE)
DEFINE_SUM(sum_f64, double, double, DIVIDE)
DEFINE_SUM(sum_i64, int64_t, uint64_t, KEEP) /* unsigned, so that overflow wraps */

const td_sum_table TD_SUM_TABLE = {.f32 = sum_f32, .f64 = sum_f64, .i64 = sum_i64};
