/* How ranks that no launcher of ours started get at one segment: local rank 0 passes it to the others. */
#ifndef TANDEM_DIST_RENDEZVOUS_H
#define TANDEM_DIST_RENDEZVOUS_H

#include "dist/job_facts.h"

/* Collective over the ranks of this machine; waits up to `timeout` seconds, with a line through the log hook
 * after
 * 10. *fd, *yours*, is the same memory in all of them. TD_ERR_TIMEOUT names who did not come;
 * TD_ERR_MISMATCH when ranks disagree about the job. */
td_status td_rendezvous(const td_job_facts *facts, double timeout, int *fd);

#endif
