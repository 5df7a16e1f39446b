/* A frame that cannot be understood ends the conversation with that rank, not the job. */
#include "launcher/control.h"

#include "base/memory.h"
#include "launcher/uv.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct channel {
    uv_pipe_t pipe;
    launcher_control *control;
    launcher_rank *rank;
    int ends[2]; /* ours, the rank's; -1 once uv has it or it is closed */
    bool open;
    size_t size; /* of a frame's beginning */
    uint8_t bytes[2 * TD_CONTROL_FRAME_MAX];
} channel;

struct launcher_control {
    int n;
    void (*silent)(int rank, void *cookie);
    void *cookie;
    channel channels[];
};

td_status launcher_control_open(launcher_rank *ranks, int n, launcher_control **control) {
    launcher_control *c = td_calloc(1, sizeof *c + (size_t)n * sizeof *c->channels);
    if (!c) return TD_ERR_MEMORY;
    c->n = n;
    for (int i = 0; i < n; i++) c->channels[i].ends[0] = c->channels[i].ends[1] = -1;
    for (int i = 0; i < n; i++) {
        c->channels[i].control = c;
        c->channels[i].rank = &ranks[i];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, c->channels[i].ends) != 0) {
            td_status status =
                td_fail_errno(errno, "launcher", "cannot make the control channel of rank %d", i);
            launcher_control_close(&c);
            return status;
        }
    }
    *control = c;
    return TD_OK;
}

int launcher_control_end(const launcher_control *control, int rank) {
    return control->channels[rank].ends[1];
}

/* Columns of the terminal behind our standard output and error; 0 when one of them is something else, for a rank
 * may draw on either. */
static int terminal_columns(void) {
    struct winsize size;
    if (!isatty(1) || ioctl(2, TIOCGWINSZ, &size) != 0) return 0;
    return size.ws_col > 0 ? size.ws_col : 80;
}

static void tell_terminal(channel *c) {
    td_control_message message = {.kind = TD_CONTROL_TERMINAL, .value = terminal_columns()};
    uint8_t frame[TD_CONTROL_FRAME_MAX];
    uv_buf_t buffer = uv_buf_init((char *)frame, (unsigned)td_control_encode(&message, frame));
    uv_try_write((uv_stream_t *)&c->pipe, &buffer, 1); /* a rank that does not read does not get to know */
}

void launcher_control_tell_terminal(launcher_control *control) {
    for (int i = 0; i < control->n; i++)
        if (control->channels[i].open) tell_terminal(&control->channels[i]);
}

static void take_message(channel *c, const td_control_message *message) {
    launcher_rank *rank = c->rank;
    switch (message->kind) {
    case TD_CONTROL_JOINED: tell_terminal(c); break;
    case TD_CONTROL_LOST:
        if (rank->lost >= 0) break; /* what it lost afterwards follows from that */
        rank->lost = message->rank;
        rank->lost_to_silence = message->value == TD_ERR_TIMEOUT;
        memcpy(rank->lost_in, message->text, sizeof rank->lost_in);
        if (rank->lost_to_silence) c->control->silent(rank->lost, c->control->cookie);
        break;
    default: break; /* STUCK and LEAVING change nothing here; a later version may say more */
    }
}

static void end_channel(channel *c) {
    if (!c->open) return;
    c->open = false;
    uv_close((uv_handle_t *)&c->pipe, NULL);
}

static void give_room(uv_handle_t *handle, size_t wanted, uv_buf_t *buffer) {
    (void)wanted;
    channel *c = handle->data;
    *buffer = uv_buf_init((char *)c->bytes + c->size, (unsigned)(sizeof c->bytes - c->size));
}

static void on_read(uv_stream_t *handle, ssize_t got, const uv_buf_t *buffer) {
    channel *c = handle->data;
    (void)buffer;
    if (got < 0) {
        end_channel(c);
        return;
    }
    c->size += (size_t)got;
    size_t at = 0, used;
    td_control_message message;
    td_status status = TD_OK;
    while ((status = td_control_decode(c->bytes + at, c->size - at, &used, &message)) == TD_OK) {
        at += used;
        take_message(c, &message);
    }
    memmove(c->bytes, c->bytes + at, c->size - at);
    c->size -= at;
    if (status < 0) end_channel(c);
}

td_status launcher_control_start(launcher_control *control, uv_loop_t *loop,
                                 void (*silent)(int rank, void *cookie), void *cookie) {
    control->silent = silent;
    control->cookie = cookie;
    for (int i = 0; i < control->n; i++) {
        channel *c = &control->channels[i];
        close(c->ends[1]);
        c->ends[1] = -1;
        TD_TRY(launcher_from_uv(uv_pipe_init(loop, &c->pipe, 0), "cannot watch the control channels"));
        c->pipe.data = c;
        c->open = true;
        TD_TRY(launcher_from_uv(uv_pipe_open(&c->pipe, c->ends[0]), "cannot watch the control channels"));
        c->ends[0] = -1;
        uv_read_start((uv_stream_t *)&c->pipe, give_room, on_read);
    }
    return TD_OK;
}

void launcher_control_stop(launcher_control *control) {
    for (int i = 0; control && i < control->n; i++) end_channel(&control->channels[i]);
}

void launcher_control_close(launcher_control **control) {
    launcher_control *c = *control;
    if (!c) return;
    for (int i = 0; i < c->n; i++)
        for (int end = 0; end < 2; end++)
            if (c->channels[i].ends[end] >= 0) close(c->channels[i].ends[end]);
    td_free(c);
    *control = NULL;
}
