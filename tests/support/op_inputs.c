#include "support/op_inputs.h"

#include "support/check.h"
#include "support/tensors.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>

/* The text being read, and what it is read for. */
typedef struct reader {
    const char *at;
    op_inputs *inputs;
    const op_case *source;
    td_dtype dtype;
    op_layout layout;
    double gap;
    uint32_t tensors; /* made so far: each has numbers of its own */
} reader;

const char *op_layout_name(op_layout layout) {
    static const char *const names[] = {"contiguous", "transposed", "channels_last", "sliced", "expanded"};
    return names[layout];
}

const char *op_case_describe(const op_case *source, td_dtype dtype, op_layout layout) {
    static char text[400];
    snprintf(text, sizeof text, "%s(%s), %s, %s", source->op, source->args, td_dtype_name(dtype),
             op_layout_name(layout));
    return text;
}

const op_case *op_case_next(const op_case *from, const char *op) {
    while (from->op && strcmp(from->op, op) != 0) from++;
    return from->op ? from : NULL;
}

static void refuse(const reader *r, const char *why) {
    ck_abort_msg("%s(%s): %s at '%s'; the row is %s", r->source->op, r->source->args, why, r->at,
                 r->inputs->info->signature);
}

static bool accept(reader *r, char wanted) {
    if (*r->at != wanted) return false;
    r->at++;
    return true;
}

static void need(reader *r, char wanted) {
    if (!accept(r, wanted)) refuse(r, "unexpected text");
}

static const char *read_word(reader *r) {
    static char word[64];
    size_t length = 0;
    while (isalnum((unsigned char)*r->at) || *r->at == '_') {
        if (length + 1 == sizeof word) refuse(r, "long word");
        word[length++] = *r->at++;
    }
    word[length] = 0;
    return word;
}

static int64_t read_int(reader *r) {
    char *end;
    int64_t value = strtoll(r->at, &end, 10);
    if (end == r->at) refuse(r, "no integer");
    r->at = end;
    return value;
}

/* A number with a point is real, as in Python. */
static td_scalar read_scalar(reader *r) {
    char *end;
    double value = strtod(r->at, &end);
    if (end == r->at) refuse(r, "no number");
    bool real = memchr(r->at, '.', (size_t)(end - r->at)) != NULL;
    r->at = end;
    return real ? td_scalar_real(value) : td_scalar_int((int64_t)value);
}

/* The integers up to `end`, behind the opening bracket. */
static td_ints read_ints(reader *r, char end) {
    td_ints ints = {0, {0}};
    while (!accept(r, end)) {
        if (ints.count) need(r, ',');
        ints.at[ints.count++] = read_int(r);
    }
    return ints;
}

/* --- tensors ------------------------------------------------------------------------------------------- */

void op_numbers(double *numbers, int64_t count, uint32_t key) {
    uint32_t state = 12345 + 7919 * key;
    double step = count > 16 ? 4.0 / (double)count : 0.25;
    for (int64_t i = 0; i < count; i++)
        numbers[i] = ((double)(i - count / 2) + 0.25 + 0.05 * (double)(key % 7)) * step;
    for (int64_t i = count - 1; i > 0; i--) {
        state = state * 1664525 + 1013904223;
        int64_t j = (int64_t)(((uint64_t)state * (uint64_t)(i + 1)) >> 32);
        double swapped = numbers[i];
        numbers[i] = numbers[j];
        numbers[j] = swapped;
    }
}

/* Strides of `sizes` in this layout; returns how many elements the storage has. */
static int64_t lay_out(td_ints sizes, op_layout layout, td_ints *strides, int64_t *offset) {
    static const int channels_last[] = {1, 3, 2, 0}; /* innermost first */
    int n = (int)sizes.count, repeated = -1;
    int64_t step = layout == OP_SLICED ? 2 : 1, total = step;
    *strides = (td_ints){n, {0}};
    *offset = layout == OP_SLICED ? 3 : 0;
    for (int d = 0; d < n && layout == OP_EXPANDED && repeated < 0; d++)
        if (sizes.at[d] > 1) repeated = d;
    for (int k = 0; k < n; k++) {
        int d = layout == OP_TRANSPOSED                ? k
                : layout == OP_CHANNELS_LAST && n == 4 ? channels_last[k]
                                                       : n - 1 - k;
        if (d == repeated) continue;
        strides->at[d] = total;
        total *= sizes.at[d];
        if (layout == OP_SLICED && k == 0) total += 2; /* a gap at each row's end */
    }
    return total + *offset;
}

/* A tensor whose element i is numbers[i], laid out so; where elements are repeated the last one stays. */
static td_tensor *tensor_laid_out(const reader *r, const double *numbers, td_dtype dtype, td_ints sizes) {
    if (r->layout == OP_CONTIGUOUS) return tensor_of(numbers, dtype, sizes);
    td_ints strides;
    int64_t offset, total = lay_out(sizes, r->layout, &strides, &offset);
    double *gaps = malloc((size_t)total * sizeof *gaps);
    ck_quietly(gaps);
    for (int64_t i = 0; i < total; i++) gaps[i] = td_dtype_is_floating(dtype) ? r->gap : 77;
    td_tensor *whole = tensor_of(gaps, dtype, TD_INTS(total));
    free(gaps);
    td_tensor *x = td_tensor_wrap(td_tensor_storage(whole), offset, dtype, sizes, &strides);
    ck_expect(x != NULL, "td_tensor_wrap gave nothing: %s", td_error_last()->text);
    for (int64_t i = 0; i < td_tensor_count(x); i++) tensor_set(x, i, numbers[i]);
    return x;
}

static double minimum(const double *numbers, int64_t count) {
    double least = INFINITY;
    for (int64_t i = 0; i < count; i++) least = fmin(least, numbers[i]);
    return least;
}

static double magnitude(const double *numbers, int64_t count) {
    double most = 0;
    for (int64_t i = 0; i < count; i++) most = fmax(most, fabs(numbers[i]));
    return most;
}

/* Integers: ranks of the numbers, in [0, bound), or around 0 without a bound. */
static void make_integers(double *numbers, int64_t count, td_dtype dtype, int64_t bound) {
    double *ranks = malloc((size_t)(count + 1) * sizeof *ranks);
    ck_quietly(ranks);
    for (int64_t i = 0; i < count; i++) {
        ranks[i] = 0;
        for (int64_t j = 0; j < count; j++) ranks[i] += numbers[j] < numbers[i];
    }
    bool zero_up = bound || dtype == TD_DTYPE_U8 || dtype == TD_DTYPE_BOOL;
    for (int64_t i = 0; i < count; i++) {
        int64_t rank = (int64_t)ranks[i];
        numbers[i] = (double)(bound ? rank % bound : dtype == TD_DTYPE_BOOL ? rank % 2 : rank);
        if (!zero_up) numbers[i] -= (double)(count / 2);
    }
    free(ranks);
}

/* What the word before a shape makes of the numbers; returns whether gradients are taken of it. */
static bool shape_numbers(reader *r, const char *word, double *numbers, int64_t count, td_dtype *dtype,
                          int64_t bound) {
    double least = minimum(numbers, count), most = magnitude(numbers, count);
    *dtype = r->dtype;
    if (*word == 0) return true;
    if (strcmp(word, "unit") == 0) {
        for (int64_t i = 0; i < count; i++) numbers[i] = 0.5 + 0.4 * numbers[i] / most;
        return true;
    }
    if (strcmp(word, "positive") == 0 || strcmp(word, "fixed") == 0) {
        for (int64_t i = 0; i < count; i++) numbers[i] += 0.5 - least;
        return *word == 'p';
    }
    if (td_dtype_parse(word, dtype) < 0) refuse(r, "no such tensor before this");
    if (!td_dtype_is_floating(*dtype)) make_integers(numbers, count, *dtype, bound);
    return false;
}

/* `word(sizes)<bound` or `word(sizes)=value`; NULL for `none`. */
static td_tensor *read_tensor(reader *r, const char *arg) {
    char word[64];
    snprintf(word, sizeof word, "%s", read_word(r));
    if (strcmp(word, "none") == 0) return NULL;
    need(r, '(');
    td_ints sizes = read_ints(r, ')');
    int64_t count = 1, bound = accept(r, '<') ? read_int(r) : 0;
    for (int64_t d = 0; d < sizes.count; d++) count *= sizes.at[d];
    double *numbers = malloc((size_t)(count + 1) * sizeof *numbers);
    ck_quietly(numbers);
    op_numbers(numbers, count, r->tensors++);
    td_dtype dtype;
    bool variable = shape_numbers(r, word, numbers, count, &dtype, bound);
    if (accept(r, '=')) {
        double value = td_scalar_to_real(read_scalar(r));
        for (int64_t i = 0; i < count; i++) numbers[i] = value;
    }
    td_tensor *x = tensor_laid_out(r, numbers, dtype, sizes);
    free(numbers);
    if (variable) {
        r->inputs->names[r->inputs->variable_count] = arg;
        r->inputs->variables[r->inputs->variable_count++] = x;
    }
    return x;
}

static td_tensors read_tensors(reader *r, const char *arg) {
    td_tensors tensors = {r->inputs->list, 0};
    need(r, '{');
    while (!accept(r, '}')) {
        if (tensors.count) need(r, ' ');
        ck_assert_uint_lt(tensors.count, OP_MAX_TENSORS);
        r->inputs->list[tensors.count++] = read_tensor(r, arg);
    }
    return tensors;
}

/* --- other arguments ----------------------------------------------------------------------------------- */

/* The place of a word in a list of them. */
static int read_name(reader *r, const char *const *names) {
    const char *word = read_word(r);
    for (int i = 0; names[i]; i++)
        if (strcmp(word, names[i]) == 0) return i;
    refuse(r, "unknown word before this");
    return 0;
}

static td_dtype read_dtype(reader *r) {
    td_dtype dtype = TD_DTYPE_NONE;
    if (td_dtype_parse(read_word(r), &dtype) < 0) refuse(r, "unknown dtype before this");
    return dtype;
}

static td_value read_value(reader *r, const td_op_arg *arg) {
    static const char *const booleans[] = {"False", "True", NULL};
    static const char *const formats[] = {"Contiguous", "ChannelsLast", "Preserve", NULL};
    static const char *const reductions[] = {"None", "Mean", "Sum", NULL};
    td_value v = {arg->kind, {0}};
    switch (arg->kind) {
    case TD_VALUE_ABSENT: break;
    case TD_VALUE_TENSOR:
        v.as.tensor = read_tensor(r, arg->name);
        if (!v.as.tensor) v.kind = TD_VALUE_ABSENT;
        break;
    case TD_VALUE_TENSORS: v.as.tensors = read_tensors(r, arg->name); break;
    case TD_VALUE_SCALAR: v.as.scalar = read_scalar(r); break;
    case TD_VALUE_INT: v.as.integer = read_int(r); break;
    case TD_VALUE_INTS:
        need(r, '[');
        v.as.ints = read_ints(r, ']');
        break;
    case TD_VALUE_PAIR:
        need(r, '[');
        memcpy(v.as.pair, read_ints(r, ']').at, sizeof v.as.pair);
        break;
    case TD_VALUE_FLOAT: v.as.real = td_scalar_to_real(read_scalar(r)); break;
    case TD_VALUE_BOOL: v.as.boolean = read_name(r, booleans); break;
    case TD_VALUE_DTYPE: v.as.dtype = read_dtype(r); break;
    case TD_VALUE_MEMORY_FORMAT: v.as.memory_format = (td_memory_format)read_name(r, formats); break;
    case TD_VALUE_REDUCTION: v.as.reduction = (td_reduction)read_name(r, reductions); break;
    }
    return v;
}

static int arg_called(const reader *r, const char *name) {
    const td_op_info *info = r->inputs->info;
    for (int i = 0; i < info->arg_count; i++)
        if (strcmp(info->args[i].name, name) == 0) return i;
    refuse(r, "no such argument before this");
    return 0;
}

void op_inputs_make(op_inputs *inputs, const op_case *source, td_dtype dtype, op_layout layout, double gap) {
    *inputs = (op_inputs){0};
    reader r = {source->args, inputs, source, dtype, layout, gap, 0};
    ck_ok(td_op_find(source->op, &inputs->op));
    inputs->info = td_op_describe(inputs->op);
    while (*r.at) {
        int i = arg_called(&r, read_word(&r));
        need(&r, '=');
        inputs->in[i] = read_value(&r, &inputs->info->args[i]);
        if (*r.at) need(&r, ' ');
    }
}
