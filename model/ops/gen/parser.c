/*
 * Recursive descent over ops.def:
 *
 *   file      := { "section" TEXT | "helper" NAME arguments "->" type | row }
 *   row       := NAME [ "." NAME ] arguments "->" results TEXT { clause }
 *   arguments := "(" [ argument { "," argument } ] ")"          argument := "*" | type NAME [ "=" preset ]
 *   results   := type | "(" type NAME { "," type NAME } ")"
 *   clause    := "pure" | "random" | "sync" | "update" | "in_place" | "no_grad" | "composite" | "alias" NAME
 *              | "write" NAME | "result" call | "view" call
 *              | "gradient" NAME { "," NAME } "=" ( "zero" | "none" | sum )
 *   sum       := product { ("+" | "-") product }                product := unary { ("*" | "/") unary }
 *   unary     := "-" unary | NUMBER | NAME | call | "[" sums "]" | "(" sum ")"
 */
#include "model/ops/gen/lexer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct gen_arena {
    struct gen_arena *next;
    max_align_t bytes[];
};

typedef struct parser {
    gen_lexer lexer;
    gen_token token; /* the next one, not yet taken */
    const char *end; /* behind the last one taken */
    gen_file *file;
    gen_fault *fault;
    int row_room, helper_room;
} parser;

void *gen_take(gen_arena *arena, size_t bytes) {
    gen_arena *block = calloc(1, sizeof *block + bytes);
    if (!block) {
        fputs("ops generator: out of memory\n", stderr);
        exit(1);
    }
    block->next = arena->next;
    arena->next = block;
    return block->bytes;
}

void gen_file_free(gen_file *file) {
    while (file->arena) {
        gen_arena *block = file->arena;
        file->arena = block->next;
        free(block);
    }
    *file = (gen_file){0};
}

/* The first fault stays: what follows it is its consequence. */
__attribute__((format(printf, 3, 4))) static bool complain(parser *p, gen_place at, const char *format, ...) {
    if (p->fault->at.line) return false;
    p->fault->at = at;
    va_list args;
    va_start(args, format);
    vsnprintf(p->fault->text, sizeof p->fault->text, format, args);
    va_end(args);
    return false;
}

static bool advance(parser *p) {
    p->end = p->token.start + p->token.length;
    return gen_lex(&p->lexer, &p->token, p->fault);
}

static const char *copy_text(parser *p, const char *start, size_t length) {
    char *copy = gen_take(p->file->arena, length + 1);
    return memcpy(copy, start, length);
}

static bool at_word(const parser *p, const char *word) {
    return p->token.kind == GEN_TOKEN_WORD && strlen(word) == p->token.length &&
           !memcmp(p->token.start, word, p->token.length);
}

static bool at_sign(const parser *p, const char *sign) {
    return p->token.kind == GEN_TOKEN_SIGN && strlen(sign) == p->token.length &&
           !memcmp(p->token.start, sign, p->token.length);
}

static bool expect_sign(parser *p, const char *sign) {
    if (!at_sign(p, sign))
        return complain(p, p->token.at, "'%s' expected before '%.*s'", sign, (int)p->token.length,
                        p->token.start);
    return advance(p);
}

static bool take_name(parser *p, const char *what, const char **name) {
    if (p->token.kind != GEN_TOKEN_WORD) return complain(p, p->token.at, "%s expected", what);
    *name = copy_text(p, p->token.start, p->token.length);
    return advance(p);
}

/* `items` has room for a power of two of `size` bytes each, grown when `count` reaches one. */
static void *grow(parser *p, void *items, int count, size_t size) {
    if (count & (count - 1)) return items;
    void *wider = gen_take(p->file->arena, size * (size_t)(count ? 2 * count : 1));
    if (count) memcpy(wider, items, size * (size_t)count);
    return wider;
}

/* --- signatures ------------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    gen_kind kind;
} type_names[] = {
    {"Tensor", GEN_TENSOR},
    {"Scalar", GEN_SCALAR},
    {"int", GEN_INT},
    {"float", GEN_FLOAT},
    {"bool", GEN_BOOL},
    {"ScalarType", GEN_DTYPE},
    {"Reduction", GEN_REDUCTION},
    {"MemoryFormat", GEN_MEMORY_FORMAT},
};

const char *gen_kind_name(gen_kind kind) {
    for (size_t i = 0; i < sizeof type_names / sizeof *type_names; i++)
        if (type_names[i].kind == kind) return type_names[i].name;
    switch (kind) {
    case GEN_TENSORS: return "Tensor[]";
    case GEN_INTS: return "int[]";
    case GEN_LONGS: return "int[*]";
    case GEN_PAIR: return "int[2]";
    case GEN_NUMBER: return "a number";
    default: return "none";
    }
}

/* What stands between the brackets behind a type decides which list it is. */
static bool parse_list_type(parser *p, gen_type *type, gen_place at) {
    if (!advance(p)) return false;
    if (type->kind == GEN_TENSOR && at_sign(p, "]")) {
        type->kind = GEN_TENSORS;
    } else if (type->kind == GEN_INT && at_sign(p, "]")) {
        type->kind = GEN_INTS;
    } else if (type->kind == GEN_INT && at_sign(p, "*")) {
        type->kind = GEN_LONGS;
        if (!advance(p)) return false;
    } else if (type->kind == GEN_INT && p->token.kind == GEN_TOKEN_NUMBER && p->token.length == 1 &&
               *p->token.start == '2') {
        type->kind = GEN_PAIR;
        if (!advance(p)) return false;
    } else {
        return complain(p, at, "lists are Tensor[], int[], int[2] and int[*]");
    }
    return expect_sign(p, "]");
}

static bool parse_type(parser *p, gen_type *type) {
    gen_place at = p->token.at;
    const char *name = NULL;
    if (!take_name(p, "a type", &name)) return false;
    size_t i = 0, count = sizeof type_names / sizeof *type_names;
    while (i < count && strcmp(type_names[i].name, name) != 0) i++;
    if (i == count) return complain(p, at, "there is no type '%s'", name);
    type->kind = type_names[i].kind;
    if (at_sign(p, "[") && !parse_list_type(p, type, at)) return false;
    type->optional = at_sign(p, "?");
    return !type->optional || advance(p);
}

/* A default: a word, a number with or without sign, or []. */
static bool parse_preset(parser *p, const char **preset) {
    const char *start = p->token.start;
    if (at_sign(p, "[")) {
        if (!advance(p) || !expect_sign(p, "]")) return false;
    } else {
        if (at_sign(p, "-") && !advance(p)) return false;
        if (p->token.kind != GEN_TOKEN_NUMBER && p->token.kind != GEN_TOKEN_WORD)
            return complain(p, p->token.at, "a default expected");
        if (!advance(p)) return false;
    }
    *preset = copy_text(p, start, (size_t)(p->end - start));
    return true;
}

static bool parse_arguments(parser *p, int *count, gen_arg **args) {
    if (!expect_sign(p, "(")) return false;
    bool keyword_only = false;
    while (!at_sign(p, ")")) {
        if (at_sign(p, "*")) {
            keyword_only = true;
            if (!advance(p)) return false;
        } else {
            *args = grow(p, *args, *count, sizeof **args);
            gen_arg *arg = &(*args)[(*count)++];
            arg->at = p->token.at;
            arg->keyword_only = keyword_only;
            if (!parse_type(p, &arg->type) || !take_name(p, "an argument's name", &arg->name)) return false;
            if (at_sign(p, "=") && (!advance(p) || !parse_preset(p, &arg->preset))) return false;
        }
        if (!at_sign(p, ",")) break;
        if (!advance(p)) return false;
    }
    return expect_sign(p, ")");
}

static bool parse_results(parser *p, gen_row *row) {
    if (at_sign(p, "(")) return parse_arguments(p, &row->result_count, &row->results);
    row->results = gen_take(p->file->arena, sizeof *row->results);
    row->result_count = 1;
    row->results->at = p->token.at;
    row->results->name = "result";
    return parse_type(p, &row->results->type);
}

/* --- expressions ----------------------------------------------------------------------------------- */

static bool parse_sum(parser *p, gen_expr **expr);

static gen_expr *new_expr(parser *p, gen_form form, gen_place at, const char *name) {
    gen_expr *expr = gen_take(p->file->arena, sizeof *expr);
    expr->form = form;
    expr->at = at;
    expr->name = name;
    return expr;
}

static void add_part(parser *p, gen_expr *expr, gen_expr *part, const char *keyword) {
    expr->parts = grow(p, expr->parts, expr->count, sizeof *expr->parts);
    expr->keywords = grow(p, (void *)expr->keywords, expr->count, sizeof *expr->keywords);
    expr->parts[expr->count] = part;
    expr->keywords[expr->count++] = keyword;
}

/* Parts up to `close`, some of a call's with their argument's name: f(x, dim=1). */
static bool parse_parts(parser *p, gen_expr *expr, const char *close) {
    while (!at_sign(p, close)) {
        gen_expr *part = NULL;
        const char *keyword = NULL;
        if (!parse_sum(p, &part)) return false;
        if (expr->form == GEN_CALL && part->form == GEN_NAME && at_sign(p, "=")) {
            keyword = part->name;
            if (!advance(p) || !parse_sum(p, &part)) return false;
        }
        add_part(p, expr, part, keyword);
        if (!at_sign(p, ",")) break;
        if (!advance(p)) return false;
    }
    return expect_sign(p, close);
}

static bool is_literal_word(const char *name) {
    return !strcmp(name, "True") || !strcmp(name, "False") || !strcmp(name, "none");
}

static bool parse_unary(parser *p, gen_expr **expr) {
    gen_place at = p->token.at;
    if (at_sign(p, "-")) {
        gen_expr *part = NULL;
        if (!advance(p) || !parse_unary(p, &part)) return false;
        *expr = new_expr(p, GEN_NEGATE, at, "-");
        add_part(p, *expr, part, NULL);
        return true;
    }
    if (at_sign(p, "(")) return advance(p) && parse_sum(p, expr) && expect_sign(p, ")");
    if (at_sign(p, "[")) {
        *expr = new_expr(p, GEN_LIST, at, "[");
        return advance(p) && parse_parts(p, *expr, "]");
    }
    if (p->token.kind == GEN_TOKEN_NUMBER) {
        *expr = new_expr(p, GEN_LITERAL, at, copy_text(p, p->token.start, p->token.length));
        return advance(p);
    }
    const char *name = NULL;
    if (!take_name(p, "an expression", &name)) return false;
    *expr = new_expr(p, is_literal_word(name) ? GEN_LITERAL : GEN_NAME, at, name);
    if (!at_sign(p, "(")) return true;
    (*expr)->form = GEN_CALL;
    return advance(p) && parse_parts(p, *expr, ")");
}

/* One level of operators that associate to the left; `signs` holds the level's. */
static bool parse_level(parser *p, gen_expr **expr, const char *signs, bool (*below)(parser *, gen_expr **)) {
    if (!below(p, expr)) return false;
    while (p->token.kind == GEN_TOKEN_SIGN && p->token.length == 1 && strchr(signs, *p->token.start)) {
        gen_expr *pair = new_expr(p, GEN_BINARY, p->token.at, copy_text(p, p->token.start, 1));
        gen_expr *right = NULL;
        if (!advance(p) || !below(p, &right)) return false;
        add_part(p, pair, *expr, NULL);
        add_part(p, pair, right, NULL);
        *expr = pair;
    }
    return true;
}

static bool parse_product(parser *p, gen_expr **expr) { return parse_level(p, expr, "*/", parse_unary); }
static bool parse_sum(parser *p, gen_expr **expr) { return parse_level(p, expr, "+-", parse_product); }

/* --- rows ------------------------------------------------------------------------------------------ */

/* The gradient `first` takes the lead of the one behind it, which has been parsed with its value. */
static void join_gradients(gen_row *row, int first) {
    gen_gradient *lead = &row->gradients[first], *next = lead + 1;
    lead->value = next->value;
    lead->none = next->none;
    if (!lead->value) return; /* zero or none, each */
    lead->joint = next->joint + 1;
    next->joint = 0;
}

static bool parse_gradient(parser *p, gen_row *row) {
    row->gradients = grow(p, row->gradients, row->gradient_count, sizeof *row->gradients);
    gen_gradient *gradient = &row->gradients[row->gradient_count++];
    *gradient = (gen_gradient){.at = p->token.at, .joint = 1};
    if (!take_name(p, "an argument's name", &gradient->target)) return false;
    if (at_sign(p, ",")) {
        int first = row->gradient_count - 1;
        if (!advance(p) || !parse_gradient(p, row)) return false;
        join_gradients(row, first);
        return true;
    }
    if (!expect_sign(p, "=")) return false;
    if (at_word(p, "zero")) return advance(p);
    if (at_word(p, "none")) {
        gradient->none = true;
        return advance(p);
    }
    return parse_sum(p, &gradient->value);
}

static bool parse_body(parser *p, gen_row *row, gen_body body) {
    if (row->body != GEN_NO_BODY)
        return complain(p, p->token.at, "%s: a second result, view or composite", row->c_name);
    row->body = body;
    if (!advance(p) || body == GEN_COMPOSITE) return !p->fault->at.line;
    gen_place at = p->token.at;
    if (!parse_unary(p, &row->layout)) return false;
    return row->layout->form == GEN_CALL || complain(p, at, "a call expected, as in same(self)");
}

/* True at a clause, which is then parsed; *found is false where the row has ended. */
static bool parse_clause(parser *p, gen_row *row, bool *found) {
    static const char *const marks[] = {"pure", "random", "sync", "update", "in_place", "no_grad"};
    bool *const flags[] = {&row->pure, &row->random, &row->sync, &row->update, &row->in_place, &row->no_grad};
    *found = true;
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (at_word(p, marks[i])) {
            *flags[i] = true;
            return advance(p);
        }
    if (at_word(p, "alias")) return advance(p) && take_name(p, "an argument's name", &row->alias);
    if (at_word(p, "write")) return advance(p) && take_name(p, "an argument's name", &row->write);
    if (at_word(p, "result")) return parse_body(p, row, GEN_RESULT);
    if (at_word(p, "view")) return parse_body(p, row, GEN_VIEW);
    if (at_word(p, "composite")) return parse_body(p, row, GEN_COMPOSITE);
    if (at_word(p, "gradient")) return advance(p) && parse_gradient(p, row);
    *found = false;
    return true;
}

/* A clause's word may also be a row's name (`view`, `alias`): then a parenthesis follows. */
static bool at_row(const parser *p) {
    if (p->token.kind != GEN_TOKEN_WORD) return false;
    const char *next = p->token.start + p->token.length;
    return p->token.at.column == 1 && (*next == '(' || *next == '.');
}

static bool parse_name(parser *p, gen_row *row) {
    const char *name = NULL, *overload = NULL;
    if (!take_name(p, "a row's name", &name)) return false;
    row->name = row->c_name = name;
    if (at_sign(p, ".")) {
        if (!advance(p) || !take_name(p, "an overload's name", &overload)) return false;
        size_t bytes = strlen(name) + strlen(overload) + 2;
        char *dotted = gen_take(p->file->arena, bytes), *joined = gen_take(p->file->arena, bytes);
        snprintf(dotted, bytes, "%s.%s", name, overload);
        snprintf(joined, bytes, "%s_%s", name, overload);
        row->name = dotted;
        row->c_name = joined;
    }
    size_t length = strlen(row->c_name);
    row->stem = row->c_name;
    if (row->c_name[length - 1] == '_') {
        char *stem = gen_take(p->file->arena, length + sizeof "in_place");
        row->stem = strcat(strcpy(stem, row->c_name), "in_place");
    }
    return true;
}

static bool parse_row(parser *p, const char *section) {
    p->file->rows = grow(p, p->file->rows, p->file->row_count, sizeof *p->file->rows);
    gen_row *row = &p->file->rows[p->file->row_count++];
    row->at = p->token.at;
    row->section = section;
    const char *start = p->token.start;
    if (!parse_name(p, row) || !parse_arguments(p, &row->arg_count, &row->args)) return false;
    if (!expect_sign(p, "->") || !parse_results(p, row)) return false;
    row->signature = copy_text(p, start, (size_t)(p->end - start));
    if (p->token.kind != GEN_TOKEN_TEXT)
        return complain(p, p->token.at, "%s: a sentence in quotes expected", row->c_name);
    row->doc = copy_text(p, p->token.start, p->token.length);
    if (!advance(p)) return false;
    bool found = true;
    while (found && !at_row(p))
        if (!parse_clause(p, row, &found)) return false;
    if (row->write && row->body == GEN_NO_BODY) row->body = GEN_WRITE;
    return true;
}

static bool parse_helper(parser *p) {
    p->file->helpers = grow(p, p->file->helpers, p->file->helper_count, sizeof *p->file->helpers);
    gen_helper *helper = &p->file->helpers[p->file->helper_count++];
    helper->at = p->token.at;
    return take_name(p, "a helper's name", &helper->name) &&
           parse_arguments(p, &helper->arg_count, &helper->args) && expect_sign(p, "->") &&
           parse_type(p, &helper->type);
}

bool gen_parse(const char *text, gen_file *file, gen_fault *fault) {
    *fault = (gen_fault){0};
    *file = (gen_file){.arena = calloc(1, sizeof(gen_arena))};
    if (!file->arena) return false;
    parser p = {.lexer = {text, {1, 1}}, .file = file, .fault = fault};
    p.token.start = text;
    const char *section = NULL;
    if (!advance(&p)) return false;
    while (p.token.kind != GEN_TOKEN_END) {
        bool done;
        if (at_row(&p)) {
            done = parse_row(&p, section);
            section = NULL;
        } else if (at_word(&p, "helper")) {
            done = advance(&p) && parse_helper(&p);
        } else if (at_word(&p, "section")) {
            done = advance(&p) && p.token.kind == GEN_TOKEN_TEXT;
            if (done) {
                section = copy_text(&p, p.token.start, p.token.length);
                done = advance(&p);
            }
        } else {
            done = false;
        }
        if (!done)
            return complain(&p, p.token.at, "a row, a helper or a section expected before '%.*s'",
                            (int)p.token.length, p.token.start);
    }
    return true;
}

/* --- looking up ------------------------------------------------------------------------------------ */

const gen_row *gen_find_row(const gen_file *file, const char *c_name) {
    for (int i = 0; i < file->row_count; i++)
        if (!strcmp(file->rows[i].c_name, c_name)) return &file->rows[i];
    return NULL;
}

const gen_helper *gen_find_helper(const gen_file *file, const char *name) {
    for (int i = 0; i < file->helper_count; i++)
        if (!strcmp(file->helpers[i].name, name)) return &file->helpers[i];
    return NULL;
}

const gen_arg *gen_find_arg(const gen_row *row, const char *name) {
    for (int i = 0; i < row->arg_count; i++)
        if (!strcmp(row->args[i].name, name)) return &row->args[i];
    return NULL;
}

const gen_gradient *gen_find_gradient(const gen_row *row, const char *target) {
    for (int i = 0; i < row->gradient_count; i++)
        if (!strcmp(row->gradients[i].target, target)) return &row->gradients[i];
    return NULL;
}
