/* The same curve as PyTorch: `mlp` on MNIST, 50 steps, one rank and two, with every optimizer. */
#include "model/curve.h"
#include "support/check.h"

static const struct {
    const char *name;
    int world;
} curves[] = {{"sgd", 1},  {"sgd", 2},  {"sgd_nesterov", 1}, {"sgd_nesterov", 2},
              {"adam", 1}, {"adam", 2}, {"adamw", 1},        {"adamw", 2}};

START_TEST(losses_and_weights_are_pytorchs) {
    check_curve("curve_mlp.json", "mlp", curves[_i].name, curves[_i].world);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("curve_mlp");
    TCase *tcase = tcase_create("curve_mlp");
    tcase_add_loop_test(tcase, losses_and_weights_are_pytorchs, 0, (int)(sizeof curves / sizeof *curves));
    suite_add_tcase(suite, tcase);
    return suite;
}
