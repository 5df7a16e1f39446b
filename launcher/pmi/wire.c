/* See client.h. */
#include "launcher/pmi/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct {
    char bytes[PMI_LINE_MOST]; /* received and not yet read */
    size_t n;
    char line[PMI_LINE_MOST];
} wire;

bool pmi_is_rank(void) {
    const char *fd = getenv("PMI_FD");
    /* Open MPI's own launcher gives each rank a namespace. */
    return fd && fd[0] == '+' && getenv("PMI_RANK") && getenv("PMI_SIZE") && !getenv("PMIX_NAMESPACE");
}

static bool send_all(int fd, const char *text) {
    for (size_t n = strlen(text); n > 0;) {
        ssize_t sent = send(fd, text, n, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return false;
        text += sent;
        n -= (size_t)sent;
    }
    return true;
}

static bool receive_line(int fd) {
    for (;;) {
        const char *end = memchr(wire.bytes, '\n', wire.n);
        if (end) {
            size_t n = (size_t)(end - wire.bytes);
            memcpy(wire.line, wire.bytes, n);
            wire.line[n] = 0;
            wire.n -= n + 1;
            memmove(wire.bytes, end + 1, wire.n);
            return true;
        }
        if (wire.n == sizeof wire.bytes) return false;
        ssize_t got = recv(fd, wire.bytes + wire.n, sizeof wire.bytes - wire.n, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        wire.n += (size_t)got;
    }
}

static int own_fd(void) {
    const char *text = getenv("PMI_FD");
    return text ? atoi(text) : -1;
}

bool pmi_tell(const char *line) { return own_fd() >= 0 && send_all(own_fd(), line); }

const char *pmi_ask(const char *question) {
    return pmi_tell(question) && receive_line(own_fd()) ? wire.line : NULL;
}

int pmi_number(const char *line, const char *name, int missing) {
    const char *at = line ? strstr(line, name) : NULL;
    return at ? atoi(at + strlen(name)) : missing;
}
