/* See terminal.h. */
#include "terminal.h"

#include "base/clock.h"

#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

enum { DEADLINE_S = 20 };

terminal terminal_start(const char *const *argv) {
    struct winsize size = {.ws_row = 24, .ws_col = 77};
    terminal t = {0};
    t.pid = forkpty(&t.fd, NULL, NULL, &size);
    if (t.pid == 0) {
        execv(argv[0], (char *const *)argv);
        _exit(99);
    }
    return t;
}

/* Until `wanted` comes, or with NULL to the end. */
static void read_until(terminal *t, const char *wanted) {
    int64_t deadline = td_clock_ns() + DEADLINE_S * INT64_C(1000000000);
    while (t->n + 1 < sizeof t->text && !(wanted && strstr(t->text + t->seen, wanted))) {
        struct pollfd p = {t->fd, POLLIN, 0};
        if (td_clock_ns() > deadline) {
            kill(t->pid, SIGKILL);
            ck_abort_msg("waiting for '%s', the terminal shows: %s", wanted ? wanted : "the end", t->text);
        }
        if (poll(&p, 1, 100) == 0) continue;
        ssize_t got = read(t->fd, t->text + t->n, sizeof t->text - 1 - t->n);
        if (got <= 0) return;
        t->n += (size_t)got;
        t->text[t->n] = 0;
    }
}

void terminal_expect(terminal *t, const char *text) {
    read_until(t, text);
    const char *at = strstr(t->text + t->seen, text);
    ck_assert_msg(at != NULL, "it ended without '%s': %s", text, t->text);
    t->seen = (size_t)(at - t->text) + strlen(text);
}

void terminal_type(const terminal *t, const char *keys) {
    ck_assert_int_eq(write(t->fd, keys, strlen(keys)), (ssize_t)strlen(keys));
}

bool terminal_is_cooked(const terminal *t) {
    struct termios modes;
    ck_assert_int_eq(tcgetattr(t->fd, &modes), 0);
    return modes.c_lflag & ICANON && modes.c_lflag & ECHO;
}

void terminal_expect_cooked(const terminal *t, bool cooked) {
    for (int i = 0; i < 500 && terminal_is_cooked(t) != cooked; i++) usleep(10000);
    ck_assert_int_eq(terminal_is_cooked(t), cooked);
}

void terminal_resize(const terminal *t, int rows, int columns) {
    struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
    ck_assert_int_eq(ioctl(t->fd, TIOCSWINSZ, &size), 0);
}

int terminal_finish(terminal *t) {
    int status;
    read_until(t, NULL);
    ck_assert_int_eq(waitpid(t->pid, &status, 0), t->pid);
    close(t->fd);
    return status;
}
