/* Runs build/tandem as a user would, and looks at everything that comes out of it. Whatever a test starts
 * carries a mark in its environment, by which processes that outlived their job are found. */
#ifndef TANDEM_TESTS_LAUNCHER_LAUNCH_H
#define TANDEM_TESTS_LAUNCHER_LAUNCH_H

#include "support/check.h"

#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>

typedef struct launch {
    pid_t pid;
    int in, out, err;      /* our ends; -1: closed */
    char *output, *errors; /* all that was read, each with a zero after it */
    size_t output_n, errors_n;
    int status; /* wait status */
    char mark[48];
} launch;

/* What is not ordinary about a start; zero is an ordinary one. */
typedef struct launch_setup {
    const char *const *environment; /* NAME=value to set, NAME to unset; ends with NULL */
    const char *output_path;        /* standard output goes there instead of to us */
    int ignored_signal, blocked_signal;
    long file_size_limit; /* bytes; SIGXFSZ is then ignored */
    bool closed;          /* started without descriptors 0 and 1 */
    bool socket;          /* standard output is a socket, not a pipe */
} launch_setup;

/* For the environment of what loads MPI: sanitizers then leave out leaks. Open MPI, and components that it unloads
 * before the process ends, leave some, with no function of ours on the stack. */
#define LEAKS_OF_MPI "ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1"

#define TANDEM TD_TEST_BUILD "/tandem"

/* Start argv[0] ... NULL. */
launch launch_start_with(launch_setup setup, const char *const *argv);
/* Read until `text` has come on standard output. */
void launch_expect(launch *l, const char *text);
/* Read until there is more on standard output than before. */
void launch_expect_more(launch *l);
/* Close its input, read everything, and wait for its end; nothing of it may be left then. */
void launch_finish(launch *l);
/* The status that a shell would show. */
int launch_code(const launch *l);
/* The first child of a process; 0 where the kernel does not list children. */
pid_t launch_child(pid_t parent);
/* The parent of the ranks, likewise. */
pid_t launch_guardian(const launch *l);
/* How many processes with this launch's mark there are. */
int launch_survivors(const launch *l);
/* Wait up to 2 s until there is none. */
void launch_expect_no_survivors(const launch *l);
/* SIGKILL for each of them. */
void launch_kill_survivors(const launch *l);
void launch_free(launch *l);

/* `tandem run ARGS`, started; or run to its end. */
#define START_WITH(setup, ...) launch_start_with(setup, (const char *[]){TANDEM, "run", __VA_ARGS__, NULL})
#define START(...)             START_WITH((launch_setup){0}, __VA_ARGS__)
#define RUN_WITH(l, setup, ...)                                                                              \
    launch l = START_WITH(setup, __VA_ARGS__);                                                               \
    launch_finish(&l)
#define RUN(l, ...) RUN_WITH(l, (launch_setup){0}, __VA_ARGS__)

/* Check's messages have an end. */
#define ck_contains(text, part) ck_assert_msg(strstr(text, part), "there is no '%s' in:\n%.2000s", part, text)
#define ck_code(l, code)                                                                                     \
    ck_assert_msg(launch_code(l) == (code), "status %d, not %d\n%.1000s%.1000s", launch_code(l), code,       \
                  (l)->output, (l)->errors)

#endif
