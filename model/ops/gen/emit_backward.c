/* A row's node: its struct, its backward function made from the gradient expressions, and how it is filled.
 */
#include "model/ops/gen/emit.h"
#include "model/ops/gen/needs.h"

#include <string.h>

bool emit_records(const gen_row *row) {
    for (int i = 0; i < row->gradient_count; i++)
        if (!row->gradients[i].none) return true;
    return false;
}

int emit_edge_index(const gen_row *row, const char *arg) {
    int index = 0;
    for (int i = 0; strcmp(row->args[i].name, arg) != 0; i++) index += emit_is_tensor(row->args[i].type);
    return index;
}

int emit_edge_count(const gen_row *row) {
    int count = 0;
    for (int i = 0; i < row->arg_count; i++) count += emit_is_tensor(row->args[i].type);
    return count;
}

static bool has_list(const gen_row *row) {
    for (int i = 0; i < row->arg_count; i++)
        if (row->args[i].type.kind == GEN_TENSORS) return true;
    return false;
}

static bool mentions(const gen_expr *expr, const char *name) {
    if (expr->form == GEN_NAME && !strcmp(expr->name, name)) return true;
    for (int i = 0; i < expr->count; i++)
        if (mentions(expr->parts[i], name)) return true;
    return false;
}

unsigned emit_differentiable(const gen_row *row) {
    unsigned bits = 1;
    for (int r = 1; r < row->result_count; r++) {
        char name[80];
        snprintf(name, sizeof name, "grad_%s", row->results[r].name);
        for (int i = 0; i < row->gradient_count; i++)
            if (row->gradients[i].value && mentions(row->gradients[i].value, name)) bits |= 1u << r;
    }
    return bits;
}

/* --- expressions ----------------------------------------------------------------------------------- */

typedef struct writer {
    const gen_file *file;
    const gen_row *row;
    FILE *out;
} writer;

static void emit_expr(const writer *w, const gen_expr *expr, gen_type want);

static gen_type type_of(const writer *w, const gen_expr *expr) {
    gen_type type = {0};
    gen_fault fault;
    gen_type_of(w->file, w->row, expr, &type, &fault);
    return type;
}

static void emit_none(const writer *w, gen_type want) {
    switch (want.kind) {
    case GEN_TENSOR: fputs("NULL", w->out); return;
    case GEN_INT: fputs("TD_NONE", w->out); return;
    case GEN_INTS: fputs("TD_NO_INTS", w->out); return;
    case GEN_DTYPE: fputs("TD_DTYPE_NONE", w->out); return;
    default: fputs("(td_scalar){0}", w->out); return;
    }
}

static void emit_literal(const writer *w, const gen_expr *expr, bool negative, gen_type want) {
    if (!strcmp(expr->name, "none"))
        emit_none(w, want);
    else if (*expr->name > '9')
        fputs(strcmp(expr->name, "True") ? "false" : "true", w->out);
    else if (want.kind == GEN_SCALAR)
        emit_scalar_literal(expr->name, negative, w->out);
    else
        fprintf(w->out, "%s%s", negative ? "-" : "", expr->name);
}

/* An int or float where a Scalar is wanted is wrapped. */
static bool begin_wrap(const writer *w, gen_type type, gen_type want) {
    bool wraps = want.kind == GEN_SCALAR && (type.kind == GEN_INT || type.kind == GEN_FLOAT);
    if (wraps) fprintf(w->out, "td_scalar_%s(", type.kind == GEN_INT ? "int" : "real");
    return wraps;
}

static void emit_name(const writer *w, const gen_expr *expr, gen_type want) {
    const gen_arg *arg = gen_find_arg(w->row, expr->name);
    if (arg && !emit_is_tensor(arg->type)) {
        bool wraps = begin_wrap(w, arg->type, want);
        fprintf(w->out, "node->%s%s", expr->name, wraps ? ")" : "");
        return;
    }
    int grad = arg ? -1 : gen_grad_index(w->row, expr->name);
    if (grad >= 0)
        fprintf(w->out, "grads[%d]", grad);
    else
        fprintf(w->out, "%s", expr->name);
}

/* The first argument by position, since the macro needs one there, the others by name. */
static void emit_row_call(const writer *w, const gen_expr *expr, const gen_callee *callee) {
    fprintf(w->out, "td_%s(", expr->name);
    for (int i = 0; i < callee->arg_count; i++) {
        if (!callee->given[i]) continue;
        if (i) fprintf(w->out, ", .%s = ", callee->args[i].name);
        if (callee->args[i].type.kind == GEN_PAIR)
            fprintf(w->out, "{node->%s[0], node->%s[1]}", callee->given[i]->name, callee->given[i]->name);
        else
            emit_expr(w, callee->given[i], callee->args[i].type);
    }
    fputs(")", w->out);
    if (callee->row->result_count > 1) fprintf(w->out, ".%s", callee->row->results[0].name);
}

static void emit_call(const writer *w, const gen_expr *expr) {
    gen_callee callee;
    gen_fault fault;
    if (!gen_resolve(w->file, w->row, expr, &callee, &fault)) return;
    if (callee.kind == GEN_CALLEE_FACT) {
        fprintf(w->out, "node->%s_%s", expr->parts[0]->name, expr->name);
    } else if (callee.kind == GEN_CALLEE_ROW) {
        emit_row_call(w, expr, &callee);
    } else {
        fprintf(w->out, "helper_%s(", expr->name);
        for (int i = 0; i < callee.arg_count; i++) {
            if (i) fputs(", ", w->out);
            emit_expr(w, callee.given[i], callee.args[i].type);
        }
        if (callee.type.kind != GEN_TENSORS) fputs(")", w->out);
    }
}

static void emit_binary(const writer *w, const gen_expr *expr, gen_type want) {
    gen_type left = type_of(w, expr->parts[0]), right = type_of(w, expr->parts[1]);
    gen_type scalar = {GEN_SCALAR, false}, tensor = {GEN_TENSOR, false};
    const char *c_name = NULL;
    bool swap = false;
    gen_operator_row(*expr->name, left, right, &c_name, &swap);
    if (!c_name) {
        bool wraps = begin_wrap(w, type_of(w, expr), want);
        fputs("(", w->out);
        emit_expr(w, expr->parts[0], left);
        fprintf(w->out, " %s ", expr->name);
        emit_expr(w, expr->parts[1], right);
        fputs(wraps ? "))" : ")", w->out);
        return;
    }
    const gen_expr *first = expr->parts[swap], *second = expr->parts[!swap];
    bool by_argument = !strcmp(c_name, "mul_scalar") && second->form == GEN_NAME;
    fprintf(w->out, "%s%s(", by_argument ? "gradient_" : "td_", by_argument ? "scaled" : c_name);
    emit_expr(w, first, tensor);
    fputs(", ", w->out);
    emit_expr(w, second, (swap ? left : right).kind == GEN_TENSOR ? tensor : scalar);
    fputs(")", w->out);
}

static void emit_negated(const writer *w, const gen_expr *expr, gen_type want) {
    const gen_expr *part = expr->parts[0];
    if (part->form == GEN_LITERAL) {
        emit_literal(w, part, true, want);
        return;
    }
    bool tensor = type_of(w, part).kind == GEN_TENSOR;
    bool wraps = !tensor && begin_wrap(w, type_of(w, part), want);
    fputs(tensor ? "td_neg(" : "-(", w->out);
    emit_expr(w, part, type_of(w, part));
    fputs(wraps ? "))" : ")", w->out);
}

static void emit_expr(const writer *w, const gen_expr *expr, gen_type want) {
    switch (expr->form) {
    case GEN_NAME: emit_name(w, expr, want); return;
    case GEN_LITERAL: emit_literal(w, expr, false, want); return;
    case GEN_CALL: emit_call(w, expr); return;
    case GEN_NEGATE: emit_negated(w, expr, want); return;
    case GEN_BINARY: emit_binary(w, expr, want); return;
    case GEN_LIST:
        fputs(expr->count ? "TD_INTS(" : "(td_ints){0}", w->out);
        for (int i = 0; i < expr->count; i++) {
            if (i) fputs(", ", w->out);
            emit_expr(w, expr->parts[i], (gen_type){GEN_INT, false});
        }
        if (expr->count) fputs(")", w->out);
    }
}

/* --- the node -------------------------------------------------------------------------------------- */

static void emit_struct(const gen_row *row, const gen_needs *needs, FILE *out) {
    fprintf(out, "\ntypedef struct %s_node {\n    td_node node;\n    td_result_slot results[%d];\n",
            row->stem, row->result_count);
    if (!has_list(row)) fprintf(out, "    td_edge edges[%d];\n", emit_edge_count(row));
    if (needs->saved_count) fprintf(out, "    td_saved saved[%d];\n", needs->saved_count);
    for (int i = 0; i < needs->count; i++) {
        const gen_need *need = &needs->items[i];
        if (need->kind == GEN_NEED_VALUE)
            fprintf(out, "    %s%s%s;\n", emit_c_type(need->type), need->name, emit_c_suffix(need->type));
        if (need->kind == GEN_NEED_FACT)
            fprintf(out, "    %s%s_%s;\n", emit_c_type(need->type), need->name, need->fact->name);
    }
    fprintf(out, "} %s_node;\n", row->stem);
}

static void emit_gradient(const writer *w, const gen_gradient *gradient) {
    const gen_arg *arg = gen_find_arg(w->row, gradient->target);
    int edge = emit_edge_index(w->row, gradient->target);
    if (gradient->none || gradient->joint == 0) return;
    if (arg->type.kind == GEN_TENSORS || gradient->joint > 1) {
        for (int i = 0; gradient->joint > 1 && i < gradient->joint; i++)
            fprintf(w->out, "%sbase->edges[%d].node", i ? " || " : "    if (", edge + i);
        fputs(gradient->joint > 1 ? ")\n        TD_TRY(" : "    TD_TRY(", w->out);
        emit_expr(w, gradient->value, (gen_type){GEN_TENSORS, false});
        fprintf(w->out, ", out + %d));\n", edge);
        return;
    }
    fprintf(w->out,
            "    if (base->edges[%d].node) {\n        gradient_begins(base, %d);\n        out[%d] = ", edge,
            edge, edge);
    if (gradient->value)
        emit_expr(w, gradient->value, (gen_type){GEN_TENSOR, false});
    else
        fprintf(w->out, "gradient_zero(base, %d)", edge);
    fputs(";\n    }\n", w->out);
}

static void emit_backward(const writer *w, const gen_needs *needs) {
    const gen_row *row = w->row;
    fprintf(w->out,
            "\nstatic td_status %s_backward(td_node *base, td_tensor *const *grads, td_tensor **out) {\n",
            row->stem);
    if (needs->count > needs->saved_count)
        fprintf(w->out, "    const %s_node *node = (const %s_node *)base;\n", row->stem, row->stem);
    for (int i = 0; i < needs->count; i++) {
        const gen_need *need = &needs->items[i];
        if (need->saved < 0) continue;
        fprintf(w->out, "    td_tensor *%s = NULL;\n    TD_TRY(td_saved_get(base, %d, \"%s\", &%s));\n",
                need->name, need->saved, need->name, need->name);
    }
    fputs("    (void)grads;\n", w->out);
    for (int i = 0; i < row->gradient_count; i++) emit_gradient(w, &row->gradients[i]);
    fputs("    return td_gradient_status();\n}\n", w->out);
}

static bool emit_drop(const gen_row *row, const gen_needs *needs, FILE *out) {
    for (int i = 0; i < needs->count; i++) {
        const gen_need *need = &needs->items[i];
        if (need->type.kind != GEN_LONGS) continue;
        fprintf(out, "\nstatic void %s_drop(td_node *node) { td_free(((%s_node *)node)->%s_%s.at); }\n",
                row->stem, row->stem, need->name, need->fact->name);
        return true;
    }
    return false;
}

void emit_node(const gen_file *file, const gen_row *row, FILE *out) {
    gen_needs needs;
    gen_find_needs(file, row, &needs);
    writer w = {file, row, out};
    emit_struct(row, &needs, out);
    emit_backward(&w, &needs);
    bool drops = emit_drop(row, &needs, out);
    fprintf(
        out,
        "\nstatic const td_node_type %s_type = {\n    .name = \"%s\",\n    .backward = %s_backward,\n"
        "    .bytes = sizeof(%s_node),\n    .results = %d,\n    .results_at = offsetof(%s_node, results),\n",
        row->stem, row->c_name, row->stem, row->stem, row->result_count, row->stem);
    if (!has_list(row))
        fprintf(out, "    .edges = %d,\n    .edges_at = offsetof(%s_node, edges),\n", emit_edge_count(row),
                row->stem);
    if (needs.saved_count)
        fprintf(out, "    .saved = %d,\n    .saved_at = offsetof(%s_node, saved),\n", needs.saved_count,
                row->stem);
    /* What drop frees must be nothing until it is filled. */
    if (drops)
        fprintf(
            out,
            "    .drop = %s_drop,\n    .known_bytes = offsetof(%s_node, results) + sizeof(td_result_slot),\n",
            row->stem, row->stem);
    fputs("};\n", out);
}

/* --- filling it ------------------------------------------------------------------------------------ */

static void emit_fact(const gen_need *need, FILE *out) {
    if (need->type.kind == GEN_LONGS)
        fprintf(out, "    TD_TRY(td_longs_of(&a->%s, a->%s, &node->%s_%s));\n", need->name,
                need->fact->parts[1]->name, need->name, need->fact->name);
    else
        fprintf(out, "    node->%s_%s = td_tensor_%s(a->%s);\n", need->name, need->fact->name,
                need->fact->name, need->name);
}

static void emit_save(const gen_row *row, const gen_need *need, FILE *out) {
    switch (need->kind) {
    case GEN_NEED_ARGUMENT:
        fprintf(out, "    if (need & %uu) TD_TRY(td_call_save(call, %d, a->%s, %s));\n", need->gradients,
                need->saved, need->name,
                row->in_place && !strcmp(need->name, row->args[0].name) ? "call->form != TD_FORM_NEW"
                                                                        : "false");
        return;
    case GEN_NEED_VALUE:
        if (need->type.kind == GEN_PAIR)
            fprintf(out, "    memcpy(node->%s, a->%s, sizeof node->%s);\n", need->name, need->name,
                    need->name);
        else
            fprintf(out, "    node->%s = a->%s;\n", need->name, need->name);
        return;
    case GEN_NEED_FACT: emit_fact(need, out); return;
    case GEN_NEED_RESULT: return;
    }
}

void emit_save_arguments(const gen_file *file, const gen_row *row, FILE *out) {
    gen_needs needs;
    gen_find_needs(file, row, &needs);
    fprintf(out, "\nstatic td_status %s_save(td_call *call, const td_%s_args *a, unsigned need) {\n",
            row->stem, row->stem);
    if (has_list(row))
        fprintf(out, "    TD_TRY(td_call_node(call, &%s_type, (uint32_t)a->%s.count));\n", row->stem,
                row->args[0].name);
    else
        fprintf(out, "    TD_TRY(td_call_node(call, &%s_type, %d));\n", row->stem, emit_edge_count(row));
    if (needs.count > needs.saved_count)
        fprintf(out, "    %s_node *node = (%s_node *)call->node;\n", row->stem, row->stem);
    for (int i = 0; i < row->arg_count; i++) {
        const gen_arg *arg = &row->args[i];
        if (!emit_is_tensor(arg->type) || gen_find_gradient(row, arg->name)->none) continue;
        int edge = emit_edge_index(row, arg->name);
        if (arg->type.kind == GEN_TENSORS)
            fprintf(out, "    TD_TRY(td_call_link_all(call, %d, &a->%s));\n", edge, arg->name);
        else
            fprintf(out, "    if (need & %uu) TD_TRY(td_node_link(call->node, %d, a->%s));\n", 1u << edge,
                    edge, arg->name);
    }
    for (int i = 0; i < needs.count; i++) emit_save(row, &needs.items[i], out);
    fputs("    (void)need;\n    return TD_OK;\n}\n", out);
}

void emit_save_results(const gen_file *file, const gen_row *row, FILE *out) {
    gen_needs needs;
    gen_find_needs(file, row, &needs);
    for (int i = 0; i < needs.count; i++) {
        const gen_need *need = &needs.items[i];
        if (need->kind != GEN_NEED_RESULT) continue;
        int index = gen_result_index(row, need->name);
        fprintf(out,
                "    if (status >= 0 && (need & %uu))\n        status = "
                "td_saved_put(td_node_saved(call.node) + %d, "
                "call.out[%d], true, %d);\n",
                need->gradients, need->saved, index, index);
    }
}
