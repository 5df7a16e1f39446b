/* Parsing from an option table. Help is in options_help.c. */
#include "base/options.h"

#include "base/number.h"

#include <stdlib.h>
#include <string.h>

/* Are two option names of this length the same, where '_' stands for '-'? */
static bool same_name(const char *known, const char *given, size_t length) {
    for (size_t i = 0; i < length; i++)
        if (known[i] != (given[i] == '_' ? '-' : given[i])) return false;
    return true;
}

static bool is_one_of(const char *words, const char *name, size_t length) {
    while (*words) {
        size_t n = strcspn(words, " ");
        if (n == length && same_name(words, name, length)) return true;
        words += n + (words[n] == ' ');
    }
    return false;
}

static const td_option *find_long(const td_command *command, const char *name, size_t length) {
    for (const td_option *o = command->options; o->name; o++)
        if (is_one_of(o->name, name, length) || (o->also && is_one_of(o->also, name, length))) return o;
    return NULL;
}

static const td_option *find_letter(const td_command *command, char letter) {
    for (const td_option *o = command->options; o->name; o++)
        if (o->letter && o->letter == letter) return o;
    return NULL;
}

enum { LONGEST_WORD = 64 };

/* Edits (insert, delete, replace, swap neighbours) that lead from a to b; large when a word is too long. */
static int edit_distance(const char *a, const char *b) {
    int n = (int)strlen(a), m = (int)strlen(b);
    if (n >= LONGEST_WORD || m >= LONGEST_WORD) return LONGEST_WORD;
    int d[LONGEST_WORD + 1][LONGEST_WORD + 1];
    for (int i = 0; i <= n; i++) d[i][0] = i;
    for (int j = 0; j <= m; j++) d[0][j] = j;
    for (int i = 1; i <= n; i++) {
        for (int j = 1; j <= m; j++) {
            int best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            if (d[i - 1][j] + 1 < best) best = d[i - 1][j] + 1;
            if (d[i][j - 1] + 1 < best) best = d[i][j - 1] + 1;
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped && d[i - 2][j - 2] + 1 < best) best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    }
    return d[n][m];
}

const char *td_nearest_name(const char *word, const char *const *known) {
    const char *nearest = NULL;
    int least = (int)strlen(word) / 3 + 2; /* further than this is no help */
    for (; *known; known++) {
        int distance = edit_distance(word, *known);
        /* A word cut short is near, whatever its length. */
        if (strlen(word) >= 3 && strncmp(word, *known, strlen(word)) == 0) distance = 1;
        if (distance >= least) continue;
        least = distance;
        nearest = *known;
    }
    return nearest;
}

static td_status unknown_option(const td_command *command, const char *given, const char *name,
                                size_t length) {
    const char *known[128] = {"help"};
    size_t count = 1;
    for (const td_option *o = command->options; o->name && count + 1 < sizeof known / sizeof *known; o++)
        if (!o->hidden) known[count++] = o->name;
    char word[LONGEST_WORD] = {0};
    memcpy(word, name, length < sizeof word - 1 ? length : sizeof word - 1);
    const char *nearest = length > 1 ? td_nearest_name(word, known) : NULL;
    if (nearest)
        return td_fail(TD_ERR_ARG, 0, "options", "%s: unknown option %s; did you mean --%s?", command->name,
                       given, nearest);
    return td_fail(TD_ERR_ARG, 0, "options", "%s: unknown option %s; %s --help lists them", command->name,
                   given, command->name);
}

static td_status check_choice(const char *choices, const char *text) {
    char copy[256], *words[32], *state;
    int count = 0;
    strncpy(copy, choices, sizeof copy - 1)[sizeof copy - 1] = 0;
    for (char *w = strtok_r(copy, " ", &state); w && count < 31; w = strtok_r(NULL, " ", &state)) {
        if (strcmp(w, text) == 0) return TD_OK;
        words[count++] = w;
    }
    words[count] = NULL;
    const char *nearest = td_nearest_name(text, (const char *const *)words);
    if (nearest) return td_fail(TD_ERR_ARG, 0, "base", "'%s' is unknown; did you mean %s?", text, nearest);
    return td_fail(TD_ERR_ARG, 0, "base", "'%s' is not one of: %s", text, choices);
}

static td_status check_range(const td_option *o, double number, const char *text) {
    bool limited = o->min < o->max;
    if (!limited || (number >= o->min && number <= o->max)) return TD_OK;
    if (o->max >= 1e15)
        return td_fail(TD_ERR_ARG, 0, "base", "%s is below the least possible, %.15g", text, o->min);
    return td_fail(TD_ERR_ARG, 0, "base", "%s is not between %.15g and %.15g", text, o->min, o->max);
}

static td_status parse_pair(const char *text, double pair[2]) {
    char copy[128];
    const char *comma = strchr(text, ',');
    if (!comma || strlen(text) >= sizeof copy)
        return td_fail(TD_ERR_ARG, 0, "base", "'%s' is not two numbers with a comma between", text);
    memcpy(copy, text, (size_t)(comma - text));
    copy[comma - text] = 0;
    double first, second;
    TD_TRY(td_parse_f64(copy, &first));
    TD_TRY(td_parse_f64(comma + 1, &second));
    pair[0] = first;
    pair[1] = second;
    return TD_OK;
}

static td_status append(td_option_list *list, const char *text) {
    if (list->count == TD_OPTION_LIST_MOST)
        return td_fail(TD_ERR_ARG, 0, "base", "%s is one too many, after %d", text, TD_OPTION_LIST_MOST);
    list->items[list->count++] = text;
    return TD_OK;
}

static td_status store(const td_option *o, const char *text, void *values) {
    void *to = (char *)values + o->offset;
    double real;
    int64_t whole;
    switch (o->kind) {
    case TD_OPTION_FLAG: *(bool *)to = true; return TD_OK;
    case TD_OPTION_TEXT: *(const char **)to = text; return TD_OK;
    case TD_OPTION_CHOICE:
        TD_TRY(check_choice(o->choices, text));
        *(const char **)to = text;
        return TD_OK;
    case TD_OPTION_INT:
    case TD_OPTION_SIZE:
        TD_TRY(o->kind == TD_OPTION_INT ? td_parse_i64(text, &whole) : td_parse_bytes(text, &whole));
        TD_TRY(check_range(o, (double)whole, text));
        *(int64_t *)to = whole;
        return TD_OK;
    case TD_OPTION_REAL:
    case TD_OPTION_SECONDS:
        TD_TRY(o->kind == TD_OPTION_REAL ? td_parse_f64(text, &real) : td_parse_seconds(text, &real));
        TD_TRY(check_range(o, real, text));
        *(double *)to = real;
        return TD_OK;
    case TD_OPTION_REAL_PAIR: return parse_pair(text, to);
    case TD_OPTION_LIST: return append(to, text);
    case TD_OPTION_PARSED: return o->parse(text, to);
    }
    return td_fail(TD_ERR_INTERNAL, 0, "options", "option --%s has kind %d", o->name, (int)o->kind);
}

/* Put the command and whose value it is in front of what the parser of the value said. */
static td_status explain(const td_command *command, const char *whose, const char *name, td_status status) {
    if (status >= 0) return status;
    char reason[sizeof td_error_last()->text];
    strcpy(reason, td_error_last()->text);
    return td_fail(status, 0, "options", "%s: %s%s: %s", command->name, whose, name, reason);
}

static td_status store_or_explain(const td_command *command, const td_option *o, const char *text,
                                  void *values) {
    return explain(command, "--", o->name, store(o, text, values));
}

/* argv[*i] is --name or, where dashes is 1, -name. */
static td_status parse_long(const td_command *command, int argc, char **argv, int *i, int dashes,
                            void *values) {
    const char *name = argv[*i] + dashes, *equals = strchr(name, '=');
    size_t length = equals ? (size_t)(equals - name) : strlen(name);
    if (is_one_of("help", name, length)) return TD_PENDING;
    const td_option *o = find_long(command, name, length);
    if (!o && !equals && strncmp(name, "no-", 3) == 0) {
        o = find_long(command, name + 3, length - 3);
        if (o && o->kind == TD_OPTION_FLAG) {
            *(bool *)((char *)values + o->offset) = false;
            return TD_OK;
        }
        o = NULL;
    }
    if (!o) return unknown_option(command, argv[*i], name, length);
    if (o->kind == TD_OPTION_FLAG) {
        if (equals)
            return td_fail(TD_ERR_ARG, 0, "options", "%s: --%s takes no value", command->name, o->name);
        return store(o, NULL, values);
    }
    if (equals) return store_or_explain(command, o, equals + 1, values);
    if (*i + 1 >= argc)
        return td_fail(TD_ERR_ARG, 0, "options", "%s: --%s needs a value, %s", command->name, o->name,
                       o->value);
    return store_or_explain(command, o, argv[++*i], values);
}

static td_status parse_letter(const td_command *command, int argc, char **argv, int *i, void *values) {
    const char *given = argv[*i];
    if (strcmp(given, "-h") == 0) return TD_PENDING;
    const td_option *o = find_letter(command, given[1]);
    if (!o || (given[2] && o->kind == TD_OPTION_FLAG))
        return unknown_option(command, given, given + 1, strlen(given + 1));
    if (o->kind == TD_OPTION_FLAG) return store(o, NULL, values);
    if (given[2]) return store_or_explain(command, o, given + 2 + (given[2] == '='), values);
    if (*i + 1 >= argc)
        return td_fail(TD_ERR_ARG, 0, "options", "%s: -%c needs a value, %s", command->name, o->letter,
                       o->value);
    return store_or_explain(command, o, argv[++*i], values);
}

/* Is this -name, a long name with one dash? */
static bool is_long_with_one_dash(const td_command *command, const char *word) {
    size_t length = strcspn(word + 1, "=");
    return length >= 2 && find_long(command, word + 1, length);
}

/* --- the environment ----------------------------------------------------------------------------------- */

static td_status store_flag(const char *text, bool *to) {
    if (strcmp(text, "0") != 0 && strcmp(text, "1") != 0)
        return td_fail(TD_ERR_ARG, 0, "base", "'%s' is neither 0 nor 1", text);
    *to = text[0] == '1';
    return TD_OK;
}

static td_status take_environment(const td_command *command, void *values) {
    for (const td_option *o = command->options; command->environment && o->name; o++) {
        char name[128];
        int length = snprintf(name, sizeof name, "%s%s", command->environment, o->name);
        for (char *c = name + strlen(command->environment); *c; c++)
            *c = *c == '-' ? '_' : (char)(*c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c);
        const char *text = length < (int)sizeof name ? getenv(name) : NULL;
        if (!text || !*text) continue;
        td_status status = o->kind == TD_OPTION_FLAG ? store_flag(text, (bool *)((char *)values + o->offset))
                                                     : store(o, text, values);
        TD_TRY(explain(command, "", name, status));
    }
    return TD_OK;
}

td_status td_options_parse(const td_command *command, int argc, char **argv, void *values, int *rest) {
    int positional = 0;
    bool ended = false;
    TD_TRY(take_environment(command, values));
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (!ended && strcmp(word, "--") == 0) {
            ended = true;
            continue;
        }
        td_status status = TD_OK;
        if (!ended && word[0] == '-' && word[1] == '-') {
            status = parse_long(command, argc, argv, &i, 2, values);
        } else if (!ended && word[0] == '-' && is_long_with_one_dash(command, word)) {
            status = parse_long(command, argc, argv, &i, 1, values);
        } else if (!ended && word[0] == '-' && word[1]) {
            status = parse_letter(command, argc, argv, &i, values);
        } else {
            argv[1 + positional++] = argv[i];
            if (command->stop_at_positional) ended = true;
        }
        if (status != TD_OK) return status;
    }
    if (positional && !command->positional)
        return td_fail(TD_ERR_ARG, 0, "options", "%s: '%s' is not an option, and nothing else is expected",
                       command->name, argv[1]);
    *rest = positional;
    return TD_OK;
}
