/* A rank's context: the generator is base's own, the slots belong to model/. */
#include "base/internal.h"
#include "base/memory.h"

_Thread_local td_context *td_context_of_thread __attribute__((tls_model("initial-exec")));

td_status td_context_open(td_context **context) {
    td_context *opened = td_calloc(1, sizeof *opened);
    if (!opened) return TD_ERR_MEMORY;
    td_status status = td_generator_open(&opened->generator);
    if (status < 0) {
        td_free(opened);
        return status;
    }
    td_context_of_thread = opened;
    *context = opened;
    return TD_OK;
}

void td_context_close(td_context **context) {
    td_context *closed = *context;
    if (!closed) return;
    for (int slot = TD_SLOT_COUNT - 1; slot >= 0; slot--)
        if (closed->slots[slot]) closed->destroy[slot](closed->slots[slot]);
    td_generator_close(&closed->generator);
    if (td_context_of_thread == closed) td_context_of_thread = NULL;
    td_free(closed);
    *context = NULL;
}

td_context *td_context_current(void) { return td_context_of_thread; }

void td_context_adopt(td_context *context) { td_context_of_thread = context; }

td_generator *td_context_generator(td_context *context) { return context->generator; }

td_status td_manual_seed(uint64_t seed) {
    if (!td_context_of_thread) return td_fail(TD_ERR_STATE, 0, "base", "manual_seed: no context is current");
    td_generator_seed(td_context_of_thread->generator, seed);
    return TD_OK;
}
