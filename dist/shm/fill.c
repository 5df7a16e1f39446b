/*
 * Writing to slots, whose lines are in the caches of those who read them last. There are two ways: to fetch the
 * lines, ahead of the stores, or to go past the caches to memory, from where the others then read. The first is
 * two or three times as fast between cores that share a cache, the second between cores that do not (measured:
 * 25 against 10 GB/s, 7 against 16). Which ones do is not told reliably, and may change when a virtual machine is
 * moved; so each rank measures its own writing, stays with the faster way, and tries the other now and then.
 */
#include "dist/shm/steps.h"

#include <emmintrin.h>
#include <string.h>

enum {
    LINE = 64,
    AHEAD = 1024,     /* bytes at which fetching is ahead of storing */
    MEASURED = 4096,  /* bytes from which a copy is measured */
    TRIED_EVERY = 64, /* copies, of which TRIES go both ways in turn */
    TRIES = 4,
};

static void fetch_lines(uint8_t *at, size_t bytes) {
    for (size_t i = 0; i < bytes; i += LINE) __asm__ volatile("prefetchw %0" : : "m"(at[i]));
}

static void copy_fetching(uint8_t *to, const uint8_t *from, size_t bytes) {
    enum { BLOCK = 512 };
    fetch_lines(to, bytes < AHEAD ? bytes : AHEAD);
    for (size_t at = 0, n; at < bytes; at += n) {
        n = bytes - at < BLOCK ? bytes - at : BLOCK;
        if (at + AHEAD + BLOCK <= bytes) fetch_lines(to + at + AHEAD, BLOCK);
        memcpy(to + at, from + at, n);
    }
}

static void copy_past_caches(uint8_t *to, const uint8_t *from, size_t bytes) {
    size_t head = -(uintptr_t)to % LINE, at = head < bytes ? head : bytes;
    memcpy(to, from, at);
    for (; at + LINE <= bytes; at += LINE) {
        const __m128i *in = (const __m128i *)(const void *)(from + at);
        __m128i *out = (__m128i *)(void *)(to + at);
        __m128i a = _mm_loadu_si128(in), b = _mm_loadu_si128(in + 1), c = _mm_loadu_si128(in + 2),
                d = _mm_loadu_si128(in + 3);
        _mm_stream_si128(out, a);
        _mm_stream_si128(out + 1, b);
        _mm_stream_si128(out + 2, c);
        _mm_stream_si128(out + 3, d);
    }
    memcpy(to + at, from + at, bytes - at);
    _mm_sfence(); /* before the counter that promises the data */
}

void td_shm_fill_slot(td_shm *shm, uint8_t *to, const uint8_t *from, size_t bytes) {
    td_shm_ways *ways = &shm->ways;
    bool measured = bytes >= MEASURED;
    bool past = ways->cost[1] < ways->cost[0];
    if (measured && ways->copies++ % TRIED_EVERY < TRIES) past = ways->copies % 2;
    uint64_t start = measured ? __builtin_ia32_rdtsc() : 0;
    (past ? copy_past_caches : copy_fetching)(to, from, bytes);
    if (!measured) return;
    double cost = (double)(__builtin_ia32_rdtsc() - start) / (double)bytes, *known = &ways->cost[past];
    if (*known > 0 && cost > 2 * *known) cost = 2 * *known; /* it was interrupted, perhaps */
    *known = *known > 0 ? 0.75 * *known + 0.25 * cost : cost;
}
