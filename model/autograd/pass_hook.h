/*
 * Hooks at the end of a backward pass, for what works across leaves: DDP waits for its buckets there. They
 * are a context's, and run before td_backward returns, in the order added; not for td_grad, and not after a
 * failed pass. Internal to model/.
 */
#ifndef TANDEM_MODEL_AUTOGRAD_PASS_HOOK_H
#define TANDEM_MODEL_AUTOGRAD_PASS_HOOK_H

#include "model/autograd/node.h"

/* A failure ends that backward with its status. */
typedef td_status td_pass_hook(void *cookie);

/* `cookie` is kept until removed. Adding opens the context's autograd by a scope if need be. */
td_status td_pass_hook_add(td_context *context, td_pass_hook *hook, void *cookie);
void td_pass_hook_remove(td_context *context, td_pass_hook *hook, void *cookie);

/* The engine's: run them all; and free a context's autograd state (a td_autograd) with them. */
td_status td_pass_hooks_run(td_autograd *autograd);
void td_autograd_free(void *autograd);

#endif
