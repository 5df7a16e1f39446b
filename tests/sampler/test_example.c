/* examples/sampler.c, built against the public headers alone, shows what `tandem sampler` shows. */
#include "launcher/launch.h"
#include "support/check.h"

START_TEST(the_example_repeats_the_experiment) {
    launch l =
        launch_start_with((launch_setup){0}, (const char *[]){TD_TEST_BUILD "/examples/sampler", NULL});
    launch_finish(&l);
    ck_code(&l, 0);
    ck_assert_str_eq(l.output, "without set_epoch\n"
                               "  epoch 0  rank 0    12  9   11 13    2 15    4  7\n"
                               "  epoch 0  rank 1    10  6    8  5   14  0    3  1\n"
                               "  epoch 1  rank 0    12  9   11 13    2 15    4  7\n"
                               "  epoch 1  rank 1    10  6    8  5   14  0    3  1\n"
                               "  the epochs have the same order; ranks never share a sample\n"
                               "with set_epoch\n"
                               "  epoch 0  rank 0    12  9   11 13    2 15    4  7\n"
                               "  epoch 0  rank 1    10  6    8  5   14  0    3  1\n"
                               "  epoch 1  rank 0     5  6   11  7    1  9   10 13\n"
                               "  epoch 1  rank 1    15  4    2 12    0  8    3 14\n"
                               "  the epochs differ; ranks never share a sample\n");
    launch_free(&l);
}
END_TEST

SUITE("example of the sampler", the_example_repeats_the_experiment)
