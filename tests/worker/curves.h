/* The suite that compares runs with PyTorch's: a test program defines which. */
#ifndef TANDEM_TESTS_WORKER_CURVES_H
#define TANDEM_TESTS_WORKER_CURVES_H

extern const char *const curve_file;  /* in tests/golden */
extern const char *const curve_model; /* of --model */

#endif
