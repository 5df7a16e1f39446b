/* What a row must say, and that what it says fits together. */
#include "model/ops/gen/types.h"

#include <ctype.h>
#include <string.h>

static bool is_tensor(gen_type type) { return type.kind == GEN_TENSOR || type.kind == GEN_TENSORS; }

static bool is_numeral(const char *text) { return isdigit((unsigned char)text[text[0] == '-']); }

static bool is_one_of(const char *text, const char *const *words) {
    while (*words && strcmp(*words, text) != 0) words++;
    return *words != NULL;
}

static bool preset_fits(const gen_arg *arg) {
    static const char *const booleans[] = {"True", "False", NULL};
    static const char *const reductions[] = {"None", "Mean", "Sum", NULL};
    static const char *const formats[] = {"Contiguous", "ChannelsLast", "Preserve", NULL};
    const char *preset = arg->preset;
    if (arg->type.optional && !strcmp(preset, "None")) return true;
    switch (arg->type.kind) {
    case GEN_SCALAR:
    case GEN_FLOAT: return is_numeral(preset);
    case GEN_INT: return is_numeral(preset) && !strpbrk(preset, ".e");
    case GEN_PAIR: return is_numeral(preset) || !strcmp(preset, "[]");
    case GEN_INTS: return !strcmp(preset, "[]");
    case GEN_BOOL: return is_one_of(preset, booleans);
    case GEN_REDUCTION: return is_one_of(preset, reductions);
    case GEN_MEMORY_FORMAT: return is_one_of(preset, formats);
    default: return false;
    }
}

static bool check_args(const char *owner, const gen_arg *args, int count, gen_fault *fault) {
    if (count > GEN_MAX_ARGS) return gen_complain(fault, args[0].at, "%s: too many arguments", owner);
    for (int i = 0; i < count; i++) {
        const gen_arg *arg = &args[i];
        for (int k = 0; k < i; k++)
            if (!strcmp(args[k].name, arg->name))
                return gen_complain(fault, arg->at, "%s: two arguments are called %s", owner, arg->name);
        if (arg->preset && !preset_fits(arg))
            return gen_complain(fault, arg->at, "%s: %s is no default for %s %s", owner, arg->preset,
                                gen_kind_name(arg->type.kind), arg->name);
        if (i && args[i - 1].preset && !arg->preset && !arg->keyword_only)
            return gen_complain(fault, arg->at, "%s: %s has no default but follows one that has", owner,
                                arg->name);
    }
    return true;
}

static bool check_effects(const gen_row *row, gen_fault *fault) {
    bool others = row->alias || row->write || row->random || row->sync || row->update;
    if (!row->pure && !others)
        return gen_complain(fault, row->at, "%s: no effect; write pure, alias, write, random, sync or update",
                            row->c_name);
    if (row->pure && others) return gen_complain(fault, row->at, "%s: pure and an effect too", row->c_name);
    const char *target = row->alias ? row->alias : row->write;
    bool first = row->arg_count && row->args[0].type.kind == GEN_TENSOR && !row->args[0].type.optional;
    if ((target || row->in_place) && !first)
        return gen_complain(fault, row->at, "%s: its first argument is no tensor", row->c_name);
    if (target && strcmp(target, row->args[0].name) != 0)
        return gen_complain(fault, row->at, "%s: only the first argument can be written or seen through",
                            row->c_name);
    size_t length = strlen(row->name);
    if ((row->name[length - 1] == '_') != (row->write != NULL))
        return gen_complain(fault, row->at, "%s: names end with _ in rows that write, and only there",
                            row->c_name);
    return true;
}

/* The incoming gradient's name is taken. */
static bool check_names(const gen_row *row, gen_fault *fault) {
    const gen_arg *arg = gen_find_arg(row, "grad");
    return !arg || gen_complain(fault, arg->at, "%s: no argument may be called grad", row->c_name);
}

static bool check_body(const gen_row *row, gen_fault *fault) {
    if (row->body == GEN_NO_BODY)
        return gen_complain(fault, row->at, "%s: neither result, view, composite nor write", row->c_name);
    if (row->body == GEN_VIEW && !row->alias)
        return gen_complain(fault, row->at, "%s: a view needs alias", row->c_name);
    if (row->in_place && row->body != GEN_RESULT)
        return gen_complain(fault, row->at, "%s: in_place needs a result clause", row->c_name);
    if (row->result_count < 1 || row->result_count > 2 || (row->result_count > 1 && row->body != GEN_RESULT))
        return gen_complain(fault, row->at, "%s: one result, or two with a result clause", row->c_name);
    for (int i = 0; i < row->result_count; i++)
        if (row->results[i].type.kind != GEN_TENSOR)
            return gen_complain(fault, row->results[i].at, "%s: results are tensors", row->c_name);
    for (int i = 0; row->layout && i < row->layout->count; i++) {
        const gen_expr *part = row->layout->parts[i];
        if (part->form != GEN_NAME || !gen_find_arg(row, part->name))
            return gen_complain(fault, part->at, "%s: %s takes arguments of the row by name", row->c_name,
                                row->layout->name);
    }
    return true;
}

static bool check_gradient(const gen_file *file, const gen_row *row, const gen_gradient *gradient,
                           gen_fault *fault) {
    const gen_arg *arg = gen_find_arg(row, gradient->target);
    if (!arg || !is_tensor(arg->type))
        return gen_complain(fault, gradient->at, "%s: %s is no tensor argument", row->c_name,
                            gradient->target);
    if (gen_find_gradient(row, gradient->target) != gradient)
        return gen_complain(fault, gradient->at, "%s: a second gradient of %s", row->c_name,
                            gradient->target);
    gen_type type;
    gen_kind wanted = gradient->joint == 1 ? arg->type.kind : GEN_TENSORS;
    if (gradient->joint == 0 &&
        (arg == row->args || !is_tensor(arg[-1].type) || strcmp(arg[-1].name, gradient[-1].target) != 0))
        return gen_complain(fault, gradient->at, "%s: %s does not follow %s among the arguments", row->c_name,
                            gradient->target, gradient[-1].target);
    if (!gradient->value) return true;
    if (!gen_type_of(file, row, gradient->value, &type, fault)) return false;
    return type.kind == wanted ||
           gen_complain(fault, gradient->value->at, "%s: the gradient of %s is %s, not %s", row->c_name,
                        gradient->target, gen_kind_name(wanted), gen_kind_name(type.kind));
}

static bool check_gradients(const gen_file *file, const gen_row *row, gen_fault *fault) {
    if (row->body == GEN_COMPOSITE)
        return (!row->no_grad && !row->gradient_count) ||
               gen_complain(fault, row->at, "%s: a composite has its parts' gradients", row->c_name);
    if (row->no_grad && row->gradient_count)
        return gen_complain(fault, row->at, "%s: no_grad and a gradient", row->c_name);
    for (int i = 0; i < row->gradient_count; i++)
        if (!check_gradient(file, row, &row->gradients[i], fault)) return false;
    for (int i = 0; i < row->arg_count; i++)
        if (is_tensor(row->args[i].type) && !row->no_grad && !gen_find_gradient(row, row->args[i].name))
            return gen_complain(fault, row->args[i].at,
                                "%s: no gradient of %s; give one, zero or none, or say no_grad", row->c_name,
                                row->args[i].name);
    return true;
}

bool gen_check(const gen_file *file, gen_fault *fault) {
    *fault = (gen_fault){0};
    for (int i = 0; i < file->helper_count; i++)
        if (!check_args(file->helpers[i].name, file->helpers[i].args, file->helpers[i].arg_count, fault))
            return false;
    for (int i = 0; i < file->row_count; i++) {
        const gen_row *row = &file->rows[i];
        if (gen_find_row(file, row->c_name) != row)
            return gen_complain(fault, row->at, "%s: a second row of that name", row->c_name);
        if (!check_args(row->c_name, row->args, row->arg_count, fault) || !check_names(row, fault) ||
            !check_effects(row, fault) || !check_body(row, fault) || !check_gradients(file, row, fault))
            return false;
    }
    return true;
}
