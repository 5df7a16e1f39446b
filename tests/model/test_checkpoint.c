/* Checkpoints: what goes in comes out, in the background too; damaged ones are named and passed over; a full disk
 * leaves the ones before; failing allocations are statuses. */
#include "base/context.h"
#include "base/file.h"
#include "base/memory.h"
#include "model/autograd/autograd.h"
#include "model/checkpoint/checkpoint.h"
#include "model/checkpoint/manifest.h"
#include "model/checkpoint/safetensors.h"
#include "model/checkpoint_folder.h"
#include "model/ops/ops.h"
#include "model/tensor/scope.h"
#include "model/tensor/storage.h"
#include "model/zoo/zoo.h"
#include "support/check.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *path_of(const char *format, int64_t step) {
    static char paths[4][128];
    static int next;
    char *path = paths[next++ % 4];
    int n = snprintf(path, sizeof paths[0], "%s/step-%08lld", folder, (long long)step);
    snprintf(path + n, sizeof paths[0] - (size_t)n, "%s", format);
    return path;
}

static int entries_in(const char *path) {
    int n = 0;
    DIR *entries = opendir(path);
    if (!entries) return -1;
    for (struct dirent *e; (e = readdir(entries));) n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    closedir(entries);
    return n;
}

/* `x`, filled with the step's number. */
static void fill_state(td_state_dict *state, int64_t step, int64_t count) {
    ck_ok(td_state_dict_add(state, "x", td_full(TD_INTS(count), td_num((double)step))));
}

static void save(int64_t step) {
    td_state_dict state = {0};
    fill_state(&state, step, 1000);
    ck_ok(td_checkpoint_save(folder, step, &state, "{\"note\": \"mine\"}"));
    td_state_dict_clear(&state);
}

/* The newest one's step, after a look at its contents; -1 when there is none. */
static int64_t newest(void) {
    td_state_dict state = {0};
    td_checkpoint_info info = {0};
    td_status status = td_checkpoint_read_newest(folder, &state, &info);
    if (status == TD_PENDING) return -1;
    ck_ok(status);
    td_tensor *x = td_state_dict_find(&state, "x");
    ck_assert_ptr_nonnull(x);
    const float *at = td_tensor_data(x);
    for (int64_t i = 0; i < td_tensor_count(x); i++) ck_quietly(at[i] == (float)info.step);
    int64_t step = info.step;
    td_checkpoint_info_clear(&info);
    td_state_dict_clear(&state);
    return step;
}

/* --- whole runs ----------------------------------------------------------------------------------------- */

typedef struct training {
    td_module *model;
    td_optimizer *optimizer;
    td_generator *generator;
} training;

static td_checkpoint_parts parts_of(const training *t) {
    return (td_checkpoint_parts){t->model, t->optimizer, t->generator};
}

static training open_training(void) {
    training t = {.generator = td_context_generator(context)};
    td_state_dict parameters = {0};
    ck_ok(td_zoo_open("mlp", &t.model));
    ck_ok(td_module_parameters(t.model, &parameters));
    ck_ok(td_adamw_open(&parameters, NULL, &t.optimizer));
    td_state_dict_clear(&parameters);
    return t;
}

static void train(training *t, int steps) {
    for (int i = 0; i < steps; i++) {
        td_scope *s = td_scope_open(context);
        td_optimizer_zero_grad(t->optimizer);
        td_tensor *x = td_dropout(td_randn(TD_INTS(4, 784)), 0.5, true);
        td_backward(td_mean(td_module_forward(t->model, x)));
        ck_ok(td_scope_close(s));
        ck_ok(td_optimizer_step(t->optimizer));
    }
}

static void close_training(training *t) {
    td_optimizer_close(&t->optimizer);
    td_module_close(&t->model);
}

START_TEST(a_run_goes_on_with_the_same_bits) {
    begin();
    training t = open_training();
    train(&t, 3);
    td_state_dict state = {0}, read = {0}, ended = {0}, ended_too = {0};
    td_checkpoint_parts parts = parts_of(&t);
    ck_ok(td_checkpoint_collect(&parts, &state));
    ck_assert_ptr_nonnull(td_state_dict_find(&state, "model.fc1.weight"));
    ck_assert_ptr_nonnull(td_state_dict_find(&state, "optimizer.state.fc1.weight.exp_avg"));
    ck_assert_ptr_nonnull(td_state_dict_find(&state, "optimizer.param_groups.0.lr"));
    ck_assert_ptr_nonnull(td_state_dict_find(&state, "generator"));
    ck_ok(td_checkpoint_save(folder, 3, &state, NULL));
    td_state_dict_clear(&state);
    train(&t, 3);
    ck_ok(td_checkpoint_collect(&parts, &ended));

    training other = open_training();
    td_checkpoint_parts others = parts_of(&other);
    td_checkpoint_info info = {0};
    ck_ok(td_checkpoint_read(path_of("", 3), &read, &info));
    ck_assert_int_eq(info.step, 3);
    ck_assert_str_eq(info.run, "{}");
    ck_assert_str_eq(info.path, path_of("", 3));
    ck_ok(td_checkpoint_restore(&others, &read));
    train(&other, 3);
    ck_ok(td_checkpoint_collect(&others, &ended_too));
    void *a = NULL, *b = NULL;
    size_t room_a = 0, room_b = 0, bytes_a, bytes_b;
    ck_ok(td_safetensors_dump(&ended, &a, &room_a, &bytes_a));
    ck_ok(td_safetensors_dump(&ended_too, &b, &room_b, &bytes_b));
    ck_assert_uint_eq(bytes_a, bytes_b);
    ck_assert_int_eq(memcmp(a, b, bytes_a), 0);
    td_free(a);
    td_free(b);
    td_checkpoint_info_clear(&info);
    td_state_dict_clear(&ended);
    td_state_dict_clear(&ended_too);
    td_state_dict_clear(&read);
    close_training(&t);
    close_training(&other);
    end();
}
END_TEST

START_TEST(what_is_missing_or_of_another_shape_is_named) {
    begin();
    training t = open_training();
    train(&t, 1);
    td_checkpoint_parts parts = parts_of(&t);
    td_state_dict state = {0};
    ck_ok(td_checkpoint_collect(&parts, &state));
    state.count--;
    ck_fails(td_checkpoint_restore(&parts, &state), TD_ERR_ARG, "'generator' is missing");
    state.count++;
    char *name = state.at[0].name;
    state.at[0].name = (char *)"model.fc9.weight";
    ck_fails(td_checkpoint_restore(&parts, &state), TD_ERR_ARG, "fc1.weight");
    state.at[0].name = name;
    td_state_dict_clear(&state);
    close_training(&t);
    end();
}
END_TEST

/* The bytes that a file has are those that a file written tensor by tensor has. */
START_TEST(a_dump_is_the_file) {
    begin();
    training t = open_training();
    td_state_dict state = {0};
    ck_ok(td_module_state(t.model, &state));
    ck_ok(td_state_dict_add(&state, "turned", td_t(td_randn(TD_INTS(3, 5)))));
    ck_ok(td_safetensors_save(folder, &state));
    void *data = NULL, *file;
    size_t room = 0, bytes, file_bytes;
    ck_ok(td_safetensors_dump(&state, &data, &room, &bytes));
    ck_ok(td_file_read(folder, 0, &file, &file_bytes));
    ck_assert_uint_eq(bytes, file_bytes);
    ck_assert_int_eq(memcmp(data, file, bytes), 0);
    td_free(file);
    td_free(data);
    td_state_dict_clear(&state);
    close_training(&t);
    end();
}
END_TEST

/* --- the writer ----------------------------------------------------------------------------------------- */

START_TEST(what_is_posted_is_what_was_there_at_that_moment) {
    begin();
    td_checkpoint_writer *writer = NULL;
    td_checkpoint_saved saved;
    ck_ok(td_checkpoint_writer_open(folder, 2, &writer));
    ck_assert_int_eq(td_checkpoint_writer_result(writer, true, &saved), TD_PENDING);
    td_state_dict state = {0};
    fill_state(&state, 0, 3 << 20);
    td_tensor *x = state.at[0].tensor;
    for (int64_t step = 1; step <= 4; step++) {
        td_scope *s = td_scope_open(context);
        td_fill_(x, td_num((double)step));
        ck_ok(td_checkpoint_writer_post(writer, step, &state, NULL));
        td_fill_(x, td_num(-1.0));
        ck_ok(td_scope_close(s));
        ck_ok(td_checkpoint_writer_result(writer, true, &saved));
        ck_assert_int_eq(saved.step, step);
        ck_assert_str_eq(saved.path, path_of("", step));
        ck_assert_uint_gt(saved.bytes, 12 << 20);
        ck_assert(saved.seconds >= saved.blocked_seconds);
        ck_assert_int_eq(td_checkpoint_writer_result(writer, true, &saved), TD_PENDING); /* told once */
        ck_assert_int_eq(newest(), step);
        ck_assert_int_eq(entries_in(folder), step < 2 ? 1 : 2); /* keep 2 */
    }
    td_state_dict_clear(&state);
    td_checkpoint_writer_close(&writer);
    ck_assert_int_eq(td_checkpoint_newest_step(folder), 4);
    end();
}
END_TEST

START_TEST(a_folder_has_one_writer_which_sweeps_it) {
    begin();
    td_checkpoint_writer *writer = NULL, *second = NULL;
    save(5);
    ck_assert_int_eq(mkdir(path_of("", 0), 0777), 0);
    char left[128];
    snprintf(left, sizeof left, "%s/.step-00000009.1-0", folder);
    ck_assert_int_eq(mkdir(left, 0777), 0);
    ck_ok(td_checkpoint_writer_open(folder, 1, &writer));
    ck_assert_int_ne(access(left, F_OK), 0);
    ck_assert_int_eq(newest(), 5);
    ck_fails(td_checkpoint_writer_open(folder, 1, &second), TD_ERR_STATE, "another run writes");
    td_checkpoint_writer_close(&writer);
    ck_ok(td_checkpoint_writer_open(folder, 1, &writer));
    td_checkpoint_writer_close(&writer);
    ck_fails(td_checkpoint_writer_open("/nonexistent/a", 1, &writer), TD_ERR_SYSTEM, "/nonexistent/a");
    ck_fails(td_checkpoint_writer_open(folder, 0, &writer), TD_ERR_ARG, "0 checkpoints to keep");
    ck_fails(td_checkpoint_writer_open("/dev/null", 1, &writer), TD_ERR_SYSTEM, "/dev/null");
    end();
}
END_TEST

START_TEST(the_same_step_is_replaced) {
    begin();
    save(7);
    td_state_dict state = {0};
    ck_ok(td_state_dict_add(&state, "x", td_full(TD_INTS(5), td_num(7.0))));
    ck_ok(td_checkpoint_save(folder, 7, &state, NULL));
    td_state_dict_clear(&state);
    ck_assert_int_eq(newest(), 7);
    ck_assert_int_eq(entries_in(folder), 1);
    struct stat info;
    ck_assert_int_eq(stat(path_of("/state.safetensors", 7), &info), 0);
    ck_assert_int_lt(info.st_size, 200);
    ck_fails(td_checkpoint_save(folder, -1, &state, NULL), TD_ERR_ARG, "step -1");
    ck_fails(td_checkpoint_save(folder, 8, &state, "[1]"), TD_ERR_ARG, "no JSON object");
    ck_fails(td_checkpoint_save(folder, 8, &state, "{"), TD_ERR_ARG, "no JSON object");
    ck_assert_int_eq(entries_in(folder), 1);
    end();
}
END_TEST

START_TEST(a_full_disk_leaves_the_one_before) {
    begin();
    save(1);
    struct rlimit was, low;
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &was), 0);
    low = (struct rlimit){.rlim_cur = 1 << 20, .rlim_max = was.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    td_checkpoint_writer *writer = NULL;
    td_checkpoint_saved saved;
    td_state_dict state = {0};
    fill_state(&state, 2, 1 << 20);
    ck_ok(td_checkpoint_writer_open(folder, 1, &writer));
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &low), 0);
    ck_ok(td_checkpoint_writer_post(writer, 2, &state, NULL));
    ck_fails(td_checkpoint_writer_result(writer, true, &saved), TD_ERR_SYSTEM, "state.safetensors");
    ck_assert_int_eq(entries_in(folder), 1);
    ck_assert_int_eq(newest(), 1);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &was), 0);
    ck_ok(td_checkpoint_writer_post(writer, 2, &state, NULL)); /* and when there is room again, it is used */
    ck_ok(td_checkpoint_writer_result(writer, true, &saved));
    ck_assert_int_eq(newest(), 2);
    ck_assert_int_eq(entries_in(folder), 1);
    td_checkpoint_writer_close(&writer);
    td_state_dict_clear(&state);
    end();
}
END_TEST

/* --- damage --------------------------------------------------------------------------------------------- */

static void flip(const char *path, off_t at, unsigned char bits) {
    int fd = open(path, O_RDWR);
    unsigned char byte;
    ck_quietly(fd >= 0 && pread(fd, &byte, 1, at) == 1);
    byte ^= bits;
    ck_quietly(pwrite(fd, &byte, 1, at) == 1 && close(fd) == 0);
}

static td_status try_to_read(int64_t step) {
    td_state_dict state = {0};
    td_checkpoint_info info = {0};
    td_status status = td_checkpoint_read(path_of("", step), &state, &info);
    if (status < 0) ck_quietly(state.count == 0 && !info.path && !info.run);
    td_checkpoint_info_clear(&info);
    td_state_dict_clear(&state);
    return status;
}

static const char *const files[] = {"/state.safetensors", "/checkpoint.json"};

START_TEST(a_bit_flipped_anywhere_is_noticed) {
    begin();
    save(1);
    const char *path = path_of(files[_i], 1);
    struct stat info;
    ck_assert_int_eq(stat(path, &info), 0);
    for (off_t at = 0; at < info.st_size; at++) {
        path = path_of(files[_i], 1);
        flip(path, at, (unsigned char)(1 << at % 8));
        if (try_to_read(1) != TD_ERR_FORMAT)
            ck_abort_msg("%s, byte %lld: %s", path, (long long)at, td_error_last()->text);
        flip(path_of(files[_i], 1), at, (unsigned char)(1 << at % 8));
    }
    ck_ok(try_to_read(1));
    end();
}
END_TEST

START_TEST(a_file_cut_anywhere_is_noticed) {
    begin();
    save(1);
    struct stat info;
    ck_assert_int_eq(stat(path_of(files[_i], 1), &info), 0);
    for (off_t size = info.st_size - 1; size >= 0; size -= size > 600 ? 97 : 1) {
        ck_quietly(truncate(path_of(files[_i], 1), size) == 0);
        if (try_to_read(1) != TD_ERR_FORMAT)
            ck_abort_msg("%lld bytes: %s", (long long)size, td_error_last()->text);
    }
    ck_fails(try_to_read(1), TD_ERR_FORMAT, _i ? "does not begin" : "it has 0 bytes");
    ck_assert_int_eq(unlink(path_of(files[_i], 1)), 0);
    ck_fails(try_to_read(1), TD_ERR_SYSTEM, files[_i] + 1);
    ck_fails(try_to_read(2), TD_ERR_SYSTEM, "step-00000002");
    end();
}
END_TEST

START_TEST(damaged_ones_are_passed_over_aloud) {
    begin();
    ck_assert_int_eq(newest(), -1);
    ck_assert_int_eq(td_checkpoint_newest_step(folder), -1);
    for (int64_t step = 1; step <= 3; step++) save(step);
    flip(path_of(files[0], 3), 500, 1);
    ck_assert_int_eq(unlink(path_of(files[1], 2)), 0);
    ck_assert_int_eq(newest(), 1);
    ck_assert_ptr_nonnull(strstr(logged, "step-00000003/state.safetensors: it is damaged"));
    ck_assert_ptr_nonnull(strstr(logged, "step-00000002 is no checkpoint"));
    ck_assert_int_eq(td_checkpoint_newest_step(folder), 3);
    ck_assert_int_eq(truncate(path_of(files[0], 1), 100), 0);
    td_state_dict state = {0};
    td_checkpoint_info info = {0};
    ck_fails(td_checkpoint_read_newest(folder, &state, &info), TD_ERR_FORMAT, "step-00000003");
    end();
}
END_TEST

#define HEAD    "\"crc32\":\"\",\"format\":\"tandem checkpoint\","
#define TENSORS "\"tensors\":{\"file\":\"state.safetensors\",\"bytes\":8,\"crc32\":\"0123abcd\"},"
static const struct {
    const char *json;
    td_status status;
    const char *says;
} manifests[] = {
    {"{" HEAD "\"version\":1,\"step\":3," TENSORS "\"run\":{}}", TD_OK, ""},
    {"{" HEAD "\"version\":1,\"step\":3," TENSORS "\"run\":{},\"more\":1}", TD_OK, ""},
    {"", TD_ERR_FORMAT, "m: "},
    {"[]", TD_ERR_FORMAT, "no JSON object"},
    {"{}", TD_ERR_FORMAT, "no checkpoint of Tandem"},
    {"{" HEAD "\"version\":2}", TD_ERR_UNSUPPORTED, "version 2, but this Tandem reads up to 1"},
    {"{" HEAD "\"version\":0}", TD_ERR_FORMAT, "version"},
    {"{" HEAD "\"version\":\"1\"}", TD_ERR_FORMAT, "no checkpoint of Tandem"},
    {"{" HEAD "\"version\":1," TENSORS "\"run\":{}}", TD_ERR_FORMAT, "step"},
    {"{" HEAD "\"version\":1,\"step\":3,\"run\":{}}", TD_ERR_FORMAT, "tensors"},
    {"{" HEAD "\"version\":1,\"step\":3," TENSORS "\"step\":3,\"run\":{}}", TD_ERR_FORMAT, "duplicate"},
    {"{" HEAD "\"version\":1,\"step\":-3," TENSORS "\"run\":{}}", TD_ERR_FORMAT, "out of its range"},
    {"{" HEAD "\"version\":1,\"step\":3," TENSORS "\"run\":[]}", TD_ERR_FORMAT, "out of its range"},
    {"{" HEAD "\"version\":1,\"step\":3,\"tensors\":{\"file\":\"../x\",\"bytes\":8,\"crc32\":\"0123abcd\"},"
     "\"run\":{}}",
     TD_ERR_FORMAT, "out of its range"},
    {"{" HEAD "\"version\":1,\"step\":3,\"tensors\":{\"file\":\"state.safetensors\",\"bytes\":8,"
     "\"crc32\":\"0123abc\"},\"run\":{}}",
     TD_ERR_FORMAT, "out of its range"},
};

START_TEST(a_manifest_is_checked_field_by_field) {
    checkpoint_manifest m = {0};
    const char *json = manifests[_i].json;
    td_status status = manifests[_i].status;
    if (status == TD_OK) {
        ck_ok(checkpoint_manifest_parse(json, strlen(json), "m", &m));
        ck_assert_int_eq(m.step, 3);
        ck_assert_int_eq(m.tensor_bytes, 8);
        ck_assert_uint_eq(m.tensor_crc, 0x0123abcd);
        ck_assert_str_eq(m.run, "{}");
    } else {
        ck_fails(checkpoint_manifest_parse(json, strlen(json), "m", &m), status, manifests[_i].says);
        ck_assert_ptr_null(m.run);
    }
    checkpoint_manifest_clear(&m);
}
END_TEST

/* --- failures ------------------------------------------------------------------------------------------- */

static td_status write_and_read(const td_checkpoint_parts *parts) {
    td_state_dict state = {0}, read = {0};
    td_checkpoint_info info = {0};
    td_checkpoint_writer *writer = NULL;
    td_checkpoint_saved saved;
    td_status status = td_checkpoint_collect(parts, &state);
    if (status == TD_OK) status = td_checkpoint_save(folder, 1, &state, NULL);
    if (status == TD_OK) status = td_checkpoint_writer_open(folder, 1, &writer);
    if (status == TD_OK) status = td_checkpoint_writer_post(writer, 2, &state, NULL);
    if (status == TD_OK) status = td_checkpoint_writer_result(writer, true, &saved);
    td_checkpoint_writer_close(&writer);
    if (status == TD_OK) status = td_checkpoint_read_newest(folder, &read, &info);
    if (status == TD_OK) status = td_checkpoint_restore(parts, &read);
    td_checkpoint_info_clear(&info);
    td_state_dict_clear(&state);
    td_state_dict_clear(&read);
    return status;
}

START_TEST(every_failing_allocation_is_a_status) {
    begin();
    training t = open_training();
    train(&t, 1);
    td_checkpoint_parts parts = parts_of(&t);
    bool failed = true;
    for (long k = 0; failed; k++) {
        td_alloc_fail_after(k);
        td_status status = write_and_read(&parts);
        td_alloc_fail_after(-1);
        ck_expect(status == TD_OK || status == TD_ERR_MEMORY, "%ld: %s", k, td_error_last()->text);
        failed = status != TD_OK;
        if (td_scope_status(scope) == TD_OK) continue;
        td_scope_close(scope);
        scope = td_scope_open(context);
    }
    close_training(&t);
    end();
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("checkpoint");
    TCase *tcase = tcase_create("checkpoint");
    tcase_add_test(tcase, a_run_goes_on_with_the_same_bits);
    tcase_add_test(tcase, what_is_missing_or_of_another_shape_is_named);
    tcase_add_test(tcase, a_dump_is_the_file);
    tcase_add_test(tcase, what_is_posted_is_what_was_there_at_that_moment);
    tcase_add_test(tcase, a_folder_has_one_writer_which_sweeps_it);
    tcase_add_test(tcase, the_same_step_is_replaced);
    tcase_add_test(tcase, a_full_disk_leaves_the_one_before);
    tcase_add_loop_test(tcase, a_bit_flipped_anywhere_is_noticed, 0, 2);
    tcase_add_loop_test(tcase, a_file_cut_anywhere_is_noticed, 0, 2);
    tcase_add_test(tcase, damaged_ones_are_passed_over_aloud);
    tcase_add_loop_test(tcase, a_manifest_is_checked_field_by_field, 0,
                        (int)(sizeof manifests / sizeof *manifests));
    tcase_add_test(tcase, every_failing_allocation_is_a_status);
    suite_add_tcase(suite, tcase);
    return suite;
}
