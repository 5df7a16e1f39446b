/* --sync: how the ranks of a run keep their weights equal. */
#ifndef TANDEM_WORKER_SYNC_H
#define TANDEM_WORKER_SYNC_H

#include "worker/run.h"

/* Settle run->sync, before the model is wrapped. TD_ERR_UNSUPPORTED when what was asked for cannot be. */
td_status worker_sync_choose(worker_run *run);

/* --verbose: a line about it. */
void worker_sync_say(const worker_run *run);

#endif
