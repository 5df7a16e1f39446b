/* See buffer.h. */
#include "launcher/buffer.h"

#include "base/memory.h"

#include <string.h>

char *launcher_buffer_make_room(launcher_buffer *b, size_t n) {
    if (b->begin == b->end) b->begin = b->end = 0;
    if (b->capacity - b->end < n && b->begin >= n && b->begin > b->capacity / 2) {
        memmove(b->data, b->data + b->begin, b->end - b->begin);
        b->end -= b->begin;
        b->begin = 0;
    }
    if (b->capacity - b->end < n) {
        size_t wanted = b->capacity ? b->capacity : 4096;
        while (wanted - b->end < n) wanted *= 2;
        char *data = td_realloc(b->data, wanted, 1);
        if (!data) return NULL;
        b->data = data;
        b->capacity = wanted;
    }
    return b->data + b->end;
}

bool launcher_buffer_add(launcher_buffer *b, const char *bytes, size_t n) {
    if (n == 0) return true;
    char *to = launcher_buffer_room(b, n);
    if (!to) return false;
    memcpy(to, bytes, n);
    b->end += n;
    return true;
}

void launcher_buffer_free(launcher_buffer *buffer) {
    td_free(buffer->data);
    *buffer = (launcher_buffer){0};
}
