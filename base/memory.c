/* malloc with two additions: failures are recorded, and a test can choose which allocation fails. */
#include "base/memory.h"

#include "base/checked.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Allocations left before the one that fails; negative: none will. */
static atomic_long successes_left = -1;

void td_alloc_fail_after(long successes) { atomic_store(&successes_left, successes); }

static bool must_fail(void) {
    if (atomic_load_explicit(&successes_left, memory_order_relaxed) < 0) return false;
    return atomic_fetch_sub(&successes_left, 1) == 0;
}

static void *checked(void *block, size_t bytes) {
    if (!block) td_fail(TD_ERR_MEMORY, 0, "base", "no memory for %zu bytes", bytes);
    return block;
}

void *td_alloc(size_t bytes) { return checked(must_fail() ? NULL : malloc(bytes ? bytes : 1), bytes); }

void *td_calloc(size_t count, size_t size) {
    size_t bytes = 0;
    bool fits = td_mul_size(count, size, &bytes) && !must_fail();
    return checked(fits ? calloc(1, bytes ? bytes : 1) : NULL, bytes);
}

void *td_realloc(void *block, size_t count, size_t size) {
    size_t bytes = 0;
    bool fits = td_mul_size(count, size, &bytes) && !must_fail();
    return checked(fits ? realloc(block, bytes ? bytes : 1) : NULL, bytes);
}

void *td_alloc_aligned(size_t bytes) {
    size_t padded = 0;
    bool fits = td_add_size(bytes, 64, &padded) && td_round_up_size(padded, 64, &padded) && !must_fail();
    return checked(fits ? aligned_alloc(64, padded) : NULL, bytes);
}

char *td_strdup(const char *text) {
    size_t bytes = strlen(text) + 1;
    char *copy = td_alloc(bytes);
    return copy ? memcpy(copy, text, bytes) : NULL;
}

void td_free(void *block) { free(block); }
