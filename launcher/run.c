/* `tandem run`: from the command line to the job. */
#include "launcher/run.h"

#include <stdio.h>

int launcher_run_main(int argc, char **argv) {
    launcher_options options;
    td_status status = launcher_options_parse(argc, argv, &options);
    if (status == TD_PENDING) return 0;
    if (status >= 0) return launcher_run_job(&options);
    fprintf(stderr, "%s\n", td_error_last()->text);
    return LAUNCHER_EXIT_OWN;
}
