/* ops.c: each row's function, from its arguments to its results, and the typed functions around it. */
#include "model/ops/gen/emit.h"

#include <string.h>

static const char opening[] =
    "/* GENERATED from model/ops/ops.def: what happens in a call of each operation. */\n"
    "#include \"base/memory.h\"\n#include \"model/ops/dispatch.h\"\n\n"
    "#include <string.h>\n";

static void emit_argument_checks(const gen_row *row, FILE *out) {
    for (int i = 0; i < row->arg_count; i++) {
        const gen_arg *arg = &row->args[i];
        const char *name = arg->name;
        bool required = !arg->type.optional && !arg->preset;
        char test[96] = "";
        switch (arg->type.kind) {
        case GEN_TENSOR: snprintf(test, sizeof test, "!a->%s", name); break;
        case GEN_TENSORS: snprintf(test, sizeof test, "!td_tensors_given(&a->%s)", name); break;
        case GEN_SCALAR: snprintf(test, sizeof test, "a->%s.kind == TD_SCALAR_NONE", name); break;
        case GEN_INT: snprintf(test, sizeof test, "a->%s == TD_NONE", name); break;
        case GEN_INTS: snprintf(test, sizeof test, "!td_ints_given(&a->%s)", name); break;
        default: break;
        }
        if (arg->type.kind == GEN_INTS && !required) {
            snprintf(test, sizeof test, "!td_ints_valid(&a->%s)", name);
            required = true;
        }
        if (*test && required)
            fprintf(out, "    if (%s) return td_call_missing(&call, \"%s\");\n", test, name);
    }
}

static void emit_layout(const gen_row *row, FILE *out) {
    fprintf(out, "    td_layout layouts[%d];\n    td_status status = %s_%s(", row->result_count,
            row->body == GEN_VIEW ? "view" : "shape", row->layout->name);
    for (int i = 0; i < row->layout->count; i++) {
        const gen_arg *arg = gen_find_arg(row, row->layout->parts[i]->name);
        bool by_address = arg->type.kind == GEN_INTS || arg->type.kind == GEN_TENSORS;
        fprintf(out, "%sa->%s, ", by_address ? "&" : "", arg->name);
    }
    fputs("layouts);\n", out);
}

static void emit_need(const gen_row *row, FILE *out) {
    fputs("    unsigned need = 0;\n    if (call.records) need = 0u", out);
    for (int i = 0; i < row->arg_count; i++) {
        const gen_arg *arg = &row->args[i];
        if (!emit_is_tensor(arg->type) || gen_find_gradient(row, arg->name)->none) continue;
        fprintf(out, " | (unsigned)td_call_needs%s(%sa->%s) << %d",
                arg->type.kind == GEN_TENSORS ? "_any" : "", arg->type.kind == GEN_TENSORS ? "&" : "",
                arg->name, emit_edge_index(row, arg->name));
    }
    fputs(";\n", out);
}

/* A write's arguments are looked at for overlap with what is written. */
static void emit_check_write(const gen_row *row, const char *layout, const char *need, FILE *out) {
    fprintf(out, "td_call_check_write(&call, %s, a->%s, (td_tensor *const[]){", layout, row->args[0].name);
    int count = 0;
    for (int i = 0; i < row->arg_count; i++)
        if (row->args[i].type.kind == GEN_TENSOR)
            fprintf(out, "%sa->%s", count++ ? ", " : "", row->args[i].name);
    fprintf(out, "}, %d, %s)", count, need);
}

static void emit_place(const gen_row *row, const char *need, FILE *out) {
    if (row->body == GEN_WRITE) {
        fputs("    td_status status = ", out);
        emit_check_write(row, "NULL", need, out);
    } else if (row->body == GEN_VIEW) {
        fprintf(out, "    if (status >= 0) status = td_call_view(&call, a->%s, layouts, %s)",
                row->args[0].name, row->no_grad ? "false" : "true");
    } else if (row->result_count == 1 && row->arg_count && row->args[0].type.kind == GEN_TENSOR) {
        fputs("    if (status >= 0)\n        status = form == TD_FORM_NEW ? td_call_allocate(&call, layouts, "
              "1)\n"
              "                                     : ",
              out);
        emit_check_write(row, "layouts", need, out);
    } else {
        fprintf(out, "    if (status >= 0) status = td_call_allocate(&call, layouts, %d)", row->result_count);
    }
    fputs(";\n", out);
}

static void emit_body(const gen_file *file, const gen_row *row, FILE *out) {
    bool records = emit_records(row);
    if (row->layout) emit_layout(row, out);
    if (records) emit_need(row, out);
    emit_place(row, records ? "need != 0" : "false", out);
    if (records) fprintf(out, "    if (status >= 0 && need) status = %s_save(&call, a, need);\n", row->stem);
    if (row->body != GEN_VIEW) fputs("    if (status >= 0) status = td_call_kernel(&call, a);\n", out);
    if (records) emit_save_results(file, row, out);
    fprintf(
        out,
        "    if (status < 0) return td_call_failed(&call, status);\n    return td_call_end(&call, %uu);\n",
        records ? emit_differentiable(row) : 0u);
}

static void emit_run(const gen_file *file, const gen_row *row, FILE *out) {
    char upper[64];
    fprintf(out, "\nstatic td_status %s_run(const void *args, td_form form, td_tensor **out) {\n", row->stem);
    fprintf(out, "    const td_%s_args *a = args;\n    td_call call;\n", row->stem);
    if (row->body == GEN_WRITE) fputs("    form = TD_FORM_IN_PLACE;\n", out);
    fprintf(out, "    if (!td_call_begin(&call, TD_OP_%s, form, out)) return call.status;\n",
            emit_upper(row->c_name, upper, sizeof upper));
    emit_argument_checks(row, out);
    if (row->body == GEN_COMPOSITE)
        fprintf(out,
                "    td_scope *scope = td_scope_open(call.context);\n"
                "    return td_call_composite(&call, scope, scope ? composite_%s(a) : NULL);\n",
                row->c_name);
    else
        emit_body(file, row, out);
    fputs("}\n", out);
}

static void emit_typed(const gen_row *row, FILE *out) {
    const char *s = row->stem;
    if (row->result_count == 1) {
        fprintf(out,
                "\ntd_tensor *td_%s_call(td_%s_args args) {\n    td_tensor *out = NULL;\n"
                "    return %s_run(&args, TD_FORM_NEW, &out) < 0 ? NULL : out;\n}\n",
                s, s, s);
    } else {
        fprintf(out,
                "\ntd_%s_result td_%s_call(td_%s_args args) {\n    td_tensor *out[%d] = {NULL};\n"
                "    if (%s_run(&args, TD_FORM_NEW, out) < 0) return (td_%s_result){NULL};\n    return "
                "(td_%s_result){",
                s, s, s, row->result_count, s, s, s);
        for (int i = 0; i < row->result_count; i++) fprintf(out, "%sout[%d]", i ? ", " : "", i);
        fputs("};\n}\n", out);
    }
    if (row->in_place)
        fprintf(out,
                "\ntd_tensor *td_%s_call_in_place(td_%s_args args) {\n    td_tensor *out = NULL;\n"
                "    return %s_run(&args, TD_FORM_IN_PLACE, &out) < 0 ? NULL : out;\n}\n",
                s, s, s);
    if (row->body == GEN_RESULT && row->result_count == 1)
        fprintf(out,
                "\ntd_tensor *td_%s_call_out(td_tensor *destination, td_%s_args args) {\n"
                "    return %s_run(&args, TD_FORM_OUT, &destination) < 0 ? NULL : destination;\n}\n",
                s, s, s);
}

void emit_calls(const gen_file *file, FILE *out) {
    fputs(opening, out);
    for (int i = 0; i < file->row_count; i++) {
        const gen_row *row = &file->rows[i];
        if (emit_records(row)) {
            emit_node(file, row, out);
            emit_save_arguments(file, row, out);
        }
        emit_run(file, row, out);
        emit_typed(row, out);
    }
    fputs("\ntd_op_run *const td_op_runs[TD_OP_COUNT] = {\n", out);
    for (int i = 0; i < file->row_count; i++) {
        char upper[64];
        fprintf(out, "    [TD_OP_%s] = %s_run,\n", emit_upper(file->rows[i].c_name, upper, sizeof upper),
                file->rows[i].stem);
    }
    fputs("};\n", out);
}
