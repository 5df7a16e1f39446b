/* The mark is four numbers with colons between; parsing accepts nothing else. */
#include "dist/job_mark.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

td_job_mark_text td_job_mark_format(td_job_mark mark) {
    td_job_mark_text out;
    snprintf(out.text, sizeof out.text, "%d:%d:%d:%d", TD_JOB_MARK_VERSION, mark.rank, mark.world_size,
             mark.port);
    return out;
}

/* Reads digits up to `end`, and moves past it. */
static bool read_number(const char **at, char end, long most, int *value) {
    const char *p = *at;
    long n = 0;
    if (*p < '0' || *p > '9') return false;
    for (; *p >= '0' && *p <= '9'; p++)
        if ((n = n * 10 + (*p - '0')) > most) return false;
    if (*p != end) return false;
    *at = p + (end != 0);
    *value = (int)n;
    return true;
}

td_status td_job_mark_parse(const char *text, td_job_mark *mark) {
    td_job_mark m;
    int version;
    const char *at = text;
    if (!read_number(&at, ':', 1000000, &version) || !read_number(&at, ':', 1000000, &m.rank) ||
        !read_number(&at, ':', 1000000, &m.world_size) || !read_number(&at, 0, 65535, &m.port) ||
        m.rank >= m.world_size)
        return td_fail(TD_ERR_FORMAT, 0, "dist", TD_ENV_JOB "=%s is not version:rank:world size:port", text);
    if (version != TD_JOB_MARK_VERSION)
        return td_fail(TD_ERR_FORMAT, 0, "dist",
                       TD_ENV_JOB
                       "=%s is of version %d, this program reads %d: is the launcher of another build?",
                       text, version, TD_JOB_MARK_VERSION);
    *mark = m;
    return TD_OK;
}

td_status td_job_make_arena(int *fd) {
    int made = memfd_create("tandem-arena", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (made < 0) return td_fail_errno(errno, "dist", "cannot make shared memory (memfd_create)");
    if (fcntl(made, F_ADD_SEALS, F_SEAL_SHRINK)) {
        int code = errno;
        close(made);
        return td_fail_errno(code, "dist", "cannot seal shared memory");
    }
    *fd = made;
    return TD_OK;
}
