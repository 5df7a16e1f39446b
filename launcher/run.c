/* `tandem run`: from the command line to the job. */
#include "launcher/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ranks inherit our variables anyway: -x NAME only finds out whether there is one. */
static void export_variables(const td_option_list *exports) {
    for (int i = 0; i < exports->count; i++) {
        const char *text = exports->items[i], *equals = strchr(text, '=');
        if (equals)
            putenv((char *)(uintptr_t)text);
        else if (!getenv(text))
            fprintf(stderr, "tandem: -x %s: there is no such variable\n", text);
    }
}

int launcher_run_main(int argc, char **argv) {
    launcher_options options;
    td_status status = launcher_options_parse(argc, argv, &options);
    if (status == TD_PENDING) return 0;
    if (status < 0) {
        fprintf(stderr, "%s\n", td_error_last()->text);
        return LAUNCHER_EXIT_OWN;
    }
    export_variables(&options.exports);
    return launcher_run_job(&options);
}
