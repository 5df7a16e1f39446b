/* With one rank every collective copies its input to its output, but for the factor of a premultiplied sum. */
#include "dist/self/collectives.h"

#include "dist/internal.h"
#include "dist/reduce.h"

#include <string.h>

td_status td_self_post(td_group *group, td_work *work) {
    const td_call *call = &work->call;
    bool moves = td_call_traits_of(call->kind)->has_data && call->kind != TD_CALL_BROADCAST;
    (void)group;
    if (td_call_traits_of(call->kind)->reduces && work->output_bytes) {
        void *to[1] = {call->output};
        const void *from[1] = {call->input};
        td_reduce_run(td_reduce_select(), call->op, call->dtype, call->factor, to, 1, from, 1,
                      work->output_bytes / td_dtype_size(call->dtype));
    } else if (moves && work->output_bytes && call->output != call->input) {
        memmove(call->output, call->input, work->output_bytes);
    }
    td_work_finish(work, TD_OK);
    return TD_OK;
}
