/* MNIST's files: those that come with Tandem, and folders with something wrong. */
#include "base/memory.h"
#include "sampler/mnist.h"
#include "support/check.h"
#include "support/golden.h"
#include "support/idx_bytes.h"

#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static void make_folder(void) {
    strcpy(folder, "/tmp/tandem-mnist-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}
static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *place) {
    (void)info, (void)kind, (void)place;
    return remove(path);
}
static void remove_folder(void) { nftw(folder, remove_entry, 4, FTW_DEPTH | FTW_PHYS); }

static void put(const char *name, int dims, const uint32_t *sizes, bool zip) {
    idx_bytes file = idx_make(dims, sizes);
    if (zip) file = idx_zip(&file);
    idx_write(folder, name, &file);
}

static void put_pair(uint32_t images, uint32_t labels) {
    put("t10k-images-idx3-ubyte", 3, (uint32_t[]){images, 2, 3}, false);
    put("t10k-labels-idx1-ubyte.gz", 1, (uint32_t[]){labels}, true);
}

START_TEST(the_shipped_set_is_mnist) {
    static const struct {
        bool train;
        int64_t count;
        int digits[10]; /* of each class, as published */
        int first[5];
    } sets[2] = {
        {true, 60000, {5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949}, {5, 0, 4, 1, 9}},
        {false, 10000, {980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009}, {7, 2, 1, 0, 4}},
    };
    for (int s = 0; s < 2; s++) {
        td_mnist mnist;
        ck_ok(td_mnist_read(s ? NULL : "mnist", sets[s].train, NULL, &mnist));
        ck_assert_int_eq(mnist.count, sets[s].count);
        ck_assert_int_eq(mnist.rows, 28);
        ck_assert_int_eq(mnist.columns, 28);
        int digits[10] = {0};
        for (int64_t i = 0; i < mnist.count; i++) digits[mnist.labels[i] % 10]++;
        ck_assert_mem_eq(digits, sets[s].digits, sizeof digits);
        for (int i = 0; i < 5; i++) ck_assert_int_eq(mnist.labels[i], sets[s].first[i]);
        td_free(mnist.images);
        td_free(mnist.labels);
    }
}
END_TEST

START_TEST(the_mean_and_deviation_are_the_usual_ones) {
    td_dataset *dataset = NULL;
    ck_ok(td_mnist_open("mnist", true, &dataset));
    const uint8_t *pixels = td_dataset_rows(dataset, 0);
    int64_t count = td_dataset_count(dataset) * 784, sum = 0, squares = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += pixels[i];
        squares += pixels[i] * pixels[i];
    }
    double mean = (double)sum / (double)count, square = (double)squares / (double)count;
    ck_assert_double_eq_tol(mean / 255, 0.1307, 5e-5);
    ck_assert_double_eq_tol((square - mean * mean) / 255 / 255, 0.3081 * 0.3081, 5e-5);
    td_dataset_close(&dataset);
}
END_TEST

START_TEST(a_folder_may_hold_plain_and_gzipped_files) {
    put_pair(4, 4);
    td_dataset *dataset = NULL;
    ck_ok(td_mnist_open(folder, false, &dataset));
    ck_assert_int_eq(td_dataset_count(dataset), 4);
    const td_dataset_part *image = td_dataset_part_of(dataset, 0), *label = td_dataset_part_of(dataset, 1);
    ck_assert_int_eq(image->sizes[0], 2);
    ck_assert_int_eq(image->sizes[1], 3);
    ck_assert_int_eq(label->dims, 0);
    uint8_t got[6], digit;
    ck_ok(td_dataset_gather(dataset, 0, (int64_t[]){2}, 1, got));
    ck_ok(td_dataset_gather(dataset, 1, (int64_t[]){2}, 1, &digit));
    for (int i = 0; i < 6; i++) ck_assert_int_eq(got[i], (uint8_t)((12 + i) * 7));
    ck_assert_int_eq(digit, 14);
    td_dataset_close(&dataset);
}
END_TEST

/* One process decodes, another lays a data set over the same bytes. */
START_TEST(decoded_bytes_can_be_shared) {
    static uint8_t arena[4096];
    put_pair(4, 4);
    td_mnist mnist;
    td_dataset *dataset = NULL;
    ck_ok(td_mnist_read(folder, false, NULL, &mnist));
    memcpy(arena, mnist.images, 24);
    memcpy(arena + 64, mnist.labels, 4);
    td_free(mnist.images);
    td_free(mnist.labels);
    mnist.images = arena;
    mnist.labels = arena + 64;
    ck_ok(td_mnist_dataset(&mnist, &dataset));
    ck_assert_ptr_eq(td_dataset_rows(dataset, 0), arena);
    td_dataset_close(&dataset);
}
END_TEST

static void fails(td_status status, const char *part) {
    td_dataset *dataset = NULL;
    ck_fails(td_mnist_open(folder, false, &dataset), status, part);
    ck_assert_ptr_null(dataset);
}

START_TEST(what_is_missing_is_named) {
    fails(TD_ERR_SYSTEM, "has neither t10k-images-idx3-ubyte nor t10k-images-idx3-ubyte.gz");
    put("t10k-images-idx3-ubyte", 3, (uint32_t[]){4, 2, 3}, false);
    fails(TD_ERR_SYSTEM, "has neither t10k-labels-idx1-ubyte nor");
    td_dataset *dataset = NULL;
    ck_fails(td_mnist_open("/nowhere", true, &dataset), TD_ERR_SYSTEM, "/nowhere: No such file or directory");
}
END_TEST

START_TEST(images_and_labels_must_belong_together) {
    put_pair(4, 5);
    fails(TD_ERR_FORMAT, "4 images, but 5 labels");
    put("t10k-labels-idx1-ubyte.gz", 3, (uint32_t[]){4, 2, 3}, true);
    fails(TD_ERR_FORMAT, "0x00000803 (a file of images), expected 0x00000801 (a file of labels)");
}
END_TEST

START_TEST(a_path_that_is_no_file_is_a_status) {
    char path[128];
    snprintf(path, sizeof path, "%s/t10k-images-idx3-ubyte", folder);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    fails(TD_ERR_SYSTEM, "Is a directory");
}
END_TEST

START_TEST(every_failed_allocation_is_a_status) {
    put_pair(4, 4);
    td_dataset *dataset = NULL;
    long k = 0;
    for (;; k++) {
        td_alloc_fail_after(k);
        td_status status = td_mnist_open(folder, false, &dataset);
        if (status >= 0) break;
        ck_assert_int_eq(status, TD_ERR_MEMORY);
        ck_assert_ptr_null(dataset);
    }
    td_alloc_fail_after(-1);
    ck_assert_int_eq(k, 4);
    td_dataset_close(&dataset);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("mnist");
    TCase *shipped = tcase_create("shipped"), *made = tcase_create("made");
    tcase_add_test(shipped, the_shipped_set_is_mnist);
    tcase_add_test(shipped, the_mean_and_deviation_are_the_usual_ones);
    suite_add_tcase(suite, shipped);
    tcase_add_checked_fixture(made, make_folder, remove_folder);
    tcase_add_test(made, a_folder_may_hold_plain_and_gzipped_files);
    tcase_add_test(made, decoded_bytes_can_be_shared);
    tcase_add_test(made, what_is_missing_is_named);
    tcase_add_test(made, images_and_labels_must_belong_together);
    tcase_add_test(made, a_path_that_is_no_file_is_a_status);
    tcase_add_test(made, every_failed_allocation_is_a_status);
    suite_add_tcase(suite, made);
    return suite;
}
