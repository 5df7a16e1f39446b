#include "worker/deterministic.h"

static run train(const deterministic_run *s, const char *ranks, const char *data, const char *path) {
    return run_with((launch_setup){0},
                    (const char *[]){TANDEM,       "train",           "--json", "-n",
                                     ranks,        "--model",         s->model, "--optimizer",
                                     s->optimizer, s->option,         s->value, "--data",
                                     data,         "--deterministic", "world",  "--global-batch-size",
                                     s->batch,     "--steps",         s->steps, "--eval-interval",
                                     "3",          "--log-interval",  "1",      "--seed",
                                     "7",          "--save",          path,     NULL});
}

void expect_same_bits(const deterministic_run *setting, const char *data) {
    static const char *const ranks[] = {"2", "3", "4", "8"};
    const char *a = scratch_path("a"), *b = scratch_path("b");
    run alone = train(setting, "1", data, a);
    for (size_t i = 0; i < sizeof ranks / sizeof *ranks; i++) {
        run shared = train(setting, ranks[i], data, b);
        run_expect_same_losses(&alone, &shared);
        ck_assert(json_equal(alone.evals, shared.evals));
        expect_same_files(a, b);
        run_free(&shared);
    }
    run_free(&alone);
}
