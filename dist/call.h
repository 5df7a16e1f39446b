/*
 * What a collective is called with, in one shape for all of them. Central object: td_call, a plain value that
 * the caller fills by designated initialisers (zeros are the defaults) and hands to td_group_post; what it
 * points to is *lent* until the work is done. The functions of dist/group.h are short forms of it. Nothing to
 * free; any thread may call.
 *
 * How much a call reads at `input` and writes at `output`, in elements of `dtype`, where a rank's part is
 * `count`, or counts[rank] where `counts` is given (which is then equal on all ranks; `count` is ignored),
 * and all parts lie one after the other in the order of ranks:
 *
 *   all_reduce      input count                    output count
 *   broadcast       input count, root's            output count, the others'
 *   reduce          input count                    output count, root's
 *   reduce_scatter  input all parts                output own part
 *   all_gather      input own part                 output all parts
 *   gather          input own part                 output all parts, root's
 *   scatter         input all parts, root's        output own part
 *   all_to_all      input a part for each rank     output a part from each rank
 *   send            input count, to rank `root`
 *   recv                                           output count, from rank `root`
 *
 * An uneven all_to_all gives counts[r], for rank r, and recv_counts[r], from rank r. A pointer to nothing may
 * be NULL. Input and output may be the same place where a call has both: for all_reduce, broadcast and reduce
 * the same pointer, where parts are involved the rank's own part at its place among all parts. They must not
 * overlap otherwise, and all_to_all has no such form.
 */
#ifndef TANDEM_DIST_CALL_H
#define TANDEM_DIST_CALL_H

#include "base/dtype.h"

TD_BEGIN_DECLS

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

/* Elements are combined in the order of ranks. f16 and bf16 are computed in f32 and rounded once, at the end;
 * integers wrap. For bool, sum and max are `or`, prod and min are `and`. A NaN wins min and max. */
typedef enum td_reduce {
    TD_REDUCE_SUM,
    TD_REDUCE_AVG, /* the sum, divided once by the number of ranks; floating dtypes only */
    TD_REDUCE_MIN,
    TD_REDUCE_MAX,
    TD_REDUCE_PROD,
    TD_REDUCE_BAND, /* bits; integers and bool only, as the next two */
    TD_REDUCE_BOR,
    TD_REDUCE_BXOR,
    TD_REDUCE_PREMUL_SUM, /* the sum of factor * x; floating dtypes only */
    TD_REDUCE_COUNT
} td_reduce;

typedef struct td_call {
    td_call_kind kind;
    td_dtype dtype;
    td_reduce op; /* of a reduction */
    int root;     /* of a rooted call; the other rank of send and recv */
    int tag;      /* of send and recv, from 0: a receive takes the oldest message with its tag */
    size_t count; /* elements, see above */
    const void *input;
    void *output;
    const size_t *counts, *recv_counts; /* one per rank; NULL: all parts have `count` elements */
    double factor;                      /* of TD_REDUCE_PREMUL_SUM; equal on all ranks */
    double timeout;                     /* seconds for a wait; 0: the group's stall timeout */
    const char *label;                  /* for the flight recorder; *lent* for the post only; may be NULL */
    td_device device;
    td_queue queue;
} td_call;

/* "all_reduce"; "?" for a number that is none. Static. */
TD_API const char *td_call_name(td_call_kind kind);
/* "sum", "avg", "premul_sum"; "?" for a number that is none. Static. */
TD_API const char *td_reduce_name(td_reduce op);
/* Is this reduction defined for this dtype? */
TD_API bool td_reduce_takes(td_reduce op, td_dtype dtype);

/* How a kind of call uses its arguments: one row per kind, for programs that treat all alike. */
typedef enum td_extent {
    TD_EXTENT_NONE,
    TD_EXTENT_COUNT, /* `count` elements */
    TD_EXTENT_PART,  /* the rank's own part */
    TD_EXTENT_ALL,   /* all parts */
} td_extent;

typedef struct td_call_traits {
    const char *name;
    bool has_data, reduces, rooted;
    bool parts;                  /* `counts` may be given */
    bool pairs;                  /* send, recv: between two ranks, not all */
    td_extent input, root_input; /* of all ranks but the root, and of the root */
    td_extent output, root_output;
} td_call_traits;

/* The row of a kind, which must be a valid one. Static. */
TD_API const td_call_traits *td_call_traits_of(td_call_kind kind);

/* Elements that rank `rank` of `size` reads at `input` and writes at `output`, by the table above. */
TD_API size_t td_call_input_count(const td_call *call, int rank, int size);
TD_API size_t td_call_output_count(const td_call *call, int rank, int size);

TD_END_DECLS

#endif
