/* What a row's gradients need of its arguments and results. */
#ifndef TANDEM_MODEL_OPS_GEN_NEEDS_H
#define TANDEM_MODEL_OPS_GEN_NEEDS_H

#include "model/ops/gen/types.h"

#define GEN_MAX_NEEDS 24

typedef enum gen_need_kind {
    GEN_NEED_ARGUMENT, /* a tensor argument, saved */
    GEN_NEED_RESULT,   /* a result, saved */
    GEN_NEED_VALUE,    /* another argument, copied */
    GEN_NEED_FACT      /* sizes(x) and the like, copied */
} gen_need_kind;

typedef struct gen_need {
    gen_need_kind kind;
    const char *name;     /* of the argument or result */
    const gen_expr *fact; /* the call */
    gen_type type;
    unsigned gradients; /* a bit for each tensor argument whose gradient wants it */
    int saved;          /* its place among what is saved as a tensor, or -1 */
} gen_need;

typedef struct gen_needs {
    int count, saved_count;
    gen_need items[GEN_MAX_NEEDS];
} gen_needs;

void gen_find_needs(const gen_file *file, const gen_row *row, gen_needs *needs);

#endif
