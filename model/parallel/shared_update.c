/*
 * The shared update: one copy of the weights, which the ranks write by slices. Who may touch what, and when:
 *
 *     backward          a rank reads all parameters and writes its own bucket
 *     the meeting       all ranks are past their backward
 *     the pass          a rank reads its slice of every bucket and writes its slice of parameters and state
 *     the barrier       all slices are written, and nobody reads another's bucket any more
 *
 * so no element is read while somebody writes it. After the barrier every rank goes on with the new weights.
 */
#include "model/parallel/update.h"

td_status update_shared_step(void *cookie) {
    td_ddp_update *u = cookie;
    TD_TRY(update_settle(u));
    if (u->optimizer->max_norm > 0 && !u->norms) TD_TRY(update_make_norms(u));
    if (!u->met) TD_TRY(update_meet(u)); /* td_ddp_join has met the others */
    TD_TRY(update_run(u));
    TD_TRY(td_group_post(u->ddp->group, &(td_call){.kind = TD_CALL_BARRIER, .label = "ddp update"}, NULL));
    update_end(u);
    return TD_OK;
}
