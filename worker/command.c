/* Programs are named as they can be called from the folder where we run. */
#include "worker/command.h"

#include "worker/platform.h"

#include <ctype.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void worker_command_add(worker_command *line, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line->text + line->used, sizeof line->text - line->used, format, arguments);
    va_end(arguments);
    line->used += (size_t)length;
    if (line->used >= sizeof line->text) line->used = sizeof line->text - 1;
}

void worker_command_add_word(worker_command *line, const char *word) {
    if (*word && !word[strcspn(word, " \t\n'\"\\$`*?[]{}()<>|&;!#~")]) {
        worker_command_add(line, " %s", word);
        return;
    }
    worker_command_add(line, " '");
    for (; *word; word++) {
        if (*word == '\'')
            worker_command_add(line, "'\\''");
        else
            worker_command_add(line, "%c", *word);
    }
    worker_command_add(line, "'");
}

/* How many words from argument[0] on are the option --name with its value; 0: it is another. */
static int words_of(char *const *argument, const char *name) {
    size_t n = strlen(name);
    if (strncmp(argument[0], name, n) != 0) return 0;
    if (argument[0][n] == '=') return 1;
    return argument[0][n] ? 0 : argument[1] ? 2 : 1;
}

/* The words that tell a number of ranks, which another launcher is told in its own way. */
static int words_of_ranks(char *const *argument) {
    const char *a = argument[0];
    int words = words_of(argument, "-n");
    if (!words) words = words_of(argument, "--nproc-per-node");
    return words ? words : strncmp(a, "-n", 2) == 0 && isdigit((unsigned char)a[2]);
}

static void add_arguments(worker_command *line, char *const *arguments, bool without_resume) {
    while (*arguments) {
        int words = words_of_ranks(arguments);
        if (!words && without_resume) words = words_of(arguments, "--resume");
        if (!words) worker_command_add_word(line, *arguments);
        arguments += words ? words : 1;
    }
}

void worker_command_add_arguments(worker_command *line, const worker_run *run) {
    add_arguments(line, run->arguments, false);
}

void worker_command_add_mpirun(worker_command *line, const char *program, int ranks) {
    if (getuid() == 0) worker_command_add(line, "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 ");
    worker_command_add(line, "mpirun -np %d ", ranks);
    if (ranks > sysconf(_SC_NPROCESSORS_ONLN)) worker_command_add(line, "--oversubscribe ");
    worker_command_add(line, "%s train", program);
}

void worker_command_resume(worker_command *line, const worker_run *run) {
    char program[PATH_MAX];
    worker_program_name(program, sizeof program);
    switch (td_job_launcher(run->job)) {
    case TD_LAUNCHER_TANDEM: worker_command_add(line, "%s train -n %d", program, run->world_size); break;
    case TD_LAUNCHER_OPENMPI: worker_command_add_mpirun(line, program, run->world_size); break;
    default: worker_command_add(line, "%s train", program); /* by the launcher, if any, that did */
    }
    add_arguments(line, run->arguments, true);
    worker_command_add(line, " --resume auto");
}
