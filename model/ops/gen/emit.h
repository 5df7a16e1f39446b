/* What the generator writes, one function a file. The rows have passed gen_check. */
#ifndef TANDEM_MODEL_OPS_GEN_EMIT_H
#define TANDEM_MODEL_OPS_GEN_EMIT_H

#include "model/ops/gen/types.h"

#include <stdio.h>

void emit_header(const gen_file *file, FILE *out); /* ops.h: public */
void emit_parts(const gen_file *file, FILE *out);  /* parts.h: prototypes of what rows name */
void emit_calls(const gen_file *file, FILE *out);  /* ops.c: functions, nodes and backward */
void emit_info(const gen_file *file, FILE *out);   /* info.c: descriptors */
void emit_docs(const gen_file *file, FILE *out);   /* ops.md */

/* One row's node, backward and type (backward.c); nothing for rows that record nothing. */
void emit_node(const gen_file *file, const gen_row *row, FILE *out);
/* The statements that fill call.node from the arguments, before the kernel runs and after. */
void emit_save_arguments(const gen_file *file, const gen_row *row, FILE *out);
void emit_save_results(const gen_file *file, const gen_row *row, FILE *out);

/* Does the row record a node. */
bool emit_records(const gen_row *row);
bool emit_is_tensor(gen_type type);
/* The number of an edge's argument among the row's tensor arguments. */
int emit_edge_index(const gen_row *row, const char *arg);
int emit_edge_count(const gen_row *row);
/* Bit i is set where result i carries a gradient. */
unsigned emit_differentiable(const gen_row *row);

/* "int64_t " or "td_tensor *": what stands before the argument's name in C. */
const char *emit_c_type(gen_type type);
/* What stands behind it: "[2]" for a pair. */
const char *emit_c_suffix(gen_type type);
/* An argument's default as a C initializer, or NULL where zeroed memory says it. */
const char *emit_preset(const gen_arg *arg, char *text, size_t bytes);
/* A number's literal as a td_scalar. */
void emit_scalar_literal(const char *number, bool negative, FILE *out);
/* "MAX_DIM" of "max_dim"; the buffer is returned. */
const char *emit_upper(const char *name, char *text, size_t bytes);

#endif
