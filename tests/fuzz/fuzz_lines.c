/* The line splitter on any bytes in any pieces: the first byte of the input says how they are cut. What leaves is
 * what came; unless asked to be eager, each run ends with a newline until the stream itself ends. */
#include "launcher/lines.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct checker {
    const uint8_t *next; /* the byte that must come next */
    bool whole;
} checker;

static void take(const char *bytes, size_t n, void *cookie) {
    checker *c = cookie;
    if (n == 0 || memcmp(bytes, c->next, n) != 0 || (c->whole && bytes[n - 1] != '\n')) abort();
    c->next += n;
}

static void take_line(const char *line, size_t n, void *cookie) {
    const char *newline = memchr(line, '\n', n);
    if (newline && newline != line + n - 1) abort();
    take(line, n, cookie);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    unsigned cut = data[0] >> 1;
    bool eager = data[0] & 1;
    const uint8_t *end = data + size;
    checker c = {++data, !eager};
    launcher_lines lines = {0};
    for (const uint8_t *at = data; at < end;) {
        size_t n = cut ? 1 + at[0] % cut : (size_t)(end - at);
        if (n > (size_t)(end - at)) n = (size_t)(end - at);
        launcher_lines_add(&lines, (const char *)at, n, eager, take, &c);
        at += n;
    }
    c.whole = false;
    launcher_lines_flush(&lines, take, &c);
    if (c.next != end) abort();
    launcher_lines_free(&lines);
    c.next = data;
    launcher_lines_each((const char *)data, (size_t)(end - data), take_line, &c);
    if (c.next != end) abort();
    return 0;
}
