/* `tandem run`: from the command line to the job. */
#include "launcher/run.h"

#include "dist/recorder.h"
#include "launcher/dry_run.h"
#include "launcher/places.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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

/* Ranks may run in another folder, so they are told the whole path. */
static td_status export_trace_dir(const char *folder) {
    if (!folder) return TD_OK;
    if (mkdir(folder, 0777) && errno != EEXIST)
        return td_fail_errno(errno, "launcher", "--trace-dir %s", folder);
    char *path = realpath(folder, NULL);
    if (!path) return td_fail_errno(errno, "launcher", "--trace-dir %s", folder);
    setenv(TD_ENV_TRACE_DIR, path, 1);
    free(path);
    return TD_OK;
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
    launcher_places places;
    if (export_trace_dir(options.trace_dir) < 0 || launcher_places_find(&options, &places) < 0) {
        fprintf(stderr, "tandem: %s\n", td_error_last()->text);
        return LAUNCHER_EXIT_OWN;
    }
    options.places = &places;
    options.ranks = places.ranks;
    int exit_code = options.dry_run ? launcher_dry_run(&options) : launcher_run_job(&options);
    launcher_places_close(&places);
    return exit_code;
}
