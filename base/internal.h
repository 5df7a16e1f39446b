/* What the library's other folders may see of base beyond its public headers. */
#ifndef TANDEM_BASE_INTERNAL_H
#define TANDEM_BASE_INTERNAL_H

#include "base/context.h"
#include "base/generator.h"

/* Places in a context that another folder fills; base only stores and destroys them. */
typedef enum td_context_slot {
    TD_SLOT_SCOPES,    /* model/tensor: the scope stack */
    TD_SLOT_AUTOGRAD,  /* model/autograd: grad mode and the engine's state */
    TD_SLOT_ALLOCATOR, /* model/tensor: the caching allocator */
    TD_SLOT_KERNELS,   /* model/cpu: kernel table and primitive cache */
    TD_SLOT_COUNT
} td_context_slot;

struct td_context {
    td_generator *generator;
    void *slots[TD_SLOT_COUNT];
    void (*destroy[TD_SLOT_COUNT])(void *); /* called from the last slot to the first */
};

/* The thread's current context; read through td_context_current outside hot paths. */
extern _Thread_local td_context *td_context_of_thread __attribute__((tls_model("initial-exec")));

#endif
