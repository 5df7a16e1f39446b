/* `tandem run --dry-run`: what would be started where, and with which environment. */
#ifndef TANDEM_LAUNCHER_DRY_RUN_H
#define TANDEM_LAUNCHER_DRY_RUN_H

#include "launcher/options.h"

/* Print the plan for options->places; gives the exit status. Starts nothing. */
int launcher_dry_run(const launcher_options *options);

#endif
