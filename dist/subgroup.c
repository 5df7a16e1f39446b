/* Groups of some of a group's ranks. Membership is agreed on here; the backend then connects the members. */
#include "base/memory.h"
#include "dist/internal.h"
#include "dist/recorder_ring.h"

/* What each rank tells the others of itself. */
typedef struct ballot {
    int64_t colour, key;
    uint64_t list; /* stands for the list of td_group_new, 0 for td_group_split */
} ballot;

enum { BALLOT_WORDS = sizeof(ballot) / sizeof(int64_t) };

static bool is_before(const ballot *ballots, int a, int b) {
    return ballots[a].key < ballots[b].key || (ballots[a].key == ballots[b].key && a < b);
}

/* The part to which this rank belongs, not connected yet. */
static td_group *make_part(const td_group *group, const ballot *ballots) {
    td_group *made = td_calloc(1, sizeof *made);
    if (!made) return NULL;
    made->members = td_calloc((size_t)group->size, sizeof *made->members);
    if (!made->members) {
        td_free(made);
        return NULL;
    }
    made->job = group->job;
    made->backend = group->backend;
    made->stall_timeout = group->stall_timeout;
    made->stall_report = group->stall_report;
    made->compute_threads = group->compute_threads;
    made->arena.group = made;
    for (int r = 0; r < group->size; r++) {
        if (ballots[r].colour != ballots[group->rank].colour) continue;
        int place = 0;
        for (int other = 0; other < group->size; other++)
            place += ballots[other].colour == ballots[r].colour && is_before(ballots, other, r);
        made->members[place] = td_group_name(group, r);
        if (r == group->rank) made->rank = place;
        made->size++;
    }
    return made;
}

static void drop(td_group **part) {
    if (*part) td_free((*part)->members);
    td_free(*part);
    *part = NULL;
}

static td_status lists_agree(td_group *group, const ballot *ballots) {
    for (int r = 0; r < group->size; r++) {
        if (ballots[r].list == ballots[0].list) continue;
        td_fail(TD_ERR_MISMATCH, 0, "dist", "ranks %d and %d make a group of different lists of ranks",
                td_group_name(group, 0), td_group_name(group, r));
        if (group->backend->abort) group->backend->abort(group, -1);
        return td_group_break(group);
    }
    return TD_OK;
}

static td_status split(td_group *group, ballot mine, td_group **part) {
    ballot *ballots = td_calloc((size_t)group->size, sizeof *ballots);
    if (!ballots) return td_group_give_up(group);
    td_group *made = NULL;
    td_status status = td_group_all_gather(group, &mine, ballots, BALLOT_WORDS, TD_DTYPE_I64,
                                           (td_device){TD_DEVICE_CPU, 0}, NULL, NULL);
    if (status >= 0) status = lists_agree(group, ballots);
    if (status >= 0 && mine.colour >= 0) {
        made = make_part(group, ballots);
        if (!made) status = td_group_give_up(group);
    }
    td_free(ballots);
    if (status >= 0) status = group->backend->split(group, (int)mine.colour, (int)mine.key, made);
    if (status < 0) {
        drop(&made);
        return status;
    }
    if (made) td_recorder_enter(made, made->members);
    *part = made;
    return TD_OK;
}

static td_status can_split(const td_group *group) {
    if (group->backend->split) return TD_OK;
    return td_fail(TD_ERR_UNSUPPORTED, 0, "dist", "backend %s has no groups of some of its ranks",
                   group->backend->name);
}

td_status td_group_split(td_group *group, int colour, int key, td_group **part) {
    TD_TRY(can_split(group));
    return split(group, (ballot){.colour = colour < 0 ? -1 : colour, .key = key}, part);
}

td_status td_group_new(td_group *group, const int *ranks, int count, td_group **part) {
    TD_TRY(can_split(group));
    if (count < 1 || count > group->size)
        return td_fail(TD_ERR_ARG, 0, "dist", "a group of %d ranks out of %d", count, group->size);
    ballot mine = {.colour = -1, .list = UINT64_C(0x9e3779b97f4a7c15)};
    for (int i = 0; i < count; i++) {
        if (ranks[i] < 0 || ranks[i] >= group->size)
            return td_fail(TD_ERR_ARG, 0, "dist", "a group with rank %d, but there are %d ranks", ranks[i],
                           group->size);
        for (int j = 0; j < i; j++)
            if (ranks[j] == ranks[i])
                return td_fail(TD_ERR_ARG, 0, "dist", "a group with rank %d twice", ranks[i]);
        mine.list = (mine.list ^ mine.list >> 29 ^ (uint64_t)ranks[i]) * UINT64_C(0xff51afd7ed558ccd);
        if (ranks[i] == group->rank) {
            mine.colour = 0;
            mine.key = i;
        }
    }
    return split(group, mine, part);
}
