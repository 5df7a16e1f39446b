/* Training as scripts/golden/curves.py trains, to be compared with what PyTorch gave. */
#ifndef TANDEM_TESTS_MODEL_CURVE_H
#define TANDEM_TESTS_MODEL_CURVE_H

#include "support/golden.h"

/* Train `model` (of the zoo) as the file's curve called `name` for so many ranks was, the ranks being threads
 * of this process, and fail the running test unless each loss agrees to a relative 1e-5 and each weight to
 * 1e-4, and all ranks end with the same bits. Sanitizer builds take two steps and compare losses only. */
void check_curve(const char *file, const char *model, const char *name, int world);

#endif
