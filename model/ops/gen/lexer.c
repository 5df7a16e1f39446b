/* Words, numbers, texts and signs, by their first character. */
#include "model/ops/gen/lexer.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static void advance(gen_lexer *lexer) {
    if (*lexer->next == '\n') {
        lexer->at.line++;
        lexer->at.column = 1;
    } else {
        lexer->at.column++;
    }
    lexer->next++;
}

static void pass_blanks(gen_lexer *lexer) {
    for (;;) {
        while (isspace((unsigned char)*lexer->next)) advance(lexer);
        if (*lexer->next != '#') return;
        while (*lexer->next && *lexer->next != '\n') advance(lexer);
    }
}

static bool in_word(char c) { return isalnum((unsigned char)c) || c == '_'; }

/* A number ends before the first character that could not continue it; a sign follows only its e. */
static bool in_number(const char *p) {
    if (isalnum((unsigned char)*p) || *p == '.') return true;
    return (*p == '-' || *p == '+') && (p[-1] == 'e' || p[-1] == 'E');
}

static bool lex_text(gen_lexer *lexer, gen_token *token, gen_fault *fault) {
    advance(lexer);
    token->kind = GEN_TOKEN_TEXT;
    token->start = lexer->next;
    while (*lexer->next && *lexer->next != '"' && *lexer->next != '\n') advance(lexer);
    token->length = (size_t)(lexer->next - token->start);
    if (*lexer->next != '"') {
        fault->at = token->at;
        snprintf(fault->text, sizeof fault->text, "the text that begins here has no end on its line");
        return false;
    }
    advance(lexer);
    return true;
}

bool gen_lex(gen_lexer *lexer, gen_token *token, gen_fault *fault) {
    pass_blanks(lexer);
    const char *start = lexer->next;
    *token = (gen_token){GEN_TOKEN_END, lexer->at, start, 0};
    if (!*start) return true;
    if (*start == '"') return lex_text(lexer, token, fault);
    if (isdigit((unsigned char)*start)) {
        token->kind = GEN_TOKEN_NUMBER;
        while (in_number(lexer->next)) advance(lexer);
    } else if (in_word(*start)) {
        token->kind = GEN_TOKEN_WORD;
        while (in_word(*lexer->next)) advance(lexer);
    } else if (strchr("()[]{},=*+-/?.:>", *start)) {
        token->kind = GEN_TOKEN_SIGN;
        advance(lexer);
        if (*start == '-' && *lexer->next == '>') advance(lexer);
    } else {
        fault->at = token->at;
        snprintf(fault->text, sizeof fault->text, "'%c' has no meaning here", *start);
        return false;
    }
    token->length = (size_t)(lexer->next - start);
    return true;
}
