/* Launching: the time from starting `tandem run -n N -- tandem bench noop` to its end; in between N ranks
 * join, all-reduce one number and leave. */
#include "base/memory.h"
#include "tools/bench.h"

#include <errno.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WARM_UPS = 3, REPEAT = 30, RANKS = 2 };
extern char **environ;

td_status bench_noop(bench_rank *rank) {
    double sum = rank->rank + 1, expected = 0.5 * rank->world_size * (rank->world_size + 1);
    TD_TRY(
        td_group_all_reduce(rank->group, &sum, 1, TD_DTYPE_F64, TD_REDUCE_SUM, (td_device){0}, NULL, NULL));
    if (sum == expected) return TD_OK;
    return td_fail(TD_ERR_INTERNAL, 0, "bench", "the sum over %d ranks is %g, not %g", rank->world_size, sum,
                   expected);
}

static td_status time_launch(char *self, char *ranks, double *us) {
    char *arguments[] = {self, "run", "-n", ranks, "--", self, "bench", "noop", NULL};
    pid_t child;
    int how;
    double start = bench_now_us();
    int errnum = posix_spawn(&child, self, NULL, NULL, arguments, environ);
    if (errnum) return td_fail_errno(errnum, "bench", "cannot run %s", self);
    while (waitpid(child, &how, 0) < 0)
        if (errno != EINTR) return td_fail_errno(errno, "bench", "cannot wait for the launcher");
    *us = bench_now_us() - start;
    if (how == 0) return TD_OK;
    return td_fail(TD_ERR_STATE, 0, "bench", "the launcher ended with status %d", how);
}

static void print_row(const bench_options *options, const char *ranks, bench_times t, double foreign) {
    if (options->json) {
        bench_print_json(json_pack("{ss so sf sf sf sf}", "bench", "launch", "ranks",
                                   json_loads(ranks, JSON_DECODE_ANY, NULL), "min_us", t.min, "median_us",
                                   t.median, "p99_us", t.p99, "foreign_cpu", foreign));
    } else {
        printf("launch  %s ranks  min %.2f ms  median %.2f ms  p99 %.2f ms  others %.0f %%\n", ranks,
               t.min * 1e-3, t.median * 1e-3, t.p99 * 1e-3, 100 * foreign);
    }
}

td_status bench_launch(const bench_options *options) {
    char self[PATH_MAX], ranks[24];
    TD_TRY(bench_own_path(self, sizeof self));
    snprintf(ranks, sizeof ranks, "%lld", (long long)(options->ranks ? options->ranks : RANKS));
    int64_t repeat = options->repeat ? options->repeat : REPEAT;
    double *us = td_alloc((size_t)repeat * sizeof *us), foreign = 0;
    if (!us) return TD_ERR_MEMORY;
    td_status status = TD_OK;
    for (int i = 0; i < WARM_UPS && status >= 0; i++) status = time_launch(self, ranks, us);
    bench_load load;
    bench_load_begin(&load);
    for (int64_t i = 0; i < repeat && status >= 0; i++) status = time_launch(self, ranks, &us[i]);
    if (status >= 0) status = bench_load_end(&load, NULL, &foreign);
    if (status >= 0) print_row(options, ranks, bench_summarise(us, (size_t)repeat), foreign);
    td_free(us);
    return status;
}
