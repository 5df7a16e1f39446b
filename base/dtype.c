/* One table of element types. */
#include "base/dtype.h"

#include <string.h>

static const struct {
    const char *name, *torch_name;
    size_t size;
    bool floating;
} dtypes[] = {
    [TD_DTYPE_F32] = {"f32", "float32", 4, true}, [TD_DTYPE_F64] = {"f64", "float64", 8, true},
    [TD_DTYPE_F16] = {"f16", "float16", 2, true}, [TD_DTYPE_BF16] = {"bf16", "bfloat16", 2, true},
    [TD_DTYPE_I8] = {"i8", "int8", 1, false},     [TD_DTYPE_U8] = {"u8", "uint8", 1, false},
    [TD_DTYPE_I16] = {"i16", "int16", 2, false},  [TD_DTYPE_I32] = {"i32", "int32", 4, false},
    [TD_DTYPE_I64] = {"i64", "int64", 8, false},  [TD_DTYPE_BOOL] = {"bool", "bool", 1, false},
};
_Static_assert(sizeof dtypes / sizeof *dtypes == TD_DTYPE_COUNT, "a dtype has no row");

static bool valid(td_dtype dtype) { return (unsigned)dtype < TD_DTYPE_COUNT; }

size_t td_dtype_size(td_dtype dtype) { return valid(dtype) ? dtypes[dtype].size : 0; }

const char *td_dtype_name(td_dtype dtype) { return valid(dtype) ? dtypes[dtype].name : "?"; }

bool td_dtype_is_floating(td_dtype dtype) { return valid(dtype) && dtypes[dtype].floating; }

td_status td_dtype_parse(const char *name, td_dtype *dtype) {
    for (int i = 0; i < TD_DTYPE_COUNT; i++) {
        if (strcmp(name, dtypes[i].name) && strcmp(name, dtypes[i].torch_name)) continue;
        *dtype = (td_dtype)i;
        return TD_OK;
    }
    return td_fail(TD_ERR_ARG, 0, "base", "there is no dtype '%s'", name);
}

const char *td_device_name(td_device_kind kind) {
    static const char *const names[] = {[TD_DEVICE_CPU] = "cpu", [TD_DEVICE_CUDA] = "cuda"};
    return (unsigned)kind < TD_DEVICE_COUNT ? names[kind] : "?";
}
