/* See runs.h. */
#include "worker/runs.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/plugin.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- running -------------------------------------------------------------------------------------------- */

static void take_event(run *r, const char *line) {
    json_error_t error;
    json_t *event = json_loads(line, 0, &error);
    if (!event) ck_abort_msg("this is no JSON (%s): %s", error.text, line);
    const char *kind = json_string_value(json_object_get(event, "event"));
    if (!kind) ck_abort_msg("this is no event: %s", line);
    if (strcmp(kind, "start") == 0)
        r->start = event;
    else if (strcmp(kind, "step") == 0)
        json_array_append_new(r->steps, event);
    else if (strcmp(kind, "eval") == 0)
        json_array_append_new(r->evals, event);
    else if (strcmp(kind, "checkpoint") == 0)
        json_array_append_new(r->checkpoints, event);
    else if (strcmp(kind, "stopped") == 0)
        r->stopped = event;
    else if (strcmp(kind, "end") == 0)
        r->end = event;
    else
        ck_abort_msg("unknown event: %s", line);
}

run run_finish(launch l) {
    run r = {.launch = l, .steps = json_array(), .evals = json_array(), .checkpoints = json_array()};
    launch_finish(&r.launch);
    char *copy = strdup(r.launch.output), *state;
    for (char *line = strtok_r(copy, "\n", &state); line; line = strtok_r(NULL, "\n", &state))
        take_event(&r, line);
    free(copy);
    return r;
}

run run_with(launch_setup setup, const char *const *argv) {
    run r = run_finish(launch_start_with(setup, argv));
    ck_code(&r.launch, 0);
    return r;
}

void run_free(run *r) {
    json_decref(r->start);
    json_decref(r->steps);
    json_decref(r->evals);
    json_decref(r->checkpoints);
    json_decref(r->stopped);
    json_decref(r->end);
    launch_free(&r->launch);
}

double run_loss(const run *r, size_t index) {
    json_t *loss = json_object_get(json_array_get(r->steps, index), "loss");
    if (!json_is_real(loss)) ck_abort_msg("step event %zu has no loss:\n%s", index, r->launch.output);
    return json_real_value(loss);
}

void run_expect_same_losses(const run *a, const run *b) {
    ck_assert_uint_gt(json_array_size(a->steps), 0);
    ck_assert_uint_eq(json_array_size(a->steps), json_array_size(b->steps));
    for (size_t i = 0; i < json_array_size(a->steps); i++)
        if (run_loss(a, i) != run_loss(b, i))
            ck_abort_msg("losses differ in event %zu: %.9g and %.9g", i, run_loss(a, i), run_loss(b, i));
}

/* Does a block of texts, each with its zero, contain this one? */
static bool holds(const char *block, size_t bytes, const char *text) {
    for (size_t at = 0; at < bytes; at += strlen(block + at) + 1)
        if (strcmp(block + at, text) == 0) return true;
    return false;
}

pid_t run_rank(const launch *l, int rank) {
    char mark[32];
    pid_t found = 0;
    snprintf(mark, sizeof mark, "RANK=%d", rank);
    DIR *processes = opendir("/proc");
    for (struct dirent *e; !found && (e = readdir(processes));) {
        char path[300];
        void *environment;
        size_t bytes;
        snprintf(path, sizeof path, "/proc/%s/environ", e->d_name);
        if (atoi(e->d_name) <= 0 || td_file_read(path, 0, &environment, &bytes) < 0) continue;
        if (holds(environment, bytes, mark) && holds(environment, bytes, l->mark)) found = atoi(e->d_name);
        td_free(environment);
    }
    closedir(processes);
    return found;
}

/* --- files ---------------------------------------------------------------------------------------------- */

static char scratch[64];
static pid_t scratch_owner;

static void remove_folder(const char *path) {
    DIR *folder = opendir(path);
    if (!folder) return;
    for (struct dirent *e; (e = readdir(folder));) {
        char inside[512];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        snprintf(inside, sizeof inside, "%s/%s", path, e->d_name);
        struct stat info;
        if (lstat(inside, &info) == 0 && S_ISDIR(info.st_mode))
            remove_folder(inside);
        else
            unlink(inside);
    }
    closedir(folder);
    rmdir(path);
}

static void remove_scratch(void) {
    if (getpid() == scratch_owner) remove_folder(scratch);
}

const char *scratch_path(const char *name) {
    static char paths[16][160];
    static int next;
    if (scratch_owner != getpid()) { /* Check's children have folders of their own */
        snprintf(scratch, sizeof scratch, "/tmp/tandem-test-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(scratch));
        scratch_owner = getpid();
        atexit(remove_scratch);
    }
    char *path = paths[next++ % 16];
    snprintf(path, sizeof paths[0], "%s/%s", scratch, name);
    return path;
}

char *file_bytes(const char *path, size_t *size) {
    void *data;
    ck_ok(td_file_read(path, 0, &data, size));
    return data;
}

void expect_same_files(const char *a, const char *b) {
    size_t size_a, size_b;
    char *bytes_a = file_bytes(a, &size_a), *bytes_b = file_bytes(b, &size_b);
    ck_assert_uint_eq(size_a, size_b);
    ck_assert_msg(memcmp(bytes_a, bytes_b, size_a) == 0, "%s and %s differ", a, b);
    td_free(bytes_a);
    td_free(bytes_b);
}

/* --- data ----------------------------------------------------------------------------------------------- */

enum { SIDE = 28, PIXELS = SIDE * SIDE };

static void write_word(FILE *file, uint32_t value) {
    const uint8_t bytes[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
                              (uint8_t)value};
    fwrite(bytes, 1, 4, file);
}

/* Noise with a bright stripe whose place is the label. */
static void write_set(const char *folder, const char *set, int count) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s-images-idx3-ubyte", folder, set);
    FILE *images = fopen(path, "w");
    snprintf(path, sizeof path, "%s/%s-labels-idx1-ubyte", folder, set);
    FILE *labels = fopen(path, "w");
    ck_assert(images && labels);
    write_word(images, 0x803), write_word(images, (uint32_t)count), write_word(images, SIDE),
        write_word(images, SIDE);
    write_word(labels, 0x801), write_word(labels, (uint32_t)count);
    uint32_t random = 1;
    for (int i = 0; i < count; i++) {
        uint8_t image[PIXELS], label = (uint8_t)(i * 7 % 10);
        for (int p = 0; p < PIXELS; p++) {
            random = random * 1664525 + 1013904223;
            image[p] = (uint8_t)((random >> 24) / 2 + (p / SIDE / 2 == label + 2 ? 120 : 0));
        }
        fwrite(image, 1, PIXELS, images);
        fputc(label, labels);
    }
    fclose(images);
    fclose(labels);
}

const char *small_mnist(int train, int test) {
    char name[64];
    snprintf(name, sizeof name, "small-%d-%d", train, test);
    const char *folder = scratch_path(name);
    if (mkdir(folder, 0777)) return folder;
    write_set(folder, "train", train);
    write_set(folder, "t10k", test);
    return folder;
}

const char *real_mnist_small_test(int test) {
    const char *folder = scratch_path("real");
    if (mkdir(folder, 0777)) return folder;
    static const char *const files[] = {"train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"};
    for (int i = 0; i < 2; i++) {
        char name[64], from[512], to[256];
        snprintf(name, sizeof name, "mnist/%s", files[i]);
        ck_ok(td_data_path(name, from, sizeof from));
        snprintf(to, sizeof to, "%s/%s", folder, files[i]);
        ck_assert_int_eq(symlink(from, to), 0);
    }
    write_set(folder, "t10k", test);
    return folder;
}
