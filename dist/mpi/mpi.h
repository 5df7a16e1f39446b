/*
 * A group over MPI, as the files of this plug-in see it. Everything is point-to-point: MPI's own reductions fix no
 * order, know no bf16, and cannot be given up. Each rank sums its slice of all ranks' data in the order of ranks,
 * so results have the same bits as over shared memory. Nothing moves but within a call (post, test, wait): no
 * thread of ours competes with the computation. One thread per group; several groups may have several.
 */
#ifndef TANDEM_DIST_MPI_MPI_H
#define TANDEM_DIST_MPI_MPI_H

#include "dist/internal.h"
#include "dist/reduce.h"

#include <mpi.h>

enum { TD_MPI_TAG_NEWS = 1, TD_MPI_TAG_PRINT, TD_MPI_TAG_DATA };

/* What a rank tells the others outside collectives. */
typedef struct td_mpi_news {
    int32_t left; /* it has closed the group; else it has broken it: */
    int32_t status, culprit;
    char text[480];
} td_mpi_news;

/* What must be equal on all ranks, and by whom a call was made. */
typedef struct td_mpi_print {
    uint64_t number; /* of the call, from 1 */
    td_fingerprint print;
} td_mpi_print;

/* Requests under way, with what is known of each. */
typedef struct td_mpi_request {
    int peer;
    int expected; /* bytes of a receive; -1: a send */
} td_mpi_request;

typedef struct td_mpi_batch {
    MPI_Request *requests;
    td_mpi_request *about;
    int n, capacity, pending;
} td_mpi_batch;

/* A send or receive under way. */
typedef struct td_mpi_pair {
    struct td_mpi_pair *next;
    td_work *work;
    td_mpi_batch batch;
} td_mpi_pair;

typedef struct td_mpi {
    MPI_Comm calls, pairs; /* collectives and news; sends and receives, under the user's tags */
    td_work *first, *last; /* collectives; only the first is under way */
    td_mpi_pair *first_pair;
    td_mpi_batch batch; /* of the first collective's stage */
    td_mpi_print own, *prints;
    uint8_t *staging; /* what the others send for this rank's slice */
    size_t staging_bytes;
    td_mpi_news news, farewell; /* received; sent, which lasts until the plug-in goes */
    MPI_Request news_request, *farewells;
    bool *left;
    const td_reduce_table *reduce;
} td_mpi;

static inline td_mpi *td_mpi_of(const td_group *group) { return group->state; }

/* TD_OK for MPI_SUCCESS; else the record says `what` and MPI's own words. The one border for MPI's codes. */
td_status td_mpi_status(int code, const char *what);

/* Where MPI is not told of threads, one at a time. */
void td_mpi_lock(void);
void td_mpi_unlock(void);

td_status td_mpi_post(td_group *group, td_work *work);
td_status td_mpi_post_pair(td_group *group, td_work *work);
td_status td_mpi_test(td_group *group);
td_status td_mpi_wait(td_group *group, td_work *work);
/* Tell all others, with the calling thread's record or that this rank leaves. */
void td_mpi_tell(td_group *group, bool left, int culprit);

/* --- batches (batch.c) ---------------------------------------------------------------------------------- */

/* Begin sending or receiving `bytes`, in pieces that an int can count. */
td_status td_mpi_send(td_mpi_batch *batch, MPI_Comm comm, int tag, int peer, const void *data, size_t bytes);
td_status td_mpi_receive(td_mpi_batch *batch, MPI_Comm comm, int tag, int peer, void *data, size_t bytes);
/* Advance. A message of another length than expected is TD_ERR_MISMATCH. */
td_status td_mpi_batch_test(td_mpi_batch *batch);
/* A rank for which the batch waits; -1: none. */
int td_mpi_batch_missing(const td_mpi_batch *batch);
/* Nothing more is wanted: cancel. */
void td_mpi_batch_drop(td_mpi_batch *batch);
void td_mpi_batch_free(td_mpi_batch *batch);

#endif
