/*
 * Ranks that exchange data. Central object: td_group, opened by all ranks of a job together, used for
 * collectives which all ranks call in the same order with matching arguments, and closed. A collective is
 * posted and gives a td_work; waiting on it, or on a later one, completes it. Works complete in the order
 * in which they were posted. There is no progress thread: work is done inside post, test and wait.
 * One thread at a time may use a group and its works; several groups, and several ranks as threads of one
 * process (each with a job and group of its own), are fine.
 *
 * Nothing waits for ever. A rank that dies is noticed within 100 ms and named (TD_ERR_PEER); ranks that call
 * different collectives get TD_ERR_MISMATCH with both calls; a rank that does not come is reported through
 * the log hook after 10 s and fails the wait after the stall timeout (TD_ERR_TIMEOUT). After any of these the
 * group is broken: every later call fails at once with the first cause, on every rank.
 */
#ifndef TANDEM_DIST_GROUP_H
#define TANDEM_DIST_GROUP_H

#include "base/dtype.h"

TD_BEGIN_DECLS

typedef enum td_reduce {
    TD_REDUCE_SUM,
    TD_REDUCE_AVG, /* the sum in rank order, divided once by the number of ranks; floating dtypes only */
    TD_REDUCE_COUNT
} td_reduce;

/* Zeros are the defaults. */
typedef struct td_group_options {
    const char *backend;   /* "self", "shm"; NULL: the first that can serve */
    td_device_kind device; /* where the data will be */
    double stall_timeout;  /* seconds; 0: the job's; INFINITY is allowed */
    double stall_report;   /* seconds until a wait is reported through the log hook; 0: 10 */
} td_group_options;

/* Open the group of all ranks of `job`; every rank calls it, and it returns when all have come. `options`
 * NULL: defaults. The job is *lent* until the group is closed. *Yours*. TD_ERR_ARG for a backend that does
 * not exist, TD_ERR_UNSUPPORTED when the wanted one cannot serve, or none can, with the reasons. */
TD_API td_status td_group_open(td_job *job, const td_group_options *options, td_group **group);

/* Leave. Posted works are completed first, unless the group is broken. Not collective: that this rank has
 * left is announced, so its exit is not a death, and others fail only if they call another collective. Works
 * not released become invalid, as do pointers into the group's arena. Leaves NULL; NULL inside is fine. */
TD_API void td_group_close(td_group **group);

TD_API int td_group_rank(const td_group *group);
TD_API int td_group_size(const td_group *group);
TD_API const char *td_group_backend(const td_group *group); /* static */

/* Why backends before the chosen one cannot serve, one line each ("nccl: ..."), "" if there were none.
 * *Lent*. */
TD_API const char *td_group_refusals(const td_group *group);

/* Compute threads for this rank: cores in its mask, over the ranks of this machine that share them, cut to
 * the container's CPU limit; at least 1. */
TD_API int td_group_compute_threads(const td_group *group);

/* Memory that the ranks share (dist/arena.h); *lent* until the group is closed. Never NULL. */
TD_API td_arena *td_group_arena(td_group *group);

/* Break the group on purpose, so that no rank waits for one which cannot go on: their calls fail with
 * TD_ERR_PEER and `why`, a line of text. */
TD_API void td_group_abort(td_group *group, const char *why);

/* The collectives. `data` (count elements, on `device`) is *lent* until the work is done, and is only read or
 * written by others in between; count 0 and then data NULL are fine. The work starts behind what is queued
 * on `queue` (NULL on the CPU). `work` receives it, *yours* to release; NULL means: wait here, and release.
 * Posting never waits for another rank. Arguments are checked at once: TD_ERR_ARG, or TD_ERR_UNSUPPORTED when
 * the backend lacks this collective, dtype or device. f32, f64 and i64 are summed; any dtype is broadcast. */

/* Every rank's data becomes the sum or average over all ranks. Same bits on every rank and in every run. */
TD_API td_status td_group_all_reduce(td_group *group, void *data, size_t count, td_dtype dtype, td_reduce op,
                                     td_device device, td_queue queue, td_work **work);

/* Every rank's data becomes that of rank `root`. */
TD_API td_status td_group_broadcast(td_group *group, void *data, size_t count, td_dtype dtype, int root,
                                    td_device device, td_queue queue, td_work **work);

/* Done when every rank has posted it. */
TD_API td_status td_group_barrier(td_group *group, td_work **work);

/* Make the host wait until the work is done; earlier works are then done too. The work's failure, if it
 * failed. */
TD_API td_status td_work_wait(td_work *work);
/* Do what can be done without waiting: TD_OK when the work is done, TD_PENDING when not. */
TD_API td_status td_work_test(td_work *work);
/* Make what is queued on `queue` from now on wait for the work; on the CPU, where a queue is always empty,
 * this waits. */
TD_API td_status td_work_order(td_work *work, td_queue queue);
/* Give a work back; one that is not done goes on by itself. Leaves NULL; NULL inside is fine. */
TD_API void td_work_release(td_work **work);

/* "sum", "avg"; "?" for a number that is none. Static. */
TD_API const char *td_reduce_name(td_reduce op);

TD_END_DECLS

#endif
