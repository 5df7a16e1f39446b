/* The ring of last bytes, and its reading as lines of valid UTF-8. */
#include "launcher/tail.h"

#include "base/memory.h"

#include <string.h>

void launcher_tail_add(launcher_tail *tail, const char *bytes, size_t n) {
    if (n == 0) return;
    if (!tail->ring && !(tail->ring = td_alloc(LAUNCHER_TAIL_BYTES))) return;
    if (n > LAUNCHER_TAIL_BYTES) {
        tail->end += n - LAUNCHER_TAIL_BYTES;
        bytes += n - LAUNCHER_TAIL_BYTES;
        n = LAUNCHER_TAIL_BYTES;
    }
    size_t at = tail->end % LAUNCHER_TAIL_BYTES, first = LAUNCHER_TAIL_BYTES - at;
    if (first > n) first = n;
    memcpy(tail->ring + at, bytes, first);
    memcpy(tail->ring, bytes + first, n - first);
    tail->end += n;
}

/* Bytes of the valid UTF-8 character at `p` (RFC 3629, table 3-7 of the Unicode standard), 0 if it is none.
 */
static size_t character_bytes(const unsigned char *p, size_t n) {
    if (p[0] < 0x80) return 1;
    size_t length = p[0] >= 0xc2 && p[0] <= 0xdf   ? 2
                    : (p[0] & 0xf0) == 0xe0        ? 3
                    : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4
                                                   : 0;
    if (length == 0 || length > n) return 0;
    unsigned low = 0x80, high = 0xbf; /* of the second byte: no overlong forms, no surrogates */
    if (p[0] == 0xe0) low = 0xa0;
    if (p[0] == 0xed) high = 0x9f;
    if (p[0] == 0xf0) low = 0x90;
    if (p[0] == 0xf4) high = 0x8f;
    if (p[1] < low || p[1] > high) return 0;
    for (size_t i = 2; i < length; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    return length;
}

static void copy_valid(char *to, const char *from, size_t n) {
    const unsigned char *p = (const unsigned char *)from;
    while (n > 0) {
        size_t length = *p ? character_bytes(p, n) : 0;
        memcpy(to, length ? (const char *)p : "\xef\xbf\xbd", length ? length : 3);
        to += length ? length : 3;
        p += length ? length : 1;
        n -= length ? length : 1;
    }
    *to = 0;
}

static bool ends_line(char c) { return c == '\n' || c == '\r'; }

void launcher_tail_lines(const launcher_tail *tail, int most, launcher_tail_line *line, void *cookie) {
    if (!tail->ring) return;
    char text[LAUNCHER_TAIL_BYTES + 1], valid[3 * LAUNCHER_TAIL_BYTES + 1];
    size_t n = tail->end < LAUNCHER_TAIL_BYTES ? tail->end : LAUNCHER_TAIL_BYTES;
    for (size_t i = 0; i < n; i++) text[i] = tail->ring[(tail->end - n + i) % LAUNCHER_TAIL_BYTES];

    while (n > 0 && ends_line(text[n - 1])) n--;
    size_t begin = n, oldest = 0;
    if (tail->end > LAUNCHER_TAIL_BYTES) { /* the first line is half a line, unless it is all there is */
        while (oldest < n && !ends_line(text[oldest])) oldest++;
        oldest = oldest == n ? 0 : oldest + 1;
    }
    for (int lines = 0; begin > oldest; begin--)
        if (ends_line(text[begin - 1]) && !ends_line(text[begin]) && ++lines == most) break;
    while (begin < n) {
        size_t end = begin;
        while (end < n && !ends_line(text[end])) end++;
        if (end > begin) {
            copy_valid(valid, text + begin, end - begin);
            line(valid, cookie);
        }
        begin = end + 1;
    }
}

void launcher_tail_free(launcher_tail *tail) {
    td_free(tail->ring);
    *tail = (launcher_tail){0};
}
