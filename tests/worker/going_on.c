/* See going_on.h. */
#include "worker/going_on.h"

#include <stdio.h>
#include <unistd.h>

enum { STEPS = 39, EVERY = 3 }; /* 13 steps an epoch, three epochs */

static int add_case(const going_on_case *c, const char **argv) {
    const char *const fixed[] = {TANDEM,
                                 "train",
                                 "--json",
                                 "--threads",
                                 "1",
                                 "--data",
                                 small_mnist(208, 40),
                                 "--log-interval",
                                 "1",
                                 "--seed",
                                 "5",
                                 "--steps",
                                 "39",
                                 "--eval-interval",
                                 "4"};
    int n = 0;
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) argv[n++] = fixed[i];
    for (const char *const *w = c->arguments; *w; w++) argv[n++] = *w;
    return n;
}

void going_on_whole(const going_on_case *c, const char *path) {
    const char *argv[48];
    int n = add_case(c, argv);
    argv[n++] = "--save", argv[n++] = path, argv[n] = NULL;
    run r = run_with((launch_setup){0}, argv);
    ck_assert_uint_eq(json_array_size(r.steps), STEPS);
    run_free(&r);
}

/* The step of an event, or of the start's resumption. */
static int64_t step_of(const json_t *event, const char *key) {
    return json_integer_value(json_object_get(event, key));
}

/* Steps come one after the other from where the run went on. */
static void check_steps(const run *r) {
    int64_t step = step_of(r->start, "resumed_step");
    for (size_t i = 0; i < json_array_size(r->steps); i++)
        ck_expect(step_of(json_array_get(r->steps, i), "step") == ++step, "after step %lld:\n%s",
                  (long long)step, r->launch.output);
}

void going_on_killed(const going_on_case *c, int kills, unsigned seed, const char *path) {
    char folder[200];
    snprintf(folder, sizeof folder, "%s.checkpoints", path);
    srand(seed);
    for (int i = 0; i <= kills; i++) {
        const char *argv[48];
        int n = add_case(c, argv);
        argv[n++] = "--save", argv[n++] = path, argv[n++] = "--checkpoint", argv[n++] = folder;
        argv[n++] = "--checkpoint-every", argv[n++] = "3", argv[n++] = "--resume", argv[n++] = "auto",
        argv[n] = NULL;
        launch l = launch_start_with((launch_setup){0}, argv);
        if (i < kills) {
            launch_expect(&l, "\"step\""); /* of the first step, or a test */
            usleep((useconds_t)(rand() % 60000));
            pid_t victim = rand() % 2 ? run_rank(&l, rand() % 2) : l.pid;
            bool launcher = !victim || victim == l.pid;
            kill(launcher ? l.pid : victim, SIGKILL);
            if (launcher) launch_expect_no_survivors(&l); /* of its guardian, who has to notice first */
        }
        run r = run_finish(l);
        ck_expect(!strstr(r.launch.errors, "passed over"), "%s", r.launch.errors);
        if (i == kills) ck_code(&r.launch, 0);
        if (r.start) check_steps(&r);
        run_free(&r);
    }
}
