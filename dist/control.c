/* A frame: two bytes length of what follows, one byte kind, four bytes rank, four bytes value, then the text.
 * Numbers are little-endian. */
#include "dist/control.h"

#include <string.h>

enum { LENGTH_BYTES = 2, FIXED_BYTES = 9 };
_Static_assert(LENGTH_BYTES + FIXED_BYTES + TD_CONTROL_TEXT_MAX <= TD_CONTROL_FRAME_MAX,
               "frames are too long");

static void put_u32(uint8_t *p, uint32_t v) {
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> 8 * i);
}

static uint32_t get_u32(const uint8_t *p) {
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

size_t td_control_encode(const td_control_message *message, uint8_t frame[TD_CONTROL_FRAME_MAX]) {
    size_t text = strnlen(message->text, TD_CONTROL_TEXT_MAX), length = FIXED_BYTES + text;
    frame[0] = (uint8_t)length;
    frame[1] = (uint8_t)(length >> 8);
    frame[2] = (uint8_t)message->kind;
    put_u32(frame + 3, (uint32_t)message->rank);
    put_u32(frame + 7, (uint32_t)message->value);
    memcpy(frame + LENGTH_BYTES + FIXED_BYTES, message->text, text);
    return LENGTH_BYTES + length;
}

td_status td_control_decode(const uint8_t *bytes, size_t size, size_t *used, td_control_message *message) {
    if (size < LENGTH_BYTES) return TD_PENDING;
    size_t length = bytes[0] | (size_t)bytes[1] << 8;
    if (length < FIXED_BYTES || length > FIXED_BYTES + TD_CONTROL_TEXT_MAX)
        return td_fail(TD_ERR_FORMAT, 0, "dist", "control channel: a frame of %zu bytes", length);
    if (size < LENGTH_BYTES + length) return TD_PENDING;
    size_t text = length - FIXED_BYTES;
    message->kind = (td_control_kind)bytes[2];
    message->rank = (int)get_u32(bytes + 3);
    message->value = (int)get_u32(bytes + 7);
    memcpy(message->text, bytes + LENGTH_BYTES + FIXED_BYTES, text);
    message->text[text] = 0;
    *used = LENGTH_BYTES + length;
    return TD_OK;
}
