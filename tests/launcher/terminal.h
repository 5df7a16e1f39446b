/* A program in a terminal of its own, of 24 rows and 77 columns, as a user would have it: what it shows, and keys. */
#ifndef TANDEM_TESTS_LAUNCHER_TERMINAL_H
#define TANDEM_TESTS_LAUNCHER_TERMINAL_H

#include "launch.h"

typedef struct terminal {
    pid_t pid;
    int fd; /* our end */
    char text[65536];
    size_t n, seen; /* seen: up to the end of what was last expected */
} terminal;

terminal terminal_start(const char *const *argv);
/* Read until `text` has come, after what was expected before. */
void terminal_expect(terminal *t, const char *text);
void terminal_type(const terminal *t, const char *keys);
/* Are keys echoed and lines edited by the terminal itself? */
bool terminal_is_cooked(const terminal *t);
/* Wait up to 5 s until it is, or is not. */
void terminal_expect_cooked(const terminal *t, bool cooked);
void terminal_resize(const terminal *t, int rows, int columns);
/* Read everything and give the wait status. */
int terminal_finish(terminal *t);

#define TERMINAL(...) terminal_start((const char *[]){TANDEM, "run", __VA_ARGS__, NULL})

#endif
