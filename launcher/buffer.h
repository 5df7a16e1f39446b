/* Bytes that grow at the end and are used up from the beginning. In its owner's memory; zero is an empty one. */
#ifndef TANDEM_LAUNCHER_BUFFER_H
#define TANDEM_LAUNCHER_BUFFER_H

#include "base/status.h"

typedef struct launcher_buffer {
    char *data;
    size_t begin, end, capacity;
} launcher_buffer;

/* Without memory the bytes are dropped and false is returned. */
bool launcher_buffer_add(launcher_buffer *buffer, const char *bytes, size_t n);
static inline size_t launcher_buffer_size(const launcher_buffer *buffer) {
    return buffer->end - buffer->begin;
}
void launcher_buffer_free(launcher_buffer *buffer);

#endif
