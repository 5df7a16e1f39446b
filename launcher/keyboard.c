/* See keyboard.h. */
#include "launcher/keyboard.h"

#include "launcher/uv.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { INPUT = 0 };

bool launcher_keyboard_is_there(void) { return isatty(INPUT) && tcgetpgrp(INPUT) == getpgrp(); }

bool launcher_keyboard_is_elsewhere(void) {
    pid_t foreground = tcgetpgrp(INPUT);
    return foreground > 0 && foreground != getpgrp();
}

void launcher_modes_note(launcher_modes *modes) {
    modes->fd = tcgetattr(INPUT, &modes->saved) == 0 ? fcntl(INPUT, F_DUPFD_CLOEXEC, 3) : -1;
}

void launcher_modes_put_back(const launcher_modes *modes) {
    struct termios now;
    if (modes->fd < 0 || tcgetattr(modes->fd, &now) != 0) return;
    bool ours = !(now.c_lflag & (ICANON | ECHO)) && now.c_cc[VMIN] == 0 && now.c_cc[VTIME] == 0;
    if (ours) tcsetattr(modes->fd, TCSANOW, &modes->saved);
}

/* Our modes while keys are passed on, given the rank's. */
static struct termios passing(const struct termios *saved, const struct termios *theirs) {
    struct termios ours = *saved;
    const tcflag_t local = ISIG, input = IXON | IXANY | IXOFF;
    ours.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ECHONL | IEXTEN | local);
    ours.c_lflag |= theirs->c_lflag & local;
    ours.c_iflag &= ~(tcflag_t)(ICRNL | INLCR | IGNCR | ISTRIP | INPCK | input);
    ours.c_iflag |= theirs->c_iflag & input;
    ours.c_cc[VMIN] = 0; /* a read never waits */
    ours.c_cc[VTIME] = 0;
    return ours;
}

static void set_raw(launcher_keyboard *k) {
    struct termios theirs, now;
    uv_os_fd_t fd;
    if (!k->to || !launcher_keyboard_is_there() || uv_fileno((uv_handle_t *)k->to, &fd) != 0) return;
    if (tcgetattr(fd, &theirs) != 0 || tcgetattr(INPUT, &now) != 0) return;
    struct termios wanted = passing(&k->saved, &theirs);
    if (k->raw && now.c_lflag == wanted.c_lflag && now.c_iflag == wanted.c_iflag) return;
    k->raw = tcsetattr(INPUT, TCSANOW, &wanted) == 0;
}

static void set_back(launcher_keyboard *k) {
    if (k->raw && launcher_keyboard_is_there()) tcsetattr(INPUT, TCSANOW, &k->saved);
    k->raw = false;
}

static void on_key(uv_poll_t *watch, int status, int events);

static void on_written(uv_write_t *request, int status) {
    launcher_keyboard *k = request->data;
    k->writing = false;
    if (k->to && status >= 0 && k->raw) uv_poll_start(&k->watch, UV_READABLE, on_key);
}

static void on_key(uv_poll_t *watch, int status, int events) {
    launcher_keyboard *k = watch->data;
    (void)status, (void)events;
    if (!k->raw || !launcher_keyboard_is_there()) {
        uv_poll_stop(watch); /* until we are in the foreground again */
        return;
    }
    ssize_t got = read(INPUT, k->keys, sizeof k->keys);
    if (got <= 0) {
        struct pollfd p = {INPUT, POLLIN, 0};
        bool gone = (got < 0 && errno != EAGAIN && errno != EINTR) ||
                    (poll(&p, 1, 0) > 0 && p.revents & (POLLHUP | POLLERR));
        if (gone) uv_poll_stop(watch);
        return;
    }
    uv_buf_t buffer = uv_buf_init(k->keys, (unsigned)got);
    k->request.data = k;
    k->writing = uv_write(&k->request, k->to, &buffer, 1, on_written) == 0;
    if (k->writing) uv_poll_stop(watch);
}

td_status launcher_keyboard_start(launcher_keyboard *k, uv_loop_t *loop, uv_stream_t *to) {
    struct epoll_event event = {.events = EPOLLIN};
    if (tcgetattr(INPUT, &k->saved) != 0) return TD_OK;
    k->waker = epoll_create1(EPOLL_CLOEXEC);
    if (k->waker < 0 || epoll_ctl(k->waker, EPOLL_CTL_ADD, INPUT, &event) != 0) {
        int error = errno;
        if (k->waker >= 0) close(k->waker);
        return td_fail_errno(error, "launcher", "cannot watch the keyboard");
    }
    TD_TRY(launcher_from_uv(uv_poll_init(loop, &k->watch, k->waker), "cannot watch the keyboard"));
    k->watch.data = k;
    k->to = to;
    launcher_keyboard_resume(k);
    return TD_OK;
}

void launcher_keyboard_follow(launcher_keyboard *k) {
    if (k->raw) set_raw(k);
}

void launcher_keyboard_suspend(launcher_keyboard *k) {
    if (!k->to) return;
    set_back(k);
    uv_poll_stop(&k->watch);
}

void launcher_keyboard_resume(launcher_keyboard *k) {
    if (!k->to) return;
    set_raw(k);
    if (k->raw && !k->writing) uv_poll_start(&k->watch, UV_READABLE, on_key);
}

static void on_closed(uv_handle_t *handle) { close(((launcher_keyboard *)handle->data)->waker); }

void launcher_keyboard_stop(launcher_keyboard *k) {
    if (!k->to) return;
    set_back(k);
    k->to = NULL;
    uv_close((uv_handle_t *)&k->watch, on_closed);
}
