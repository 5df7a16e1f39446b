/* ops.md: the table for people. */
#include "model/ops/gen/emit.h"

static void emit_forms(const gen_row *row, FILE *out) {
    if (row->in_place) fprintf(out, " `td_%s_`", row->c_name);
    if (row->body == GEN_RESULT && row->result_count == 1) fprintf(out, " `td_%s_out`", row->c_name);
}

static const char *gradient_word(const gen_row *row) {
    return row->no_grad ? "no" : row->body == GEN_COMPOSITE ? "its parts'" : "yes";
}

void emit_docs(const gen_file *file, FILE *out) {
    fputs("# Operations\n\nGenerated from `model/ops/ops.def`. Signatures are ATen's; in C, "
          "`td_conv2d(x, w, b, .stride = {2, 2})`.\n",
          out);
    for (int i = 0; i < file->row_count; i++) {
        const gen_row *row = &file->rows[i];
        if (row->section)
            fprintf(out,
                    "\n## %s\n\n| in C | signature | what | other forms | effects | gradient "
                    "|\n|---|---|---|---|---|---|\n",
                    row->section);
        fprintf(out, "| `td_%s` | `%s` | %s |", row->c_name, row->signature, row->doc);
        emit_forms(row, out);
        fprintf(out, " |%s%s%s%s%s | %s |\n", row->alias ? " view" : "", row->write ? " writes" : "",
                row->random ? " random" : "", row->sync ? " sync" : "", row->update ? " update" : "",
                gradient_word(row));
    }
}
