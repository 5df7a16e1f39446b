/* What to try after a run, as commands to paste. */
#include "base/plugin.h"
#include "worker/command.h"
#include "worker/platform.h"
#include "worker/summary.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The same run under Open MPI, or, where that is what ran or is missing, with ranks of our own. */
static void say_other_launcher(const worker_run *run, const char *program) {
    worker_command line = {.used = 0};
    int ranks = run->world_size > 1 ? run->world_size : 2;
    if (td_job_launcher(run->job) == TD_LAUNCHER_OPENMPI || !worker_is_on_path("mpirun"))
        worker_command_add(&line, "%s train -n %d", program, ranks);
    else
        worker_command_add_mpirun(&line, program, ranks);
    worker_command_add_arguments(&line, run);
    worker_display_line(run->display, "  %s", line.text);
}

/* From a build tree the example is compiled against that, else against what is installed. */
static void say_example(const worker_run *run, const char *program) {
    char folder[PATH_MAX], probe[PATH_MAX + 32];
    const char *slash = strrchr(program, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - program) : 1, slash ? program : ".");
    snprintf(probe, sizeof probe, "%s/include/tandem/base/types.h", folder);
    if (slash && access(probe, R_OK) == 0) {
        const char *here = access("examples/mnist.c", R_OK) == 0 ? "" : probe;
        snprintf(probe, sizeof probe, "%s/include/tandem/", folder);
        worker_display_line(
            run->display,
            "  cc %sexamples/mnist.c -I%s/include -I%s/include/tandem -I%s/generated -I%s -L%s "
            "-Wl,-rpath,%s%s -ltandem -o mnist && %s run -n 2 -- ./mnist",
            here, folder, folder, folder, folder, folder, *folder == '/' ? "" : "$PWD/", folder, program);
        return;
    }
    char example[PATH_MAX];
    if (td_data_path("examples/mnist.c", example, sizeof example) < 0) return;
    worker_display_line(run->display,
                        "  cc %s $(pkg-config --cflags --libs tandem) -o mnist && %s run -n 2 -- ./mnist",
                        example, program);
}

void worker_say_next(const worker_run *run) {
    if (!run->display) return;
    char program[PATH_MAX];
    worker_program_name(program, sizeof program);
    worker_display_line(run->display, "\nNext:");
    say_other_launcher(run, program);
    worker_display_line(run->display, "  %s sampler --size 16 --world-size 2 --batch-size 2 --epochs 2",
                        program);
    say_example(run, program);
}
