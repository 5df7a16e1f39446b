/*
 * The language of ops.def as data: rows of signatures, clauses and gradient expressions. The parser is shared
 * by the generator and its tests (and by the script front-end to come), so it prints nothing: a fault is a
 * line, a column and a text. Everything lives in the gen_file's arena and goes with gen_file_free.
 */
#ifndef TANDEM_MODEL_OPS_GEN_SYNTAX_H
#define TANDEM_MODEL_OPS_GEN_SYNTAX_H

#include <stdbool.h>
#include <stddef.h>

typedef struct gen_place {
    int line, column; /* from 1 */
} gen_place;

typedef struct gen_fault {
    gen_place at; /* line 0: there is none */
    char text[200];
} gen_fault;

typedef enum gen_kind {
    GEN_TENSOR,
    GEN_TENSORS, /* Tensor[] */
    GEN_SCALAR,
    GEN_INT,
    GEN_INTS,  /* int[], up to 8 */
    GEN_LONGS, /* int[*], any number; between helpers only */
    GEN_PAIR,  /* int[2] */
    GEN_FLOAT,
    GEN_BOOL,
    GEN_DTYPE,
    GEN_MEMORY_FORMAT,
    GEN_REDUCTION,
    GEN_NUMBER, /* a literal: becomes what is asked for */
    GEN_NONE    /* the literal none */
} gen_kind;

typedef struct gen_type {
    gen_kind kind;
    bool optional; /* `?` */
} gen_type;

typedef struct gen_arg {
    gen_place at;
    gen_type type;
    const char *name;
    const char *preset; /* the default as written ("1", "None", "Mean", "[]"); NULL if there is none */
    bool keyword_only;
} gen_arg;

typedef enum gen_form {
    GEN_CALL, /* name(parts...) */
    GEN_NAME,
    GEN_LITERAL, /* a number, True, False or none, as written in name */
    GEN_LIST,    /* [parts...] */
    GEN_NEGATE,  /* -parts[0] */
    GEN_BINARY   /* parts[0] op parts[1], op in name */
} gen_form;

typedef struct gen_expr gen_expr;
struct gen_expr {
    gen_place at;
    gen_form form;
    const char *name;
    int count;
    gen_expr **parts;
    const char **keywords; /* of a call: the names given to parts, NULL for those by position */
};

/* `gradient target = value`; value NULL means `zero`, none means `none`. `gradient a, b = value` gives several
 * at once: they share a value, which is a list of tensors; `joint` says how many targets the first one leads,
 * and is 0 for the others. */
typedef struct gen_gradient {
    gen_place at;
    const char *target;
    gen_expr *value;
    bool none;
    int joint; /* 1 for one on its own */
} gen_gradient;

typedef enum gen_body { GEN_NO_BODY, GEN_RESULT, GEN_VIEW, GEN_COMPOSITE, GEN_WRITE } gen_body;

typedef struct gen_row {
    gen_place at;
    const char *name;    /* as written: "max.dim" */
    const char *c_name;  /* "max_dim"; a row `fill_` keeps its underscore */
    const char *stem;    /* "max_dim"; "fill_in_place" for `fill_`: for struct and function names */
    const char *section; /* its heading, if it is the first row under one; else NULL */
    const char *doc;
    const char *signature; /* the text of the signature */
    int arg_count;
    gen_arg *args;
    int result_count;
    gen_arg *results; /* type and name */
    bool pure, random, sync, update, in_place, no_grad;
    const char *alias; /* the argument that the result is a view of, or NULL */
    const char *write; /* the argument written, or NULL */
    gen_body body;
    gen_expr *layout; /* the call after `result` or `view` */
    int gradient_count;
    gen_gradient *gradients;
} gen_row;

typedef struct gen_helper {
    gen_place at;
    const char *name;
    int arg_count;
    gen_arg *args;
    gen_type type;
} gen_helper;

typedef struct gen_arena gen_arena;

typedef struct gen_file {
    gen_arena *arena;
    int row_count, helper_count;
    gen_row *rows;
    gen_helper *helpers;
} gen_file;

/* Parse `text`, which ends with a zero byte. False with `fault` filled at the first thing wrong; the file is
 * to be freed either way. Checks form only: see gen_check. */
bool gen_parse(const char *text, gen_file *file, gen_fault *fault);

/* Check that names and types fit and that nothing mandatory is left out: effects, a body, a gradient for each
 * tensor. False with `fault` filled. */
bool gen_check(const gen_file *file, gen_fault *fault);

void gen_file_free(gen_file *file);

/* NULL when there is none of that name (its C name, for a row). */
const gen_row *gen_find_row(const gen_file *file, const char *c_name);
const gen_helper *gen_find_helper(const gen_file *file, const char *name);
const gen_arg *gen_find_arg(const gen_row *row, const char *name);
const gen_gradient *gen_find_gradient(const gen_row *row, const char *target);

/* ATen's name of a type, without `?`. Static. */
const char *gen_kind_name(gen_kind kind);

/* Memory that goes with the arena; exits the program when there is none (this is a build tool). */
void *gen_take(gen_arena *arena, size_t bytes);

#endif
