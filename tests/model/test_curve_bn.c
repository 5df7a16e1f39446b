/* The same curve as PyTorch's DDP with batch normalisation: `mnist-bn` on MNIST, 50 steps, one rank and two. */
#include "model/curve.h"
#include "support/check.h"

START_TEST(losses_weights_and_buffers_are_pytorchs) { check_curve("curve_bn.json", "mnist-bn", "sgd", _i); }
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("curve_bn");
    TCase *tcase = tcase_create("curve_bn");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, losses_weights_and_buffers_are_pytorchs, 1, 3);
    suite_add_tcase(suite, tcase);
    return suite;
}
