/* What each test of checkpoints begins with: a folder of its own, a context, a scope, and an ear for warnings. */
#ifndef TANDEM_TESTS_MODEL_CHECKPOINT_FOLDER_H
#define TANDEM_TESTS_MODEL_CHECKPOINT_FOLDER_H

#include "base/status.h"

extern td_context *context;
extern td_scope *scope;
extern char folder[64];   /* not there yet */
extern char logged[2048]; /* warnings so far, a line each */

void begin(void);
/* Removes the folder; nothing may be left of the context's memory. */
void end(void);

#endif
