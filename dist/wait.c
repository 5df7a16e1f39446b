/*
 * A futex hand-off costs some hundred times a hand-off between spinning ranks, so spinning comes first where
 * every rank has a core. Where ranks share cores a rank yields as long as that gives its core to another. Between
 * sessions, each of which Linux may schedule as one, it does not, and then the rank sleeps. Asleep, it looks around
 * every 20 ms: at the awaited peer's process, at the clock. A gap between two looks means that this process itself
 * was stopped (Ctrl-Z, a debugger), so patience starts anew.
 */
#include "dist/wait.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "dist/internal.h"
#include "dist/peer.h"
#include "dist/recorder_ring.h"

#include <linux/futex.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SLEEP_MS = 20, GAP_MS = 1000, LOOKS_PER_CLOCK = 64, YIELDED_NS = 1000 };

static int64_t later(int64_t now, double seconds) {
    return seconds < 1e9 ? now + (int64_t)(seconds * 1e9) : INT64_MAX;
}

static void futex_wait(_Atomic uint32_t *word, uint32_t value) {
    struct timespec nap = {.tv_nsec = SLEEP_MS * 1000000L};
    syscall(SYS_futex, word, FUTEX_WAIT, value, &nap, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word) { syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0); }

static bool membarrier(int command) { return syscall(SYS_membarrier, command, 0, 0) == 0; }

/* Ranks share cores, so the one that is awaited may need this very core. */
static bool is_crowded(const td_waiter *waiter) { return waiter->spin_ns == 0; }

static void relax(void) { __builtin_ia32_pause(); }

static int name_of(const td_waiter *waiter, int rank) {
    return waiter->names && rank >= 0 ? waiter->names[rank] : rank;
}

td_status td_waiter_open(td_waiter *waiter, const td_group *group) {
    td_waiter w = {.job = group->job,
                   .rank = group->rank,
                   .size = group->size,
                   .names = group->members,
                   .stall_timeout = group->stall_timeout,
                   .stall_report = group->stall_report,
                   .spin_ns = 20000,
                   .yield_ns = 300000};
    w.peers = td_peers_open(group->size);
    if (!w.peers) return TD_ERR_MEMORY;
    *waiter = w;
    return TD_OK;
}

void td_waiter_enter(td_waiter *waiter, td_room *room) {
    if (!membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED)) atomic_store(&room->no_membarrier, 1);
    td_room_seat *seat = &room->seats[waiter->rank];
    td_process self = td_process_self();
    seat->pid = self.pid;
    seat->started = self.started;
    seat->pid_space = self.pid_space;
    if (sched_getaffinity(0, sizeof seat->cpus, &seat->cpus)) CPU_ZERO(&seat->cpus);
    waiter->room = room;
    td_publish(waiter, &seat->entered, 1);
}

int td_waiter_settle(td_waiter *waiter) {
    const td_room_seat *seats = waiter->room->seats;
    cpu_set_t mine = seats[waiter->rank].cpus, all = mine, both;
    int sharing = 0, allowed = td_core_count();
    for (int r = 0; r < waiter->size; r++) {
        CPU_OR(&all, &all, &seats[r].cpus);
        CPU_AND(&both, &mine, &seats[r].cpus);
        sharing += r == waiter->rank || CPU_COUNT(&both) > 0;
    }
    int cores = CPU_COUNT(&all);
    if (CPU_EQUAL(&all, &mine) && allowed < cores) cores = allowed; /* the container's share */
    bool crowded = waiter->size > cores;
    if (crowded) atomic_store(&waiter->room->no_membarrier, 1); /* it interrupts all cores at each sleep */
    waiter->spin_ns = crowded ? 0 : 100000;
    waiter->yield_ns = crowded ? 200000 : 300000;
    return allowed / sharing > 1 ? allowed / sharing : 1;
}

void td_waiter_close(td_waiter *waiter) {
    if (!waiter->peers) return;
    if (waiter->room) {
        atomic_store(&waiter->room->seats[waiter->rank].left, 1);
        td_wake(waiter);
    }
    td_peers_close(&waiter->peers, waiter->size);
    *waiter = (td_waiter){0};
}

void td_wake(td_waiter *waiter) {
    td_room *room = waiter->room;
    bool everyone = td_room_is_broken(room);
    for (int r = 0; r < waiter->size; r++) {
        uint32_t awaited = atomic_load(&room->seats[r].awaits);
        bool mine = awaited == (uint32_t)waiter->rank + 1 || awaited == TD_AWAITS_ANY;
        if (!awaited || (!everyone && !mine)) continue;
        if (atomic_compare_exchange_strong(&room->seats[r].awaits, &awaited, 0))
            futex_wake(&room->seats[r].awaits);
    }
}

static bool is_pair(const td_doing *doing) {
    unsigned kind = doing->print.shape & 0xff;
    return kind == TD_CALL_SEND || kind == TD_CALL_RECV;
}

td_doing_text td_doing_describe(const td_doing *doing) {
    td_doing_text out;
    if (doing->number)
        snprintf(out.text, sizeof out.text, "%s (%s %llu)", td_fingerprint_describe(doing->print).text,
                 is_pair(doing) ? "message" : "call", (unsigned long long)doing->number);
    else
        snprintf(out.text, sizeof out.text, "opening the group");
    return out;
}

/* Tell the launcher once whom this rank has lost; ranks that disagree have not lost each other. */
static void tell_lost(td_waiter *waiter, td_status status, int culprit, const td_doing *doing) {
    if (waiter->told || culprit < 0 || culprit == waiter->rank) return;
    waiter->told = true;
    atomic_store(&waiter->job->lost, true);
    td_control_message message = {.kind = TD_CONTROL_LOST, .rank = name_of(waiter, culprit), .value = status};
    snprintf(message.text, sizeof message.text, "%s", td_doing_describe(doing).text);
    td_job_tell(waiter->job, &message);
}

/* The first cause becomes the thread's record. */
td_status td_room_report(td_waiter *waiter, const td_doing *doing) {
    td_room *room = waiter->room;
    for (int i = 0; i < 1000 && atomic_load(&room->broken) != 2; i++)
        usleep(100); /* it is being written just now */
    if (atomic_load(&room->broken) != 2)
        return td_fail(TD_ERR_PEER, 0, "dist", "a rank died while it told why the group is broken");
    tell_lost(waiter, (td_status)room->status, room->culprit, doing);
    return td_fail((td_status)room->status, 0, "dist", "%s", room->text);
}

td_status td_room_break(td_waiter *waiter, int culprit, const td_doing *doing) {
    td_room *room = waiter->room;
    uint32_t whole = 0;
    if (atomic_compare_exchange_strong(&room->broken, &whole, 1)) {
        const td_error *cause = td_error_last();
        room->status = cause->status;
        room->culprit = culprit;
        snprintf(room->text, sizeof room->text, "%.479s", cause->text);
        atomic_store(&room->broken, 2);
        td_wake(waiter);
    }
    return td_room_report(waiter, doing);
}

/* What is known about a rank that does not come. */
static void describe_last(const td_room_seat *seat, char *text, size_t size) {
    uint64_t number = atomic_load(&seat->last_number);
    td_fingerprint print = {atomic_load(&seat->last_shape), atomic_load(&seat->last_count)};
    if (!atomic_load(&seat->entered))
        snprintf(text, size, "it has not opened the group");
    else if (!number)
        snprintf(text, size, "it has called nothing yet");
    else
        snprintf(text, size, "its last call was %s (call %llu)", td_fingerprint_describe(print).text,
                 (unsigned long long)number);
}

/* One wait, once it has become a long one. */
typedef struct patience {
    int awaited; /* the rank whose counter this one looks at */
    int peer;    /* that is to blame, as far as is known */
    const td_doing *doing;
    int64_t last_look, deadline, report_at;
    uint64_t holds;              /* of the job's clocks, when it began */
    double waited, report_every; /* seconds */
} patience;

static double patience_of(const td_waiter *waiter, const patience *p) {
    return p->doing->timeout > 0 ? p->doing->timeout : waiter->stall_timeout;
}

static void begin(const td_waiter *waiter, patience *p, int64_t now) {
    p->deadline = later(now, patience_of(waiter, p));
    p->report_at = later(now, waiter->stall_report);
    p->report_every = waiter->stall_report;
    p->waited = 0;
    p->holds = td_progress_holds(waiter->job->progress);
}

/* Does the launcher hold the job's clocks, or has it since this wait began; or does somebody debug a rank? */
static bool is_held(const td_waiter *waiter, const patience *p) {
    uint64_t holds = td_progress_holds(waiter->job->progress);
    const td_room_seat *own = &waiter->room->seats[waiter->rank];
    if (holds & 1 || holds != p->holds) return true;
    for (int r = 0; r < waiter->size; r++) {
        const td_room_seat *seat = &waiter->room->seats[r];
        bool can_be_seen = atomic_load(&seat->entered) && seat->pid_space == own->pid_space;
        if (can_be_seen && seat->pid != own->pid && td_process_is_traced(seat->pid)) return true;
    }
    return false;
}

/* Who is to blame when the awaited rank does not come: one whose process is stopped; else who is found by asking
 * each rank in turn whom it waits for itself. */
static int find_culprit(const td_waiter *waiter, int awaited, bool *stopped) {
    const td_room_seat *seats = waiter->room->seats, *own = &seats[waiter->rank];
    *stopped = true;
    for (int i = 0; i < waiter->size; i++) {
        int r = (awaited + i) % waiter->size;
        bool can_be_seen = atomic_load(&seats[r].entered) && seats[r].pid_space == own->pid_space;
        if (can_be_seen && seats[r].pid != own->pid && td_process_is_stopped(seats[r].pid)) return r;
    }
    *stopped = false;
    for (int i = 0; i < waiter->size; i++) {
        uint32_t next = atomic_load(&seats[awaited].blames);
        if (!next || next == (uint32_t)waiter->rank + 1) break;
        awaited = (int)next - 1;
    }
    return awaited;
}

/* "rank 1", or "ranks 1, 3" if more of them have not come to this call; the first is the one waited for. */
static void describe_missing(const td_waiter *waiter, const patience *p, char *text, size_t size) {
    int others = 0;
    int used = snprintf(text, size, "%d", name_of(waiter, p->peer));
    for (int r = 0; r < waiter->size && !is_pair(p->doing) && (size_t)used < size; r++) {
        const td_room_seat *seat = &waiter->room->seats[r];
        bool has_come = p->doing->number ? atomic_load(&seat->last_number) >= p->doing->number
                                         : atomic_load(&seat->entered) != 0;
        if (has_come || r == waiter->rank || r == p->peer) continue;
        used += snprintf(text + used, size - (size_t)used, ", %d", name_of(waiter, r));
        others++;
    }
    char list[160];
    snprintf(list, sizeof list, "%s", text);
    snprintf(text, size, "%s %.150s", others ? "ranks" : "rank", list);
}

static td_status look_at_clock(td_waiter *waiter, patience *p) {
    char last[160], missing[160];
    int64_t now = td_clock_ns(), gap = now - p->last_look;
    p->last_look = now;
    if (gap > GAP_MS * INT64_C(1000000)) begin(waiter, p, now);
    if (now < p->deadline && now < p->report_at) return TD_OK;
    if (is_held(waiter, p)) {
        begin(waiter, p, now);
        return TD_OK;
    }
    bool stopped;
    p->peer = find_culprit(waiter, p->awaited, &stopped);
    td_doing_text doing = td_doing_describe(p->doing);
    describe_missing(waiter, p, missing, sizeof missing);
    describe_last(&waiter->room->seats[p->peer], last, sizeof last);
    if (now >= p->deadline) {
        td_fail(TD_ERR_TIMEOUT, 0, "dist", "%s: rank %d has waited %g s%s for %s; %s%s", doing.text,
                name_of(waiter, waiter->rank), patience_of(waiter, p),
                p->doing->timeout > 0 ? "" : " (--stall-timeout)", missing, last,
                stopped ? "; its process is stopped" : "");
        return td_room_break(waiter, p->peer, p->doing);
    }
    p->waited += p->report_every;
    td_log_line(TD_LOG_WARN, "dist", "rank %d has waited %g s for %s in %s; %s%s",
                name_of(waiter, waiter->rank), p->waited, missing, doing.text, last,
                stopped ? "; its process is stopped" : "");
    td_control_message message = {
        .kind = TD_CONTROL_STUCK, .rank = name_of(waiter, p->peer), .value = (int)p->waited};
    snprintf(message.text, sizeof message.text, "%s", doing.text);
    td_job_tell(waiter->job, &message);
    td_recorder_stall(waiter->job, message.text);
    p->report_every = p->waited; /* and again when twice as much has passed */
    p->report_at = later(now, p->report_every);
    return TD_OK;
}

/* The only memory polled: has one of the counters come to its value? */
static inline bool has_come(const td_awaited *awaited, int count) {
    for (int i = 0; i < count; i++)
        if (atomic_load_explicit(awaited[i].counter, memory_order_acquire) >= awaited[i].value) return true;
    return false;
}

/* A peer that is gone fails the wait only if it had not done its part before. */
static td_status look_at_peers(td_waiter *waiter, patience *p, const td_awaited *awaited, int count) {
    const td_room_seat *seat = &waiter->room->seats[p->awaited];
    int dead = td_peers_find_dead(waiter->peers, waiter->room->seats, waiter->rank, waiter->size, p->awaited);
    bool left = atomic_load(&seat->left);
    if ((dead < 0 && !left) || has_come(awaited, count)) return TD_OK;
    if (dead >= 0) {
        td_fail(TD_ERR_PEER, 0, "dist", "%s: rank %d (process %d) is gone", td_doing_describe(p->doing).text,
                name_of(waiter, dead), (int)waiter->room->seats[dead].pid);
        return td_room_break(waiter, dead, p->doing);
    }
    td_fail(TD_ERR_PEER, 0, "dist", "%s: rank %d has left the group", td_doing_describe(p->doing).text,
            name_of(waiter, p->awaited));
    return td_room_break(waiter, p->awaited, p->doing);
}

static void sleep_for(td_waiter *waiter, const td_awaited *awaited, int count) {
    td_room *room = waiter->room;
    _Atomic uint32_t *awaits = &room->seats[waiter->rank].awaits;
    uint32_t whom = count > 1 ? TD_AWAITS_ANY : (uint32_t)awaited->rank + 1;
    atomic_store(awaits, whom);
    atomic_fetch_add(&room->sleepers, 1);
    if (!atomic_load(&room->no_membarrier)) membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED);
    if (!has_come(awaited, count) && !td_room_is_broken(room) &&
        !atomic_load(&room->seats[awaited->rank].left))
        futex_wait(awaits, whom);
    atomic_fetch_sub(&room->sleepers, 1);
    atomic_store(awaits, 0);
}

static td_status wait_patiently(td_waiter *waiter, const td_awaited *awaited, int count,
                                const td_doing *doing) {
    int64_t now = td_clock_ns(), yield_until = now + waiter->yield_ns;
    patience p = {.awaited = awaited->rank, .peer = awaited->rank, .doing = doing, .last_look = now};
    begin(waiter, &p, now);
    for (;;) {
        bool yields = now < yield_until;
        if (yields)
            sched_yield();
        else
            sleep_for(waiter, awaited, count);
        if (has_come(awaited, count)) return TD_OK;
        if (td_room_is_broken(waiter->room)) return td_room_report(waiter, doing);
        if (!yields) {
            TD_TRY(look_at_peers(waiter, &p, awaited, count));
            TD_TRY(look_at_clock(waiter, &p));
            if (has_come(awaited, count)) return TD_OK;
        }
        int64_t before = now;
        now = td_clock_ns();
        if (yields && is_crowded(waiter) && now - before < YIELDED_NS) yield_until = 0;
    }
}

static td_status wait_long(td_waiter *waiter, const td_awaited *awaited, int count, const td_doing *doing) {
    _Atomic uint32_t *blames = &waiter->room->seats[waiter->rank].blames;
    td_progress_await(waiter->job->progress, name_of(waiter, awaited->rank));
    atomic_store(blames, (uint32_t)awaited->rank + 1);
    td_status status = wait_patiently(waiter, awaited, count, doing);
    atomic_store(blames, 0);
    td_progress_await(waiter->job->progress, -1);
    return status;
}

td_status td_wait(td_waiter *waiter, const td_awaited *awaited, int count, const td_doing *doing) {
    int64_t spin_until = 0;
    if (has_come(awaited, count)) return TD_OK;
    do {
        for (int i = 0; i < LOOKS_PER_CLOCK && !is_crowded(waiter); i++) {
            relax();
            if (has_come(awaited, count)) return TD_OK;
        }
        if (td_room_is_broken(waiter->room)) return td_room_report(waiter, doing);
        if (!spin_until) {
            spin_until = td_clock_ns() + waiter->spin_ns;
            td_recorder_note_wait(waiter->job);
        }
    } while (td_clock_ns() < spin_until);
    return wait_long(waiter, awaited, count, doing);
}
