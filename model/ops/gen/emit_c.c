/* How ATen's types look in C. */
#include "model/ops/gen/emit.h"

#include <ctype.h>
#include <string.h>

static const struct {
    gen_kind kind;
    const char *c_type, *absent; /* `absent` says that an argument has neither value nor default */
} c_types[] = {
    {GEN_TENSOR, "td_tensor *", NULL},
    {GEN_TENSORS, "td_tensors ", NULL},
    {GEN_SCALAR, "td_scalar ", NULL},
    {GEN_INT, "int64_t ", "TD_NONE"},
    {GEN_INTS, "td_ints ", "{-1, {0}}"},
    {GEN_LONGS, "td_longs ", NULL},
    {GEN_PAIR, "int64_t ", NULL},
    {GEN_FLOAT, "double ", NULL},
    {GEN_BOOL, "bool ", NULL},
    {GEN_DTYPE, "td_dtype ", "TD_DTYPE_NONE"},
    {GEN_MEMORY_FORMAT, "td_memory_format ", NULL},
    {GEN_REDUCTION, "td_reduction ", NULL},
};

bool emit_is_tensor(gen_type type) { return type.kind == GEN_TENSOR || type.kind == GEN_TENSORS; }

static size_t find(gen_kind kind) {
    size_t i = 0;
    while (c_types[i].kind != kind) i++;
    return i;
}

const char *emit_c_type(gen_type type) { return c_types[find(type.kind)].c_type; }
const char *emit_c_suffix(gen_type type) { return type.kind == GEN_PAIR ? "[2]" : ""; }

void emit_scalar_literal(const char *number, bool negative, FILE *out) {
    bool real = strpbrk(number, ".e") != NULL;
    fprintf(out, "td_scalar_%s(%s%s)", real ? "real" : "int", negative ? "-" : "", number);
}

const char *emit_upper(const char *name, char *text, size_t bytes) {
    size_t i = 0;
    for (; name[i] && i + 1 < bytes; i++) text[i] = (char)toupper((unsigned char)name[i]);
    text[i] = 0;
    return text;
}

static const char *scalar_preset(const char *preset, char *text, size_t bytes) {
    if (strpbrk(preset, ".e"))
        snprintf(text, bytes, "{TD_SCALAR_REAL, {.real = %s}}", preset);
    else
        snprintf(text, bytes, "{TD_SCALAR_INT, {%s}}", preset);
    return text;
}

static const char *word_preset(const char *prefix, const char *preset, char *text, size_t bytes) {
    char upper[32];
    if (!strcmp(preset, "ChannelsLast")) preset = "CHANNELS_LAST";
    snprintf(text, bytes, "%s%s", prefix, emit_upper(preset, upper, sizeof upper));
    return text;
}

const char *emit_preset(const gen_arg *arg, char *text, size_t bytes) {
    const char *preset = arg->preset;
    if (!preset || !strcmp(preset, "None")) {
        if (!preset || arg->type.optional) return c_types[find(arg->type.kind)].absent;
    }
    switch (arg->type.kind) {
    case GEN_SCALAR: return scalar_preset(preset, text, bytes);
    case GEN_BOOL: return strcmp(preset, "True") ? NULL : "true";
    case GEN_REDUCTION: return word_preset("TD_REDUCTION_", preset, text, bytes);
    case GEN_MEMORY_FORMAT: return word_preset("TD_MEMORY_FORMAT_", preset, text, bytes);
    case GEN_PAIR:
        if (*preset == '[' || !strcmp(preset, "0")) return NULL;
        snprintf(text, bytes, "{%s, %s}", preset, preset);
        return text;
    case GEN_INTS: return NULL;
    default: return strcmp(preset, "0") ? preset : NULL;
    }
}
