/* The command line of `tandem run`, words ended by zeros; those at the beginning that set a PET_ variable are put into
 * the environment. What is understood is then read as the launcher reads it. */
#include "base/memory.h"
#include "launcher/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS_MOST = 100, VARIABLES_MOST = 8 };

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* --help and --print-completion answer there. */
int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    return freopen("/dev/null", "w", stdout) ? 0 : 1;
}

static char *set_variable(char *word) {
    char *equals = strncmp(word, "PET_", 4) == 0 ? strchr(word, '=') : NULL;
    if (!equals) return NULL;
    *equals = 0;
    setenv(word, equals + 1, 1);
    return word;
}

static void use(const launcher_options *o) {
    launcher_program program = {.front = {"python3", "-u"}, .words = o->program, .substitutes = true};
    launcher_routes routes;
    char **argv = NULL;
    if (strlen(launcher_rendezvous_address(&o->rendezvous)) > 1 << 20) abort();
    if (launcher_rendezvous_port(&o->rendezvous) > 65535) abort();
    launcher_rendezvous_id(&o->rendezvous);
    if (launcher_program_arguments(&program, 123, &argv) >= 0) td_free(argv);
    if (launcher_routes_make(&o->logs, 16, &routes) >= 0) launcher_routes_free(&routes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1), *words[WORDS_MOST + 2] = {"run"}, *variables[VARIABLES_MOST];
    int count = 1, set = 0;
    if (!text) return 0;
    memcpy(text, data, size);
    text[size] = 0;
    for (size_t at = 0; at < size && count <= WORDS_MOST; at += strlen(text + at) + 1) {
        char *variable = count == 1 && set < VARIABLES_MOST ? set_variable(text + at) : NULL;
        if (variable) {
            at += strlen(variable) + 1; /* on to its value */
            variables[set++] = variable;
        } else {
            words[count++] = text + at;
        }
    }
    launcher_options options;
    if (launcher_options_parse(count, words, &options) == TD_OK) use(&options);
    for (int i = 0; i < set; i++) unsetenv(variables[i]);
    free(text);
    return 0;
}
