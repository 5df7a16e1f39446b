/*
 * Ranks that exchange data. Central object: td_group, opened by all ranks of a job together (or made of some
 * of another group's ranks), used for collectives which all its ranks call in the same order with matching
 * arguments, and closed. A collective is posted and gives a td_work; waiting on it, or on a later one,
 * completes it. Collectives complete in the order in which they were posted; sends and receives go their own
 * way beside them. There is no progress thread: work is done inside post, test and wait, and each of them
 * advances all that the group has in flight. One thread at a time may use a group and its works; several
 * groups, used by several threads, and several ranks as threads of one process (each with a job and groups of
 * its own), are fine.
 *
 * Nothing waits for ever. A rank that dies is noticed within 50 ms and named (TD_ERR_PEER); ranks that call
 * different collectives get TD_ERR_MISMATCH with both calls; a rank that does not come is reported through
 * the log hook after 10 s and fails the wait after the stall timeout (TD_ERR_TIMEOUT). After any of these the
 * group is broken: every later call fails at once with the first cause, on every rank. Messages number ranks
 * as the job does.
 */
#ifndef TANDEM_DIST_GROUP_H
#define TANDEM_DIST_GROUP_H

#include "dist/call.h"

TD_BEGIN_DECLS

/* Zeros are the defaults. */
typedef struct td_group_options {
    const char *backend;   /* "self", "shm", "hier", "mpi"; NULL: the first that can serve */
    td_device_kind device; /* where the data will be */
    double stall_timeout;  /* seconds; 0: the job's; INFINITY is allowed */
    double stall_report;   /* seconds until a wait is reported through the log hook; 0: 10 */
} td_group_options;

/* Open the group of all ranks of `job`; every rank calls it, and it returns when all have come. `options`
 * NULL: defaults. The job is *lent* until the group is closed. *Yours*. TD_ERR_ARG for a backend that does
 * not exist, TD_ERR_UNSUPPORTED when the wanted one cannot serve, or none can, with the reasons. */
TD_API td_status td_group_open(td_job *job, const td_group_options *options, td_group **group);

/* A group of some of `group`'s ranks; every rank of `group` calls it. Ranks with the same `colour` are together,
 * ordered by `key` and then by rank; one with a negative colour is in none and receives NULL. The new group
 * has the same backend and times, lives beside the old one and may outlive it. *Yours*. */
TD_API td_status td_group_split(td_group *group, int colour, int key, td_group **part);

/* The same from a list: ranks[i] of `group` becomes rank i of the new one. Every rank of `group` calls it with
 * the same list (TD_ERR_MISMATCH); those not in it receive NULL. */
TD_API td_status td_group_new(td_group *group, const int *ranks, int count, td_group **part);

/* Leave. Posted works are completed first, unless the group is broken. Not collective: that this rank has
 * left is announced, so its exit is not a death, and others fail only if they call another collective. Works
 * not released become invalid, as do pointers into the group's arena. Leaves NULL; NULL inside is fine. */
TD_API void td_group_close(td_group **group);

TD_API int td_group_rank(const td_group *group);
TD_API int td_group_size(const td_group *group);
/* Which rank of the job is this group's `rank`? -1 when there is none. */
TD_API int td_group_job_rank(const td_group *group, int rank);
/* Which machine is this rank on, counted in the order of their first ranks? For td_group_split into the groups of
 * each machine, whose ranks share memory where the backend can. */
TD_API int td_group_machine(const td_group *group);
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

/*
 * The collectives. What is behind `input`, `output`, `data` and `counts` (on `device`; the table in dist/call.h
 * says how many elements, and where input and output may coincide) is *lent* until the work is done, and input
 * stays as it is. Count 0, and then NULL, are fine. The work starts behind what is queued on `queue` (NULL on
 * the CPU). `work` receives it, *yours* to release; NULL means: wait here, and release. Posting never waits
 * for another rank. Arguments are checked at once: TD_ERR_ARG, or TD_ERR_UNSUPPORTED when the backend lacks
 * this collective, dtype, reduction or device. Results have the same bits on every rank and in every run.
 */

/* Any of them, and what the short forms leave out: uneven parts, factor, label, a timeout of its own. */
TD_API td_status td_group_post(td_group *group, const td_call *call, td_work **work);

/* Several collectives (no send or recv) at once, in this order; the one work is done when all are. Either all
 * are posted or none. */
TD_API td_status td_group_post_list(td_group *group, const td_call *calls, int count, td_work **work);

/* Every rank's data becomes the reduction over all ranks. */
TD_API td_status td_group_all_reduce(td_group *group, void *data, size_t count, td_dtype dtype, td_reduce op,
                                     td_device device, td_queue queue, td_work **work);

/* Every rank's data becomes that of rank `root`. */
TD_API td_status td_group_broadcast(td_group *group, void *data, size_t count, td_dtype dtype, int root,
                                    td_device device, td_queue queue, td_work **work);

/* The reduction over all ranks goes to `output` of rank `root`. */
TD_API td_status td_group_reduce(td_group *group, const void *input, void *output, size_t count,
                                 td_dtype dtype, td_reduce op, int root, td_device device, td_queue queue,
                                 td_work **work);

/* Part r of the reduction over all ranks goes to rank r; a part has `count` elements. */
TD_API td_status td_group_reduce_scatter(td_group *group, const void *input, void *output, size_t count,
                                         td_dtype dtype, td_reduce op, td_device device, td_queue queue,
                                         td_work **work);

/* Every rank receives every rank's `count` elements, in the order of ranks. */
TD_API td_status td_group_all_gather(td_group *group, const void *input, void *output, size_t count,
                                     td_dtype dtype, td_device device, td_queue queue, td_work **work);

/* The same for rank `root` alone. */
TD_API td_status td_group_gather(td_group *group, const void *input, void *output, size_t count,
                                 td_dtype dtype, int root, td_device device, td_queue queue, td_work **work);

/* Rank r receives the r-th `count` elements of rank `root`. */
TD_API td_status td_group_scatter(td_group *group, const void *input, void *output, size_t count,
                                  td_dtype dtype, int root, td_device device, td_queue queue, td_work **work);

/* Rank r receives the r-th `count` elements of every rank, in the order of ranks. */
TD_API td_status td_group_all_to_all(td_group *group, const void *input, void *output, size_t count,
                                     td_dtype dtype, td_device device, td_queue queue, td_work **work);

/* A message to or from one rank. Messages between two ranks with the same tag keep their order; count and
 * dtype must agree. A send is done when its data may be changed, which may be before it is received. At most 16
 * messages from one rank to another go unmatched; a further one waits (as work) for a receive. */
TD_API td_status td_group_send(td_group *group, const void *data, size_t count, td_dtype dtype, int to,
                               int tag, td_device device, td_queue queue, td_work **work);
TD_API td_status td_group_recv(td_group *group, void *data, size_t count, td_dtype dtype, int from, int tag,
                               td_device device, td_queue queue, td_work **work);

/* Done when every rank has posted it. */
TD_API td_status td_group_barrier(td_group *group, td_work **work);

/* A barrier for which all must come within `seconds`; else TD_ERR_TIMEOUT names every rank that did not, and
 * the group is broken. Waits. */
TD_API td_status td_group_monitored_barrier(td_group *group, double seconds);

/* Bytes whose number only `root` knows: there *bytes and *size say what to send, elsewhere they receive it;
 * *bytes is then *yours*, to be freed with td_free (base/memory.h). Waits. */
TD_API td_status td_group_broadcast_object(td_group *group, void **bytes, size_t *size, int root);

/* Make the host wait until the work is done; if it is a collective, earlier ones are then done too. The work's
 * failure, if it failed. */
TD_API td_status td_work_wait(td_work *work);
/* Do what can be done without waiting: TD_OK when the work is done, TD_PENDING when not. */
TD_API td_status td_work_test(td_work *work);
/* Make what is queued on `queue` from now on wait for the work; on the CPU, where a queue is always empty,
 * this waits. */
TD_API td_status td_work_order(td_work *work, td_queue queue);
/* Give a work back; one that is not done goes on by itself. Leaves NULL; NULL inside is fine. */
TD_API void td_work_release(td_work **work);

TD_END_DECLS

#endif
