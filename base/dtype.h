/*
 * Element types and where data lives. A dtype is a small number with a fixed size; a device is a kind and an
 * index; a queue is a device's stream of work (trivial on the CPU, where work is done when a call returns).
 * Plain values, nothing to free; any thread may call.
 */
#ifndef TANDEM_BASE_DTYPE_H
#define TANDEM_BASE_DTYPE_H

#include "base/status.h"

TD_BEGIN_DECLS

typedef enum td_dtype {
    TD_DTYPE_F32,
    TD_DTYPE_F64,
    TD_DTYPE_F16,
    TD_DTYPE_BF16,
    TD_DTYPE_I8,
    TD_DTYPE_U8,
    TD_DTYPE_I16,
    TD_DTYPE_I32,
    TD_DTYPE_I64,
    TD_DTYPE_BOOL, /* one byte, 0 or 1 */
    TD_DTYPE_COUNT
} td_dtype;

typedef enum td_device_kind { TD_DEVICE_CPU, TD_DEVICE_CUDA, TD_DEVICE_COUNT } td_device_kind;

typedef struct td_device {
    td_device_kind kind;
    int index; /* 0 on the CPU */
} td_device;

/* A device's queue: NULL on the CPU, a cudaStream_t on CUDA. */
typedef void *td_queue;

/* Bytes of one element; 0 for a number that is no dtype. */
TD_API size_t td_dtype_size(td_dtype dtype);
/* "f32", "bool"; "?" for a number that is none. Static. */
TD_API const char *td_dtype_name(td_dtype dtype);
/* The dtype called `name` ("f32" or PyTorch's "float32"), or TD_ERR_ARG. */
TD_API td_status td_dtype_parse(const char *name, td_dtype *dtype);
TD_API bool td_dtype_is_floating(td_dtype dtype);

/* "cpu", "cuda". Static. */
TD_API const char *td_device_name(td_device_kind kind);

TD_END_DECLS

#endif
