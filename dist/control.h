/*
 * Small messages between a rank and `tandem run` over the inherited control channel. Both sides use these two
 * functions: encode gives one frame to write, decode takes frames off the front of what was read. Plain
 * functions; any thread may call.
 *
 * A rank says JOINED when it opens its job; the launcher answers with TERMINAL, and sends TERMINAL again
 * whenever the window changes. LOST is said by a rank whose collective failed because of another rank; STUCK
 * is only news. LEAVING says that the rank's exit from now on is nobody's loss. A rank that says nothing (a
 * program that is not ours) is fine, and so is a launcher that never answers.
 */
#ifndef TANDEM_DIST_CONTROL_H
#define TANDEM_DIST_CONTROL_H

#include "base/status.h"

TD_BEGIN_DECLS

typedef enum td_control_kind {
    TD_CONTROL_JOINED = 1,   /* rank -> launcher: rank, value = its pid */
    TD_CONTROL_LOST = 2,     /* rank -> launcher: rank = the one lost, value = the td_status (TD_ERR_PEER:
                                gone or left; TD_ERR_TIMEOUT: never came), text = the call it was lost in */
    TD_CONTROL_STUCK = 3,    /* rank -> launcher: rank = the one waited for, value = whole seconds so far,
                                text = the call */
    TD_CONTROL_LEAVING = 4,  /* rank -> launcher: rank */
    TD_CONTROL_TERMINAL = 5, /* launcher -> rank: value = columns of the terminal behind the launcher's
                                standard output and error, 0 unless both are one */
} td_control_kind;

#define TD_CONTROL_TEXT_MAX  240 /* characters of text kept */
#define TD_CONTROL_FRAME_MAX 256 /* bytes of the longest frame */

typedef struct td_control_message {
    td_control_kind kind;
    int rank;
    int value;
    char text[TD_CONTROL_TEXT_MAX + 1];
} td_control_message;

/* Write one frame, to be sent whole; returns its bytes. Longer text is cut. */
TD_API size_t td_control_encode(const td_control_message *message, uint8_t frame[TD_CONTROL_FRAME_MAX]);

/* Take the first frame of `bytes`. TD_OK: *message is filled and *used bytes are consumed. TD_PENDING: more
 * bytes are needed. TD_ERR_FORMAT: this is no frame; nothing after it can be trusted. A kind that this
 * version does not know is handed on as its number. */
TD_API td_status td_control_decode(const uint8_t *bytes, size_t size, size_t *used,
                                   td_control_message *message);

TD_END_DECLS

#endif
