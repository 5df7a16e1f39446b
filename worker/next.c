/* What to try after a run, as commands that can be pasted into the shell that started it: the program is
 * named as it can be called from the folder where we run. */
#include "base/plugin.h"
#include "worker/platform.h"
#include "worker/summary.h"

#include <ctype.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct command_line {
    char text[4096];
    size_t used;
} command_line;

static void append(command_line *line, const char *format, ...) TD_PRINTF(2, 3);
static void append(command_line *line, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line->text + line->used, sizeof line->text - line->used, format, arguments);
    va_end(arguments);
    line->used += (size_t)length;
    if (line->used >= sizeof line->text) line->used = sizeof line->text - 1;
}

/* In quotes where a shell would not leave it alone. */
static void append_argument(command_line *line, const char *argument) {
    if (*argument && !argument[strcspn(argument, " \t\n'\"\\$`*?[]{}()<>|&;!#~")]) {
        append(line, " %s", argument);
        return;
    }
    append(line, " '");
    for (; *argument; argument++) {
        if (*argument == '\'')
            append(line, "'\\''");
        else
            append(line, "%c", *argument);
    }
    append(line, "'");
}

/* The words that tell a number of ranks, which another launcher is told in its own way. */
static int words_of_ranks(char *const *argument) {
    const char *a = argument[0];
    if (strcmp(a, "-n") == 0 || strcmp(a, "--nproc-per-node") == 0) return argument[1] ? 2 : 1;
    return (strncmp(a, "-n", 2) == 0 && isdigit((unsigned char)a[2])) ||
           strncmp(a, "--nproc-per-node=", 17) == 0;
}

static void append_arguments(command_line *line, char *const *arguments) {
    while (*arguments) {
        int words = words_of_ranks(arguments);
        if (!words) append_argument(line, *arguments);
        arguments += words ? words : 1;
    }
}

/* The same run under Open MPI, or, where that is what ran or is missing, with ranks of our own. */
static void say_other_launcher(const worker_run *run, const char *program) {
    command_line line = {.used = 0};
    int ranks = run->world_size > 1 ? run->world_size : 2;
    if (td_job_launcher(run->job) == TD_LAUNCHER_OPENMPI || !worker_is_on_path("mpirun")) {
        append(&line, "%s train -n %d", program, ranks);
    } else {
        if (getuid() == 0) append(&line, "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 ");
        append(&line, "mpirun -np %d ", ranks);
        if (ranks > sysconf(_SC_NPROCESSORS_ONLN)) append(&line, "--oversubscribe ");
        append(&line, "%s train", program);
    }
    append_arguments(&line, run->arguments);
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
