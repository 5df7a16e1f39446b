/*
 * The sockets are read by hand, not as uv streams: when the guardian says that a rank has ended, whatever it had
 * sent before must be known at once. Answers are never queued, because a client reads one before it asks
 * again; a rank for whose answers there is no room does not read them, and is heard no more.
 */
#include "launcher/mpi.h"

#include "base/memory.h"
#include "base/plugin.h"
#include "launcher/pmi.h"
#include "launcher/uv.h"

#include <errno.h>
#include <ftw.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct line_to_rank {
    uv_poll_t watch;
    launcher_mpi *mpi;
    int ends[2]; /* ours, the rank's; -1 when closed */
    bool watched;
} line_to_rank;

struct launcher_mpi {
    launcher_rank *ranks;
    int n;
    launcher_mpi_facts facts;
    bool folder_made;
    launcher_pmi *pmi;
    void (*failed)(void *cookie);
    void *cookie;
    line_to_rank lines[];
};

/* --- the folder ----------------------------------------------------------------------------------------- */

launcher_mpi_folder launcher_mpi_name_folder(const char *run_id, int attempt) {
    launcher_mpi_folder f;
    snprintf(f.path, sizeof f.path, "/dev/shm/tandem-mpi-%d-%.40s-%d", (int)getuid(), run_id, attempt);
    return f;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where) {
    (void)info, (void)kind, (void)where;
    remove(path);
    return 0; /* what cannot be removed does not keep the rest */
}

void launcher_mpi_remove_folder(const char *path) {
    if (rmdir(path) == 0 || errno == ENOENT) return;
    nftw(path, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static const char *give_folder(void *cookie) {
    launcher_mpi *m = cookie;
    if (!m->folder_made && mkdir(m->facts.folder, 0700) != 0) return "";
    m->folder_made = true;
    return m->facts.folder;
}

td_status launcher_mpi_component_path(const char *outer, char **path) {
    char own[4096];
    TD_TRY(td_shipped_path("launcher/pmi/mca_shmem_tandem.so", own, sizeof own));
    const char *folder = dirname(own), *rest = outer && *outer ? outer : "SYS_DEFAULT:USER_DEFAULT";
    size_t n = strlen(folder);
    bool there = strncmp(rest, folder, n) == 0 && rest[n] == ':'; /* by an outer `tandem run` */
    char *made = td_alloc(n + strlen(rest) + 2);
    if (!made) return TD_ERR_MEMORY;
    if (there)
        strcpy(made, rest);
    else
        stpcpy(stpcpy(stpcpy(made, folder), ":"), rest);
    *path = made;
    return TD_OK;
}

/* --- the lines ------------------------------------------------------------------------------------------ */

static void end_line(line_to_rank *line) {
    if (line->watched) {
        line->watched = false;
        uv_close((uv_handle_t *)&line->watch, NULL);
    }
    for (int end = 0; end < 2; end++) {
        if (line->ends[end] >= 0) close(line->ends[end]);
        line->ends[end] = -1;
    }
}

static void give_answer(int rank, const char *text, size_t bytes, void *cookie) {
    launcher_mpi *m = cookie;
    int fd = m->lines[rank].ends[0];
    if (fd < 0) return;
    if (send(fd, text, bytes, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)bytes) shutdown(fd, SHUT_RDWR);
}

static void take_abort(int rank, int code, void *cookie) {
    launcher_mpi *m = cookie;
    launcher_rank *r = &m->ranks[rank];
    if (r->mpi_fault == LAUNCHER_MPI_NO_FAULT) {
        r->mpi_fault = LAUNCHER_MPI_ABORTED;
        r->mpi_code = code;
    }
}

/* Does anybody wait for a rank that has left? Where all have left there is nobody. */
static void judge_missing(launcher_mpi *m) {
    bool waited_for = false;
    for (int i = 0; i < m->n; i++)
        waited_for |=
            m->ranks[i].life == LAUNCHER_ALIVE && launcher_pmi_phase_of(m->pmi, i) == LAUNCHER_PMI_WAITING;
    for (int i = 0; waited_for && i < m->n; i++) {
        launcher_rank *r = &m->ranks[i];
        bool left = r->life == LAUNCHER_ENDED && r->wait_status == 0 && !r->told_to_stop;
        if (left && r->mpi_fault == LAUNCHER_MPI_NO_FAULT) r->mpi_fault = LAUNCHER_MPI_MISSED;
    }
}

/* All that has come. False when the line has ended. */
static bool hear(launcher_mpi *m, int rank) {
    line_to_rank *line = &m->lines[rank];
    while (line->ends[0] >= 0) {
        char bytes[4096];
        ssize_t got = recv(line->ends[0], bytes, sizeof bytes, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno == EAGAIN) return true;
        if (got <= 0 || launcher_pmi_take(m->pmi, rank, bytes, (size_t)got) < 0) break;
    }
    end_line(line);
    return false;
}

static bool any_fault(const launcher_mpi *m) {
    for (int i = 0; i < m->n; i++)
        if (m->ranks[i].mpi_fault != LAUNCHER_MPI_NO_FAULT) return true;
    return false;
}

static void on_readable(uv_poll_t *watch, int status, int events) {
    line_to_rank *line = watch->data;
    launcher_mpi *m = line->mpi;
    (void)status, (void)events;
    hear(m, (int)(line - m->lines));
    judge_missing(m);
    if (any_fault(m)) m->failed(m->cookie);
}

void launcher_mpi_take_exit(launcher_mpi *m, int rank) {
    launcher_rank *r = &m->ranks[rank];
    if (m->lines[rank].ends[0] >= 0) hear(m, rank);
    bool left = r->wait_status == 0 && !r->told_to_stop;
    bool inside = launcher_pmi_phase_of(m->pmi, rank) != LAUNCHER_PMI_OUTSIDE;
    if (left && inside && r->mpi_fault == LAUNCHER_MPI_NO_FAULT) r->mpi_fault = LAUNCHER_MPI_UNFINISHED;
    judge_missing(m);
}

/* --- life ----------------------------------------------------------------------------------------------- */

/* Open MPI reads the number as two halves and keeps the lower bit 15 for itself; 22 bits of a pid, then 8 of the
 * attempt. */
static int name_job(int attempt) {
    int pid = (int)getpid();
    return (pid & 0x7fff) | (pid >> 15 & 0x7f) << 16 | (attempt & 0xff) << 23;
}

td_status launcher_mpi_open(launcher_rank *ranks, int n, launcher_mpi_facts facts, launcher_mpi **mpi) {
    launcher_mpi *m = td_calloc(1, sizeof *m + (size_t)n * sizeof *m->lines);
    if (!m) return TD_ERR_MEMORY;
    m->ranks = ranks;
    m->n = n;
    m->facts = facts;
    for (int i = 0; i < n; i++) m->lines[i].ends[0] = m->lines[i].ends[1] = -1;
    launcher_pmi_events events = {give_answer, take_abort, give_folder, m};
    td_status status = launcher_pmi_open(n, name_job(facts.attempt), facts.crowded, events, &m->pmi);
    for (int i = 0; status >= 0 && i < n; i++)
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, m->lines[i].ends) != 0)
            status = td_fail_errno(errno, "launcher", "cannot make the PMI socket of rank %d", i);
    if (status < 0) {
        launcher_mpi_close(&m);
        return status;
    }
    *mpi = m;
    return TD_OK;
}

int launcher_mpi_end(const launcher_mpi *mpi, int rank) { return mpi->lines[rank].ends[1]; }

td_status launcher_mpi_start(launcher_mpi *m, uv_loop_t *loop, void (*failed)(void *cookie), void *cookie) {
    m->failed = failed;
    m->cookie = cookie;
    for (int i = 0; i < m->n; i++) {
        line_to_rank *line = &m->lines[i];
        close(line->ends[1]);
        line->ends[1] = -1;
        line->mpi = m;
        TD_TRY(launcher_from_uv(uv_poll_init(loop, &line->watch, line->ends[0]),
                                "cannot watch the PMI sockets"));
        line->watch.data = line;
        line->watched = true;
        TD_TRY(launcher_from_uv(uv_poll_start(&line->watch, UV_READABLE, on_readable),
                                "cannot watch the PMI sockets"));
    }
    return TD_OK;
}

void launcher_mpi_stop(launcher_mpi *m) {
    for (int i = 0; m && i < m->n; i++) end_line(&m->lines[i]);
}

void launcher_mpi_close(launcher_mpi **mpi) {
    launcher_mpi *m = *mpi;
    if (!m) return;
    launcher_mpi_stop(m);
    launcher_pmi_close(&m->pmi);
    td_free(m);
    *mpi = NULL;
}
