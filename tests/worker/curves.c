/* The same curves as PyTorch: the runs of tests/golden/curve_*.json by the command line, losses to 1e-5
 * relative and weights to 1e-4. */
#include "worker/curves.h"

#include "base/context.h"
#include "model/checkpoint/safetensors.h"
#include "model/tensor/tensor.h"
#include "support/golden.h"
#include "worker/runs.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>

/* A command line that is built up word by word. */
typedef struct words {
    const char *argv[64];
    char texts[64][32];
    int n;
} words;

static void add(words *w, const char *word) { w->argv[w->n++] = word; }
static void add_real(words *w, double value) {
    snprintf(w->texts[w->n], sizeof w->texts[0], "%.17g", value);
    add(w, w->texts[w->n]);
}

/* The golden options are torch.optim's keyword arguments. */
static void add_optimizer(words *w, const json_t *record) {
    add(w, "--optimizer");
    const char *class_name = golden_text(record, "optimizer");
    char *name = w->texts[w->n];
    for (int i = 0; class_name[i]; i++) name[i] = (char)tolower((unsigned char)class_name[i]);
    add(w, name);
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(record, "options"), key, value) {
        if (strcmp(key, "lr") == 0)
            add(w, "--lr");
        else if (strcmp(key, "momentum") == 0)
            add(w, "--momentum");
        else if (strcmp(key, "weight_decay") == 0)
            add(w, "--weight-decay");
        else if (strcmp(key, "nesterov") == 0)
            add(w, "--nesterov");
        else
            ck_abort_msg("option %s has no counterpart", key);
        if (json_is_number(value)) add_real(w, json_number_value(value));
    }
}

static void expect_weights(const json_t *record, const char *path) {
    td_context *context;
    td_state_dict dict = {0};
    ck_ok(td_context_open(&context));
    ck_ok(td_safetensors_read(path, &dict));
    json_t *weights = json_object_get(record, "weights"), *weight;
    size_t w;
    json_array_foreach(weights, w, weight) {
        const char *name = golden_text(weight, "name");
        td_tensor *x = td_state_dict_find(&dict, name);
        if (!x) ck_abort_msg("no weights called %s", name);
        const float *data = td_tensor_data(x);
        int64_t stride = golden_int(weight, "stride");
        json_t *value;
        size_t i;
        json_array_foreach(json_object_get(weight, "values"), i, value) {
            double ours = (double)data[(int64_t)i * stride], theirs = json_number_value(value);
            if (!(fabs(ours - theirs) <= 1e-4))
                ck_abort_msg("%s: %s[%lld] is %.9g, PyTorch's is %.9g", golden_text(record, "name"), name,
                             (long long)((int64_t)i * stride), ours, theirs);
        }
    }
    td_state_dict_clear(&dict);
    td_context_close(&context);
}

START_TEST(losses_and_weights_are_pytorchs) {
    json_t *root = golden_load(curve_file);
    json_t *record = json_array_get(golden_list(root, "curves"), (size_t)_i);
    if (!record) ck_abort_msg("%s has no curve %d", curve_file, _i);
    words w = {.n = 0};
    const char *saved = scratch_path("weights");
    const char *const fixed[] = {
        TANDEM,           "train", "--json", "--model", curve_model, "--data", real_mnist_small_test(10),
        "--log-interval", "1",     "--save", saved};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) add(&w, fixed[i]);
    add(&w, "--threads"), add(&w, "1"); /* as PyTorch had: another order of sums takes other turns at ReLU */
    add(&w, "-n"), add_real(&w, (double)golden_int(record, "world"));
    add(&w, "--batch-size"), add_real(&w, (double)golden_int(record, "batch_size"));
    add(&w, "--steps"), add_real(&w, (double)golden_curve_steps(record));
    add(&w, "--seed"), add_real(&w, (double)golden_int(record, "seed"));
    add_optimizer(&w, record);

    run r = run_with((launch_setup){0}, w.argv);
    json_t *losses = golden_list(record, "losses");
    size_t steps = (size_t)golden_curve_steps(record);
    ck_assert_uint_eq(json_array_size(r.steps), steps);
    for (size_t i = 0; i < steps; i++) {
        double ours = run_loss(&r, i), theirs = json_number_value(json_array_get(losses, i));
        if (!(fabs(ours - theirs) <= 1e-5 * fabs(theirs)))
            ck_abort_msg("%s: loss of step %zu is %.9g, PyTorch's is %.9g", golden_text(record, "name"),
                         i + 1, ours, theirs);
    }
    if (steps == json_array_size(losses)) expect_weights(record, saved);
    run_free(&r);
    json_decref(root);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("curves");
    TCase *tcase = tcase_create("curves");
    json_t *root = golden_load(curve_file);
    tcase_add_loop_test(tcase, losses_and_weights_are_pytorchs, 0,
                        (int)json_array_size(json_object_get(root, "curves")));
    json_decref(root);
    suite_add_tcase(suite, tcase);
    return suite;
}
