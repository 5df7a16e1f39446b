/* What a collective is called with, as ranks compare it and messages show it. Plain values. */
#ifndef TANDEM_DIST_CALL_H
#define TANDEM_DIST_CALL_H

#include "dist/group.h"

typedef enum td_call_kind {
    TD_CALL_BARRIER,
    TD_CALL_ALL_REDUCE,
    TD_CALL_BROADCAST,
    TD_CALL_REDUCE,
    TD_CALL_REDUCE_SCATTER,
    TD_CALL_ALL_GATHER,
    TD_CALL_GATHER,
    TD_CALL_SCATTER,
    TD_CALL_ALL_TO_ALL,
    TD_CALL_SEND,
    TD_CALL_RECV,
    TD_CALL_COUNT
} td_call_kind;

typedef struct td_call {
    td_call_kind kind;
    td_dtype dtype;
    td_reduce op; /* of a reduction */
    int root;     /* of a rooted call */
    size_t count; /* elements */
    void *data;
    td_device device;
    td_queue queue;
} td_call;

/* What must be equal on all ranks, in two words that peers may read while they are written. */
typedef struct td_fingerprint {
    uint64_t shape; /* kind, dtype, op, root */
    uint64_t count;
} td_fingerprint;

static inline td_fingerprint td_call_fingerprint(const td_call *call) {
    return (td_fingerprint){
        .shape = (uint64_t)call->kind | (uint64_t)call->dtype << 8 | (uint64_t)call->op << 16 |
                 (uint64_t)(uint32_t)call->root << 32,
        .count = call->count,
    };
}

typedef struct td_call_text {
    char text[96];
} td_call_text;

/* "all_reduce(sum) of 1000 f32", "broadcast of 4 i64 from rank 0", "barrier"; by value, for one expression.
 */
td_call_text td_call_describe(const td_call *call);
td_call_text td_fingerprint_describe(td_fingerprint print);

/* "all_reduce"; "?" for a number that is none. */
const char *td_call_name(td_call_kind kind);

#endif
