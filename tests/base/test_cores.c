/* CPU limits and cores, read from small trees that look like other machines' /proc and /sys. */
#include "base/cores.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "support/check.h"

#include <stdio.h>
#include <sys/stat.h>

typedef struct made_file {
    const char *path, *text;
} made_file;

static char *make_root(const made_file *files) {
    static char root[] = "/tmp/tandem-cores-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(root));
    for (; files->path; files++) {
        char path[512];
        snprintf(path, sizeof path, "%s%s", root, files->path);
        for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
            *slash = 0;
            mkdir(path, 0700);
        }
        FILE *file = fopen(path, "w");
        ck_assert_ptr_nonnull(file);
        fputs(files->text, file);
        fclose(file);
    }
    return root;
}

static void remove_root(const char *root) {
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", root);
    ck_assert_int_eq(system(command), 0);
}

/* clang-format off: a case on a few lines */
static const struct {
    double limit;
    made_file files[8];
} limits[] = {
    {0, {{"/none", ""}}},
    {0, {{"/proc/self/cgroup", "0::/\n"}}},
    {0, {{"/proc/self/cgroup", "0::/\n"}, {"/sys/fs/cgroup/cpu.max", "max 100000\n"}}},
    {2, {{"/proc/self/cgroup", "0::/\n"}, {"/sys/fs/cgroup/cpu.max", "200000 100000\n"}}},
    /* the group's own, its parent's: the least counts */
    {1.5,
     {{"/proc/self/cgroup", "0::/user/job\n"},
      {"/sys/fs/cgroup/cpu.max", "max 100000\n"},
      {"/sys/fs/cgroup/user/cpu.max", "150000 100000\n"},
      {"/sys/fs/cgroup/user/job/cpu.max", "400000 100000\n"}}},
    {4, {{"/proc/self/cgroup", "0::/user/job\n"}, {"/sys/fs/cgroup/user/job/cpu.max", "400000 100000\n"}}},
    /* inside a container of version 1, whose path means nothing there */
    {2,
     {{"/proc/self/cgroup", "3:memory:/docker/a\n2:cpu,cpuacct:/docker/a\n1:cpuset:/docker/a\n0::/\n"},
      {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n"},
      {"/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"}}},
    {0,
     {{"/proc/self/cgroup", "1:cpu:/\n"},
      {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"},
      {"/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"}}},
    {3,
     {{"/proc/self/cgroup", "5:cpuacct:/x\n0::/y\n4:cpu:/a/b\n"},
      {"/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "300000\n"},
      {"/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n"}}},
    {0, {{"/proc/self/cgroup", "nonsense\n::\n"}, {"/sys/fs/cgroup/cpu.max", "soon\n"}}},
};
/* clang-format on */

START_TEST(the_least_limit_of_all_groups_counts) {
    char *root = make_root(limits[_i].files);
    double limit = td_cpu_limit(root);
    remove_root(root);
    ck_assert_double_eq(limit, limits[_i].limit);
}
END_TEST

static void fill_mask(cpu_set_t *mask, int first, int last) {
    CPU_ZERO(mask);
    for (int cpu = first; cpu <= last; cpu++) CPU_SET((size_t)cpu, mask);
}

START_TEST(hardware_threads_of_a_core_count_once) {
    char *root = make_root((made_file[]){
        {"/sys/devices/system/cpu/smt/active", "1\n"},
        {"/sys/devices/system/cpu/cpu0/topology/thread_siblings_list", "0,4\n"},
        {"/sys/devices/system/cpu/cpu1/topology/thread_siblings_list", "1,5\n"},
        {"/sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "2-3\n"},
        {"/sys/devices/system/cpu/cpu5/topology/thread_siblings_list", "1,5\n"},
        {NULL, NULL},
    });
    cpu_set_t mask;
    fill_mask(&mask, 0, 6); /* 0 4, 1 5, 2 3, and 6, of which nothing is known */
    int all = td_cores_of(root, &mask, sizeof mask);
    fill_mask(&mask, 4, 5);
    int some = td_cores_of(root, &mask, sizeof mask);
    remove_root(root);
    ck_assert_int_eq(all, 4);
    ck_assert_int_eq(some, 2);
}
END_TEST

START_TEST(without_hardware_threads_cpus_are_cores) {
    char *root = make_root((made_file[]){{"/sys/devices/system/cpu/smt/active", "0\n"}, {NULL, NULL}});
    cpu_set_t mask;
    fill_mask(&mask, 3, 9);
    int off = td_cores_of(root, &mask, sizeof mask), unknown = td_cores_of("/nowhere", &mask, sizeof mask);
    remove_root(root);
    ck_assert_int_eq(off, 7);
    ck_assert_int_eq(unknown, 7);
}
END_TEST

START_TEST(this_machine_has_no_more_cores_than_cpus) {
    size_t bytes;
    cpu_set_t *mask = td_affinity_mask(&bytes);
    ck_assert_ptr_nonnull(mask);
    ck_assert_int_ge(td_core_count(), 1);
    ck_assert_int_le(td_core_count(), td_cpu_count());
    ck_assert_int_le(td_cpu_count(), CPU_COUNT_S(bytes, mask));
    td_free(mask);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("cores");
    TCase *tcase = tcase_create("cores");
    tcase_add_loop_test(tcase, the_least_limit_of_all_groups_counts, 0,
                        (int)(sizeof limits / sizeof *limits));
    tcase_add_test(tcase, hardware_threads_of_a_core_count_once);
    tcase_add_test(tcase, without_hardware_threads_cpus_are_cores);
    tcase_add_test(tcase, this_machine_has_no_more_cores_than_cpus);
    suite_add_tcase(suite, tcase);
    return suite;
}
