/* What the plug-in offers, its state for one context, and the border where oneDNN's errors become ours. */
#include "base/plugin.h"

#include "base/memory.h"
#include "config.h"
#include "model/cpu/onednn/onednn.h"

#include <stdio.h>

td_status onednn_status(dnnl_status_t status, const char *what) {
    switch (status) {
    case dnnl_success: return TD_OK;
    case dnnl_unimplemented: return TD_PENDING;
    case dnnl_out_of_memory: return td_fail(TD_ERR_MEMORY, (int)status, "onednn", "%s: out of memory", what);
    default:
        return td_fail(TD_ERR_SYSTEM, (int)status, "onednn", "%s failed with status %d", what, (int)status);
    }
}

static void close_state(void *slot) {
    onednn_state *state = slot;
    if (!state) return;
    onednn_empty(state);
    if (state->stream) dnnl_stream_destroy(state->stream);
    if (state->engine) dnnl_engine_destroy(state->engine);
    td_free(state->scratchpad);
    td_free(state);
}

static td_status open_state(td_context *context, void **out) {
    onednn_state *state = td_calloc(1, sizeof *state);
    if (!state) return TD_ERR_MEMORY;
    state->counters = &cpu_state_of(context)->counters;
    td_status status = onednn_status(dnnl_engine_create(&state->engine, dnnl_cpu, 0), "engine");
    if (status == TD_OK)
        status = onednn_status(dnnl_stream_create(&state->stream, state->engine, dnnl_stream_default_flags),
                               "stream");
    if (status != TD_OK) {
        close_state(state);
        return status < 0 ? status : td_fail(TD_ERR_UNSUPPORTED, 0, "onednn", "there is no CPU engine");
    }
    *out = state;
    return TD_OK;
}

static void describe(char *text, size_t bytes) {
    const dnnl_version_t *v = dnnl_version();
    int isa = (int)dnnl_get_effective_cpu_isa();
    const char *name = isa == dnnl_cpu_isa_sse41  ? "sse41"
                       : isa == dnnl_cpu_isa_avx  ? "avx"
                       : isa == dnnl_cpu_isa_avx2 ? "avx2"
                                                  : NULL;
    int used = snprintf(text, bytes, "oneDNN %d.%d.%d ", v->major, v->minor, v->patch);
    if (name)
        snprintf(text + used, bytes - (size_t)used, "%s", name);
    else
        snprintf(text + used, bytes - (size_t)used, "isa %#x", (unsigned)isa);
}

static const td_kernel_plugin table = {
    .families = (const td_kernel_row *const[]){onednn_conv, onednn_matmul, NULL},
    .open = open_state,
    .close = close_state,
    .describe = describe,
};

TD_PLUGIN_SYMBOL = {TD_BUILD_ID, "onednn", &table};
