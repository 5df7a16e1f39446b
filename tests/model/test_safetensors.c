/* .safetensors: what is written is read, a model comes back, damaged files are refused with the reason, and a
 * file appears whole or not at all. */
#include "base/context.h"
#include "base/file.h"
#include "base/memory.h"
#include "model/checkpoint/safetensors.h"
#include "model/ops/ops.h"
#include "model/tensor/scope.h"
#include "model/tensor/storage.h"
#include "model/zoo/zoo.h"
#include "support/check.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static td_context *context;
static td_scope *scope;
static char path[256];

static void begin(void) {
    snprintf(path, sizeof path, "%s/safetensors-%d", TD_TEST_BUILD, (int)getpid());
    ck_ok(td_context_open(&context));
    scope = td_scope_open(context);
}

static void end(void) {
    unlink(path);
    ck_ok(td_scope_close(scope));
    ck_assert_uint_eq(td_memory_used(context).used, 0);
    td_context_close(&context);
}

/* --- whole files ------------------------------------------------------------------------------------ */

START_TEST(every_dtype_and_layout_comes_back) {
    begin();
    td_state_dict written = {0}, read = {0};
    for (int dtype = 0; dtype < TD_DTYPE_COUNT; dtype++) {
        unsigned char bytes[6 * 8];
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = dtype == TD_DTYPE_BOOL ? i % 2 : (unsigned char)(i * 37 + dtype);
        ck_ok(td_state_dict_add(&written, td_dtype_name((td_dtype)dtype),
                                td_tensor_from(bytes, (td_dtype)dtype, TD_INTS(2, 3))));
    }
    ck_ok(td_state_dict_add(&written, "turned", td_t(written.at[0].tensor)));
    ck_ok(td_state_dict_add(&written, "a number", td_ones((td_ints){0})));
    ck_ok(td_state_dict_add(&written, "nothing", td_ones(TD_INTS(4, 0))));
    ck_ok(td_state_dict_add(&written, "\"quoted\" \xc3\xa4", td_ones(TD_INTS(1))));
    ck_ok(td_safetensors_save(path, &written));
    ck_ok(td_safetensors_read(path, &read));
    ck_assert_uint_eq(read.count, written.count);
    for (size_t i = 0; i < written.count; i++) {
        const td_tensor *was = written.at[i].tensor, *is = td_state_dict_find(&read, written.at[i].name);
        ck_assert_msg(is != NULL, "no %s", written.at[i].name);
        char a[80], b[80];
        ck_assert_str_eq(td_tensor_describe(is, a, sizeof a), td_tensor_describe(was, b, sizeof b));
        size_t bytes = (size_t)td_tensor_count(was) * td_dtype_size(td_tensor_dtype(was));
        unsigned char wanted[64], got[64];
        ck_ok(td_tensor_copy_to(was, wanted, bytes));
        ck_ok(td_tensor_copy_to(is, got, bytes));
        ck_assert_mem_eq(got, wanted, bytes);
    }
    td_state_dict_clear(&written);
    td_state_dict_clear(&read);
    end();
}
END_TEST

/* The bytes, as Python's package writes them: prefix, JSON padded to 8, data by falling element size. */
START_TEST(the_format_is_the_one_of_the_package) {
    begin();
    td_state_dict dict = {0};
    const uint8_t small[3] = {1, 2, 3};
    const int64_t wide[1] = {-2};
    ck_ok(td_state_dict_add(&dict, "s", td_tensor_from(small, TD_DTYPE_U8, TD_INTS(3))));
    ck_ok(td_state_dict_add(&dict, "w", td_tensor_from(wide, TD_DTYPE_I64, TD_INTS(1))));
    ck_ok(td_safetensors_save(path, &dict));
    td_state_dict_clear(&dict);
    void *data;
    size_t bytes;
    ck_ok(td_file_read(path, 0, &data, &bytes));
    const char *json = "{\"__metadata__\":{\"format\":\"pt\"},"
                       "\"w\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]},"
                       "\"s\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[8,11]}}";
    size_t padded = (strlen(json) + 7) / 8 * 8;
    uint64_t length;
    memcpy(&length, data, sizeof length);
    ck_assert_uint_eq(length, padded);
    ck_assert_uint_eq(bytes, 8 + padded + 11);
    ck_assert_mem_eq((char *)data + 8, json, strlen(json));
    for (size_t i = strlen(json); i < padded; i++) ck_assert_int_eq(((char *)data)[8 + i], ' ');
    ck_assert_mem_eq((char *)data + 8 + padded, wide, 8);
    ck_assert_mem_eq((char *)data + 8 + padded + 8, small, 3);
    td_free(data);
    end();
}
END_TEST

START_TEST(a_model_comes_back_and_another_one_is_refused) {
    begin();
    td_module *saved, *loaded, *other;
    ck_ok(td_manual_seed(1));
    ck_ok(td_zoo_open("mlp", &saved));
    ck_ok(td_zoo_open("mlp", &loaded));
    ck_ok(td_zoo_open("mnist-cnn", &other));
    ck_ok(td_module_save(saved, path));
    ck_ok(td_module_load(loaded, path));
    td_state_dict a = {0}, b = {0};
    ck_ok(td_module_state(saved, &a));
    ck_ok(td_module_state(loaded, &b));
    for (size_t i = 0; i < a.count; i++)
        ck_assert_mem_eq(td_tensor_data(b.at[i].tensor), td_tensor_data(a.at[i].tensor),
                         (size_t)td_tensor_count(a.at[i].tensor) * sizeof(float));
    ck_fails(td_module_load(other, path), TD_ERR_ARG, "'conv1.weight' is missing");
    a.count--;
    ck_fails(td_safetensors_load(path, &a), TD_ERR_ARG, "'fc2.bias' is not in the model");
    a.count++;
    td_tensor *kept = a.at[1].tensor;
    a.at[1].tensor = a.at[3].tensor;
    ck_fails(td_safetensors_load(path, &a), TD_ERR_ARG,
             "'fc1.bias' is f32 (256), but the model's is f32 (10)");
    a.at[1].tensor = kept;
    td_state_dict_clear(&a);
    td_state_dict_clear(&b);
    td_module_close(&saved);
    td_module_close(&loaded);
    td_module_close(&other);
    end();
}
END_TEST

START_TEST(what_cannot_be_written_leaves_the_old_file) {
    begin();
    td_state_dict dict = {0};
    ck_ok(td_state_dict_add(&dict, "x", td_ones(TD_INTS(100000))));
    ck_ok(td_file_write_whole(path, "old", 3));
    /* A full disk, as far as this process can tell. */
    struct rlimit was, low;
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &was), 0);
    low = (struct rlimit){.rlim_cur = 65536, .rlim_max = was.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &low), 0);
    ck_fails(td_safetensors_save(path, &dict), TD_ERR_SYSTEM, "cannot write");
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &was), 0);
    ck_ok(td_state_dict_add(&dict, "x", dict.at[0].tensor));
    ck_fails(td_safetensors_save(path, &dict), TD_ERR_ARG, "the name 'x' appears twice");
    dict.count--;
    td_free(dict.at[1].name);
    td_release(&dict.at[1].tensor);
    ck_fails(td_safetensors_save("/nonexistent/model.safetensors", &dict), TD_ERR_SYSTEM, "/nonexistent");
    void *data;
    size_t bytes;
    ck_ok(td_file_read(path, 0, &data, &bytes));
    ck_assert_uint_eq(bytes, 3);
    td_free(data);
    ck_fails(td_safetensors_load("/nonexistent/model.safetensors", &dict), TD_ERR_SYSTEM, "/nonexistent");
    td_state_dict_clear(&dict);
    end();
}
END_TEST

/* --- damaged files ---------------------------------------------------------------------------------- */

/* A header and so many bytes of data behind it. */
typedef struct td_damage {
    const char *json;
    size_t data;
    td_status status;
    const char *says;
} td_damage;

#define OK_X "\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]"

static const td_damage damages[] = {
    {"{\"x\":{" OK_X "}}", 8, TD_OK, ""},
    {"{}", 0, TD_OK, ""},
    {"{\"__metadata__\":{\"a\":\"b\"},\"x\":{" OK_X "}}   ", 8, TD_OK, ""},
    {"", 0, TD_ERR_FORMAT, "no JSON"},
    {"[]", 0, TD_ERR_FORMAT, "no JSON object"},
    {"{\"x\":{" OK_X "}", 8, TD_ERR_FORMAT, "no JSON"},
    {"{\"x\":{" OK_X "},\"x\":{" OK_X "}}", 8, TD_ERR_FORMAT, "no JSON: duplicate"},
    {"{\"x\":{" OK_X "}}", 7, TD_ERR_FORMAT, "'x' lies at 0 to 8, but there are 7 bytes"},
    {"{\"x\":{" OK_X "}}", 9, TD_ERR_FORMAT, "1 bytes at its end belong to no tensor"},
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[1,9]}}", 9, TD_ERR_FORMAT, "'x' begins at 1"},
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, TD_ERR_FORMAT,
     "its shape needs 12"},
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, TD_ERR_FORMAT, "lies at 8 to 0"},
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", 8, TD_ERR_FORMAT, "lies at -8"},
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", 8, TD_ERR_FORMAT, "no data_offsets"},
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, TD_ERR_FORMAT,
     "a size is no number"},
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", 8, TD_ERR_FORMAT,
     "a size is no number"},
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", 8, TD_ERR_FORMAT, "no shape"},
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4611686018427387904],\"data_offsets\":[0,0]}}",
     0, TD_ERR_FORMAT, "more elements than memory"},
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}", 8,
     TD_ERR_UNSUPPORTED, "9 dimensions"},
    {"{\"x\":{\"dtype\":\"F8_E5M2\",\"shape\":[8],\"data_offsets\":[0,8]}}", 8, TD_ERR_UNSUPPORTED,
     "'F8_E5M2'"},
    {"{\"x\":{\"dtype\":7,\"shape\":[8],\"data_offsets\":[0,8]}}", 8, TD_ERR_FORMAT, "no dtype"},
    {"{\"x\":7}", 0, TD_ERR_FORMAT, "'x' is not of dtype, shape and data_offsets"},
    {"{\"x\":{" OK_X "},\"y\":{" OK_X "}}", 8, TD_ERR_FORMAT, "begins at 0, but what is before it ends at 8"},
    {"{\"x\":{" OK_X "},\"y\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}}", 8, TD_ERR_FORMAT,
     "'y' begins at 4"},
    {"{\"__metadata__\":{\"a\":1}}", 0, TD_ERR_FORMAT, "__metadata__"},
    {"{\"__metadata__\":[]}", 0, TD_ERR_FORMAT, "__metadata__"},
};

static char *make_file(const td_damage *damage, uint64_t length, size_t *bytes) {
    size_t text = strlen(damage->json);
    *bytes = 8 + text + damage->data;
    char *file = calloc(1, *bytes);
    memcpy(file, &length, 8);
    memcpy(file + 8, damage->json, text);
    return file;
}

START_TEST(damage_is_named) {
    begin();
    const td_damage *damage = &damages[_i];
    size_t bytes;
    char *file = make_file(damage, strlen(damage->json), &bytes);
    td_state_dict dict = {0};
    if (damage->status == TD_OK)
        ck_ok(td_safetensors_parse(file, bytes, "f", &dict));
    else
        ck_fails(td_safetensors_parse(file, bytes, "f", &dict), damage->status, damage->says);
    if (damage->status < 0) ck_assert_uint_eq(dict.count, 0);
    td_state_dict_clear(&dict);
    free(file);
    end();
}
END_TEST

START_TEST(a_file_cut_anywhere_is_refused) {
    begin();
    size_t bytes;
    char *file = make_file(&damages[0], strlen(damages[0].json), &bytes);
    for (size_t length = 0; length < bytes; length++) {
        char *cut = malloc(length + 1); /* so that a sanitizer sees a read past the end */
        memcpy(cut, file, length);
        td_state_dict dict = {0};
        ck_assert_int_eq(td_safetensors_parse(cut, length, "f", &dict), TD_ERR_FORMAT);
        free(cut);
    }
    free(file);
    const uint64_t lengths[] = {UINT64_MAX, UINT64_MAX - 7, 100 * 1000 * 1000 + 1, 1000};
    for (size_t i = 0; i < 4; i++) {
        file = make_file(&damages[0], lengths[i], &bytes);
        td_state_dict dict = {0};
        ck_fails(td_safetensors_parse(file, bytes, "f", &dict), TD_ERR_FORMAT,
                 "cut off or no .safetensors file");
        free(file);
    }
    end();
}
END_TEST

START_TEST(a_refused_file_changes_no_weight) {
    begin();
    td_module *net;
    ck_ok(td_zoo_open("mlp", &net));
    ck_ok(td_module_save(net, path));
    struct stat status;
    ck_assert_int_eq(stat(path, &status), 0);
    ck_assert_int_eq(truncate(path, status.st_size - 1), 0);
    td_tensor *weight = td_module_parameter(td_module_child(net, "fc1"), "weight");
    *(float *)td_tensor_data(weight) = 42;
    ck_fails(td_module_load(net, path), TD_ERR_FORMAT, "but there are");
    ck_assert_float_eq(*(float *)td_tensor_data(weight), 42);
    td_module_close(&net);
    end();
}
END_TEST

START_TEST(every_failing_allocation_is_a_status) {
    begin();
    td_state_dict dict = {0};
    ck_ok(td_state_dict_add(&dict, "x", td_t(td_ones(TD_INTS(2, 3)))));
    ck_ok(td_safetensors_save(path, &dict));
    bool failed = true;
    for (long k = 0; failed; k++) {
        td_state_dict read = {0};
        td_alloc_fail_after(k);
        td_status status = td_safetensors_save(path, &dict);
        if (status == TD_OK) status = td_safetensors_load(path, &dict);
        if (status == TD_OK) status = td_safetensors_read(path, &read);
        td_alloc_fail_after(-1);
        ck_assert_msg(status == TD_OK || status == TD_ERR_MEMORY, "%ld: %s", k, td_error_last()->text);
        failed = status != TD_OK;
        td_state_dict_clear(&read);
        if (td_scope_status(scope) == TD_OK) continue;
        td_scope_close(scope);
        scope = td_scope_open(context);
    }
    td_state_dict_clear(&dict);
    end();
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("safetensors");
    TCase *tcase = tcase_create("safetensors");
    tcase_add_test(tcase, every_dtype_and_layout_comes_back);
    tcase_add_test(tcase, the_format_is_the_one_of_the_package);
    tcase_add_test(tcase, a_model_comes_back_and_another_one_is_refused);
    tcase_add_test(tcase, what_cannot_be_written_leaves_the_old_file);
    tcase_add_loop_test(tcase, damage_is_named, 0, (int)(sizeof damages / sizeof *damages));
    tcase_add_test(tcase, a_file_cut_anywhere_is_refused);
    tcase_add_test(tcase, a_refused_file_changes_no_weight);
    tcase_add_test(tcase, every_failing_allocation_is_a_status);
    suite_add_tcase(suite, tcase);
    return suite;
}
