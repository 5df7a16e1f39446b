/* Finds and reads the pair of IDX files that make a set, and lays a data set over what they hold. */
#include "sampler/mnist.h"

#include "base/memory.h"
#include "base/plugin.h"
#include "sampler/idx.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

static void *allocate_ordinary(size_t bytes, void *cookie) {
    (void)cookie;
    return td_alloc_aligned(bytes);
}
static void release_ordinary(void *block, void *cookie) {
    (void)cookie;
    td_free(block);
}
static const td_mnist_memory ordinary_memory = {allocate_ordinary, release_ordinary, NULL};

static bool is_shipped(const char *folder) {
    struct stat info;
    if (!folder) return true;
    return strcmp(folder, "mnist") == 0 && !(stat(folder, &info) == 0 && S_ISDIR(info.st_mode));
}

/* Open folder/name or folder/name.gz; `path` becomes the one found. */
static td_status open_file(const char *folder, const char *name, char path[PATH_BYTES], FILE **file) {
    if (is_shipped(folder)) {
        char shipped[256];
        snprintf(shipped, sizeof shipped, "mnist/%s.gz", name);
        TD_TRY(td_data_path(shipped, path, PATH_BYTES));
        *file = fopen(path, "rbe");
        return *file ? TD_OK : td_fail_errno(errno, "sampler", "%s", path);
    }
    static const char *const endings[] = {"", ".gz"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        if (snprintf(path, PATH_BYTES, "%s/%s%s", folder, name, endings[i]) >= PATH_BYTES)
            return td_fail(TD_ERR_ARG, 0, "sampler", "the path of %s is too long", name);
        *file = fopen(path, "rbe");
        if (*file) return TD_OK;
        if (errno != ENOENT) return td_fail_errno(errno, "sampler", "%s", path);
    }
    if (access(folder, F_OK)) return td_fail_errno(errno, "sampler", "data folder %s", folder);
    return td_fail(TD_ERR_SYSTEM, ENOENT, "sampler", "data folder %s has neither %s nor %s.gz", folder, name,
                   name);
}

static td_status read_file(const char *folder, const char *set, const char *what, int dims,
                           const td_mnist_memory *memory, sampler_idx *idx) {
    char name[64], path[PATH_BYTES];
    FILE *file = NULL;
    snprintf(name, sizeof name, "%s-%s-idx%d-ubyte", set, what, dims);
    TD_TRY(open_file(folder, name, path, &file));
    td_status status = sampler_idx_read(file, path, dims, memory, idx);
    fclose(file);
    return status;
}

td_status td_mnist_read(const char *folder, bool train, const td_mnist_memory *memory, td_mnist *mnist) {
    const char *set = train ? "train" : "t10k";
    if (!memory) memory = &ordinary_memory;
    sampler_idx images = {0}, labels = {0};
    TD_TRY(read_file(folder, set, "images", 3, memory, &images));
    td_status status = read_file(folder, set, "labels", 1, memory, &labels);
    if (status >= 0 && images.sizes[0] != labels.sizes[0]) {
        status = td_fail(TD_ERR_FORMAT, 0, "sampler", "%s set in %s: %lld images, but %lld labels", set,
                         folder ? folder : "the shipped data", (long long)images.sizes[0],
                         (long long)labels.sizes[0]);
        memory->release(labels.data, memory->cookie);
    }
    if (status < 0) {
        memory->release(images.data, memory->cookie);
        return status;
    }
    *mnist = (td_mnist){.count = images.sizes[0],
                        .rows = images.sizes[1],
                        .columns = images.sizes[2],
                        .images = images.data,
                        .labels = labels.data};
    return TD_OK;
}

static td_status lay_dataset(const td_mnist *mnist, void (*release)(void *), td_dataset **dataset) {
    const td_dataset_part parts[2] = {{TD_DTYPE_U8, 2, {mnist->rows, mnist->columns}}, {TD_DTYPE_U8, 0, {0}}};
    const void *const data[2] = {mnist->images, mnist->labels};
    return td_dataset_memory(mnist->count, parts, data, 2, release, dataset);
}

td_status td_mnist_dataset(const td_mnist *mnist, td_dataset **dataset) {
    return lay_dataset(mnist, NULL, dataset);
}

td_status td_mnist_open(const char *folder, bool train, td_dataset **dataset) {
    td_mnist mnist;
    TD_TRY(td_mnist_read(folder, train, NULL, &mnist));
    td_status status = lay_dataset(&mnist, td_free, dataset);
    if (status < 0) {
        td_free(mnist.images);
        td_free(mnist.labels);
    }
    return status;
}
