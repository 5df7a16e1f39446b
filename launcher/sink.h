/*
 * Where lines go: our standard output or standard error, whatever that is (terminal, pipe, file). Writing
 * never blocks the loop and never makes the descriptor non-blocking, since others, a rank's standard input
 * among them, may share it: bytes wait in a queue until the descriptor takes them. One object per
 * descriptor, embedded in its owner; the loop's thread only.
 */
#ifndef TANDEM_LAUNCHER_SINK_H
#define TANDEM_LAUNCHER_SINK_H

#include "launcher/buffer.h"

#include <uv.h>

typedef struct launcher_sink launcher_sink;
struct launcher_sink {
    int fd;
    bool terminal;
    bool regular; /* a file: takes any amount at once */
    int own;      /* of a pipe: it opened again, for us alone, which does not block; -1: none */
    int error;    /* errno of the write that failed; from then on bytes are dropped */
    launcher_buffer queue;
    uint64_t written; /* bytes */
    uv_loop_t *loop;
    int waker; /* an epoll descriptor that holds fd, so that uv never touches fd's flags; -1 before needed */
    uv_poll_t wake;
    bool waiting, wake_made;
    void (*moved)(launcher_sink *sink, void *cookie); /* the queue has become shorter, or the sink failed */
    void *cookie;
};

void launcher_sink_open(launcher_sink *sink, int fd);
/* Begin to write; before that bytes only gather. */
void launcher_sink_start(launcher_sink *sink, uv_loop_t *loop, void (*moved)(launcher_sink *, void *),
                         void *cookie);
void launcher_sink_put(launcher_sink *sink, const char *bytes, size_t n);
/* Write what can be written now. */
void launcher_sink_flush(launcher_sink *sink);
/* Stop watching. The caller runs the loop once more before the sink's memory goes; then launcher_sink_free.
 */
void launcher_sink_stop(launcher_sink *sink);
void launcher_sink_free(launcher_sink *sink);

#endif
