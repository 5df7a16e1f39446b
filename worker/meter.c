/* Clocks and sums; the meeting is one all-reduce of six numbers. */
#include "worker/meter.h"

#include "base/clock.h"
#include "base/memory.h"
#include "dist/group.h"

#include <math.h>
#include <string.h>

static const double MOST_STEPS_AHEAD = 4096; /* so that a pace that changes is noticed */

void worker_meter_begin(worker_meter *m) {
    m->begun_ns = td_clock_ns();
    m->next_meeting = 1;
}

void worker_meter_begin_epoch(worker_meter *m) { m->correct = m->seen = 0; }

void worker_meter_add(worker_meter *m, double loss_sum, int64_t samples, int64_t correct) {
    m->loss_sum = loss_sum;
    m->samples = samples;
    m->correct += correct;
    m->seen += samples;
    if (m->first_ns) {
        m->trained += samples;
        m->steps++;
    } else {
        m->first_ns = td_clock_ns();
    }
}

void worker_meter_pause(worker_meter *m) { m->aside_ns -= td_clock_ns(); }
void worker_meter_resume(worker_meter *m) { m->aside_ns += td_clock_ns(); }

double worker_meter_first_step(const worker_meter *m) { return (double)(m->first_ns - m->begun_ns) * 1e-9; }

/* After the first step alone its own duration is all there is. */
static double seconds_per_step(const worker_meter *m) {
    if (!m->steps) return worker_meter_first_step(m);
    return (double)(td_clock_ns() - m->first_ns - m->aside_ns) * 1e-9 / (double)m->steps;
}

td_status worker_sum_groups(td_group *group, const double *own, int64_t groups, double *sum) {
    double *all = td_calloc((size_t)groups, sizeof *all);
    if (!all) return TD_ERR_MEMORY;
    memcpy(all, own, (size_t)groups * sizeof *all);
    td_status status = td_group_all_reduce(group, all, (size_t)groups, TD_DTYPE_F64, TD_REDUCE_SUM,
                                           (td_device){0}, NULL, NULL);
    *sum = 0;
    for (int64_t g = 0; g < groups; g++) *sum += all[g];
    td_free(all);
    return status;
}

td_status worker_meter_meet(worker_meter *m, td_group *group, int64_t step, double beat,
                            worker_totals *totals) {
    bool first = td_group_rank(group) == 0;
    double pace = seconds_per_step(m);
    double ahead = first ? fmax(1, fmin(floor(beat / pace), MOST_STEPS_AHEAD)) : 0;
    enum { LOSS, SAMPLES, CORRECT, SEEN, TRAINED, AHEAD, COUNT };
    double sums[COUNT] = {
        [LOSS] = m->loss_sum,     [SAMPLES] = (double)m->samples, [CORRECT] = (double)m->correct,
        [SEEN] = (double)m->seen, [TRAINED] = (double)m->trained, [AHEAD] = ahead,
    };
    TD_TRY(td_group_all_reduce(group, sums, COUNT, TD_DTYPE_F64, TD_REDUCE_SUM, (td_device){0}, NULL, NULL));
    if (m->group_losses) TD_TRY(worker_sum_groups(group, m->group_losses, m->groups, &sums[LOSS]));
    double trained = m->steps ? sums[TRAINED] / (double)m->steps : sums[SAMPLES];
    m->next_meeting = step + (int64_t)sums[AHEAD];
    *totals = (worker_totals){
        .loss = sums[LOSS] / sums[SAMPLES],
        .samples = (int64_t)sums[SAMPLES],
        .accuracy = sums[CORRECT] / sums[SEEN],
        .samples_per_second = trained / pace,
        .seconds_per_step = pace,
    };
    return TD_OK;
}
