/* parts.h: prototypes of the C functions that rows name. */
#include "model/ops/gen/emit.h"

#include <string.h>

/* A part that several rows name is declared once; the compiler finds out when they do not agree. */
static bool named_before(const gen_file *file, const gen_row *row) {
    for (const gen_row *other = file->rows; other < row; other++)
        if (other->layout && other->body == row->body && !strcmp(other->layout->name, row->layout->name))
            return true;
    return false;
}

static void emit_layout_part(const gen_row *row, FILE *out) {
    fprintf(out, "td_status %s_%s(", row->body == GEN_VIEW ? "view" : "shape", row->layout->name);
    for (int i = 0; i < row->layout->count; i++) {
        const gen_arg *arg = gen_find_arg(row, row->layout->parts[i]->name);
        if (arg->type.kind == GEN_TENSOR)
            fprintf(out, "const td_tensor *%s, ", arg->name);
        else if (arg->type.kind == GEN_PAIR)
            fprintf(out, "const int64_t %s[2], ", arg->name);
        else if (arg->type.kind == GEN_INTS || arg->type.kind == GEN_TENSORS)
            fprintf(out, "const %s*%s, ", emit_c_type(arg->type), arg->name);
        else
            fprintf(out, "%s%s, ", emit_c_type(arg->type), arg->name);
    }
    fputs("td_layout *out);\n", out);
}

static void emit_helper(const gen_helper *helper, FILE *out) {
    if (helper->type.kind == GEN_TENSORS)
        fprintf(out, "td_status helper_%s(", helper->name);
    else
        fprintf(out, "%shelper_%s(", emit_c_type(helper->type), helper->name);
    for (int i = 0; i < helper->arg_count; i++)
        fprintf(out, "%s%s%s%s", i ? ", " : "", emit_c_type(helper->args[i].type), helper->args[i].name,
                emit_c_suffix(helper->args[i].type));
    fputs(helper->type.kind == GEN_TENSORS ? ", td_tensor **out);\n" : ");\n", out);
}

void emit_parts(const gen_file *file, FILE *out) {
    fputs("/*\n * GENERATED from model/ops/ops.def: what its rows name, to be written in model/ops. shape_ "
          "functions give\n"
          " * each result's layout (offset 0), view_ functions the view's layout in its argument's storage; "
          "both only\n"
          " * look, and fail with td_fail without the row's name, which is put before the text. composite_ "
          "functions\n"
          " * call operations, in a scope of their own. helper_ functions do so in a backward's scope; one "
          "that gives\n"
          " * several tensors fills out[0], out[1], ...\n */\n"
          "#ifndef TANDEM_MODEL_OPS_PARTS_H\n#define TANDEM_MODEL_OPS_PARTS_H\n\n"
          "#include \"model/ops/ops.h\"\n#include \"model/tensor/internal.h\"\n\n"
          "typedef struct td_longs td_longs;\n\n",
          out);
    for (int i = 0; i < file->row_count; i++) {
        const gen_row *row = &file->rows[i];
        if (row->layout && !named_before(file, row)) emit_layout_part(row, out);
        if (row->body == GEN_COMPOSITE)
            fprintf(out, "td_tensor *composite_%s(const td_%s_args *a);\n", row->c_name, row->stem);
    }
    fputs("\n", out);
    for (int i = 0; i < file->helper_count; i++) emit_helper(&file->helpers[i], out);
    fputs("\n#endif\n", out);
}
