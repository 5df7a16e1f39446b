/*
 * The guardian's loop: three descriptors (the launcher's socket, the ranks' exec failures, a signalfd for
 * SIGCHLD) and no timer. Only direct children are ever signalled, because only their pids cannot be reused
 * under our hands; the children of a killed process become ours and are met in the next pass. SIGKILL goes to the
 * job's control group as a whole before, and the passes find what was outside of it.
 */
#include "launcher/guardian.h"

#include "base/clock.h"
#include "base/memory.h"
#include "launcher/errors.h"
#include "launcher/keyboard.h"
#include "launcher/mpi.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct guardian {
    const launcher_spawn *ranks;
    launcher_guardian_folders folders;
    pid_t *pids; /* of living ranks; 0 before and after */
    int n;
    int alive;
    int socket;
    int children; /* signalfd */
    int deaths; /* an epoll of the ranks' pidfds, which keeps the order in which they died; -1: unknown order
                 */
    int failures;            /* read end; -1 once all ranks are programs */
    bool told;               /* the ranks have been told to stop */
    bool killing;            /* all must go: SIGKILL after every death until there are none */
    int remains;             /* last reported number of processes left behind; -1: not reported */
    launcher_modes terminal; /* ours, where ranks have one */
    int *kept;               /* the descriptors that it needs: the above, and a pidfd per rank */
    int kept_n;
} guardian;

/* --- the children of this process ----------------------------------------------------------------------- */

typedef void visit_child(pid_t pid, void *cookie);

/* The kernel's own list, where it is built in. */
static bool visit_listed(visit_child *visit, void *cookie) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *file = fopen(path, "re");
    if (!file) return false;
    for (int pid; fscanf(file, "%d", &pid) == 1;) visit(pid, cookie);
    fclose(file);
    return true;
}

/* Else every process is asked for its parent: "pid (name) state ppid", where the name may hold anything. */
static void visit_searched(visit_child *visit, void *cookie) {
    DIR *dir = opendir("/proc");
    if (!dir) return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (!isdigit((unsigned char)entry->d_name[0])) continue;
        char path[sizeof entry->d_name + 16], line[512];
        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        FILE *file = fopen(path, "re");
        if (!file) continue;
        size_t got = fread(line, 1, sizeof line - 1, file);
        fclose(file);
        line[got] = 0;
        const char *name_end = strrchr(line, ')');
        int parent = 0;
        if (name_end && sscanf(name_end + 1, " %*c %d", &parent) == 1 && parent == getpid())
            visit(atoi(entry->d_name), cookie);
    }
    closedir(dir);
}

static void visit_children(visit_child *visit, void *cookie) {
    if (!visit_listed(visit, cookie)) visit_searched(visit, cookie);
}

static void kill_child(pid_t pid, void *cookie) {
    (void)cookie;
    kill(-pid, SIGKILL); /* its group first, where it leads one: saves a pass */
    kill(pid, SIGKILL);
}

void launcher_kill_descendants(void) {
    do visit_children(kill_child, NULL);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR);
}

/* --- reports ------------------------------------------------------------------------------------------- */

/* A launcher that is gone shows as the socket's end of file in the loop, not here. */
static void report(guardian *g, guardian_event event) {
    event.at_ns = td_clock_ns();
    while (send(g->socket, &event, sizeof event, MSG_NOSIGNAL) < 0 && errno == EINTR) continue;
}

static int rank_of(const guardian *g, pid_t pid) {
    for (int rank = 0; rank < g->n; rank++)
        if (g->pids[rank] == pid) return rank;
    return -1;
}

static void count_child(pid_t pid, void *cookie) {
    (void)pid;
    ++*(int *)cookie;
}

/* Once the ranks are gone the launcher decides what happens to the processes they left behind. */
static void report_remains(guardian *g) {
    int remains = 0;
    siginfo_t info;
    bool any = waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD;
    if (any) visit_children(count_child, &remains); /* else /proc need not be asked */
    if (g->remains >= 0 && (remains > 0) == (g->remains > 0)) return;
    g->remains = remains;
    report(g, (guardian_event){.kind = GUARDIAN_REMAINS, .rank = -1, .value = remains});
}

/* --- the three things that happen ---------------------------------------------------------------------- */

static void take_failures(guardian *g) {
    launcher_spawn_failure failure;
    ssize_t got;
    while ((got = read(g->failures, &failure, sizeof failure)) == (ssize_t)sizeof failure)
        report(g, (guardian_event){.kind = GUARDIAN_UNSTARTED,
                                   .rank = failure.rank,
                                   .value = failure.error,
                                   .stage = failure.stage});
    if (got != 0) return; /* EAGAIN: some are still on their way */
    close(g->failures);
    g->failures = -1;
    report(g, (guardian_event){.kind = GUARDIAN_RUNNING, .rank = -1});
}

static void report_exit(guardian *g, int rank, int status) {
    guardian_event event = {
        .kind = GUARDIAN_EXITED, .rank = rank, .pid = g->pids[rank], .value = status, .told = g->told};
    g->pids[rank] = 0;
    g->alive--;
    report(g, event);
}

/* Ranks in the order of their deaths, which waitpid does not know: when two have failed before we came to
 * look, it would name either first. */
static void take_deaths_in_order(guardian *g) {
    struct epoll_event died[64];
    for (int n; g->deaths >= 0 && (n = epoll_wait(g->deaths, died, 64, 0)) > 0;) {
        for (int i = 0; i < n; i++) {
            int rank = died[i].data.u64 & INT_MAX, pidfd = (int)(died[i].data.u64 >> 32), status;
            if (g->pids[rank] && waitpid(g->pids[rank], &status, 0) > 0) report_exit(g, rank, status);
            epoll_ctl(g->deaths, EPOLL_CTL_DEL, pidfd,
                      NULL); /* closing is not enough: a rank being born has a copy */
            close(pidfd);
        }
    }
}

static void take_deaths(guardian *g) {
    struct signalfd_siginfo info;
    while (read(g->children, &info, sizeof info) > 0) continue; /* they coalesce: only waiting tells */
    if (g->failures >= 0) take_failures(g);                     /* why, before that */
    take_deaths_in_order(g);
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        int rank = rank_of(g, pid);
        if (rank >= 0) report_exit(g, rank, status); /* else it was left behind by one */
    }
    if (g->killing) visit_children(kill_child, NULL);
    if (g->alive == 0) report_remains(g);
}

typedef struct sending {
    guardian *g;
    int signal;
    bool wake; /* let the stopped have it */
} sending;

static void signal_child(pid_t pid, void *cookie) {
    const sending *s = cookie;
    /* A rank leads its group, unless it has not come as far as setsid. One left behind may share its group
     * with others that are ours as well and get theirs in turn. */
    bool leads = rank_of(s->g, pid) >= 0;
    if (!leads || kill(-pid, s->signal) != 0) kill(pid, s->signal);
    if (s->wake && (!leads || kill(-pid, SIGCONT) != 0)) kill(pid, SIGCONT);
}

static void stop_children(guardian *g, int signal) {
    take_deaths(g); /* those were not told */
    g->told = true;
    g->killing = g->killing || signal == SIGKILL;
    if (signal == SIGKILL) {
        launcher_cgroup_kill(g->folders.group);
        visit_children(kill_child, NULL);
    } else
        visit_children(signal_child, &(sending){g, signal, true});
}

static void tell_rank(const guardian *g, int rank, int signal) {
    if (rank >= 0 && rank < g->n && g->pids[rank] > 0) kill(g->pids[rank], signal);
}

/* False when the launcher is gone or done with us. */
static bool take_orders(guardian *g) {
    for (;;) {
        guardian_order order;
        ssize_t got = recv(g->socket, &order, sizeof order, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno == EAGAIN) return true;
        if (got != (ssize_t)sizeof order) return false;
        switch ((guardian_order_kind)order.kind) {
        case GUARDIAN_STOP: stop_children(g, order.signal); break;
        case GUARDIAN_FORWARD: visit_children(signal_child, &(sending){g, order.signal, false}); break;
        case GUARDIAN_TELL_RANK: tell_rank(g, order.rank, order.signal); break;
        case GUARDIAN_SPARE: _exit(0);
        }
    }
}

/* --- life ---------------------------------------------------------------------------------------------- */

/* Without pidfds (before Linux 5.3) or memory for one, deaths that are seen together have no order. */
static void note_order(guardian *g, int rank) {
    int pidfd = (int)syscall(SYS_pidfd_open, g->pids[rank], 0);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)pidfd << 32 | (unsigned)rank};
    if (pidfd < 0) return;
    if (epoll_ctl(g->deaths, EPOLL_CTL_ADD, pidfd, &event) != 0)
        close(pidfd);
    else
        g->kept[g->kept_n++] = pidfd;
}

static void start_ranks(guardian *g) {
    int failures[2];
    if (pipe2(failures, O_CLOEXEC | O_NONBLOCK) != 0) {
        report(g, (guardian_event){
                      .kind = GUARDIAN_UNSTARTED, .rank = 0, .value = errno, .stage = LAUNCHER_STAGE_FORK});
        return;
    }
    g->failures = g->kept[g->kept_n++] = failures[0];
    for (int rank = 0; rank < g->n; rank++) {
        pid_t pid = launcher_spawn_rank(&g->ranks[rank], rank, failures[1]);
        if (pid < 0) {
            report(g, (guardian_event){.kind = GUARDIAN_UNSTARTED,
                                       .rank = rank,
                                       .value = errno,
                                       .stage = LAUNCHER_STAGE_FORK});
            break;
        }
        g->pids[rank] = pid;
        g->alive++;
        note_order(g, rank);
        report(g, (guardian_event){.kind = GUARDIAN_STARTED, .rank = rank, .pid = pid});
    }
    close(failures[1]);
}

/* Hold on to nothing of the launcher's: its output pipes must end when the ranks do, and its socket's end
 * must be seen here. */
static void let_go(const guardian *g) {
    launcher_close_all_but(g->kept, g->kept_n);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd < 3 && null >= 0; fd++) dup2(null, fd);
    if (null > 2) close(null);
}

static void set_up_signals(guardian *g) {
    sigset_t all, deaths;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL); /* only the launcher's end ends us (and SIGKILL) */
    signal(SIGCHLD, SIG_DFL);             /* ignored, exit statuses would be lost */
    sigemptyset(&deaths);
    sigaddset(&deaths, SIGCHLD);
    g->children = g->kept[g->kept_n++] = signalfd(-1, &deaths, SFD_CLOEXEC | SFD_NONBLOCK);
    g->deaths = g->kept[g->kept_n++] = epoll_create1(EPOLL_CLOEXEC);
}

static _Noreturn void guard(guardian *g) {
    setsid(); /* the terminal's Ctrl-C is the launcher's business */
    prctl(PR_SET_NAME, "tandem-guardian");
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    set_up_signals(g);
    start_ranks(g);
    let_go(g);
    if (g->alive == 0) report_remains(g);

    bool wanted = true;
    while (wanted) {
        struct pollfd fds[3] = {{g->socket, POLLIN, 0}, {g->children, POLLIN, 0}, {g->failures, POLLIN, 0}};
        if (poll(fds, 3, -1) < 0) continue;
        if (fds[2].revents) take_failures(g);
        if (fds[1].revents) take_deaths(g);
        if (fds[0].revents) wanted = take_orders(g);
    }
    launcher_modes_put_back(&g->terminal);
    if (!launcher_cgroup_remove(g->folders.group)) launcher_cgroup_kill(g->folders.group);
    launcher_kill_descendants();
    launcher_cgroup_remove(g->folders.group);
    launcher_errors_remove_folder(g->folders.errors);
    launcher_mpi_remove_folder(g->folders.mpi);
    _exit(0);
}

td_status launcher_guardian_start(const launcher_spawn *ranks, int n, launcher_guardian_folders folders,
                                  pid_t *guardian_pid, int *socket) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return td_fail_errno(errno, "launcher", "cannot make the guardian's socket");
    guardian g = {.ranks = ranks,
                  .n = n,
                  .folders = folders,
                  .socket = ends[1],
                  .children = -1,
                  .deaths = -1,
                  .failures = -1,
                  .terminal.fd = -1,
                  .remains = -1};
    g.pids = td_calloc((size_t)n, sizeof *g.pids);
    g.kept = td_calloc((size_t)n + 6, sizeof *g.kept);
    if (g.kept) g.kept[g.kept_n++] = ends[1];
    bool enough = g.pids && g.kept;
    if (enough && folders.group->folder > 0) g.kept[g.kept_n++] = folders.group->folder; /* its lock */
    if (ranks[0].terminal > 0) launcher_modes_note(&g.terminal); /* before the launcher changes them */
    if (enough && g.terminal.fd >= 0) g.kept[g.kept_n++] = g.terminal.fd;
    /* A signal between fork and the guardian's own mask would wake the launcher's handlers in the wrong process. */
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = enough ? fork() : -1;
    if (pid == 0) guard(&g);
    int error = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    td_free(g.pids);
    td_free(g.kept);
    close(ends[1]);
    if (g.terminal.fd >= 0) close(g.terminal.fd);
    if (pid < 0) {
        close(ends[0]);
        return enough ? td_fail_errno(error, "launcher", "cannot start the guardian process") : TD_ERR_MEMORY;
    }
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    *guardian_pid = pid;
    *socket = ends[0];
    return TD_OK;
}
