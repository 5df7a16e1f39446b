/*
 * The two clocks of a job: of the whole (--timeout) and since a rank last got on (--stall-timeout). Both stand
 * still while the job does: when this process was itself stopped, while somebody debugs a rank, and while our
 * reader takes nothing (Ctrl-S). Central object: launcher_clocks, embedded in the job; plain data and no timer:
 * its owner ticks it. The loop's thread only.
 */
#ifndef TANDEM_LAUNCHER_CLOCKS_H
#define TANDEM_LAUNCHER_CLOCKS_H

#include "launcher/attempt.h"

typedef enum launcher_alarm {
    LAUNCHER_ALARM_NONE,
    LAUNCHER_ALARM_NOTICE, /* half of --stall-timeout has passed without progress; once */
    LAUNCHER_ALARM_STALL,
    LAUNCHER_ALARM_TIMEOUT,
} launcher_alarm;

typedef struct launcher_clocks {
    double timeout, stall; /* seconds; infinite: none */
    bool stall_is_asked;   /* by the user, so that silence of programs that are not ours counts too */
    int64_t last_tick;     /* td_clock_ns */
    int64_t tick_ns;       /* from one to the next */
    int64_t job_ns;        /* of the job's life, without stand-stills */
    int64_t moved_ns;      /* of job_ns: when a rank last got on */
    bool noticed;
    uint64_t written; /* of our own output, at the last tick */
    bool waiting;     /* likewise: bytes waited for our reader */
} launcher_clocks;

void launcher_clocks_start(launcher_clocks *clocks, const launcher_options *options, int64_t now);

/* How long until the next tick, in ms; 0: none is ever needed. */
uint64_t launcher_clocks_next(const launcher_clocks *clocks);

/* A new attempt begins, or the job was suspended: patience begins anew. */
void launcher_clocks_resume(launcher_clocks *clocks, int64_t now);

/* Look at all ranks, whose progress counts only while the job is `running`; holds or releases the ranks' own clocks too. */
launcher_alarm launcher_clocks_tick(launcher_clocks *clocks, launcher_attempt *attempt, bool running,
                                    int64_t now);

/* Seconds since a rank last got on. */
double launcher_clocks_idle(const launcher_clocks *clocks);

/* The living rank that the others most likely wait for; -1 when none lives. *awaited_by: a rank that waits for it,
 * or -1 when nobody said so. */
int launcher_find_stuck(const launcher_attempt *attempt, int *awaited_by);

#endif
