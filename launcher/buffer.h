/* Bytes that grow at the end and are used up from the beginning. In its owner's memory; zero is an empty one. */
#ifndef TANDEM_LAUNCHER_BUFFER_H
#define TANDEM_LAUNCHER_BUFFER_H

#include "base/status.h"

typedef struct launcher_buffer {
    char *data;
    size_t begin, end, capacity;
} launcher_buffer;

/* Room for `n` more bytes, where they end now: written there, and counted by adding to `end`. NULL without memory. */
char *launcher_buffer_make_room(launcher_buffer *buffer, size_t n);
static inline char *launcher_buffer_room(launcher_buffer *b, size_t n) {
    return b->begin < b->end && b->capacity - b->end >= n ? b->data + b->end
                                                          : launcher_buffer_make_room(b, n);
}

/* Without memory the bytes are dropped and false is returned. */
bool launcher_buffer_add(launcher_buffer *buffer, const char *bytes, size_t n);
static inline size_t launcher_buffer_size(const launcher_buffer *buffer) {
    return buffer->end - buffer->begin;
}
void launcher_buffer_free(launcher_buffer *buffer);

#endif
