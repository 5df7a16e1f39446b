/*
 * The sockets are read by hand, not as uv streams: when the guardian says that a rank has ended, whatever it had
 * sent before must be known at once. Answers are never queued, because a client reads one before it asks
 * again; a rank for whose answers there is no room does not read them, and is heard no more.
 */
#include "launcher/mpi.h"

#include "base/memory.h"
#include "base/plugin.h"
#include "launcher/pmi.h"
#include "launcher/pmix.h"
#include "launcher/uv.h"

#include <errno.h>
#include <ftw.h>
#include <libgen.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct line_to_rank {
    uv_poll_t watch;
    launcher_mpi *mpi;
    int ends[2]; /* ours, the rank's; -1 when closed */
    bool watched;
    bool wants_pmix;   /* and has no answer yet */
    char *environment; /* that libpmix needs in it; NULL until the server has said so */
    char *settings;    /* all that the rank is started with, where the server was there first; NULL */
    bool came, inside; /* a client of the server: has been one; is one */
} line_to_rank;

struct launcher_mpi {
    launcher_rank *ranks;
    int n;
    launcher_mpi_facts facts;
    bool folder_made;
    launcher_pmi *pmi;
    uv_loop_t *loop;
    launcher_mpi_events events;
    launcher_pmix pmix;
    uv_poll_t pmix_watch;
    bool pmix_watched;
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

/* Does anybody wait for a rank that has left? Where all have left there is nobody. A client of the PMIx server
 * does not say when it waits; but it does, in MPI_Init or MPI_Finalize, for one that has never come. */
static void judge_missing(launcher_mpi *m) {
    bool waiting = false, inside = false;
    for (int i = 0; i < m->n; i++) {
        bool alive = m->ranks[i].life == LAUNCHER_ALIVE;
        waiting |= alive && launcher_pmi_phase_of(m->pmi, i) == LAUNCHER_PMI_WAITING;
        inside |= alive && m->lines[i].inside;
    }
    for (int i = 0; i < m->n; i++) {
        launcher_rank *r = &m->ranks[i];
        bool left = r->life == LAUNCHER_ENDED && r->wait_status == 0 && !r->told_to_stop;
        bool waited_for = waiting || (inside && !m->lines[i].came);
        if (left && waited_for && r->mpi_fault == LAUNCHER_MPI_NO_FAULT) r->mpi_fault = LAUNCHER_MPI_MISSED;
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

static void judge(launcher_mpi *m) {
    bool fault = false;
    judge_missing(m);
    for (int i = 0; i < m->n; i++) fault |= m->ranks[i].mpi_fault != LAUNCHER_MPI_NO_FAULT;
    if (fault) m->events.failed(m->events.cookie);
}

static void on_readable(uv_poll_t *watch, int status, int events) {
    line_to_rank *line = watch->data;
    launcher_mpi *m = line->mpi;
    (void)status, (void)events;
    hear(m, (int)(line - m->lines));
    judge(m);
}

/* --- the PMIx server -------------------------------------------------------------------------------------- */

static void answer_pmix(launcher_mpi *m, int rank) {
    line_to_rank *line = &m->lines[rank];
    bool known = line->environment || m->pmix.socket < 0;
    if (!line->wants_pmix || !known) return;
    line->wants_pmix = false;
    launcher_pmi_answer_pmix(m->pmi, rank, line->environment);
}

static void end_pmix(launcher_mpi *m) {
    if (m->pmix_watched) uv_close((uv_handle_t *)&m->pmix_watch, NULL);
    m->pmix_watched = false;
    launcher_pmix_close(&m->pmix);
}

/* There is no server (any more): nobody who waits for it shall wait longer. */
static void refuse_pmix(launcher_mpi *m, const char *why) {
    char text[LAUNCHER_PMIX_TEXT_MOST + 128];
    snprintf(text, sizeof text, "an MPI program here needs PMIx, and tandem has no server for it: %s", why);
    end_pmix(m);
    for (int i = 0; i < m->n; i++) answer_pmix(m, i);
    m->events.refused(text, m->events.cookie);
}

static void take_pmix_event(launcher_mpi *m, const launcher_pmix_event *event) {
    bool is_rank = event->rank >= 0 && event->rank < m->n;
    line_to_rank *line = is_rank ? &m->lines[event->rank] : NULL;
    if (!line && event->kind != LAUNCHER_PMIX_FAILED) return;
    switch ((launcher_pmix_kind)event->kind) {
    case LAUNCHER_PMIX_ENVIRONMENT:
        td_free(line->environment);
        line->environment = td_alloc(strlen(event->text) + 1);
        if (line->environment) strcpy(line->environment, event->text);
        answer_pmix(m, event->rank);
        break;
    case LAUNCHER_PMIX_ENTERED: line->came = line->inside = true; break;
    case LAUNCHER_PMIX_LEFT: line->inside = false; break;
    case LAUNCHER_PMIX_ABORTED: take_abort(event->rank, event->value, m); break;
    case LAUNCHER_PMIX_FAILED: refuse_pmix(m, event->text); break;
    }
}

static void hear_pmix(launcher_mpi *m) {
    launcher_pmix_event event;
    int got = 0;
    while (m->pmix.socket >= 0 && (got = launcher_pmix_next_event(&m->pmix, &event)) > 0)
        take_pmix_event(m, &event);
    if (m->pmix.socket >= 0 && got < 0) refuse_pmix(m, "its process has ended");
}

static void on_pmix(uv_poll_t *watch, int status, int events) {
    (void)status, (void)events;
    hear_pmix(watch->data);
    judge(watch->data);
}

static td_status open_pmix(launcher_mpi *m) {
    char name[32];
    if (!*give_folder(m)) return td_fail_errno(errno, "launcher", "cannot make %s", m->facts.folder);
    snprintf(name, sizeof name, "tandem-%d-%d", (int)getpid(), m->facts.attempt);
    launcher_pmix_job job = {m->n, name, m->facts.folder};
    return launcher_pmix_open(&job, &m->pmix);
}

static td_status watch_pmix(launcher_mpi *m) {
    TD_TRY(launcher_from_uv(uv_poll_init(m->loop, &m->pmix_watch, m->pmix.socket),
                            "cannot watch the PMIx server"));
    m->pmix_watch.data = m;
    m->pmix_watched = true;
    return launcher_from_uv(uv_poll_start(&m->pmix_watch, UV_READABLE, on_pmix),
                            "cannot watch the PMIx server");
}

static void want_pmix(int rank, void *cookie) {
    launcher_mpi *m = cookie;
    line_to_rank *line = &m->lines[rank];
    if (line->came && !line->inside) { /* its neighbours would be found where they were before */
        launcher_pmi_answer_pmix(m->pmi, rank, NULL);
        m->events.refused("a rank has begun another MPI program, and by PMIx each can begin one only",
                          m->events.cookie);
        return;
    }
    line->wants_pmix = true;
    if (m->pmix.pid == 0 && (open_pmix(m) < 0 || watch_pmix(m) < 0)) refuse_pmix(m, td_error_last()->text);
    answer_pmix(m, rank);
}

/* What launcher/pmi/component.c sets in an MPI program, for one that does not load it. The user's own wins. */
static td_status add_settings(const launcher_mpi *m, line_to_rank *line) {
    const char *folder = m->facts.folder;
    const char *const settings[][2] = {{"JSM_JSRUN_PORT", "1"},
                                       {"OMPI_MCA_pml", "ob1"},
                                       {"OMPI_MCA_btl_vader_backing_directory", folder},
                                       {"OMPI_MCA_btl_sm_backing_directory", folder},
                                       {"OMPI_MCA_osc_sm_backing_directory", folder},
                                       {"OMPI_MCA_orte_tmpdir_base", folder},
                                       {"OMPI_MCA_mpi_yield_when_idle", m->facts.crowded ? "1" : NULL}};
    enum { SETTINGS = sizeof settings / sizeof *settings };
    char *text = line->settings =
        td_alloc(strlen(line->environment) + SETTINGS * (64 + sizeof(launcher_mpi_folder)));
    if (!text) return TD_ERR_MEMORY;
    text = stpcpy(text, line->environment);
    for (int i = 0; i < SETTINGS; i++)
        if (settings[i][1] && !getenv(settings[i][0]))
            text += sprintf(text, "%c%s=%s", LAUNCHER_PMIX_BETWEEN, settings[i][0], settings[i][1]);
    return TD_OK;
}

td_status launcher_mpi_start_pmix(launcher_mpi *m) {
    enum { PATIENCE_MS = 20000 };
    TD_TRY(open_pmix(m));
    for (int known = 0; known < m->n;) {
        struct pollfd ready = {m->pmix.socket, POLLIN, 0};
        launcher_pmix_event event;
        int got = poll(&ready, 1, PATIENCE_MS);
        if (got < 0 && errno == EINTR) continue;
        if (got == 0) return td_fail(TD_ERR_TIMEOUT, 0, "launcher", "the PMIx server does not begin");
        if (launcher_pmix_next_event(&m->pmix, &event) <= 0)
            return td_fail(TD_ERR_SYSTEM, 0, "launcher", "the PMIx server's process has ended");
        if (event.kind == LAUNCHER_PMIX_FAILED)
            return td_fail(TD_ERR_UNSUPPORTED, 0, "launcher", "there is no PMIx server: %s", event.text);
        take_pmix_event(m, &event);
        known += event.kind == LAUNCHER_PMIX_ENVIRONMENT;
    }
    for (int i = 0; i < m->n; i++)
        if (!m->lines[i].environment || add_settings(m, &m->lines[i]) < 0) return TD_ERR_MEMORY;
    return TD_OK;
}

const char *launcher_mpi_environment(const launcher_mpi *mpi, int rank) { return mpi->lines[rank].settings; }

/* --- the end of a rank ------------------------------------------------------------------------------------ */

void launcher_mpi_take_exit(launcher_mpi *m, int rank) {
    launcher_rank *r = &m->ranks[rank];
    if (m->lines[rank].ends[0] >= 0) hear(m, rank);
    hear_pmix(m);
    bool left = r->wait_status == 0 && !r->told_to_stop;
    bool inside = launcher_pmi_phase_of(m->pmi, rank) != LAUNCHER_PMI_OUTSIDE || m->lines[rank].inside;
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
    m->pmix.socket = -1;
    for (int i = 0; i < n; i++) m->lines[i].ends[0] = m->lines[i].ends[1] = -1;
    launcher_pmi_events events = {give_answer, take_abort, give_folder, want_pmix, m};
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

td_status launcher_mpi_start(launcher_mpi *m, uv_loop_t *loop, launcher_mpi_events events) {
    m->loop = loop;
    m->events = events;
    if (m->pmix.pid > 0) TD_TRY(watch_pmix(m));
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
    if (!m) return;
    end_pmix(m);
    for (int i = 0; i < m->n; i++) end_line(&m->lines[i]);
}

void launcher_mpi_close(launcher_mpi **mpi) {
    launcher_mpi *m = *mpi;
    if (!m) return;
    launcher_mpi_stop(m);
    for (int i = 0; i < m->n; i++) {
        td_free(m->lines[i].environment);
        td_free(m->lines[i].settings);
    }
    launcher_pmi_close(&m->pmi);
    td_free(m);
    *mpi = NULL;
}
