/*
 * The table of kernels of one context: for each row our own fast kernel where it does best, then oneDNN's,
 * then our own for the rest, then the plain one. oneDNN takes 1.7 ms to load, so its place is held by a
 * kernel that loads the plug-in when a heavy operation first comes past it. TANDEM_KERNELS=reference leaves
 * only the plain kernels, =native leaves out oneDNN.
 */
#include "model/ops/kernels.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/plugin.h"
#include "model/cpu/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const td_kernel_row *const reference_families[] = {
    cpu_reference_pointwise, cpu_reference_unary,  cpu_reference_compare, cpu_reference_copy,
    cpu_reference_reduce,    cpu_reference_matmul, cpu_reference_softmax, cpu_reference_loss,
    cpu_reference_conv,      cpu_reference_pool,   cpu_reference_index,   cpu_reference_random,
    cpu_reference_norm,
};

static const td_kernel_row *const native_families[] = {
    cpu_native_pointwise, cpu_native_reduce,  cpu_native_matmul, cpu_native_conv,
    cpu_native_pool,      cpu_native_dropout, cpu_native_copy,   cpu_native_norm,
};

static const td_kernel_row *const spare_families[] = {cpu_spare_matmul, cpu_spare_conv};

/* The rows that oneDNN's plug-in may have kernels for, each with the kernel that stands in until it is
 * loaded. */
#define PLUGIN_ROWS(X)                                                                                       \
    X(MM, mm)                                                                                                \
    X(BMM, bmm)                                                                                              \
    X(LINEAR, linear)                                                                                        \
    X(CONV2D_FORWARD, conv2d_forward)                                                                        \
    X(CONV2D_BACKWARD_INPUT, conv2d_backward_input)                                                          \
    X(CONV2D_BACKWARD_WEIGHT, conv2d_backward_weight)

static void append(td_kernels *kernels, td_op op, td_kernel *kernel) {
    td_kernel **chain = kernels->chain[op];
    while (*chain) chain++;
    *chain = kernel;
}

static void append_families(td_kernels *kernels, const td_kernel_row *const *families, size_t count) {
    for (size_t f = 0; f < count; f++)
        for (const td_kernel_row *row = families[f]; row->kernel; row++)
            append(kernels, row->op, row->kernel);
}

/* Holds the place of a plug-in that is not there. */
static td_status not_here(td_context *context, const void *args, td_tensor *const *out) {
    (void)context, (void)args, (void)out;
    return TD_PENDING;
}

#define DECLARE(OP, name)                                                                                    \
    static td_status load_for_##name(td_context *context, const void *args, td_tensor *const *out);
PLUGIN_ROWS(DECLARE)
#undef DECLARE

static const td_kernel_row placeholders[] = {
#define HOLD(OP, name) {TD_OP_##OP, load_for_##name},
    PLUGIN_ROWS(HOLD)
#undef HOLD
        TD_KERNELS_END,
};

static td_kernel **find(td_kernels *kernels, td_op op, td_kernel *kernel) {
    td_kernel **chain = kernels->chain[op];
    while (*chain && *chain != kernel) chain++;
    return *chain ? chain : NULL;
}

static td_kernel *offered(const td_kernel_plugin *plugin, td_op op) {
    for (const td_kernel_row *const *family = plugin->families; *family; family++)
        for (const td_kernel_row *row = *family; row->kernel; row++)
            if (row->op == op) return row->kernel;
    return not_here;
}

/* Put the plug-in's kernels, or ones that decline, in the placeholders' places. */
static void load_plugin(td_context *context) {
    td_kernels *kernels = td_kernels_of(context);
    const void *table = NULL;
    const td_error before = *td_error_last();
    td_status status = td_plugin_load("onednn", &table);
    const td_kernel_plugin *plugin = table;
    if (status == TD_OK) status = plugin->open(context, &kernels->plugin_state);
    if (status < 0) {
        td_log_line(TD_LOG_DEBUG, "model", "computing without oneDNN: %s", td_error_last()->text);
        td_error_restore(&before);
    } else {
        kernels->plugin_close = plugin->close;
    }
    for (const td_kernel_row *row = placeholders; row->kernel; row++) {
        td_kernel **place = find(kernels, row->op, row->kernel);
        if (place) *place = status < 0 ? not_here : offered(plugin, row->op);
    }
}

/* Load, then let the kernel that now has our place do the work. */
#define DEFINE(OP, name)                                                                                     \
    static td_status load_for_##name(td_context *context, const void *args, td_tensor *const *out) {         \
        td_kernel **place = find(td_kernels_of(context), TD_OP_##OP, load_for_##name);                       \
        load_plugin(context);                                                                                \
        return (*place)(context, args, out);                                                                 \
    }
PLUGIN_ROWS(DEFINE)
#undef DEFINE

float *cpu_scratch(td_context *context, size_t floats) {
    cpu_state *state = cpu_state_of(context);
    if (floats > state->scratch_floats) {
        float *grown = td_alloc_aligned(floats * sizeof *grown);
        if (!grown) return NULL;
        td_free(state->scratch);
        state->scratch = grown;
        state->scratch_floats = floats;
    }
    return state->scratch;
}

/* Does the text say that oneDNN may be used? */
static bool wants_plugin(const char *wanted) { return !wanted || !*wanted || strcmp(wanted, "auto") == 0; }

td_status td_kernels_describe(td_context *context, char *text, size_t bytes) {
    TD_TRY(td_scope_close(td_scope_open(context))); /* the first scope makes them */
    const char *wanted = getenv("TANDEM_KERNELS");
    if (wanted && strcmp(wanted, "reference") == 0) {
        snprintf(text, bytes, "reference");
        return TD_OK;
    }
    const td_error before = *td_error_last();
    const void *table = NULL;
    char library[64] = "";
    if (wants_plugin(wanted) && td_plugin_load("onednn", &table) == TD_OK)
        ((const td_kernel_plugin *)table)->describe(library, sizeof library);
    td_error_restore(&before);
    snprintf(text, bytes, "%s%s%s", td_kernels_of(context)->cpu->fast->name, *library ? ", " : "", library);
    return TD_OK;
}

static void close_kernels(void *slot) {
    td_kernels *kernels = slot;
    if (kernels->plugin_close) kernels->plugin_close(kernels->plugin_state);
    if (kernels->cpu) td_free(kernels->cpu->scratch);
    td_free(kernels->cpu);
    td_free(kernels);
}

td_status cpu_kernels_open(td_context *context) {
    const char *wanted = getenv("TANDEM_KERNELS");
    const bool plain = wanted && !strcmp(wanted, "reference"),
               no_plugin = wanted && !strcmp(wanted, "native");
    if (wanted && *wanted && !plain && !no_plugin && strcmp(wanted, "auto") != 0)
        return td_fail(TD_ERR_ARG, 0, "model", "TANDEM_KERNELS=%s: it is reference, native or auto", wanted);
    td_kernels *kernels = td_calloc(1, sizeof *kernels);
    if (!kernels) return TD_ERR_MEMORY;
    if (!(kernels->cpu = td_calloc(1, sizeof *kernels->cpu))) {
        td_free(kernels);
        return TD_ERR_MEMORY;
    }
    kernels->cpu->fast = cpu_fast_choose();
    if (!plain) append_families(kernels, native_families, sizeof native_families / sizeof *native_families);
    if (!plain && !no_plugin) append_families(kernels, (const td_kernel_row *const[]){placeholders}, 1);
    if (!plain) append_families(kernels, spare_families, sizeof spare_families / sizeof *spare_families);
    append_families(kernels, reference_families, sizeof reference_families / sizeof *reference_families);
    context->slots[TD_SLOT_KERNELS] = kernels;
    context->destroy[TD_SLOT_KERNELS] = close_kernels;
    return TD_OK;
}
