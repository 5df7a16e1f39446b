/* Walks the gradient expressions of a row and notes what they mention, once each. */
#include "model/ops/gen/needs.h"

#include "model/ops/gen/emit.h"

#include <string.h>

static void note(gen_needs *needs, gen_need need) {
    for (int i = 0; i < needs->count; i++) {
        gen_need *known = &needs->items[i];
        if (known->kind != need.kind || strcmp(known->name, need.name) != 0) continue;
        if (need.fact && strcmp(known->fact->name, need.fact->name) != 0) continue;
        known->gradients |= need.gradients;
        return;
    }
    need.saved = need.kind <= GEN_NEED_RESULT ? needs->saved_count++ : -1;
    needs->items[needs->count++] = need;
}

static void walk(const gen_file *file, const gen_row *row, const gen_expr *expr, unsigned gradient,
                 gen_needs *needs) {
    gen_fault fault;
    gen_callee callee;
    if (expr->form == GEN_CALL && gen_resolve(file, row, expr, &callee, &fault) &&
        callee.kind == GEN_CALLEE_FACT) {
        note(needs, (gen_need){GEN_NEED_FACT, expr->parts[0]->name, expr, callee.type, gradient, -1});
        return;
    }
    const gen_arg *arg = expr->form == GEN_NAME ? gen_find_arg(row, expr->name) : NULL;
    if (arg) {
        gen_need_kind kind = emit_is_tensor(arg->type) ? GEN_NEED_ARGUMENT : GEN_NEED_VALUE;
        note(needs, (gen_need){kind, arg->name, NULL, arg->type, gradient, -1});
    } else if (expr->form == GEN_NAME && gen_result_index(row, expr->name) >= 0) {
        note(needs, (gen_need){GEN_NEED_RESULT, expr->name, NULL, {GEN_TENSOR, false}, gradient, -1});
    }
    for (int i = 0; i < expr->count; i++) walk(file, row, expr->parts[i], gradient, needs);
}

void gen_find_needs(const gen_file *file, const gen_row *row, gen_needs *needs) {
    *needs = (gen_needs){0};
    for (int i = 0; i < row->gradient_count; i++) {
        const gen_gradient *gradient = &row->gradients[i];
        if (gradient->value)
            walk(file, row, gradient->value, 1u << emit_edge_index(row, gradient->target), needs);
    }
}
