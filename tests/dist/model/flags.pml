/*
 * How data meets on shared memory: dist/shm/protocol.h, and the engine of dist/shm/collectives.c, steps.c,
 * all_reduce.c and pull.c, at a small scale. Each rank goes the way of that code: what it looks at, in which order,
 * and for which counter it waits when it cannot go on. Copying takes two steps, between which anything may happen: a
 * writer leaves garbage first and the data later, a reader looks twice.
 *
 * The user of each rank posts the same collectives, of any kinds, at any time, and waits for the oldest. At any
 * moment one rank may be killed, want to abort, or leave before the others do; or all goes well.
 *
 * Claims: nothing is read before it was written or after it was overwritten, nothing is touched once freed, no
 * output changes after its work has ended, a group breaks only for a reason, all are told the same cause, and every
 * rank comes to its end. `-DBROKEN_...` takes one rule out, and then one of them must fail.
 */
#ifndef N
#define N 2 /* ranks */
#endif
#ifndef K
#define K 3 /* collectives */
#endif
#define RING 2
#define SLOTS 2
#define LAG 1
#define C 3 /* chunks of a collective that is staged */
#define MARK(k, c) ((k) * (C + 1) + (c))

/* What a place holds. */
#define GARBAGE 0
#define GIVEN(k, c) (1 + 2 * ((k) * C + (c)))
#define SUM(k, c) (2 + 2 * ((k) * C + (c)))

/* Ways of a collective: in the entries, all-reduce through slots, broadcast through slots, all-reduce in place. */
#define SMALL 0
#define STAGED 1
#define PULL 2
#define DIRECT 3

byte way[K];
byte number[N * RING];     /* of the entries */
byte payload[N * RING];
byte ready[N], done[N];
byte slot[N * SLOTS * N];  /* a slice for each rank in each slot of each rank */
byte memory[N * K * N];    /* the users' buffers in the arena, by slices */
bool dead[N], left[N];
byte wants[N];             /* what fate has in store for a rank */
byte broken;               /* 0; 1: being written; 2: the cause is valid */
byte cause, told;          /* by whom it was broken */
byte gone;                 /* ranks that have left */
bool freed, trouble;

#define AT(r, chunk, slice) slot[((r) * SLOTS + (chunk) % SLOTS) * N + (slice)]
#define IN_MEMORY(r, k, slice) memory[((r) * K + (k)) * N + (slice)]
#define NUMBER(r, k) number[(r) * RING + (k) % RING]

#define TO_ABORT 1
#define TO_LEAVE 2

/* What a rank waits for. */
#define NOTHING 0
#define FOR_NUMBER 1
#define FOR_READY 2
#define FOR_DONE 3
#define HAS_COME(what, r, v)                                                                                 \
    ((what == FOR_NUMBER && NUMBER(r, v - 1) >= v) || (what == FOR_READY && ready[r] >= v) ||                \
     (what == FOR_DONE && done[r] >= v))
#define ANY_HAS_COME (HAS_COME(need, need_rank, need_value) || HAS_COME(room, room_rank, room_value))

/* Sets `what` and its rank and value to the first other rank whose `done` is below `mark`. */
inline all_done(mark, what, what_rank, what_value) {
    what = NOTHING;
    for (i : 0 .. N - 1) {
        if
        :: what == NOTHING && done[i] < (mark) -> what = FOR_DONE; what_rank = i; what_value = (mark)
        :: else
        fi
    }
}

/* td_shm_stage. `hold`: how much later a slot is free. Only this rank's own slice is not brought in. */
inline stage(hold, whole) {
    do
    :: d_step {
        room = NOTHING; room_rank = 0; room_value = 0;
        if
        :: staged == C -> skip
        :: else ->
            mark = free_mark;
            if
            :: staged >= SLOTS -> mark = MARK(current, staged - SLOTS + 1 + hold)
            :: else
            fi;
            for (i : 0 .. N - 1) {
                if
                :: room == NOTHING && i != me && done[i] < mark ->
                    room = FOR_DONE; room_rank = i; room_value = mark
                :: else
                fi
            }
#ifdef BROKEN_SLOTS /* a slot is written again whether or not it was read */
            if
            :: staged >= SLOTS -> room = NOTHING
            :: else
            fi
#endif
#ifdef BROKEN_NEXT /* the first slots are written whether or not the last collective was read */
            if
            :: staged < SLOTS -> room = NOTHING
            :: else
            fi
#endif
        fi;
        skip
       };
       if
       :: staged == C || room != NOTHING -> break
       :: else
       fi;
       d_step {
           assert(!freed);
           for (i : 0 .. N - 1) {
               if
               :: whole || i != me -> AT(me, staged, i) = GARBAGE
               :: else
               fi
           }
#ifdef BROKEN_READY_FIRST /* announced before it is there */
           ready[me] = MARK(current, staged + 1)
#endif
       };
       d_step {
           for (i : 0 .. N - 1) {
               if
               :: whole || i != me -> AT(me, staged, i) = GIVEN(current, staged)
               :: else
               fi
           };
           staged++;
           ready[me] = MARK(current, staged);
           if
           :: staged == C -> free_mark = MARK(current + 1, 0)
           :: else
           fi
       }
    od;
    skip /* spin wants no step of its own right behind a loop */
}

/* This rank's slice of the next chunk: others' are read, the sum is left in the own slot. */
inline combine() {
    d_step {
        assert(!freed);
        for (i : 0 .. N - 1) {
            if
            :: i != me -> assert(AT(i, summed, me) == GIVEN(current, summed))
            :: else
            fi
        };
        AT(me, summed, me) = GARBAGE
    };
    d_step {
        for (i : 0 .. N - 1) {
            if
            :: i != me -> assert(AT(i, summed, me) == GIVEN(current, summed))
            :: else
            fi
        };
        AT(me, summed, me) = SUM(current, summed);
        summed++;
        done[me] = MARK(current, summed)
    }
}

inline look_at_sums() {
    assert(!freed);
    for (i : 0 .. N - 1) {
        if
        :: i != me -> assert(AT(i, moved, i) == SUM(current, moved))
        :: else
        fi
    }
}

inline fetch() {
    d_step { look_at_sums() };
    d_step { look_at_sums(); moved++ }
}

/* td_shm_run_all_reduce of data outside the arena. */
inline run_staged() {
    do
    :: moved == C -> done[me] = MARK(current + 1, 0); over = true; break
    :: else ->
        stage(LAG, false);
        d_step {
            need = NOTHING; need_rank = 0; need_value = 0;
            may_sum = false; may_fetch = false;
#ifdef BROKEN_LAG /* summing runs ahead of fetching, so `done` says too much */
            if
            :: summed < C && summed < staged ->
#else
            if
            :: summed < C && summed < moved + LAG && summed < staged ->
#endif
                for (i : 0 .. N - 1) {
                    if
                    :: need == NOTHING && i != me && ready[i] < MARK(current, summed + 1) ->
                        need = FOR_READY; need_rank = i; need_value = MARK(current, summed + 1)
                    :: else
                    fi
                };
#ifdef BROKEN_READY /* what others bring in is not waited for */
                need = NOTHING;
#endif
                may_sum = need == NOTHING
            :: else
            fi;
            if
            :: !may_sum && moved < summed ->
                all_done(MARK(current, moved + 1), need, need_rank, need_value);
                may_fetch = need == NOTHING
            :: else
            fi
        };
        if
        :: may_sum -> combine()
        :: may_fetch -> fetch()
        :: else -> break
        fi
    od
}

/* td_shm_run_pull of a broadcast from rank 0. */
inline run_pull() {
    do
    :: staged == (me == 0 -> C : 0) && taken -> over = true; break
    :: else ->
        before = moved + staged;
        if
        :: me == 0 -> stage(0, true)
        :: else
        fi;
        need = NOTHING; need_rank = 0; need_value = 0;
        do
        :: me != 0 && moved < C && ready[0] >= MARK(current, moved + 1) ->
            d_step { assert(!freed); assert(AT(0, moved, me) == GIVEN(current, moved)) };
            d_step {
                assert(AT(0, moved, me) == GIVEN(current, moved));
                moved++;
                done[me] = MARK(current, moved)
            }
        :: me != 0 && moved < C && ready[0] < MARK(current, moved + 1) ->
            d_step { need = FOR_READY; need_value = MARK(current, moved + 1) };
            break
        :: me == 0 || moved == C ->
            d_step {
                if
                :: !taken -> taken = true; done[me] = MARK(current + 1, 0)
                :: else
                fi
            };
            break
        od;
        if
        :: moved + staged == before && !(taken && staged == (me == 0 -> C : 0)) -> break
        :: else
        fi
    od
}

/* Of all ranks' buffers slice `me` is read, and written to all of them. */
inline run_direct() {
    d_step {
        assert(!freed);
        for (i : 0 .. N - 1) { assert(IN_MEMORY(i, current, me) == GIVEN(current, 0)) }
    };
    d_step {
        for (i : 0 .. N - 1) {
            assert(IN_MEMORY(i, current, me) == GIVEN(current, 0));
            IN_MEMORY(i, current, me) = SUM(current, 0)
        };
        done[me] = MARK(current + 1, 0);
        over = true
    }
}

inline look_at_payloads() {
    assert(!freed);
    for (i : 0 .. N - 1) { assert(payload[i * RING + current % RING] == GIVEN(current, 0)) }
}

inline run_small() {
    d_step { look_at_payloads() };
    d_step { look_at_payloads(); done[me] = MARK(current + 1, 0); over = true }
}

/* Entries, as far as the ring has room. */
inline publish() {
    do
    :: d_step {
        need = NOTHING; need_rank = 0; need_value = 0;
        if
        :: unpublished < posted && unpublished >= RING ->
            all_done(MARK(unpublished - RING + 1, 0), need, need_rank, need_value)
        :: else
        fi
#ifdef BROKEN_RING /* an entry is written again whether or not it was read */
        ;
        need = NOTHING
#endif
       };
       if
       :: unpublished == posted || need != NOTHING -> break
       :: else
       fi;
       if
       :: way[unpublished] == SMALL ->
           d_step { assert(!freed); payload[me * RING + unpublished % RING] = GARBAGE }
       :: way[unpublished] == STAGED && unpublished == current -> stage(LAG, false)
       :: way[unpublished] == PULL && unpublished == current && me == 0 -> stage(0, true)
       :: else
       fi;
       d_step {
           payload[me * RING + unpublished % RING] = GIVEN(unpublished, 0);
           for (i : 0 .. N - 1) {
               if
               :: way[unpublished] == DIRECT -> IN_MEMORY(me, unpublished, i) = GIVEN(unpublished, 0)
               :: else
               fi
           };
           assert(!freed);
           NUMBER(me, unpublished) = unpublished + 1;
           unpublished++
       }
    od
}

inline finish() {
    d_step {
        do
        :: first == current -> break
        :: else ->
            need = NOTHING; need_rank = 0; need_value = 0;
            if
            :: way[first] == DIRECT ->
                all_done(MARK(first + 1, 0), need, need_rank, need_value)
            :: else
            fi;
#ifdef BROKEN_AWAITS_ALL /* a buffer is the user's again while others write to it */
            need = NOTHING;
#endif
            if
            :: need != NOTHING -> break
            :: else
            fi;
            for (i : 0 .. N - 1) {
                if
                :: way[first] == DIRECT ->
                    assert(IN_MEMORY(me, first, i) == SUM(first, 0));
                    IN_MEMORY(me, first, i) = GARBAGE /* the user goes on with it */
                :: else
                fi
            };
            first++
        od
    }
}

inline advance() {
    room = NOTHING; room_rank = 0; room_value = 0;
    do
    :: publish();
       if
       :: current == posted || current == unpublished -> break
       :: else
       fi;
       d_step {
           if
           :: !met ->
               need = NOTHING; need_rank = 0; need_value = 0;
               for (i : 0 .. N - 1) {
                   if
                   :: need == NOTHING && NUMBER(i, current) < current + 1 ->
                       need = FOR_NUMBER; need_rank = i; need_value = current + 1
                   :: else
                   fi
               };
#ifdef BROKEN_MEET /* nobody looks whether the others have come */
               need = NOTHING;
#endif
               met = need == NOTHING
           :: else
           fi;
           over = false
       };
       if
       :: !met -> break
       :: else
       fi;
       if
       :: way[current] == SMALL -> run_small()
       :: way[current] == STAGED -> run_staged()
       :: way[current] == PULL -> run_pull()
       :: way[current] == DIRECT -> run_direct()
       fi;
       if
       :: !over -> break
       :: else
       fi;
       d_step {
           current++;
           met = false; staged = 0; summed = 0; moved = 0; taken = false; before = 0;
           room = NOTHING; room_rank = 0; room_value = 0
       };
       finish()
    od;
    if
    :: current == posted -> finish()
    :: else
    fi
}

/* td_room_break: the first one writes the cause, in two steps. */
inline break_group() {
    assert(trouble); /* and not because somebody ended before others */
#ifdef BROKEN_FIRST_CAUSE /* who comes later writes over the cause */
    broken = 1;
    cause = me + 1;
    broken = 2
#else
    d_step {
        mark = broken;
        if
        :: broken == 0 -> broken = 1
        :: else
        fi
    };
    if
    :: mark == 0 -> cause = me + 1; broken = 2
    :: else
    fi
#endif
}

#if N == 2
#define someone_is_dead (dead[1 - me] && !left[1 - me])
#else
#define someone_is_dead                                                                                      \
    ((dead[0] && !left[0] && me != 0) || (dead[1] && !left[1] && me != 1) || (dead[2] && !left[2] && me != 2))
#endif

/* td_wait. A peer that is gone fails it only if the counter has not come even now. */
inline wait_for_it() {
    assert(need != NOTHING || room != NOTHING);
    if
    :: ANY_HAS_COME
#ifndef BROKEN_WAKE /* a waiter does not hear that the group is broken */
    :: broken != 0 -> goto failed
#endif
#ifndef BROKEN_DEATH /* nobody watches processes */
    :: trouble && someone_is_dead ->
        if
        :: ANY_HAS_COME
        :: else -> break_group(); goto failed
        fi
#endif
#ifndef BROKEN_LEFT
    :: left[(need != NOTHING -> need_rank : room_rank)] ->
#ifndef BROKEN_LEFT_ORDER /* who left may have done its part just before */
        if
        :: ANY_HAS_COME
        :: else -> break_group(); goto failed
        fi
#else
        break_group(); goto failed
#endif
#endif
    fi
}

proctype rank(byte me) {
    byte posted, unpublished, current, first; /* collectives: the user's, without entry, at work, not finished */
    byte staged, summed, moved, before;       /* of the current one */
    byte free_mark, mark, oldest, i;
    bool met, taken, over, may_sum, may_fetch;
    byte need, need_rank, need_value;
    byte room, room_rank, room_value;
    {
        do
        :: wants[me] == TO_ABORT -> break_group(); (gone == N - 1); goto failed /* it stays long */
        :: wants[me] == TO_LEAVE && first == posted -> break
        :: first == K -> break
        :: posted < K -> posted++; advance()
        :: posted > first -> /* td_shm_wait, for the oldest */
            before = 0;
            oldest = first;
            advance();
            if
            :: broken != 0 -> goto failed
            :: first > oldest -> skip
            :: first == oldest && current > first -> /* only the others' parts are missing */
                d_step { all_done(MARK(first + 1, 0), need, need_rank, need_value); room = NOTHING };
                if
                :: need != NOTHING -> wait_for_it()
                :: else
                fi
            :: first == oldest && current == first -> wait_for_it()
            fi
        od;
        goto leaving;
    failed:
        if
        :: broken == 2 ->
            d_step {
                if
                :: told == 0 -> told = cause
                :: else
                fi;
                assert(told == cause)
            }
        :: broken == 1 && trouble && someone_is_dead -> skip /* it died while it told why */
        fi;
    leaving:
        assert(!freed);
        left[me] = true;
#ifdef BROKEN_FREE /* the first who leaves takes the memory along */
        freed = true;
#endif
        d_step {
            gone++;
            if
            :: gone == N -> freed = true
            :: else
            fi
        }
    } unless { dead[me] }
}

active proctype fate() {
    byte victim;
    select (victim : 0 .. N - 1);
    if
    :: d_step { trouble = true; dead[victim] = true }
    :: d_step { trouble = true; wants[victim] = TO_ABORT }
    :: d_step { trouble = true; wants[victim] = TO_LEAVE }
    :: skip
    fi
}

init {
    byte k, w;
#ifdef WAYS
    int ways = WAYS;
#endif
    for (k : 0 .. K - 1) {
#ifdef WAYS /* a digit for each, the first one last; else all there are */
        w = ways % 10;
        ways = ways / 10;
#else
        select (w : SMALL .. DIRECT);
#endif
        way[k] = w
    };
    atomic {
        for (k : 0 .. N - 1) { run rank(k) }
    }
}
