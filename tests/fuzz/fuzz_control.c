/* Frames of the control channel out of any bytes, as the launcher takes them off what a rank has sent: whole, and
 * in two pieces cut anywhere. Both must give the same, and a frame that is understood is written as it was read. */
#include "dist/control.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool holds) {
    if (!holds) abort();
}

static void check_message(const td_control_message *message, const uint8_t *bytes, size_t used) {
    uint8_t frame[TD_CONTROL_FRAME_MAX];
    expect(memchr(message->text, 0, sizeof message->text) != NULL);
    size_t text = used - (td_control_encode(&(td_control_message){.kind = message->kind}, frame));
    if (strlen(message->text) != text) return; /* zeros in the text: what follows is not text any more */
    size_t length = td_control_encode(message, frame);
    expect(length == used && memcmp(frame, bytes, used) == 0);
}

/* How many frames there are before the end or the first fault; *fault: it was a fault. */
static int count_frames(const uint8_t *bytes, size_t size, size_t *rest, bool *fault) {
    td_control_message message;
    size_t used = 0;
    int count = 0;
    td_status status;
    while ((status = td_control_decode(bytes, size, &used, &message)) == TD_OK) {
        expect(used > 0 && used <= size && used <= TD_CONTROL_FRAME_MAX);
        check_message(&message, bytes, used);
        bytes += used;
        size -= used;
        count++;
    }
    *rest = size;
    *fault = status != TD_PENDING;
    expect(*fault || size < TD_CONTROL_FRAME_MAX); /* so a buffer of two frames always has room */
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    size_t rest, rest_first, rest_second;
    bool fault, fault_first, fault_second = false;
    if (size == 0) return 0;
    size_t cut = data[0] % size;
    int whole = count_frames(data, size, &rest, &fault);
    int first = count_frames(data, cut, &rest_first, &fault_first);
    const uint8_t *next = data + cut - rest_first;
    int second =
        fault_first ? 0 : count_frames(next, (size_t)(data + size - next), &rest_second, &fault_second);
    expect(whole == first + second && fault == (fault_first || fault_second));
    return 0;
}
