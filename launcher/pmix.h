/*
 * The PMIx server of a job, for an MPI that takes its job from nothing else: Open MPI 5, and an Open MPI 4 without
 * its flux component. It runs libpmix in a process of its own, which is begun only when a rank asks for it:
 * that library has threads, listens on a port of the loopback interface and takes a while to begin, and none of
 * that is for jobs that do not need it. What it says comes as packets over a socket; the end of that socket, or of
 * the launcher, ends it. Its files lie in the job's MPI folder. Central object: launcher_pmix, *yours* from
 * open to close; one thread.
 */
#ifndef TANDEM_LAUNCHER_PMIX_H
#define TANDEM_LAUNCHER_PMIX_H

#include "base/status.h"

#include <sys/types.h>

typedef struct launcher_pmix_job {
    int ranks;
    const char *name;   /* unique on this host */
    const char *folder; /* exists */
} launcher_pmix_job;

typedef enum launcher_pmix_kind {
    LAUNCHER_PMIX_ENVIRONMENT, /* rank; text: NAME=VALUE with LAUNCHER_PMIX_BETWEEN between them */
    LAUNCHER_PMIX_ENTERED,     /* rank: it has called PMIx_Init */
    LAUNCHER_PMIX_LEFT,        /* rank: PMIx_Finalize */
    LAUNCHER_PMIX_ABORTED,     /* rank, value: PMIx_Abort(value) */
    LAUNCHER_PMIX_FAILED,      /* text: there will be no server */
} launcher_pmix_kind;

enum { LAUNCHER_PMIX_TEXT_MOST = 3840, LAUNCHER_PMIX_BETWEEN = '\x1f' };

/* A packet: as long as its text. */
typedef struct launcher_pmix_event {
    int kind, rank, value;
    char text[LAUNCHER_PMIX_TEXT_MOST]; /* ends with a zero */
} launcher_pmix_event;

/* Write a packet; what nobody reads is lost. */
typedef void launcher_pmix_sayer(int socket, launcher_pmix_kind kind, int rank, int value, const char *text);
launcher_pmix_sayer launcher_pmix_say;

/* What the plug-in "pmix" provides: be the server and say what happens until the socket's other end is closed. In a
 * process of its own, which ends with it. */
typedef struct launcher_pmix_server {
    void (*serve)(const launcher_pmix_job *job, int socket, launcher_pmix_sayer *say);
} launcher_pmix_server;

typedef struct launcher_pmix {
    pid_t pid;  /* 0: none */
    int socket; /* non-blocking, close-on-exec; -1 */
} launcher_pmix;

/* Begin the process. The caller has one thread. Its first packets are the ranks' environments, or FAILED. */
td_status launcher_pmix_open(const launcher_pmix_job *job, launcher_pmix *pmix);

/* 1: *event is filled; 0: nothing more now; -1: the server is gone. */
int launcher_pmix_next_event(const launcher_pmix *pmix, launcher_pmix_event *event);

/* Kill it. What it leaves lies in the folder. Nothing happens where there is none. */
void launcher_pmix_close(launcher_pmix *pmix);

#endif
