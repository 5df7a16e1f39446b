/* The process is a fork that never becomes another program: it holds nothing of the launcher's but the socket and
 * standard error, and does nothing but load the plug-in. */
#include "launcher/pmix.h"

#include "base/plugin.h"
#include "launcher/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

void launcher_pmix_say(int socket, launcher_pmix_kind kind, int rank, int value, const char *text) {
    launcher_pmix_event event = {.kind = kind, .rank = rank, .value = value};
    size_t n = strnlen(text, sizeof event.text - 1);
    memcpy(event.text, text, n);
    n += offsetof(launcher_pmix_event, text) + 1;
    while (send(socket, &event, n, MSG_NOSIGNAL) < 0 && errno == EINTR) continue;
}

/* What an outer launcher says to its own processes would make libpmix a client of that one. */
static void forget_outer_server(void) {
    extern char **environ;
    for (char **entry = environ; *entry;) {
        char name[64];
        size_t n = strcspn(*entry, "=");
        bool outer = strncmp(*entry, "PMIX_", 5) == 0 && strncmp(*entry, "PMIX_MCA_", 9) != 0;
        if (!outer || n >= sizeof name) {
            entry++;
            continue;
        }
        memcpy(name, *entry, n);
        name[n] = 0;
        unsetenv(name); /* moves the next one here */
    }
}

static void settle(pid_t launcher, int socket) {
    prctl(PR_SET_NAME, "tandem-pmix");
    setsid(); /* the terminal's Ctrl-C is the launcher's business */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != launcher) _exit(1);
    for (int signal_number = 1; signal_number < NSIG; signal_number++) signal(signal_number, SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    launcher_close_all_but(&socket, 1);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd < 2 && null >= 0; fd++) dup2(null, fd);
    if (null > 2) close(null);
    forget_outer_server();
}

static _Noreturn void serve(const launcher_pmix_job *job, pid_t launcher, int socket) {
    const void *table;
    settle(launcher, socket);
    if (td_plugin_load("pmix", &table) < 0)
        launcher_pmix_say(socket, LAUNCHER_PMIX_FAILED, -1, 0, td_error_last()->text);
    else
        ((const launcher_pmix_server *)table)->serve(job, socket, launcher_pmix_say);
    _exit(0);
}

td_status launcher_pmix_open(const launcher_pmix_job *job, launcher_pmix *pmix) {
    int ends[2];
    pid_t self = getpid();
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return td_fail_errno(errno, "launcher", "cannot make the PMIx server's socket");
    /* A signal before the child has its own dispositions would wake the launcher's handlers in the wrong process. */
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid == 0) serve(job, self, ends[1]);
    int error = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return td_fail_errno(error, "launcher", "cannot start the PMIx server's process");
    }
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    *pmix = (launcher_pmix){pid, ends[0]};
    return TD_OK;
}

int launcher_pmix_next_event(const launcher_pmix *pmix, launcher_pmix_event *event) {
    ssize_t got;
    if (pmix->socket < 0) return -1;
    do got = recv(pmix->socket, event, sizeof *event, 0);
    while (got < 0 && errno == EINTR);
    if (got > (ssize_t)offsetof(launcher_pmix_event, text)) {
        event->text[got - (ssize_t)offsetof(launcher_pmix_event, text) - 1] = 0;
        return 1;
    }
    return got < 0 && errno == EAGAIN ? 0 : -1;
}

void launcher_pmix_close(launcher_pmix *pmix) {
    if (pmix->socket >= 0) close(pmix->socket);
    if (pmix->pid > 0 && kill(pmix->pid, SIGKILL) == 0) waitpid(pmix->pid, NULL, 0);
    *pmix = (launcher_pmix){0, -1};
}
