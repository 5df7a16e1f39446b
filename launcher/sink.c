/*
 * A pipe is opened once more through /proc, which gives a description that may be made non-blocking without anyone
 * else noticing, and is then given as much as it takes. Where that cannot be had (a pipe of another user, a terminal, a
 * socket) the descriptor is asked before each write whether it would take bytes, and then given at most as many as a
 * pipe promises to take (PIPE_BUF), so a blocking descriptor does not block us.
 */
#include "launcher/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

void launcher_sink_open(launcher_sink *sink, int fd) {
    struct stat st;
    *sink = (launcher_sink){.fd = fd, .own = -1, .waker = -1};
    if (fstat(fd, &st) != 0) return;
    sink->terminal = S_ISCHR(st.st_mode) && isatty(fd) == 1;
    sink->regular = S_ISREG(st.st_mode);
    if (!S_ISFIFO(st.st_mode)) return;
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    sink->own = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
}

void launcher_sink_put(launcher_sink *sink, const char *bytes, size_t n) {
    if (!sink->error) launcher_buffer_add(&sink->queue, bytes, n);
}

static void fail(launcher_sink *sink, int error) {
    sink->error = error;
    sink->queue.begin = sink->queue.end = 0;
}

static bool would_take(int fd) {
    struct pollfd p = {fd, POLLOUT, 0};
    return poll(&p, 1, 0) != 0; /* also when it has failed: then write says why */
}

static void on_writable(uv_poll_t *handle, int status, int events) {
    launcher_sink *sink = handle->data;
    (void)status, (void)events;
    uv_poll_stop(handle);
    sink->waiting = false;
    launcher_sink_flush(sink);
    sink->moved(sink, sink->cookie);
}

static void wait_until_writable(launcher_sink *sink) {
    if (!sink->wake_made) {
        struct epoll_event event = {.events = EPOLLOUT};
        sink->waker = epoll_create1(EPOLL_CLOEXEC);
        if (sink->waker < 0 || epoll_ctl(sink->waker, EPOLL_CTL_ADD, sink->fd, &event) != 0 ||
            uv_poll_init(sink->loop, &sink->wake, sink->waker) != 0) {
            fail(sink, errno);
            return;
        }
        sink->wake.data = sink;
        sink->wake_made = true;
    }
    uv_poll_start(&sink->wake, UV_READABLE, on_writable);
    sink->waiting = true;
}

/* As write does; EAGAIN: nothing now. */
static ssize_t write_some(const launcher_sink *sink) {
    const launcher_buffer *queue = &sink->queue;
    size_t n = launcher_buffer_size(queue);
    bool asks = sink->own < 0 && !sink->regular;
    if (asks && n > PIPE_BUF) n = PIPE_BUF;
    if (asks && !would_take(sink->fd)) {
        errno = EAGAIN;
        return -1;
    }
    return write(sink->own >= 0 ? sink->own : sink->fd, queue->data + queue->begin, n);
}

void launcher_sink_flush(launcher_sink *sink) {
    if (!sink->loop) return;
    launcher_buffer *queue = &sink->queue;
    while (queue->begin < queue->end && !sink->waiting) {
        ssize_t wrote = write_some(sink);
        if (wrote >= 0)
            queue->begin += (size_t)wrote, sink->written += (uint64_t)wrote;
        else if (errno == EAGAIN)
            wait_until_writable(sink); /* or someone else has made it non-blocking */
        else if (errno != EINTR)
            fail(sink, errno);
    }
}

void launcher_sink_start(launcher_sink *sink, uv_loop_t *loop, void (*moved)(launcher_sink *, void *),
                         void *cookie) {
    sink->loop = loop;
    sink->moved = moved;
    sink->cookie = cookie;
    launcher_sink_flush(sink);
}

void launcher_sink_stop(launcher_sink *sink) {
    if (sink->wake_made) uv_close((uv_handle_t *)&sink->wake, NULL);
    sink->wake_made = sink->waiting = false;
}

void launcher_sink_free(launcher_sink *sink) {
    if (sink->waker >= 0) close(sink->waker);
    if (sink->own >= 0) close(sink->own);
    sink->waker = sink->own = -1;
    launcher_buffer_free(&sink->queue);
}
