/* Jobs to which something random happens. The same seed gives the same fault. */
#ifndef TANDEM_TESTS_LAUNCHER_CHAOS_H
#define TANDEM_TESTS_LAUNCHER_CHAOS_H

/* Run one job: its status and its report must be right, and afterwards no process and no file of it is left. */
void chaos_round(unsigned seed);

#endif
