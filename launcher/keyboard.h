/*
 * Our own terminal's input, given to one rank's terminal. While it is, ours hands over each key at once and echoes
 * nothing: the rank's terminal does both, as its programs want it. Keys that make signals go on to make them here,
 * for the whole job, unless the rank's program has switched that off (an editor); so does Ctrl-S. Modes are put back
 * whenever this stops, the launcher is suspended, or the rank has closed its terminal. In the background nothing is
 * touched. One object, embedded; the loop's thread only.
 */
#ifndef TANDEM_LAUNCHER_KEYBOARD_H
#define TANDEM_LAUNCHER_KEYBOARD_H

#include "base/status.h"

#include <termios.h>
#include <uv.h>

/* The modes of our terminal as another process of ours may have to put them back: the guardian, when the launcher was
 * killed. */
typedef struct launcher_modes {
    int fd; /* a descriptor of its own; -1: there is no terminal */
    struct termios saved;
} launcher_modes;

void launcher_modes_note(launcher_modes *modes);
/* Nothing unless they are those of a keyboard that is passed on. */
void launcher_modes_put_back(const launcher_modes *modes);

typedef struct launcher_keyboard {
    uv_stream_t *to; /* the rank's terminal, *lent*; NULL: not started, or stopped */
    int waker;       /* an epoll descriptor that holds descriptor 0, so that uv never touches its flags */
    uv_poll_t watch;
    uv_write_t request;
    bool writing; /* the last keys are not taken yet; meanwhile none are read */
    bool raw;     /* our terminal's modes are not `saved` */
    struct termios saved;
    char keys[1024];
} launcher_keyboard;

/* Is our standard input a terminal, and is it ours at the moment? */
bool launcher_keyboard_is_there(void);
/* Is it a terminal, but at the moment somebody else's? */
bool launcher_keyboard_is_elsewhere(void);

td_status launcher_keyboard_start(launcher_keyboard *keyboard, uv_loop_t *loop, uv_stream_t *to);

/* Something came from the rank's terminal: its modes may have changed, and ours follow. */
void launcher_keyboard_follow(launcher_keyboard *keyboard);

/* Put our terminal's modes back, before the launcher stops itself; and take it again, in the foreground. */
void launcher_keyboard_suspend(launcher_keyboard *keyboard);
void launcher_keyboard_resume(launcher_keyboard *keyboard);

/* The end, before `to` is closed. The caller runs the loop once more before the memory goes. */
void launcher_keyboard_stop(launcher_keyboard *keyboard);

#endif
