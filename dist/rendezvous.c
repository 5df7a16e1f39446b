/*
 * An abstract unix socket, so nothing is left in any file system, and a killed job leaves nothing to meet.
 * Its name is made from user and job id; each side looks at the other's user id, and the hello repeats the
 * whole job id, so two jobs meet only if their launcher gave them the same id. The socket is gone as soon as
 * all have come. Message boundaries are kept (SOCK_SEQPACKET), so a message is one struct.
 */
#include "dist/rendezvous.h"

#include "base/clock.h"
#include "base/log.h"
#include "dist/job_mark.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { GREETING_VERSION = 1, LOCAL_MAX = 256 };

typedef struct hello {
    uint32_t version;
    int32_t world_size, local_world_size, local_rank;
    char id[256];
} hello;

typedef struct answer {
    int32_t status;
    char text[256];
} answer;

/* Deadlines of one meeting. */
typedef struct meeting {
    const td_job_facts *facts;
    int64_t deadline, report_at; /* on td_clock_ns */
    double timeout;
} meeting;

enum { REPORT_SECONDS = 10 };

static int64_t after(double seconds) {
    return seconds < 1e9 ? td_clock_ns() + (int64_t)(seconds * 1e9) : INT64_MAX;
}

/* FNV-1a, 64 bits: only a short name, equality is checked on the whole id. */
static uint64_t hash(const char *text) {
    uint64_t h = UINT64_C(14695981039346656037);
    for (; *text; text++) h = (h ^ (uint8_t)*text) * UINT64_C(1099511628211);
    return h;
}

static socklen_t make_address(const td_job_facts *facts, struct sockaddr_un *address) {
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    int length = snprintf(address->sun_path + 1, sizeof address->sun_path - 1, "tandem-%u-%016llx",
                          (unsigned)geteuid(), (unsigned long long)hash(facts->id));
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
}

static bool same_user(int s, pid_t *pid) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(s, SOL_SOCKET, SO_PEERCRED, &peer, &size)) return false;
    *pid = peer.pid;
    return peer.uid == geteuid();
}

static void list_missing(const bool *here, int count, char *text, size_t size) {
    size_t used = 0;
    for (int r = 1; r < count && used + 16 < size; r++)
        if (!here[r]) used += (size_t)snprintf(text + used, size - used, used ? ", %d" : "%d", r);
}

/* Wait until the socket can be read. `missing` says who is waited for. */
static td_status await_input(meeting *m, int s, const char *missing) {
    for (;;) {
        struct pollfd p = {.fd = s, .events = POLLIN};
        if (poll(&p, 1, 100) > 0) return TD_OK;
        int64_t now = td_clock_ns();
        if (now >= m->deadline)
            return td_fail(
                TD_ERR_TIMEOUT, 0, "dist",
                "local rank %s did not come within %g s: are all %d ranks started, and on this machine?",
                missing, m->timeout, m->facts->local_world_size);
        if (now < m->report_at) continue;
        td_log_line(TD_LOG_WARN, "dist", "rank %d has waited %d s for local rank %s to start", m->facts->rank,
                    REPORT_SECONDS, missing);
        m->report_at = INT64_MAX;
    }
}

static td_status send_answer(int s, const answer *a, int fd) {
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {.iov_base = (void *)a, .iov_len = sizeof *a};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(head), &fd, sizeof fd);
    }
    if (sendmsg(s, &message, MSG_NOSIGNAL) == (ssize_t)sizeof *a) return TD_OK;
    return td_fail_errno(errno, "dist", "cannot pass shared memory to another rank");
}

static td_status receive_answer(int s, answer *a, int *fd) {
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {.iov_base = a, .iov_len = sizeof *a};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    ssize_t got = recvmsg(s, &message, MSG_CMSG_CLOEXEC);
    if (got < 0) return td_fail_errno(errno, "dist", "cannot receive shared memory from local rank 0");
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    *fd = -1;
    if (head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS)
        memcpy(fd, CMSG_DATA(head), sizeof *fd);
    if (got != sizeof *a)
        return td_fail(TD_ERR_PEER, 0, "dist", "local rank 0 went away while the ranks were meeting");
    a->text[sizeof a->text - 1] = 0;
    return TD_OK;
}

/* What is wrong with a newcomer's hello; fills the answer. */
static void judge(const td_job_facts *f, const hello *h, ssize_t got, const bool *here, answer *a) {
    *a = (answer){0};
    if (got != sizeof *h || h->version != GREETING_VERSION || strncmp(h->id, f->id, sizeof h->id))
        snprintf(a->text, sizeof a->text, "another job or another build of Tandem answered");
    else if (h->world_size != f->world_size || h->local_world_size != f->local_world_size)
        snprintf(a->text, sizeof a->text,
                 "local rank %d was told of %d ranks, %d here; rank %d of %d, %d here", h->local_rank,
                 h->world_size, h->local_world_size, f->rank, f->world_size, f->local_world_size);
    else if (h->local_rank < 1 || h->local_rank >= f->local_world_size || here[h->local_rank])
        snprintf(a->text, sizeof a->text, "there are two local ranks %d", h->local_rank);
    if (a->text[0]) a->status = TD_ERR_MISMATCH;
}

/* Take one newcomer. A foreign or broken one is sent away and is nobody's failure; a rank of this job that
 * contradicts ours is everybody's. */
static td_status admit(meeting *m, int listener, int arena, bool *here, int *count) {
    pid_t pid = 0;
    hello h;
    answer a;
    int s = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (s < 0)
        return errno == EINTR || errno == ECONNABORTED ? TD_OK
                                                       : td_fail_errno(errno, "dist", "cannot accept a rank");
    td_status status = TD_OK;
    struct pollfd p = {.fd = s, .events = POLLIN};
    if (same_user(s, &pid) && poll(&p, 1, 5000) > 0) {
        ssize_t got = recv(s, &h, sizeof h, 0);
        judge(m->facts, &h, got, here, &a);
        bool sent = send_answer(s, &a, a.status ? -1 : arena) == TD_OK;
        if (a.status && got == sizeof h && !strncmp(h.id, m->facts->id, sizeof h.id))
            status = td_fail(TD_ERR_MISMATCH, 0, "dist", "%s", a.text);
        else if (sent && !a.status) {
            here[h.local_rank] = true;
            ++*count;
        }
    }
    close(s);
    return status;
}

static td_status listen_here(const td_job_facts *facts, int *listener) {
    struct sockaddr_un address;
    socklen_t length = make_address(facts, &address);
    int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (s < 0) return td_fail_errno(errno, "dist", "cannot make a unix socket");
    if (bind(s, (struct sockaddr *)&address, length) || listen(s, LOCAL_MAX)) {
        int code = errno;
        close(s);
        if (code == EADDRINUSE)
            return td_fail(
                TD_ERR_STATE, code, "dist",
                "another job with the id '%s' is starting on this machine: give each its own MASTER_PORT",
                facts->id);
        return td_fail_errno(code, "dist", "cannot listen for the other ranks");
    }
    *listener = s;
    return TD_OK;
}

static td_status host(meeting *m, int *fd) {
    bool here[LOCAL_MAX] = {true};
    char missing[128];
    int listener = -1, arena, count = 1;
    TD_TRY(td_job_make_arena(&arena));
    td_status status = listen_here(m->facts, &listener);
    if (status >= 0) {
        while (status >= 0 && count < m->facts->local_world_size) {
            list_missing(here, m->facts->local_world_size, missing, sizeof missing);
            status = await_input(m, listener, missing);
            if (status >= 0) status = admit(m, listener, arena, here, &count);
        }
        close(listener);
    }
    if (status < 0) {
        close(arena);
        return status;
    }
    *fd = arena;
    return TD_OK;
}

static td_status greet(meeting *m, int s, int *fd) {
    const td_job_facts *f = m->facts;
    hello h = {.version = GREETING_VERSION,
               .world_size = f->world_size,
               .local_world_size = f->local_world_size,
               .local_rank = f->local_rank};
    answer a;
    pid_t pid = 0;
    int got = -1;
    snprintf(h.id, sizeof h.id, "%s", f->id);
    if (!same_user(s, &pid))
        return td_fail(TD_ERR_STATE, 0, "dist", "a process of another user (%d) answers for local rank 0",
                       (int)pid);
    if (send(s, &h, sizeof h, MSG_NOSIGNAL) != (ssize_t)sizeof h)
        return td_fail_errno(errno, "dist", "cannot greet local rank 0");
    TD_TRY(await_input(m, s, "0"));
    TD_TRY(receive_answer(s, &a, &got));
    if (a.status) return td_fail((td_status)a.status, 0, "dist", "%s", a.text);
    if (got < 0)
        return td_fail(TD_ERR_FORMAT, 0, "dist", "local rank 0 (process %d) passed no shared memory",
                       (int)pid);
    *fd = got;
    return TD_OK;
}

/* Local rank 0 may come later, so nobody listening yet is only a reason to try again. */
static td_status visit(meeting *m, int *fd) {
    struct sockaddr_un address;
    socklen_t length = make_address(m->facts, &address);
    int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), code = 0;
    if (s < 0) return td_fail_errno(errno, "dist", "cannot make a unix socket");
    for (long pause_us = 200; connect(s, (struct sockaddr *)&address, length);
         pause_us += pause_us < 20000 ? pause_us : 0) {
        code = errno;
        if (code != ECONNREFUSED && code != EINTR && code != EAGAIN) break;
        code = 0;
        nanosleep(&(struct timespec){.tv_nsec = pause_us * 1000}, NULL);
        int64_t now = td_clock_ns();
        if (now >= m->deadline) code = ETIMEDOUT;
        if (code) break;
        if (now < m->report_at) continue;
        td_log_line(TD_LOG_WARN, "dist", "rank %d has waited %d s for local rank 0 to start", m->facts->rank,
                    REPORT_SECONDS);
        m->report_at = INT64_MAX;
    }
    td_status status;
    if (code == ETIMEDOUT)
        status =
            td_fail(TD_ERR_TIMEOUT, 0, "dist",
                    "local rank 0 did not come within %g s: is it started, and on this machine?", m->timeout);
    else
        status = code ? td_fail_errno(code, "dist", "cannot reach local rank 0") : greet(m, s, fd);
    close(s);
    return status;
}

td_status td_rendezvous(const td_job_facts *facts, double timeout, int *fd) {
    meeting m = {
        .facts = facts, .deadline = after(timeout), .report_at = after(REPORT_SECONDS), .timeout = timeout};
    if (facts->local_world_size > LOCAL_MAX)
        return td_fail(TD_ERR_UNSUPPORTED, 0, "dist", "%d ranks on one machine; at most %d can share memory",
                       facts->local_world_size, LOCAL_MAX);
    return facts->local_rank == 0 ? host(&m, fd) : visit(&m, fd);
}
