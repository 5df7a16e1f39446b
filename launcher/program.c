/* Everything that can be known before a fork is checked before it, so that it is said once and in one line, not
 * by every rank. */
#include "launcher/program.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127 };

td_status launcher_own_path(char *path, size_t bytes) {
    ssize_t n = readlink("/proc/self/exe", path, bytes - 1);
    if (n < 0) return td_fail_errno(errno, "launcher", "cannot find my own program through /proc/self/exe");
    path[n] = 0;
    return TD_OK;
}

/* --- the file ------------------------------------------------------------------------------------------ */

/* 0 when `path` is a file that we may execute, else the errno that exec would give. */
static int try_executable(const char *path) {
    struct stat st;
    if (stat(path, &st) != 0) return errno;
    if (S_ISDIR(st.st_mode)) return EISDIR;
    return access(path, X_OK) == 0 ? 0 : errno;
}

/* `name` as a process in `folder` would see it; false when that is too long. */
static bool join(const char *folder, const char *name, size_t n, char path[PATH_MAX]) {
    bool relative = *folder && !(n > 0 && name[0] == '/');
    int wrote =
        snprintf(path, PATH_MAX, "%s%s%.*s", relative ? folder : "", relative ? "/" : "", (int)n, name);
    return wrote >= 0 && wrote < PATH_MAX;
}

/* Look along PATH; 0 and the path, or the most telling errno: EACCES when one was there but not executable.
 */
static int search_path(const char *folder, const char *name, char path[PATH_MAX]) {
    const char *folders = getenv("PATH");
    int worst = ENOENT;
    for (const char *at = folders ? folders : "/usr/local/bin:/usr/bin:/bin"; at;) {
        size_t n = strcspn(at, ":");
        char candidate[PATH_MAX];
        int wrote = n ? snprintf(candidate, sizeof candidate, "%.*s/%s", (int)n, at, name)
                      : snprintf(candidate, sizeof candidate, "./%s", name);
        if (wrote > 0 && wrote < PATH_MAX && join(folder, candidate, (size_t)wrote, path)) {
            int error = try_executable(path);
            if (error == 0) return 0;
            if (error == EACCES) worst = EACCES;
        }
        at = at[n] == ':' ? at + n + 1 : NULL;
    }
    return worst;
}

static td_status refuse(int error, const char *name, int *exit_code) {
    bool missing = error == ENOENT || error == ENOTDIR;
    *exit_code = missing ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
    if (missing && strchr(name, '/')) return td_fail_errno(error, "launcher", "%s", name);
    if (missing) return td_fail(TD_ERR_SYSTEM, error, "launcher", "%s is in no folder of PATH", name);
    return td_fail_errno(error, "launcher", "%s cannot be executed", name);
}

/* Find `name` as execvp would. A bare "tandem" that PATH does not know is this program itself. */
static td_status find_file(const char *name, launcher_program *p, int *exit_code) {
    int error = ENOENT;
    if (strchr(name, '/'))
        error = join(p->folder, name, strlen(name), p->path) ? try_executable(p->path) : ENAMETOOLONG;
    else if (*name)
        error = search_path(p->folder, name, p->path);
    if (error == 0) return TD_OK;
    if (strcmp(name, "tandem") == 0) return launcher_own_path(p->path, sizeof p->path);
    return refuse(error, name, exit_code);
}

/* What "#!" names must be there too: the kernel's own answer to that is "No such file", of a file that the user
 * can see. A file that begins like no program may still be text for the shell. */
static td_status check_beginning(launcher_program *p, int *exit_code) {
    char head[256] = {0};
    int fd = open(p->path, O_RDONLY | O_CLOEXEC); /* may be executable and yet not readable */
    ssize_t n = fd >= 0 ? read(fd, head, sizeof head - 1) : -1;
    if (fd >= 0) close(fd);
    bool binary = n > 0 && (head[0] == '\177' || memchr(head, 0, (size_t)n)); /* '\177': ELF */
    p->text = n < 2 || (strncmp(head, "#!", 2) != 0 && !binary);
    if (strncmp(head, "#!", 2) != 0) return TD_OK;
    char *interpreter = head + 2 + strspn(head + 2, " \t"), path[PATH_MAX];
    interpreter[strcspn(interpreter, " \t\n")] = 0;
    size_t length = strlen(interpreter);
    int error = join(p->folder, interpreter, length, path) ? try_executable(path) : ENAMETOOLONG;
    if (error == 0 || length == 0) return TD_OK;
    *exit_code = error == ENOENT || error == ENOTDIR ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
    if (interpreter[length - 1] == '\r')
        return td_fail(TD_ERR_SYSTEM, error, "launcher",
                       "%s has lines that end as on Windows, so its interpreter is not found: %.*s\\r",
                       p->path, (int)length - 1, interpreter);
    return td_fail_errno(error, "launcher", "%s: its interpreter %s", p->path, interpreter);
}

/* --- torchrun's forms ---------------------------------------------------------------------------------- */

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0;
}

/* torchrun's --run-path runs the file in the interpreter that it has already started. */
static const char run_path_code[] = "import runpy, sys; del sys.argv[0]; runpy.run_path(sys.argv[0], "
                                    "run_name='__main__')";

/* Is a Python to run this, and with which words in front? */
static bool choose_front(const launcher_options *o, const char **front) {
    bool script = o->run_path || (!o->no_python && ends_with(o->program[0], ".py"));
    if (!script && !o->module) return false;
    const char *python = getenv("PYTHON_EXEC");
    *front++ = python && *python ? python : "python3";
    *front++ = "-u";
    if (o->run_path)
        *front++ = "-c", *front++ = run_path_code;
    else if (o->module)
        *front++ = "-m";
    return true;
}

static td_status check_script(const launcher_options *o, const launcher_program *p, int *exit_code) {
    char path[PATH_MAX];
    struct stat st;
    if (o->module && !o->run_path) return TD_OK;
    if (join(p->folder, o->program[0], strlen(o->program[0]), path) && stat(path, &st) == 0) return TD_OK;
    *exit_code = EXIT_NOT_FOUND;
    return td_fail_errno(errno, "launcher", "%s", path);
}

td_status launcher_program_find(const launcher_options *o, launcher_program *program, int *exit_code) {
    launcher_program p = {.words = o->program};
    if (o->folder && !realpath(o->folder, p.folder))
        return td_fail_errno(errno, "launcher", "--wdir: %s", o->folder);
    bool python = choose_front(o, p.front);
    p.substitutes = python || o->no_python;
    TD_TRY(find_file(python ? p.front[0] : o->program[0], &p, exit_code));
    TD_TRY(python ? check_script(o, &p, exit_code) : check_beginning(&p, exit_code));
    *program = p;
    return TD_OK;
}

/* --- arguments ----------------------------------------------------------------------------------------- */

static size_t match_macro(const char *at) {
    if (strncmp(at, "${local_rank}", 13) == 0) return 13;
    if (strncmp(at, "$local_rank", 11) != 0) return 0;
    return strspn(at + 11, "_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") ? 0 : 11;
}

/* Write `word` with its macros replaced, as Python's string.Template does it; the end of what was written. */
static char *substitute(const char *word, int local_rank, char *out) {
    while (*word) {
        size_t n = match_macro(word);
        if (n > 0)
            out += sprintf(out, "%d", local_rank);
        else
            *out++ = *word, n = word[0] == '$' && word[1] == '$' ? 2 : 1;
        word += n;
    }
    *out++ = 0;
    return out;
}

td_status launcher_program_arguments(const launcher_program *p, int local_rank, char ***argv) {
    size_t n = 0, own = 0;
    for (; p->front[n]; n++) continue;
    for (char **w = p->words; *w; w++, n++) own += strlen(*w) + 1; /* a rank is shorter than its macro */
    char **list = td_alloc((n + 1) * sizeof *list + (p->substitutes ? own : 0));
    if (!list) return TD_ERR_MEMORY;
    char *text = (char *)(list + n + 1);
    n = 0;
    for (; p->front[n]; n++) list[n] = (char *)(uintptr_t)p->front[n];
    for (char **w = p->words; *w; w++, n++) {
        list[n] = p->substitutes ? text : *w;
        if (p->substitutes) text = substitute(*w, local_rank, text);
    }
    list[n] = NULL;
    *argv = list;
    return TD_OK;
}
