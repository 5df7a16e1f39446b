/*
 * A thread that writes one checkpoint at a time. The two threads hand the buffer to each other: while `busy`, it
 * and what describes it are the writer's thread's, else the caller's. The lock guards `busy` and `stop`.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "model/checkpoint/checkpoint.h"
#include "model/checkpoint/folder.h"
#include "model/checkpoint/safetensors.h"
#include "model/checkpoint/write.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

struct td_checkpoint_writer {
    char *folder;
    int keep;
    int fd; /* of the folder, locked; -1 */

    bool has_sync, has_thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    bool busy, stop;

    void *tensors;
    size_t room, bytes;
    char *run;
    int64_t posted_ns;

    bool untold; /* the result has not been asked for */
    td_status status;
    td_error error;
    td_checkpoint_saved saved;
};

/* --- the writer's thread -------------------------------------------------------------------------------- */

static void write_posted(td_checkpoint_writer *w) {
    w->status = checkpoint_write(w->folder, w->saved.step, w->tensors, w->bytes, w->run, &w->saved.bytes);
    if (w->status < 0)
        w->error = *td_error_last();
    else
        checkpoint_prune(w->folder, w->keep, w->saved.step);
    w->saved.seconds = (double)(td_clock_ns() - w->posted_ns) * 1e-9;
}

static void *write_all(void *cookie) {
    td_checkpoint_writer *w = cookie;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->busy && !w->stop) pthread_cond_wait(&w->changed, &w->lock);
        if (!w->busy) break;
        pthread_mutex_unlock(&w->lock);
        write_posted(w);
        pthread_mutex_lock(&w->lock);
        w->busy = false;
        pthread_cond_broadcast(&w->changed);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* --- life ----------------------------------------------------------------------------------------------- */

/* One writer per folder: the lock goes with the process, however that ends. Where there are no locks there is none. */
static td_status lock_folder(td_checkpoint_writer *w) {
    w->fd = open(w->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (w->fd < 0) return td_fail_errno(errno, "checkpoint", "cannot read folder %s", w->folder);
    if (flock(w->fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return TD_OK;
    return td_fail(TD_ERR_STATE, 0, "checkpoint",
                   "another run writes its checkpoints in %s; give each run a folder of its own", w->folder);
}

static td_status start_thread(td_checkpoint_writer *w) {
    int failed = pthread_mutex_init(&w->lock, NULL);
    if (failed) return td_fail_errno(failed, "checkpoint", "the writer's lock");
    pthread_cond_init(&w->changed, NULL); /* with default attributes it cannot fail on Linux */
    w->has_sync = true;
    sigset_t all, before; /* signals are for the threads that compute */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&w->thread, NULL, write_all, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) return td_fail_errno(failed, "checkpoint", "cannot start the writer's thread");
    w->has_thread = true;
    return TD_OK;
}

td_status td_checkpoint_writer_open(const char *folder, int keep, td_checkpoint_writer **writer) {
    if (keep < 1)
        return td_fail(TD_ERR_ARG, 0, "checkpoint", "%d checkpoints to keep, expected 1 or more", keep);
    td_checkpoint_writer *w = td_calloc(1, sizeof *w);
    if (!w) return TD_ERR_MEMORY;
    w->keep = keep;
    w->fd = -1;
    w->folder = td_strdup(folder);
    td_status status = w->folder ? checkpoint_make_folder(folder) : TD_ERR_MEMORY;
    if (status == TD_OK) status = lock_folder(w);
    if (status == TD_OK) status = start_thread(w);
    if (status < 0) {
        td_checkpoint_writer_close(&w);
        return status;
    }
    checkpoint_sweep(folder);
    *writer = w;
    return TD_OK;
}

static void stop_thread(td_checkpoint_writer *w) {
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
}

void td_checkpoint_writer_close(td_checkpoint_writer **writer) {
    td_checkpoint_writer *w = *writer;
    if (!w) return;
    if (w->has_thread) stop_thread(w);
    if (w->has_sync) {
        pthread_cond_destroy(&w->changed);
        pthread_mutex_destroy(&w->lock);
    }
    if (w->fd >= 0) close(w->fd);
    td_free(w->tensors);
    td_free(w->run);
    td_free(w->folder);
    td_free(w);
    *writer = NULL;
}

/* --- the caller's thread -------------------------------------------------------------------------------- */

/* False: it goes on, and we did not want to wait. */
static bool wait_until_idle(td_checkpoint_writer *w, bool wait) {
    pthread_mutex_lock(&w->lock);
    while (w->busy && wait) pthread_cond_wait(&w->changed, &w->lock);
    bool idle = !w->busy;
    pthread_mutex_unlock(&w->lock);
    return idle;
}

static td_status copy_in(td_checkpoint_writer *w, int64_t step, const td_state_dict *state, const char *run) {
    td_free(w->run);
    w->run = td_strdup(run ? run : "{}");
    if (!w->run) return TD_ERR_MEMORY;
    char *path = NULL;
    TD_TRY(checkpoint_path(w->folder, step, &path));
    w->saved = (td_checkpoint_saved){.step = step};
    snprintf(w->saved.path, sizeof w->saved.path, "%s", path);
    td_free(path);
    return td_safetensors_dump(state, &w->tensors, &w->room, &w->bytes);
}

td_status td_checkpoint_writer_post(td_checkpoint_writer *w, int64_t step, const td_state_dict *state,
                                    const char *run) {
    if (step < 0)
        return td_fail(TD_ERR_ARG, 0, "checkpoint", "step %lld, expected 0 or more", (long long)step);
    int64_t began_ns = td_clock_ns();
    wait_until_idle(w, true);
    w->untold = false;
    TD_TRY(copy_in(w, step, state, run));
    w->posted_ns = began_ns;
    w->saved.blocked_seconds = (double)(td_clock_ns() - began_ns) * 1e-9;
    w->untold = true;
    pthread_mutex_lock(&w->lock);
    w->busy = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    return TD_OK;
}

td_status td_checkpoint_writer_result(td_checkpoint_writer *w, bool wait, td_checkpoint_saved *saved) {
    if (!w->untold || !wait_until_idle(w, wait)) return TD_PENDING;
    w->untold = false;
    if (w->status < 0) {
        td_error_restore(&w->error);
        return w->status;
    }
    *saved = w->saved;
    return TD_OK;
}
