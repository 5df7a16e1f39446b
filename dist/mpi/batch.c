/* Requests that are begun together and waited for together. */
#include "base/memory.h"
#include "dist/mpi/mpi.h"

static td_status reserve(td_mpi_batch *b) {
    if (b->n < b->capacity) return TD_OK;
    int capacity = b->capacity ? 2 * b->capacity : 16;
    MPI_Request *requests = td_realloc(b->requests, (size_t)capacity, sizeof *requests);
    if (requests) b->requests = requests;
    td_mpi_request *about = requests ? td_realloc(b->about, (size_t)capacity, sizeof *about) : NULL;
    if (!about) return TD_ERR_MEMORY;
    b->about = about;
    b->capacity = capacity;
    return TD_OK;
}

static void note(td_mpi_batch *b, int peer, int expected) {
    b->about[b->n++] = (td_mpi_request){peer, expected};
    b->pending++;
}

static int piece_at(size_t at, size_t bytes) {
    size_t piece = td_mpi_piece();
    return (int)(bytes - at < piece ? bytes - at : piece);
}

td_status td_mpi_send(td_mpi_batch *b, const td_group *group, MPI_Comm comm, int tag, int peer,
                      const void *data, size_t bytes) {
    int n;
    for (size_t at = 0; at < bytes; at += (size_t)n) {
        n = piece_at(at, bytes);
        TD_TRY(reserve(b));
        TD_TRY(td_mpi_status(MPI_Isend((const uint8_t *)data + at, n, MPI_BYTE, td_group_name(group, peer),
                                       tag, comm, &b->requests[b->n]),
                             "MPI_Isend"));
        note(b, peer, -1);
    }
    return TD_OK;
}

td_status td_mpi_receive(td_mpi_batch *b, const td_group *group, MPI_Comm comm, int tag, int peer, void *data,
                         size_t bytes) {
    int n;
    for (size_t at = 0; at < bytes; at += (size_t)n) {
        n = piece_at(at, bytes);
        TD_TRY(reserve(b));
        TD_TRY(td_mpi_status(MPI_Irecv((uint8_t *)data + at, n, MPI_BYTE, td_group_name(group, peer), tag,
                                       comm, &b->requests[b->n]),
                             "MPI_Irecv"));
        note(b, peer, n);
    }
    return TD_OK;
}

static td_status check(const td_group *group, const td_mpi_request *about, int code, MPI_Status *status) {
    int got = 0, class = MPI_SUCCESS;
    if (code != MPI_SUCCESS) MPI_Error_class(code, &class);
    if (class == MPI_SUCCESS && about->expected >= 0) MPI_Get_count(status, MPI_BYTE, &got);
    bool differs = class == MPI_ERR_TRUNCATE || (about->expected >= 0 && got != about->expected);
    if (class != MPI_SUCCESS && !differs) return td_mpi_status(code, "a message");
    if (!differs) return TD_OK;
    return td_fail(TD_ERR_MISMATCH, 0, "dist/mpi",
                   "rank %d sends %s bytes than the %d that this rank expects",
                   td_group_name(group, about->peer),
                   class == MPI_ERR_TRUNCATE || got > about->expected ? "more" : "fewer", about->expected);
}

td_status td_mpi_batch_test(td_mpi_batch *b, const td_group *group) {
    for (int i = 0; b->pending > 0 && i < b->n; i++) {
        if (b->requests[i] == MPI_REQUEST_NULL) continue;
        int done = 0;
        MPI_Status status;
        int code = MPI_Test(&b->requests[i], &done, &status);
        if (code == MPI_SUCCESS && !done) continue;
        b->pending--;
        TD_TRY(check(group, &b->about[i], code, &status));
    }
    if (b->pending == 0) b->n = 0;
    return TD_OK;
}

static int least_peer(const td_mpi_batch *b, int after, bool receives) {
    int least = -1;
    for (int i = 0; i < b->n; i++) {
        int peer = b->about[i].peer;
        if (b->requests[i] == MPI_REQUEST_NULL || (b->about[i].expected >= 0) != receives || peer <= after)
            continue;
        if (least < 0 || peer < least) least = peer;
    }
    return least;
}

int td_mpi_batch_missing(const td_mpi_batch *b, int after) {
    /* A receive says more than a send that nobody takes. */
    if (least_peer(b, -1, true) >= 0) return least_peer(b, after, true);
    return least_peer(b, after, false);
}

void td_mpi_batch_cancel(td_mpi_batch *b) {
    if (b->cancelled) return;
    b->cancelled = true;
    for (int i = 0; i < b->n; i++) /* MPI cancels no sends any more */
        if (b->requests[i] != MPI_REQUEST_NULL && b->about[i].expected >= 0) MPI_Cancel(&b->requests[i]);
}

bool td_mpi_batch_settled(td_mpi_batch *b) {
    int done = 0;
    return b->n == 0 || (MPI_Testall(b->n, b->requests, &done, MPI_STATUSES_IGNORE) == MPI_SUCCESS && done);
}

void td_mpi_batch_free(td_mpi_batch *b) {
    td_free(b->requests);
    td_free(b->about);
    *b = (td_mpi_batch){0};
}
