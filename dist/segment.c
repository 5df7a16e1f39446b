/*
 * Layout: one header, then extents one after the other. The file grows by fallocate, extent by extent, so
 * that every page of an extent is there before anybody touches it; the mapping is reserved once, far larger.
 * An entry of the table is claimed by compare-and-swap, and the end of the used space moves the same way.
 */
#include "dist/segment.h"

#include "base/memory.h"
#include "dist/memory_left.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LAYOUT = 3, EXTENTS = 1024, UNCHECKED_BYTES = 4 << 20 };

enum { EXTENT_UNUSED, EXTENT_BUSY, EXTENT_USED, EXTENT_FREE };

typedef struct extent {
    _Atomic uint32_t state;
    _Atomic uint64_t offset, bytes;
} extent;

typedef struct header {
    _Atomic uint32_t layout;   /* of the build that came first */
    _Atomic uint64_t asked;    /* bytes that were ever wanted; only ever grows */
    _Atomic uint64_t capacity; /* the smallest reservation of any rank; 0 before the first */
    _Atomic uint64_t used;     /* bytes after the header that extents take */
    _Alignas(64) _Atomic uint64_t opening;
    td_seat seats[TD_SEGMENT_RANKS_MAX];
    extent extents[EXTENTS];
} header;

enum { HEADER_BYTES = (sizeof(header) + TD_SEGMENT_PAGE - 1) / TD_SEGMENT_PAGE * TD_SEGMENT_PAGE };

struct td_segment {
    uint8_t *base;
    size_t reserved;
    int fd;
    atomic_int owners;
};

static header *header_of(const td_segment *segment) { return (header *)segment->base; }

/* Address space for several times the machine's memory; less where the process may not have that much. */
static td_status reserve(td_segment *segment) {
    size_t memory = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE), bytes = (size_t)1 << 36;
    while (bytes < 4 * memory && bytes < (size_t)1 << 44) bytes *= 2;
    for (; bytes >= (size_t)1 << 24; bytes /= 2) {
        void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, segment->fd, 0);
        if (base == MAP_FAILED) continue;
        madvise(base, bytes, MADV_DONTDUMP);
        segment->base = base;
        segment->reserved = bytes;
        return TD_OK;
    }
    return td_fail_errno(errno, "dist", "cannot map shared memory, not even 16 MiB");
}

static td_status commit(const td_segment *segment, uint64_t offset, uint64_t bytes) {
    enum { STEP = 64 << 20 }; /* between which a signal may be handled */
    for (uint64_t done = 0; done < bytes;) {
        uint64_t step = bytes - done < STEP ? bytes - done : STEP;
        if (!fallocate(segment->fd, 0, (off_t)(offset + done), (off_t)step))
            done += step;
        else if (errno != EINTR)
            return td_fail(TD_ERR_MEMORY, errno, "dist", "the system has no %llu bytes of shared memory left",
                           (unsigned long long)bytes);
    }
    return TD_OK;
}

/* Agree with the ranks that came before on layout and capacity. */
static td_status join(td_segment *segment) {
    header *h = header_of(segment);
    uint32_t layout = 0;
    if (!atomic_compare_exchange_strong(&h->layout, &layout, LAYOUT) && layout != LAYOUT)
        return td_fail(
            TD_ERR_MISMATCH, 0, "dist",
            "the shared memory has layout %u, this program uses %d: are the ranks of different builds?",
            layout, LAYOUT);
    uint64_t capacity = atomic_load(&h->capacity);
    while ((!capacity || capacity > segment->reserved) &&
           !atomic_compare_exchange_weak(&h->capacity, &capacity, segment->reserved)) {}
    if (HEADER_BYTES + atomic_load(&h->used) > segment->reserved)
        return td_fail(TD_ERR_MEMORY, 0, "dist",
                       "only %zu bytes of address space, but %llu are shared already", segment->reserved,
                       (unsigned long long)atomic_load(&h->used));
    return TD_OK;
}

td_status td_segment_map(int fd, td_segment **segment) {
    td_segment *made = td_calloc(1, sizeof *made);
    if (!made) return TD_ERR_MEMORY;
    atomic_init(&made->owners, 1);
    made->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    td_status status = made->fd < 0
                           ? td_fail_errno(errno, "dist", "cannot keep the shared memory's descriptor")
                           : commit(made, 0, HEADER_BYTES);
    if (status >= 0) status = reserve(made);
    if (status >= 0) status = join(made);
    if (status < 0) {
        td_segment_release(&made);
        return status;
    }
    *segment = made;
    return TD_OK;
}

td_status td_segment_look(int fd, td_segment **segment) {
    struct stat about;
    if (fstat(fd, &about)) return td_fail_errno(errno, "dist", "cannot look at shared memory");
    if (about.st_size < HEADER_BYTES) return td_fail(TD_ERR_FORMAT, 0, "dist", "no shared memory of ranks");
    void *base = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) return td_fail_errno(errno, "dist", "cannot map shared memory");
    td_segment *made = td_calloc(1, sizeof *made);
    uint32_t layout = atomic_load(&((header *)base)->layout);
    if (!made || layout != LAYOUT) {
        munmap(base, (size_t)about.st_size);
        td_free(made);
        if (!made) return TD_ERR_MEMORY;
        return td_fail(TD_ERR_FORMAT, 0, "dist", "the shared memory has layout %u, this program knows %d",
                       layout, LAYOUT);
    }
    *made = (td_segment){.base = base, .reserved = (size_t)about.st_size, .fd = -1};
    atomic_init(&made->owners, 1);
    *segment = made;
    return TD_OK;
}

td_segment *td_segment_retain(td_segment *segment) {
    atomic_fetch_add(&segment->owners, 1);
    return segment;
}

void td_segment_release(td_segment **segment) {
    td_segment *s = *segment;
    *segment = NULL;
    if (!s || atomic_fetch_sub(&s->owners, 1) > 1) return;
    if (s->base) munmap(s->base, s->reserved);
    if (s->fd >= 0) close(s->fd);
    td_free(s);
}

/* Asking the system takes 0.1 ms, so it is asked once for every few megabytes of the job's; what is smaller, no system
 * with any life left in it refuses. */
static td_status check_memory(const td_segment *segment, uint64_t bytes) {
    uint64_t before = atomic_fetch_add(&header_of(segment)->asked, bytes);
    bool asks = before / UNCHECKED_BYTES != (before + bytes) / UNCHECKED_BYTES;
    return asks ? td_memory_check("", bytes) : TD_OK;
}

/* A given-back extent that is large enough but not wastefully so, or a new one at the end. */
static td_status claim(td_segment *segment, uint64_t bytes, extent **claimed) {
    header *h = header_of(segment);
    for (int i = 0; i < EXTENTS; i++) {
        extent *e = &h->extents[i];
        uint32_t state = EXTENT_FREE;
        uint64_t size = atomic_load(&e->bytes);
        if (size < bytes || size > 2 * bytes) continue;
        if (!atomic_compare_exchange_strong(&e->state, &state, EXTENT_BUSY)) continue;
        *claimed = e;
        return TD_OK;
    }
    for (int i = 0; i < EXTENTS; i++) {
        extent *e = &h->extents[i];
        uint32_t state = EXTENT_UNUSED;
        if (!atomic_compare_exchange_strong(&e->state, &state, EXTENT_BUSY)) continue;
        uint64_t used = atomic_load(&h->used), room = atomic_load(&h->capacity) - HEADER_BYTES;
        do {
            if (bytes > room || used > room - bytes) {
                atomic_store(&e->state, EXTENT_UNUSED);
                return td_fail(TD_ERR_MEMORY, 0, "dist",
                               "%llu bytes do not fit the %llu reserved for shared memory",
                               (unsigned long long)bytes, (unsigned long long)room);
            }
        } while (!atomic_compare_exchange_weak(&h->used, &used, used + bytes));
        atomic_store(&e->offset, HEADER_BYTES + used);
        atomic_store(&e->bytes, bytes);
        *claimed = e;
        return TD_OK;
    }
    return td_fail(TD_ERR_MEMORY, 0, "dist", "all %d places for blocks of shared memory are taken", EXTENTS);
}

static void give_back(const td_segment *segment, extent *e) {
    fallocate(segment->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)atomic_load(&e->offset),
              (off_t)atomic_load(&e->bytes));
    atomic_store(&e->state, EXTENT_FREE);
}

td_status td_segment_alloc(td_segment *segment, size_t bytes, uint64_t *offset) {
    uint64_t pages = ((uint64_t)bytes + TD_SEGMENT_PAGE - 1) / TD_SEGMENT_PAGE * TD_SEGMENT_PAGE;
    extent *e;
    if (!pages) pages = TD_SEGMENT_PAGE;
    TD_TRY(check_memory(segment, pages));
    TD_TRY(claim(segment, pages, &e));
    td_status status = commit(segment, atomic_load(&e->offset), pages);
    if (status < 0) {
        give_back(segment, e);
        return status;
    }
    *offset = atomic_load(&e->offset);
    atomic_store(&e->state, EXTENT_USED);
    return TD_OK;
}

void td_segment_free(td_segment *segment, uint64_t offset) {
    header *h = header_of(segment);
    for (int i = 0; i < EXTENTS; i++) {
        extent *e = &h->extents[i];
        if (atomic_load(&e->offset) != offset || atomic_load(&e->state) != EXTENT_USED) continue;
        atomic_store(&e->state, EXTENT_BUSY);
        give_back(segment, e);
        return;
    }
}

void *td_segment_at(const td_segment *segment, uint64_t offset) { return segment->base + offset; }

bool td_segment_offset(const td_segment *segment, const void *start, size_t bytes, uint64_t *offset) {
    uintptr_t at = (uintptr_t)start, base = (uintptr_t)segment->base;
    if (at < base || at - base >= segment->reserved || bytes > segment->reserved - (at - base)) return false;
    *offset = at - base;
    return true;
}

td_seat *td_segment_seat(td_segment *segment, int local_rank) {
    return &header_of(segment)->seats[local_rank];
}

_Atomic uint64_t *td_segment_opening(td_segment *segment) { return &header_of(segment)->opening; }
