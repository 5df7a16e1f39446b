/* A seat per rank, two cache lines apart from the next. */
#include "dist/progress.h"

#include "base/memory.h"
#include "dist/job_mark.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct seat {
    _Alignas(128) _Atomic uint64_t beats;
    _Atomic int64_t step;
    _Atomic uint32_t phase;
    _Atomic int32_t awaits; /* rank + 1; 0: nobody */
    _Atomic uint32_t has_stacks;
} seat;

typedef struct page {
    _Alignas(128) _Atomic uint64_t holds;
    seat seats[];
} page;

struct td_progress {
    int fd; /* the launcher's; -1 in a rank */
    int ranks, rank;
    size_t bytes;
    page *page;
};

static td_status map(int fd, size_t bytes, int ranks, int rank, td_progress **progress) {
    td_progress *p = td_calloc(1, sizeof *p);
    if (!p) return TD_ERR_MEMORY;
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) {
        td_free(p);
        return td_fail_errno(errno, "dist", "cannot map the page of progress");
    }
    *p = (td_progress){.fd = -1, .ranks = ranks, .rank = rank, .bytes = bytes, .page = at};
    *progress = p;
    return TD_OK;
}

td_status td_progress_make(int ranks, td_progress **progress) {
    size_t bytes = sizeof(page) + (size_t)ranks * sizeof(seat);
    int fd = memfd_create("tandem-progress", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) return td_fail_errno(errno, "dist", "cannot make the page of progress");
    td_status status = TD_OK;
    if (ftruncate(fd, (off_t)bytes) != 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0)
        status = td_fail_errno(errno, "dist", "cannot size the page of progress");
    if (status >= 0) status = map(fd, bytes, ranks, 0, progress);
    if (status < 0)
        close(fd);
    else
        (*progress)->fd = fd;
    return status;
}

td_status td_progress_map(int fd, int rank, td_progress **progress) {
    struct stat about;
    bool right = fcntl(fd, F_GET_SEALS) >= 0 && fstat(fd, &about) == 0;
    size_t bytes = right ? (size_t)about.st_size : 0,
           least = sizeof(page) + ((size_t)rank + 1) * sizeof(seat);
    if (bytes < least)
        return td_fail(TD_ERR_FORMAT, 0, "dist",
                       "%s=%d is not what `tandem run` passed on: was this program started by a rank that "
                       "closed it?",
                       TD_ENV_PROGRESS_FD, fd);
    return map(fd, bytes, (int)((bytes - sizeof(page)) / sizeof(seat)), rank, progress);
}

int td_progress_fd(const td_progress *progress) { return progress ? progress->fd : -1; }

td_progress_look td_progress_see(const td_progress *p, int rank) {
    if (!p) return (td_progress_look){.awaits = -1};
    const seat *s = &p->page->seats[rank];
    uint32_t phase = atomic_load(&s->phase);
    int awaits = atomic_load(&s->awaits) - 1;
    return (td_progress_look){.beats = atomic_load(&s->beats),
                              .phase = phase < TD_PHASE_COUNT ? (td_phase)phase : TD_PHASE_NONE,
                              .step = atomic_load(&s->step),
                              .awaits = awaits >= 0 && awaits < p->ranks ? awaits : -1,
                              .has_stacks = atomic_load(&s->has_stacks) != 0};
}

void td_progress_hold(td_progress *p, bool held) {
    if (!p) return;
    bool is_held = atomic_load(&p->page->holds) & 1;
    if (held != is_held) atomic_fetch_add(&p->page->holds, 1);
}

void td_progress_beat(td_progress *p) {
    if (!p) return;
    /* Written by this rank only. */
    uint64_t beats = atomic_load_explicit(&p->page->seats[p->rank].beats, memory_order_relaxed);
    atomic_store_explicit(&p->page->seats[p->rank].beats, beats + 1, memory_order_relaxed);
}

void td_progress_say(td_progress *p, td_phase phase, int64_t step) {
    if (!p) return;
    atomic_store_explicit(&p->page->seats[p->rank].phase, (uint32_t)phase, memory_order_relaxed);
    atomic_store_explicit(&p->page->seats[p->rank].step, step, memory_order_relaxed);
    td_progress_beat(p);
}

void td_progress_await(td_progress *p, int rank) {
    if (p) atomic_store_explicit(&p->page->seats[p->rank].awaits, rank + 1, memory_order_relaxed);
}

void td_progress_say_stacks(td_progress *p) {
    if (p) atomic_store(&p->page->seats[p->rank].has_stacks, 1);
}

uint64_t td_progress_holds(const td_progress *p) { return p ? atomic_load(&p->page->holds) : 0; }

void td_progress_close(td_progress **progress) {
    td_progress *p = *progress;
    *progress = NULL;
    if (!p) return;
    munmap(p->page, p->bytes);
    if (p->fd >= 0) close(p->fd);
    td_free(p);
}

const char *td_phase_name(td_phase phase) {
    static const char *const names[] = {
        [TD_PHASE_NONE] = "starting",   [TD_PHASE_JOINING] = "joining the group",
        [TD_PHASE_LOADING] = "loading", [TD_PHASE_TRAINING] = "training",
        [TD_PHASE_TESTING] = "testing", [TD_PHASE_SAVING] = "saving",
        [TD_PHASE_LEAVING] = "leaving",
    };
    return (unsigned)phase < TD_PHASE_COUNT ? names[phase] : "?";
}
