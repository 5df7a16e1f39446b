/*
 * Held lines stand in a queue by depth: a line is one deeper than the last that its rank said. A rank's next line
 * joins an equal one only where that is deeper than its last, so joining never changes the order within a rank; if
 * there is none, it goes behind those of its own depth, so that lines which differ ("rank 3 is ready") do not keep
 * what follows them from being folded. The queue leaves from its head.
 */
#include "launcher/fold.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

enum { HELD_MOST = 1024, HELD_BYTES_MOST = 1 << 20 };

typedef struct held {
    uint64_t hash, depth;
    int64_t since_ms;
    int count;
    size_t n;
    char *line;  /* within the same block */
    bool said[]; /* [n ranks], then the line */
} held;

struct launcher_fold {
    int n, left;
    launcher_fold_emit *emit;
    void *cookie;
    held *queue[HELD_MOST];
    int count;
    size_t bytes;
    uint64_t gone;   /* the greatest depth that has been let go */
    uint64_t *depth; /* [n]: of the rank's last line */
    bool *has_left;  /* [n] */
};

/* FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv */
static uint64_t hash_of(const char *bytes, size_t n) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < n; i++) hash = (hash ^ (unsigned char)bytes[i]) * UINT64_C(0x100000001b3);
    return hash;
}

td_status launcher_fold_open(int n, launcher_fold_emit *emit, void *cookie, launcher_fold **fold) {
    launcher_fold *f = td_calloc(1, sizeof *f);
    if (!f) return TD_ERR_MEMORY;
    *f = (launcher_fold){.n = n, .emit = emit, .cookie = cookie};
    f->depth = td_calloc((size_t)n, sizeof *f->depth);
    f->has_left = td_calloc((size_t)n, sizeof *f->has_left);
    if (!f->depth || !f->has_left) {
        launcher_fold_close(&f);
        return TD_ERR_MEMORY;
    }
    *fold = f;
    return TD_OK;
}

/* Let go the first `count`. */
static void let_go(launcher_fold *f, int count) {
    for (int i = 0; i < count; i++) {
        held *h = f->queue[i];
        f->bytes -= h->n;
        f->gone = h->depth;
        f->emit(h->said, h->count, h->line, h->n, f->cookie);
        td_free(h);
    }
    f->count -= count;
    memmove(f->queue, f->queue + count, (size_t)f->count * sizeof *f->queue);
}

/* Has everyone said it who still can? */
static bool is_complete(const launcher_fold *f, const held *h) {
    if (h->count + f->left < f->n) return false;
    for (int i = 0; i < f->n; i++)
        if (!h->said[i] && !f->has_left[i]) return false;
    return true;
}

static void let_go_complete(launcher_fold *f) {
    int count = 0;
    while (count < f->count && is_complete(f, f->queue[count])) count++;
    if (count > 0) let_go(f, count);
}

/* The first in the queue that is deeper; `count` when none is. */
static int first_deeper(const launcher_fold *f, uint64_t depth) {
    int low = 0, high = f->count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (f->queue[middle]->depth > depth)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static held *find_equal(const launcher_fold *f, uint64_t depth, const char *line, size_t n, uint64_t hash) {
    for (int i = first_deeper(f, depth); i < f->count; i++) {
        held *h = f->queue[i];
        if (h->hash == hash && h->n == n && memcmp(h->line, line, n) == 0) return h;
    }
    return NULL;
}

static held *hold(launcher_fold *f, uint64_t depth, const char *line, size_t n, uint64_t hash,
                  int64_t now_ms) {
    held *h = td_calloc(1, sizeof *h + (size_t)f->n * sizeof *h->said + n);
    if (!h) return NULL;
    *h = (held){.hash = hash, .depth = depth, .since_ms = now_ms, .n = n, .line = (char *)(h->said + f->n)};
    memcpy(h->line, line, n);
    f->bytes += n;
    int at = first_deeper(f, depth);
    memmove(f->queue + at + 1, f->queue + at, (size_t)(f->count - at) * sizeof *f->queue);
    f->queue[at] = h;
    f->count++;
    return h;
}

void launcher_fold_add(launcher_fold *f, int rank, const char *line, size_t n, int64_t now_ms) {
    if (f->count == HELD_MOST || f->bytes + n > HELD_BYTES_MOST) launcher_fold_flush(f);
    uint64_t hash = hash_of(line, n), depth = f->depth[rank] > f->gone ? f->depth[rank] : f->gone;
    held *h = find_equal(f, f->depth[rank], line, n, hash);
    if (!h) h = hold(f, depth + 1, line, n, hash, now_ms);
    if (!h) return; /* without memory a line is lost, as in launcher_buffer_add */
    h->said[rank] = true;
    h->count++;
    f->depth[rank] = h->depth;
    let_go_complete(f);
}

void launcher_fold_leave(launcher_fold *f, int rank) {
    if (f->has_left[rank]) return;
    f->has_left[rank] = true;
    f->left++;
    let_go_complete(f);
}

int64_t launcher_fold_pass(launcher_fold *f, int64_t now_ms) {
    int64_t next = -1;
    int due = 0;
    for (int i = 0; i < f->count; i++)
        if (now_ms - f->queue[i]->since_ms >= LAUNCHER_FOLD_MS) due = i + 1;
    let_go(f, due);
    for (int i = 0; i < f->count; i++) {
        int64_t left = LAUNCHER_FOLD_MS - (now_ms - f->queue[i]->since_ms);
        if (next < 0 || left < next) next = left;
    }
    return next;
}

void launcher_fold_flush(launcher_fold *f) { let_go(f, f->count); }

size_t launcher_fold_prefix(const bool *said, int n, int count, char *text, size_t bytes) {
    size_t at = (size_t)snprintf(text, bytes, "[%dx, ranks ", count);
    const char *separator = "";
    for (int i = 0; i < n && at + 32 < bytes; i++) {
        if (!said[i]) continue;
        int last = i;
        while (last + 1 < n && said[last + 1]) last++;
        at += (size_t)snprintf(text + at, bytes - at, "%s%d", separator, i);
        if (last > i) at += (size_t)snprintf(text + at, bytes - at, last == i + 1 ? ", %d" : "-%d", last);
        separator = ", ";
        i = last;
    }
    bool whole = at + 32 < bytes;
    return at + (size_t)snprintf(text + at, bytes - at, whole ? "] " : ", ...] ");
}

void launcher_fold_close(launcher_fold **fold) {
    launcher_fold *f = *fold;
    if (!f) return;
    for (int i = 0; i < f->count; i++) td_free(f->queue[i]);
    td_free(f->depth);
    td_free(f->has_left);
    td_free(f);
    *fold = NULL;
}
