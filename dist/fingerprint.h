/* What must be equal on all ranks of a collective, packed for comparing, and as text for messages. */
#ifndef TANDEM_DIST_FINGERPRINT_H
#define TANDEM_DIST_FINGERPRINT_H

#include "dist/call.h"

/* Two words that peers may read while they are written. */
typedef struct td_fingerprint {
    uint64_t shape; /* from bit 0: kind 8, dtype 8, op 8, uneven 1; root 16 from bit 32, `more` from bit 48 */
    uint64_t count; /* elements of a part, or of all if they are uneven; 0 for an uneven all_to_all, whose
                       counts only pairs of ranks share */
} td_fingerprint;

/* The rows of td_call_traits_of. */
extern const td_call_traits td_call_kinds[TD_CALL_COUNT];

/* Sixteen bits that stand for counts and factor. */
uint64_t td_call_more(const td_call *call, int size);

static inline td_fingerprint td_call_fingerprint(const td_call *call, int size) {
    const td_call_traits *traits = &td_call_kinds[call->kind]; /* what a kind does not use may differ */
    uint64_t shape = (uint64_t)call->kind;
    if (traits->has_data) shape |= (uint64_t)call->dtype << 8;
    if (traits->reduces) shape |= (uint64_t)call->op << 16;
    if (traits->rooted) shape |= (uint64_t)(uint16_t)call->root << 32;
    td_fingerprint print = {.shape = shape, .count = traits->has_data ? call->count : 0};
    if (__builtin_expect(call->counts || (traits->reduces && call->op == TD_REDUCE_PREMUL_SUM), 0)) {
        print.shape |= td_call_more(call, size) << 48;
        if (call->counts) {
            print.shape |= 1u << 24;
            print.count = 0;
            for (int r = 0; r < size && call->kind != TD_CALL_ALL_TO_ALL; r++) print.count += call->counts[r];
        }
    }
    return print;
}

/* With another root. */
static inline td_fingerprint td_fingerprint_rename(td_fingerprint print, int root) {
    print.shape = (print.shape & ~(UINT64_C(0xffff) << 32)) | (uint64_t)(uint16_t)root << 32;
    return print;
}

typedef struct td_call_text {
    char text[96];
} td_call_text;

/* "all_reduce(sum) of 1000 f32", "broadcast of 4 i64 from rank 0", "barrier"; by value, for one expression.
 */
td_call_text td_fingerprint_describe(td_fingerprint print);

#endif
