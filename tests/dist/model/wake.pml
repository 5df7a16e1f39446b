/*
 * How a rank sleeps and is woken: td_publish, td_wake and sleep_for of dist/wait.[ch], in the processors' memory: a
 * counter is stored without a fence, so it stands in the processor's store buffer until that drains by itself, or by
 * a locked instruction, or by the barrier that a sleeper makes all others pass. Then a publisher may look for
 * sleepers before anybody sees what it has published.
 *
 * Each rank moves its counter and waits for all others', a few times; any rank may instead abort and stay, or leave.
 * The kernel's sleep has no time limit here (in truth 20 ms, to look at processes and the clock), so a rank that is
 * forgotten sleeps for ever, which is an invalid end state. `-DNO_MEMBARRIER` is a kernel that lacks the call;
 * `-DBROKEN_...` takes one rule out.
 */
#ifndef N
#define N 3 /* ranks */
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif

byte visible[N], buffered[N]; /* of each rank's counter; buffered 0: nothing */
byte awaits[N];               /* rank + 1 */
byte sleepers;
byte broken;
bool left[N], asleep[N];
bool reason; /* there is one for breaking the group */

/* A locked instruction of rank r, or its passing the barrier. */
inline drain(r) {
    if
    :: buffered[r] != 0 -> visible[r] = buffered[r]; buffered[r] = 0
    :: else
    fi
}

/* td_wake: whoever sleeps for this rank; everyone if the group is broken. */
inline wake() {
    everyone = broken != 0;
#ifdef BROKEN_EVERYONE /* an abort wakes only those who sleep for the rank that aborts */
    everyone = false;
#endif
    i = 0;
    do
    :: i == N -> break
    :: else ->
        seen = awaits[i];
        if
        :: seen != 0 && (everyone || seen == me + 1) ->
            d_step {
                drain(me);
                if
                :: awaits[i] == seen -> awaits[i] = 0
                :: else -> seen = 0
                fi
            };
            if
            :: seen != 0 -> asleep[i] = false
            :: else
            fi
        :: else
        fi;
        i++
    od
}

inline publish(value) {
#ifdef NO_MEMBARRIER
    d_step { drain(me); visible[me] = value };
#else
    buffered[me] = value;
#endif
    if
    :: sleepers != 0 -> wake()
    :: else
    fi
}

inline break_group() {
    assert(reason);
    d_step {
        drain(me);
        first = broken == 0;
        if
        :: first -> broken = 1
        :: else
        fi
    };
    if
    :: first -> broken = 2; wake()
    :: else
    fi
}

/* Until the counter of rank r has come to `value`, or the group is broken. */
inline wait(r, value) {
    do
    :: visible[r] >= value -> break
    :: else ->
        if
        :: broken != 0 -> break
        :: else
        fi;
#ifdef BROKEN_HAND /* it raises its hand after it has looked */
        came = visible[r] >= value || broken != 0 || left[r];
#endif
        d_step { drain(me); awaits[me] = r + 1 };
        sleepers++;
#if !defined(NO_MEMBARRIER) && !defined(BROKEN_BARRIER)
        d_step {
            for (i : 0 .. N - 1) { drain(i) };
            skip
        };
#endif
#ifndef BROKEN_HAND
        came = visible[r] >= value;
#ifndef BROKEN_LOOK /* it does not look whether the group was broken in between */
        came = came || broken != 0;
#endif
        came = came || left[r];
#endif
        if
        :: came
        :: else ->
            d_step { /* the kernel sleeps only if the word is what it was */
                if
                :: awaits[me] == r + 1 -> asleep[me] = true
                :: else
                fi
            };
            !asleep[me]
        fi;
        sleepers--;
        d_step { drain(me); awaits[me] = 0 };
        gone = left[r];
        if
        :: gone && visible[r] < value -> break_group()
        :: else
        fi
    od
}

proctype rank(byte me) {
    byte round, r, i, seen;
    bool came, everyone, first, gone;
    do
    :: round == ROUNDS || broken != 0 -> break
    :: round < ROUNDS ->
        round++;
        publish(round);
        r = 0;
        do
        :: r == N -> break
        :: r == me -> r++
        :: r < N && r != me -> wait(r, round); r++
        od
    :: round < ROUNDS -> reason = true; break_group(); goto end /* it gives up, and stays */
    :: round < ROUNDS -> reason = true; break                   /* it leaves before the others */
    od;
    skip; /* spin wants no step of its own right behind a loop */
    d_step { drain(me); left[me] = true };
    wake();
end:
    skip
}

/* Store buffers drain at any time. */
active [N] proctype processor() {
    byte me = _pid;
end:
    do
    :: buffered[me] != 0 -> d_step { drain(me) }
    od
}

init {
    byte k;
    atomic {
        for (k : 0 .. N - 1) { run rank(k) }
    }
}
