/* info.c: the rows as data, for td_op_describe. */
#include "model/ops/gen/emit.h"

static const char *kind_constant(gen_kind kind) {
    switch (kind) {
    case GEN_TENSOR: return "TENSOR";
    case GEN_TENSORS: return "TENSORS";
    case GEN_SCALAR: return "SCALAR";
    case GEN_INT: return "INT";
    case GEN_INTS: return "INTS";
    case GEN_PAIR: return "PAIR";
    case GEN_FLOAT: return "FLOAT";
    case GEN_BOOL: return "BOOL";
    case GEN_DTYPE: return "DTYPE";
    case GEN_MEMORY_FORMAT: return "MEMORY_FORMAT";
    default: return "REDUCTION";
    }
}

static bool has_gradient(const gen_row *row, const gen_arg *arg) {
    const gen_gradient *gradient = gen_find_gradient(row, arg->name);
    return gradient && !gradient->none;
}

static void emit_args(const gen_row *row, FILE *out) {
    fprintf(out, "\nstatic const td_op_arg %s_args[] = {\n", row->stem);
    for (int i = 0; i < row->arg_count; i++) {
        const gen_arg *arg = &row->args[i];
        fprintf(out, "    {\"%s\", TD_VALUE_%s, %d, %d, %d, %d, offsetof(td_%s_args, %s)},\n", arg->name,
                kind_constant(arg->type.kind), arg->type.optional, arg->preset != NULL, arg->keyword_only,
                has_gradient(row, arg), row->stem, arg->name);
    }
    fprintf(out, "};\nstatic const td_%s_args %s_defaults = {", row->stem, row->stem);
    int given = 0;
    for (int i = 0; i < row->arg_count; i++) {
        char text[96];
        const char *preset = emit_preset(&row->args[i], text, sizeof text);
        if (preset) fprintf(out, "%s.%s = %s", given++ ? ", " : "", row->args[i].name, preset);
    }
    fputs(given ? "};\n" : "0};\n", out);
}

static void emit_row(const gen_row *row, FILE *out) {
    char upper[64];
    fprintf(
        out,
        "    [TD_OP_%s] = {\n        .name = \"%s\",\n        .doc = \"%s\",\n        .signature = \"%s\",\n"
        "        .arg_count = %d,\n        .args = %s_args,\n        .result_count = %d,\n        .results = "
        "{",
        emit_upper(row->c_name, upper, sizeof upper), row->c_name, row->doc, row->signature, row->arg_count,
        row->stem, row->result_count);
    for (int i = 0; i < row->result_count; i++) fprintf(out, "%s\"%s\"", i ? ", " : "", row->results[i].name);
    fprintf(out, "},\n        .effects = 0%s%s%s%s%s,\n", row->alias ? " | TD_EFFECT_ALIAS" : "",
            row->write ? " | TD_EFFECT_WRITE" : "", row->random ? " | TD_EFFECT_RANDOM" : "",
            row->sync ? " | TD_EFFECT_SYNC" : "", row->update ? " | TD_EFFECT_UPDATE" : "");
    fprintf(out,
            "        .composite = %d,\n        .view = %d,\n        .in_place = %d,\n        .differentiable "
            "= %d,\n"
            "        .args_size = sizeof(td_%s_args),\n        .defaults = &%s_defaults,\n    },\n",
            row->body == GEN_COMPOSITE, row->body == GEN_VIEW, row->in_place,
            row->body == GEN_COMPOSITE || emit_records(row), row->stem, row->stem);
}

void emit_info(const gen_file *file, FILE *out) {
    fputs("/* GENERATED from model/ops/ops.def: the operations as data. */\n#include \"model/ops/value.h\"\n",
          out);
    for (int i = 0; i < file->row_count; i++) emit_args(&file->rows[i], out);
    fputs("\nstatic const td_op_info rows[TD_OP_COUNT] = {\n", out);
    for (int i = 0; i < file->row_count; i++) emit_row(&file->rows[i], out);
    fputs("};\n\nconst td_op_info *td_op_describe(td_op op) {\n"
          "    return (unsigned)op < TD_OP_COUNT ? &rows[op] : NULL;\n}\n",
          out);
}
