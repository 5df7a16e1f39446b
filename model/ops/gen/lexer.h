/* The words of ops.def and their places. */
#ifndef TANDEM_MODEL_OPS_GEN_LEXER_H
#define TANDEM_MODEL_OPS_GEN_LEXER_H

#include "model/ops/gen/syntax.h"

typedef enum gen_token_kind {
    GEN_TOKEN_END,
    GEN_TOKEN_WORD,   /* [A-Za-z_][A-Za-z_0-9]* */
    GEN_TOKEN_NUMBER, /* 1, 0.5, 1e-5 */
    GEN_TOKEN_TEXT,   /* between double quotes, on one line */
    GEN_TOKEN_SIGN    /* one character, or -> */
} gen_token_kind;

typedef struct gen_token {
    gen_token_kind kind;
    gen_place at;
    const char *start; /* in the source; a text's is behind its quote */
    size_t length;
} gen_token;

typedef struct gen_lexer {
    const char *next;
    gen_place at;
} gen_lexer;

/* The next token; blanks and comments (from # to the line's end) are passed over. False with `fault` filled
 * for a character that begins nothing and for a text without end. */
bool gen_lex(gen_lexer *lexer, gen_token *token, gen_fault *fault);

#endif
