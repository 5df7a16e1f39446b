/*
 * A context is what one rank's computation owns: its default generator, its scopes, allocator, grad mode and
 * kernels (filled in by model/). There is no process-wide state, so several ranks can be threads of one
 * process. Life: td_context_open, which also makes it the calling thread's current one; work;
 * td_context_close. One thread at a time may use a context; another takes it over with td_context_adopt.
 */
#ifndef TANDEM_BASE_CONTEXT_H
#define TANDEM_BASE_CONTEXT_H

#include "base/status.h"

TD_BEGIN_DECLS

/* Open a context with a default generator seeded as td_generator_open does, and make it current. *Yours*. */
TD_API td_status td_context_open(td_context **context);

/* Release all it owns and set *context to NULL; tensors kept by the caller stay valid. NULL inside is fine.
 */
TD_API void td_context_close(td_context **context);

/* The calling thread's current context, or NULL. */
TD_API td_context *td_context_current(void);

/* Make `context` the calling thread's current one (NULL: none). The thread that had it must be done. */
TD_API void td_context_adopt(td_context *context);

/* The context's default generator, *lent* for its life: initialisation, dropout and loaders draw from it. */
TD_API td_generator *td_context_generator(td_context *context);

/* As torch.manual_seed: seed the current context's default generator. TD_ERR_STATE without a context. */
TD_API td_status td_manual_seed(uint64_t seed);

TD_END_DECLS

#endif
