/* The same curve as PyTorch: `mnist-cnn` with dropout on MNIST, 20 steps (AdamW: 14), one rank and two. */
#include "model/curve.h"
#include "support/check.h"

static const struct {
    const char *name;
    int world;
} curves[] = {{"adam", 1}, {"adam", 2}, {"sgd_momentum", 1}, {"sgd_momentum", 2}, {"adamw", 1}, {"adamw", 2}};

START_TEST(losses_and_weights_are_pytorchs) {
    check_curve("curve_cnn.json", "mnist-cnn", curves[_i].name, curves[_i].world);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("curve_cnn");
    TCase *tcase = tcase_create("curve_cnn");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, losses_and_weights_are_pytorchs, 0, (int)(sizeof curves / sizeof *curves));
    suite_add_tcase(suite, tcase);
    return suite;
}
