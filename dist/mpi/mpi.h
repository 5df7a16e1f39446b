/*
 * A group over MPI, as the files of this plug-in see it. Everything is point-to-point: MPI's own reductions fix no
 * order, know no bf16, and cannot be given up. Each rank sums its slice of all ranks' data in the order of ranks,
 * so results have the same bits as over shared memory. Nothing moves but within a call (post, test, wait): no
 * thread of ours competes with the computation. One thread per group; several groups may have several.
 *
 * MPI makes communicators by calls that wait for all ranks and cannot be given up either, so there are two for the
 * whole job, made once, and groups are told apart by the tags of their messages: each has a context, a number that
 * no other group of the job ever has.
 */
#ifndef TANDEM_DIST_MPI_MPI_H
#define TANDEM_DIST_MPI_MPI_H

#include "dist/internal.h"
#include "dist/reduce.h"
#include "dist/watch.h"

#include <mpi.h>

/* What a message is, within its context. */
typedef enum td_mpi_tag { TD_MPI_NEWS, TD_MPI_PRINT, TD_MPI_DATA, TD_MPI_LETTER, TD_MPI_TAGS } td_mpi_tag;

enum { TD_MPI_SMALL = 440 }; /* bytes of a sent message that go with its announcement */

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

/* The announcement of a sent message; longer data follows under a tag of its own. */
typedef struct td_mpi_letter {
    td_mpi_print print;
    int32_t tag, data_tag;
    uint8_t payload[TD_MPI_SMALL];
} td_mpi_letter;

/* Requests under way, with what is known of each. */
typedef struct td_mpi_request {
    int peer;     /* the group's rank */
    int expected; /* bytes of a receive; -1: a send */
} td_mpi_request;

typedef struct td_mpi_batch {
    MPI_Request *requests;
    td_mpi_request *about;
    int n, capacity, pending;
    bool cancelled; /* Open MPI's ob1 does not bear that twice */
} td_mpi_batch;

/* A send or receive under way. */
typedef struct td_mpi_pair {
    struct td_mpi_pair *next;
    td_work *work;
    bool matched; /* of a receive: its letter is known */
    td_mpi_letter letter;
    td_mpi_batch batch;
} td_mpi_pair;

/* A letter that came before its receive was posted. */
typedef struct td_mpi_early {
    struct td_mpi_early *next;
    int from;
    td_mpi_letter letter;
} td_mpi_early;

typedef struct td_mpi {
    struct td_mpi *next;  /* of closed groups that MPI still has a hand on */
    MPI_Comm calls, data; /* the job's: data is for sends and receives, whose tags are not a context's */
    int64_t context;
    td_who *whos;
    td_watch watch;
    td_work *first, *last; /* collectives; only the first is under way */
    td_mpi_pair *first_pair;
    td_mpi_early *first_early;
    td_mpi_batch batch;   /* of the first collective's stage */
    td_mpi_pair *dropped; /* of a broken group: MPI may still use their memory */
    td_mpi_print own, *prints;
    uint8_t *staging; /* what the others send for this rank's slice */
    size_t staging_bytes;
    td_mpi_news news, farewell; /* received, sent */
    td_mpi_letter letter;       /* received */
    MPI_Request news_request, letter_request, *farewells;
    int size;
    const td_reduce_table *reduce;
} td_mpi;

static inline td_mpi *td_mpi_of(const td_group *group) { return group->state; }

static inline int td_mpi_tag_of(const td_mpi *m, td_mpi_tag kind) {
    return (int)(m->context * TD_MPI_TAGS + (int)kind);
}

/* TD_OK for MPI_SUCCESS; else the record says `what` and MPI's own words. The one border for MPI's codes. */
td_status td_mpi_status(int code, const char *what);

/* Where MPI is not told of threads, one at a time. */
void td_mpi_lock(void);
void td_mpi_unlock(void);

/* Bytes that go in one message at most. */
size_t td_mpi_piece(void);
/* A tag for the data of one message, which no other one under way has. */
int td_mpi_data_tag(void);

td_status td_mpi_post(td_group *group, td_work *work);
td_status td_mpi_test(td_group *group);
td_status td_mpi_wait(td_group *group, td_work *work);
int td_mpi_missing(const td_group *group, const td_work *work, int after);
/* Nothing that is posted will ever be done; the others are told, unless they told us. */
td_status td_mpi_fail(td_group *group, bool told, int culprit);
/* Tell all others, with the calling thread's record or that this rank leaves. */
void td_mpi_tell(td_group *group, bool left, int culprit);

/* --- sends and receives (pairs.c) ------------------------------------------------------------------------- */

td_status td_mpi_post_pair(td_group *group, td_work *work);
td_status td_mpi_advance_pairs(td_group *group);
/* Finish all of them with the cause why the group is broken. */
void td_mpi_fail_pairs(td_group *group, td_status status);
void td_mpi_pair_free(td_mpi_pair *pair);

/* --- batches (batch.c) ---------------------------------------------------------------------------------- */

/* Begin sending or receiving `bytes`, in pieces that an int can count. `peer` is the group's rank. */
td_status td_mpi_send(td_mpi_batch *batch, const td_group *group, MPI_Comm comm, int tag, int peer,
                      const void *data, size_t bytes);
td_status td_mpi_receive(td_mpi_batch *batch, const td_group *group, MPI_Comm comm, int tag, int peer,
                         void *data, size_t bytes);
/* Advance. A message of another length than expected is TD_ERR_MISMATCH. */
td_status td_mpi_batch_test(td_mpi_batch *batch, const td_group *group);
/* The next rank after `after` for which the batch waits; -1: none. */
int td_mpi_batch_missing(const td_mpi_batch *batch, int after);
/* Nothing more is wanted: cancel what MPI allows to. */
void td_mpi_batch_cancel(td_mpi_batch *batch);
/* Has MPI let go of all of it? */
bool td_mpi_batch_settled(td_mpi_batch *batch);
void td_mpi_batch_free(td_mpi_batch *batch);

#endif
