/* Statistics of timings, and the machine's load from /proc/stat. */
#include "base/clock.h"
#include "tools/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

double bench_now_us(void) { return (double)td_clock_ns() * 1e-3; }

void bench_print_json(json_t *row) {
    json_dumpf(row, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
    json_decref(row);
    putchar('\n');
    fflush(stdout);
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

bench_times bench_summarise(double *us, size_t count) {
    qsort(us, count, sizeof *us, compare);
    double median = count % 2 ? us[count / 2] : 0.5 * (us[count / 2 - 1] + us[count / 2]);
    return (bench_times){us[0], median, us[(count * 99 + 99) / 100 - 1]};
}

/* Core seconds that the whole machine has worked, time stolen by other guests included; 0 where that is not
 * told. */
static double read_busy(void) {
    FILE *file = fopen("/proc/stat", "re");
    if (!file) return 0;
    long long user = 0, nice = 0, system = 0, idle = 0, wait = 0, irq = 0, softirq = 0, steal = 0;
    int fields = fscanf(file, "cpu %lld %lld %lld %lld %lld %lld %lld %lld", &user, &nice, &system, &idle,
                        &wait, &irq, &softirq, &steal);
    fclose(file);
    return fields < 4 ? 0
                      : (double)(user + nice + system + irq + softirq + steal) / (double)sysconf(_SC_CLK_TCK);
}

static double seconds(struct timeval t) { return (double)t.tv_sec + 1e-6 * (double)t.tv_usec; }

static double read_own(void) {
    double total = 0;
    const int whose[] = {RUSAGE_SELF, RUSAGE_CHILDREN};
    for (int i = 0; i < 2; i++) {
        struct rusage use;
        if (getrusage(whose[i], &use) == 0) total += seconds(use.ru_utime) + seconds(use.ru_stime);
    }
    return total;
}

void bench_load_begin(bench_load *load) { *load = (bench_load){read_busy(), read_own(), td_clock_ns()}; }

td_status bench_load_end(const bench_load *load, td_group *group, double *foreign) {
    double own = read_own() - load->own;
    if (group)
        TD_TRY(td_group_all_reduce(group, &own, 1, TD_DTYPE_F64, TD_REDUCE_SUM, (td_device){0}, NULL, NULL));
    double elapsed = (double)(td_clock_ns() - load->start_ns) * 1e-9;
    double share = (read_busy() - load->busy - own) / (elapsed * (double)sysconf(_SC_NPROCESSORS_ONLN));
    *foreign = share < 0 ? 0 : share > 1 ? 1 : share;
    return TD_OK;
}
