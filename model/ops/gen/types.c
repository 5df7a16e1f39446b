/* Expressions have few types: tensors, numbers and lists. Operators choose a row by their operands' types. */
#include "model/ops/gen/types.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool gen_complain(gen_fault *fault, gen_place at, const char *format, ...) {
    fault->at = at;
    va_list args;
    va_start(args, format);
    vsnprintf(fault->text, sizeof fault->text, format, args);
    va_end(args);
    return false;
}

int gen_result_index(const gen_row *row, const char *name) {
    for (int i = 0; i < row->result_count; i++)
        if (!strcmp(row->results[i].name, name)) return i;
    return -1;
}

int gen_grad_index(const gen_row *row, const char *name) {
    if (!strcmp(name, "grad")) return 0;
    return strncmp(name, "grad_", 5) || gen_find_arg(row, name) ? -1 : gen_result_index(row, name + 5);
}

static bool is_number(gen_type type) {
    return type.kind == GEN_NUMBER || type.kind == GEN_INT || type.kind == GEN_FLOAT ||
           type.kind == GEN_SCALAR;
}

bool gen_type_fits(gen_type from, gen_type to) {
    if (from.optional && !to.optional) return false;
    if (from.kind == to.kind) return true;
    if (from.kind == GEN_NONE) return to.optional;
    if (from.kind == GEN_NUMBER) return to.kind == GEN_INT || to.kind == GEN_FLOAT || to.kind == GEN_SCALAR;
    return (from.kind == GEN_INT || from.kind == GEN_FLOAT) && to.kind == GEN_SCALAR;
}

bool gen_operator_row(char sign, gen_type left, gen_type right, const char **c_name, bool *swap) {
    *swap = false;
    *c_name = NULL;
    bool tensors[2] = {left.kind == GEN_TENSOR, right.kind == GEN_TENSOR};
    if (!tensors[0] && !tensors[1])
        return is_number(left) && is_number(right) && left.kind != GEN_SCALAR && right.kind != GEN_SCALAR;
    if (tensors[0] && tensors[1]) {
        *c_name = sign == '+' ? "add" : sign == '-' ? "sub" : sign == '*' ? "mul" : "div";
        return true;
    }
    if (!is_number(tensors[0] ? right : left)) return false;
    *swap = tensors[1];
    if (sign == '-') *c_name = *swap ? "rsub_scalar" : "sub_scalar";
    if (sign == '+') *c_name = "add_scalar";
    if (sign == '*') *c_name = "mul_scalar";
    if (sign == '/' && !*swap) *c_name = "div_scalar";
    return *c_name != NULL;
}

/* sizes(x), dtype(x) and so on, whose argument must be one of the row's tensors by name. */
static const struct {
    const char *name;
    gen_arg args[2];
    int arg_count;
    gen_kind kind;
} facts[] = {
    {"sizes", {{.type = {GEN_TENSOR, false}, .name = "x"}}, 1, GEN_INTS},
    {"strides", {{.type = {GEN_TENSOR, false}, .name = "x"}}, 1, GEN_INTS},
    {"offset", {{.type = {GEN_TENSOR, false}, .name = "x"}}, 1, GEN_INT},
    {"dtype", {{.type = {GEN_TENSOR, false}, .name = "x"}}, 1, GEN_DTYPE},
    {"lengths",
     {{.type = {GEN_TENSORS, false}, .name = "x"}, {.type = {GEN_INT, false}, .name = "dim"}},
     2,
     GEN_LONGS},
};

static bool find_callee(const gen_file *file, const gen_expr *call, gen_callee *callee) {
    *callee = (gen_callee){0};
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        if (!strcmp(facts[i].name, call->name)) {
            callee->kind = GEN_CALLEE_FACT;
            callee->arg_count = facts[i].arg_count;
            callee->args = facts[i].args;
            callee->type = (gen_type){facts[i].kind, false};
            return true;
        }
    if ((callee->helper = gen_find_helper(file, call->name))) {
        callee->kind = GEN_CALLEE_HELPER;
        callee->arg_count = callee->helper->arg_count;
        callee->args = callee->helper->args;
        callee->type = callee->helper->type;
        return true;
    }
    if (!(callee->row = gen_find_row(file, call->name))) return false;
    callee->kind = GEN_CALLEE_ROW;
    callee->arg_count = callee->row->arg_count;
    callee->args = callee->row->args;
    callee->type = callee->row->results[0].type;
    return true;
}

/* Which argument the part number `i` of a call is given to; -1 for none. */
static int place_of(const gen_callee *callee, const gen_expr *call, int i) {
    if (!call->keywords[i]) return i < callee->arg_count && !callee->args[i].keyword_only ? i : -1;
    for (int k = 0; k < callee->arg_count; k++)
        if (!strcmp(callee->args[k].name, call->keywords[i])) return k;
    return -1;
}

bool gen_resolve(const gen_file *file, const gen_row *row, const gen_expr *call, gen_callee *callee,
                 gen_fault *fault) {
    if (!find_callee(file, call, callee))
        return gen_complain(fault, call->at, "%s: there is no row or helper '%s'", row->c_name, call->name);
    for (int i = 0; i < call->count; i++) {
        int k = place_of(callee, call, i);
        const gen_expr *part = call->parts[i];
        if (k < 0 || callee->given[k])
            return gen_complain(fault, part->at, "%s: '%s' takes no such argument", row->c_name, call->name);
        callee->given[k] = part;
        gen_type type;
        if (!gen_type_of(file, row, part, &type, fault)) return false;
        if (!gen_type_fits(type, callee->args[k].type))
            return gen_complain(fault, part->at, "%s: '%s' wants %s for %s, not %s%s", row->c_name,
                                call->name, gen_kind_name(callee->args[k].type.kind), callee->args[k].name,
                                gen_kind_name(type.kind), type.optional ? "?" : "");
    }
    for (int k = 0; k < callee->arg_count; k++)
        if (!callee->given[k] && !callee->args[k].preset)
            return gen_complain(fault, call->at, "%s: '%s' lacks its argument %s", row->c_name, call->name,
                                callee->args[k].name);
    if (callee->kind == GEN_CALLEE_FACT &&
        (callee->given[0]->form != GEN_NAME || !gen_find_arg(row, callee->given[0]->name)))
        return gen_complain(fault, call->at, "%s: %s() is asked of an argument", row->c_name, call->name);
    return true;
}

static bool type_of_name(const gen_row *row, const gen_expr *expr, gen_type *type, gen_fault *fault) {
    const gen_arg *arg = gen_find_arg(row, expr->name);
    if (arg) {
        *type = arg->type;
        return true;
    }
    *type = (gen_type){GEN_TENSOR, false};
    if (gen_result_index(row, expr->name) >= 0 || gen_grad_index(row, expr->name) >= 0) return true;
    return gen_complain(fault, expr->at, "%s: '%s' is no argument and no result", row->c_name, expr->name);
}

static bool type_of_list(const gen_file *file, const gen_row *row, const gen_expr *expr, gen_fault *fault) {
    for (int i = 0; i < expr->count; i++) {
        gen_type part;
        if (!gen_type_of(file, row, expr->parts[i], &part, fault)) return false;
        if (!gen_type_fits(part, (gen_type){GEN_INT, false}))
            return gen_complain(fault, expr->parts[i]->at, "%s: lists hold integers", row->c_name);
    }
    return true;
}

static bool type_of_operator(const gen_file *file, const gen_row *row, const gen_expr *expr, gen_type *type,
                             gen_fault *fault) {
    gen_type parts[2];
    for (int i = 0; i < expr->count; i++)
        if (!gen_type_of(file, row, expr->parts[i], &parts[i], fault)) return false;
    if (expr->form == GEN_NEGATE) {
        *type = parts[0];
        return parts[0].kind == GEN_TENSOR || (is_number(parts[0]) && parts[0].kind != GEN_SCALAR) ||
               gen_complain(fault, expr->at, "%s: %s has no minus", row->c_name, gen_kind_name(type->kind));
    }
    const char *c_name;
    bool swap;
    if (parts[0].optional || parts[1].optional ||
        !gen_operator_row(*expr->name, parts[0], parts[1], &c_name, &swap))
        return gen_complain(fault, expr->at, "%s: there is no %s %s %s", row->c_name,
                            gen_kind_name(parts[0].kind), expr->name, gen_kind_name(parts[1].kind));
    *type = c_name ? (gen_type){GEN_TENSOR, false} : parts[parts[0].kind == GEN_NUMBER];
    return true;
}

bool gen_type_of(const gen_file *file, const gen_row *row, const gen_expr *expr, gen_type *type,
                 gen_fault *fault) {
    gen_callee callee;
    switch (expr->form) {
    case GEN_NAME: return type_of_name(row, expr, type, fault);
    case GEN_LITERAL:
        type->optional = false;
        type->kind = !strcmp(expr->name, "none") ? GEN_NONE : *expr->name <= '9' ? GEN_NUMBER : GEN_BOOL;
        return true;
    case GEN_LIST: *type = (gen_type){GEN_INTS, false}; return type_of_list(file, row, expr, fault);
    case GEN_CALL:
        if (!gen_resolve(file, row, expr, &callee, fault)) return false;
        *type = callee.type;
        return true;
    default: return type_of_operator(file, row, expr, type, fault);
    }
}
