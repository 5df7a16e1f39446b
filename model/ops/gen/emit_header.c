/* ops.h: enumerators, argument structs, functions and macros. */
#include "model/ops/gen/emit.h"

#include <string.h>

static const char opening[] =
    "/*\n"
    " * Operations on tensors. GENERATED from model/ops/ops.def; that file says what each does. Central "
    "object: the\n"
    " * macro td_<operation>: arguments in signature order, then by name over PyTorch's defaults, as in\n"
    " *\n"
    " *     td_tensor *y = td_conv2d(x, w, b, .stride = {2, 2});\n"
    " *     td_tensor *m = td_mean(td_relu(y), .dim = TD_INTS(2, 3), .keepdim = true);\n"
    " *     td_add_(total, m);\n"
    " *\n"
    " * Results are owned by the current scope (model/tensor/scope.h); NULL after marking it on failure:\n"
    " * TD_ERR_ARG (sizes, dtypes, a missing argument), TD_ERR_MEMORY, TD_ERR_STATE (no scope is open; an "
    "in-place\n"
    " * write that autograd forbids). Two results come as a struct. td_<operation>_ writes into its first "
    "argument\n"
    " * and returns it; td_<operation>_out(out, ...) writes into `out`, which has the result's sizes and "
    "dtype and\n"
    " * takes no part in gradients. C++ and bindings call td_<operation>_call with the struct, whose "
    "defaults\n"
    " * td_op_describe has (model/ops/value.h). Only the thread that has the context may call.\n"
    " */\n"
    "#ifndef TANDEM_MODEL_OPS_OPS_H\n"
    "#define TANDEM_MODEL_OPS_OPS_H\n\n"
    "#include \"model/ops/types.h\"\n\n"
    "TD_BEGIN_DECLS\n\n";

static void emit_enum(const gen_file *file, FILE *out) {
    char upper[64];
    fputs("typedef enum td_op {\n", out);
    for (int i = 0; i < file->row_count; i++)
        fprintf(out, "    TD_OP_%s,\n", emit_upper(file->rows[i].c_name, upper, sizeof upper));
    fputs(
        "    TD_OP_COUNT,\n    TD_OP_INPLACE = 4096 /* added to an operation's number: its in-place form */\n"
        "} td_op;\n",
        out);
}

static void emit_struct(const gen_row *row, FILE *out) {
    fprintf(out, "typedef struct td_%s_args {\n", row->stem);
    for (int i = 0; i < row->arg_count; i++)
        fprintf(out, "    %s%s%s;\n", emit_c_type(row->args[i].type), row->args[i].name,
                emit_c_suffix(row->args[i].type));
    fprintf(out, "} td_%s_args;\n", row->stem);
    if (row->result_count == 1) return;
    fprintf(out, "typedef struct td_%s_result {\n    td_tensor ", row->stem);
    for (int i = 0; i < row->result_count; i++)
        fprintf(out, "*%s%s", row->results[i].name, i + 1 < row->result_count ? ", " : ";\n");
    fprintf(out, "} td_%s_result;\n", row->stem);
}

/* `#define td_<name>(...) TD_INVOKE(td_<call>, defaults, .first = __VA_ARGS__)`. */
static void emit_macro(const gen_row *row, FILE *out) {
    char text[96];
    fprintf(out, "#define td_%s(...) TD_INVOKE(td_%s, ", row->c_name, row->stem);
    for (int i = 0; i < row->arg_count; i++) {
        const char *preset = emit_preset(&row->args[i], text, sizeof text);
        if (preset) fprintf(out, ".%s = %s, ", row->args[i].name, preset);
    }
    fprintf(out, ".%s = __VA_ARGS__)\n", row->args[0].name);
}

/* The in-place macro builds the same struct as the functional one. */
static void emit_derived(const gen_row *row, FILE *out) {
    char text[96];
    const char *const names[] = {"_", "_out"};
    const char *const invokes[] = {"TD_INVOKE_IN_PLACE(", "TD_INVOKE_OUT(destination, "};
    for (int form = row->in_place ? 0 : 1; form < 2; form++) {
        fprintf(out, "#define td_%s%s(%s...) %std_%s, ", row->c_name, names[form],
                form ? "destination, " : "", invokes[form], row->stem);
        for (int i = 0; i < row->arg_count; i++) {
            const char *preset = emit_preset(&row->args[i], text, sizeof text);
            if (preset) fprintf(out, ".%s = %s, ", row->args[i].name, preset);
        }
        fprintf(out, ".%s = __VA_ARGS__)\n", row->args[0].name);
    }
}

static void emit_row(const gen_row *row, FILE *out) {
    if (row->section) fprintf(out, "\n/* --- %s */\n", row->section);
    fprintf(out, "\n/* %s\n * %s */\n", row->signature, row->doc);
    emit_struct(row, out);
    if (row->result_count == 1)
        fprintf(out, "TD_API td_tensor *td_%s_call(td_%s_args args);\n", row->stem, row->stem);
    else
        fprintf(out, "TD_API td_%s_result td_%s_call(td_%s_args args);\n", row->stem, row->stem, row->stem);
    bool has_out = row->body == GEN_RESULT && row->result_count == 1;
    if (row->in_place)
        fprintf(out, "TD_API td_tensor *td_%s_call_in_place(td_%s_args args);\n", row->stem, row->stem);
    if (has_out)
        fprintf(out, "TD_API td_tensor *td_%s_call_out(td_tensor *destination, td_%s_args args);\n",
                row->stem, row->stem);
    emit_macro(row, out);
    if (has_out) emit_derived(row, out);
}

void emit_header(const gen_file *file, FILE *out) {
    fputs(opening, out);
    emit_enum(file, out);
    for (int i = 0; i < file->row_count; i++) emit_row(&file->rows[i], out);
    fputs("\nTD_END_DECLS\n\n#endif\n", out);
}
