/* The format is that of torch/distributed/elastic/multiprocessing/errors/error_handler.py; workers that are not
 * Python write {"message": "text"}. */
#include "launcher/errors.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MOST = 1 << 20 }; /* what is longer was not written by such a handler */

static bool make_folder_in(const char *base, char path[PATH_MAX]) {
    int n = snprintf(path, PATH_MAX, "%s/tandem-XXXXXX", base);
    if (n < PATH_MAX && mkdtemp(path)) return true;
    path[0] = 0;
    return false;
}

/* Making and removing a folder on a disk is 0.2 ms of a launch, and hardly any job writes into it. */
void launcher_errors_make_folder(char path[PATH_MAX]) {
    const char *base = getenv("TMPDIR");
    if (base && *base)
        make_folder_in(base, path);
    else if (!make_folder_in("/dev/shm", path))
        make_folder_in("/tmp", path);
}

void launcher_errors_remove_folder(const char *path) {
    DIR *dir = *path ? opendir(path) : NULL;
    if (!dir) return;
    for (struct dirent *entry; (entry = readdir(dir));)
        if (entry->d_name[0] != '.') unlinkat(dirfd(dir), entry->d_name, 0);
    closedir(dir);
    rmdir(path);
}

static json_t *load(const char *path) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    if (fd < 0) return NULL;
    bool fits = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= FILE_MOST;
    json_t *o = fits ? json_loadfd(fd, 0, NULL) : NULL;
    close(fd);
    return o;
}

/* A copy of the last line that is not empty. */
static char *copy_last_line(const char *text) {
    size_t end = strlen(text);
    while (end > 0 && (text[end - 1] == '\n' || text[end - 1] == ' ')) end--;
    size_t begin = end;
    while (begin > 0 && text[begin - 1] != '\n') begin--;
    return end > begin ? strndup(text + begin, end - begin) : NULL;
}

void launcher_errors_read(const char *path, char **line, char **traceback) {
    json_t *file = load(path), *message = json_object_get(file, "message");
    const char *stack =
        json_string_value(json_object_get(json_object_get(message, "extraInfo"), "py_callstack"));
    const char *text = json_string_value(message);
    if (!text) text = json_string_value(json_object_get(message, "message"));
    char *last = copy_last_line(stack ? stack : text ? text : "");
    if (last) {
        *line = last;
        *traceback = stack ? strdup(stack) : NULL;
    }
    json_decref(file);
}
