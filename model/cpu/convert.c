/* Casts between all dtypes: each pair one loop, the half-width floats by way of f32. */
#include "model/cpu/iter.h"

#define EACH_PLAIN(X)                                                                                        \
    CPU_EACH_NUMBER(X)                                                                                       \
    X(TD_DTYPE_BOOL, bool, flag)

/* Floating values to each dtype. One outside an integer's range has no defined cast in C: it goes by way of
 * i64, where what does not fit is the smallest value, as x86's own instruction has it. */
static inline float real_to_f32(double x) { return (float)x; }
static inline double real_to_f64(double x) { return x; }
static inline bool real_to_flag(double x) { return x != 0; }
static inline int64_t real_to_i64(double x) { return x > -0x1p63 && x < 0x1p63 ? (int64_t)x : INT64_MIN; }
static inline int8_t real_to_i8(double x) { return (int8_t)real_to_i64(x); }
static inline uint8_t real_to_u8(double x) { return (uint8_t)real_to_i64(x); }
static inline int16_t real_to_i16(double x) { return (int16_t)real_to_i64(x); }
static inline int32_t real_to_i32(double x) { return (int32_t)real_to_i64(x); }

#define LOOP(type, value)                                                                                    \
    for (int64_t i = 0; i < count; i++, source += source_stride, target += target_stride) {                  \
        const from x = *(const from *)source;                                                                \
        *(type *)target = value;                                                                             \
    }                                                                                                        \
    return;
#define CASE_FROM_REAL(dtype, type, name)                                                                    \
    case dtype: {                                                                                            \
        LOOP(type, real_to_##name(x))                                                                        \
    }
#define CASE_FROM_INT(dtype, type, name)                                                                     \
    case dtype: {                                                                                            \
        LOOP(type, (type)x)                                                                                  \
    }

#define DEFINE_FROM(name, from_type, CASE)                                                                   \
    static void from_##name(const char *source, int64_t source_stride, td_dtype to, char *target,            \
                            int64_t target_stride, int64_t count) {                                          \
        typedef from_type from;                                                                              \
        switch (to) {                                                                                        \
            EACH_PLAIN(CASE)                                                                                 \
        default: return;                                                                                     \
        }                                                                                                    \
    }

DEFINE_FROM(f32, float, CASE_FROM_REAL)
DEFINE_FROM(f64, double, CASE_FROM_REAL)
DEFINE_FROM(i8, int8_t, CASE_FROM_INT)
DEFINE_FROM(u8, uint8_t, CASE_FROM_INT)
DEFINE_FROM(i16, int16_t, CASE_FROM_INT)
DEFINE_FROM(i32, int32_t, CASE_FROM_INT)
DEFINE_FROM(i64, int64_t, CASE_FROM_INT)
DEFINE_FROM(flag, uint8_t, CASE_FROM_INT) /* its bytes: what is neither 0 nor 1 is read too */

static bool is_half(td_dtype dtype) { return dtype == TD_DTYPE_F16 || dtype == TD_DTYPE_BF16; }

/* One element at a time: this is not a path for speed. */
static void convert_half(td_dtype from, const char *source, int64_t source_stride, td_dtype to, char *target,
                         int64_t target_stride, int64_t count) {
    for (int64_t i = 0; i < count; i++, source += source_stride, target += target_stride) {
        float x = 0;
        if (from == TD_DTYPE_F16)
            x = td_f16_to_f32(*(const uint16_t *)source);
        else if (from == TD_DTYPE_BF16)
            x = td_bf16_to_f32(*(const uint16_t *)source);
        else
            cpu_convert(from, source, 0, TD_DTYPE_F32, (char *)&x, 0, 1);
        if (to == TD_DTYPE_F16)
            *(uint16_t *)target = td_f32_to_f16(x);
        else if (to == TD_DTYPE_BF16)
            *(uint16_t *)target = td_f32_to_bf16(x);
        else
            from_f32((const char *)&x, 0, to, target, 0, 1);
    }
}

void cpu_convert(td_dtype from, const char *source, int64_t source_stride, td_dtype to, char *target,
                 int64_t target_stride, int64_t count) {
    if (is_half(from) || is_half(to)) {
        convert_half(from, source, source_stride, to, target, target_stride, count);
        return;
    }
    switch (from) {
#define FROM_CASE(dtype, type, name)                                                                         \
    case dtype: from_##name(source, source_stride, to, target, target_stride, count); return;
        EACH_PLAIN(FROM_CASE)
    default: return;
    }
}
