/* Open MPI's programs that find one another through PMIx: Open MPI 4 with its flux component left out, as where it
 * was built without. (Open MPI 5, which has none, is not in Debian 12.) */
#include "mpi_cases.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

const char *const mpi_program = TD_TEST_BUILD "/tests/mpi_program_openmpi";
const char *const mpi_launcher = "mpirun.openmpi";
const char *const mpi_environment[] = {"OMPI_MCA_pmix=^flux", MPIRUN_ENVIRONMENT, NULL};

const char *skip_reason(void) {
    if (access(TD_TEST_BUILD "/tandem-pmix.so", R_OK)) return "libpmix was not there when this was built";
    return mpi_skip_reason();
}

/* How many children of the launcher have this name. */
static int count_children(pid_t parent, const char *name) {
    char command[128], line[64] = "";
    snprintf(command, sizeof command, "ps -o comm= --ppid %d | grep -cx %s", (int)parent, name);
    FILE *ps = popen(command, "r");
    ck_assert_ptr_nonnull(fgets(line, sizeof line, ps));
    pclose(ps);
    return atoi(line);
}

START_TEST(the_server_runs_only_when_it_is_asked_for) {
    launch idle = START_WITH((launch_setup){.environment = mpi_environment}, "-n", "2", "--", "sh", "-c",
                             "echo up; exec sleep 60");
    launch busy = START_WITH((launch_setup){.environment = mpi_environment}, "-n", "2", "--", mpi_program,
                             "*", "inside", "hang");
    launch_expect(&idle, "up\nup\n");
    launch_expect(&busy, "up\nup\n");
    ck_assert_int_eq(count_children(idle.pid, "tandem-guardian"), 1);
    ck_assert_int_eq(count_children(idle.pid, "tandem-pmix"), 0);
    ck_assert_int_eq(count_children(busy.pid, "tandem-pmix"), 1);
    launch *both[] = {&idle, &busy};
    for (int i = 0; i < 2; i++) {
        kill(both[i]->pid, SIGTERM);
        launch_finish(both[i]);
        launch_free(both[i]);
    }
}
END_TEST

/* It is in the environment from the start, for an Open MPI that does not load components. */
START_TEST(the_server_can_be_there_from_the_start) {
    const char *const environment[] = {"OMPI_MCA_mca_base_component_path=SYS_DEFAULT", MPIRUN_ENVIRONMENT,
                                       NULL};
    char script[512];
    snprintf(script, sizeof script, "unset OMPI_MCA_mca_base_component_path; exec %s", mpi_program);
    RUN_WITH(l, ((launch_setup){.environment = environment}), "-n", "4", "--mpi", "pmix", "--", "sh", "-c",
             script);
    ck_code(&l, 0);
    ck_assert_str_eq(l.errors, "");
    ck_assert_int_eq(count_of(l.output, "of 4: sum 6\n"), 4);
    launch_free(&l);
}
END_TEST

START_TEST(without_libpmix_the_job_is_refused_with_the_reason) {
    char folder[] = "/tmp/tandem-no-pmix-XXXXXX", path[64], variable[64];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/tandem-pmix.so", folder); /* found before the one that works */
    snprintf(variable, sizeof variable, "TANDEM_PLUGIN_PATH=%s", folder);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    const char *const environment[] = {variable, "OMPI_MCA_pmix=^flux", NULL};
    static const char *const how[] = {"auto", "pmix"};
    for (int i = 0; i < 2; i++) {
        RUN_WITH(l, ((launch_setup){.environment = environment}), "-n", "2", "--mpi", how[i], "--",
                 mpi_program);
        ck_code(&l, 125);
        ck_contains(l.errors, "plug-in pmix: ");
        launch_free(&l);
    }
    unlink(path);
    rmdir(folder);
}
END_TEST

/* The ranks are MPI's already: the job goes on without it as far as it can, and then is over. */
START_TEST(a_server_that_dies_is_told) {
    launch l = START_WITH((launch_setup){.environment = mpi_environment}, "-n", "2", "--", mpi_program, "*",
                          "inside", "hang");
    launch_expect(&l, "up\nup\n");
    char command[128];
    snprintf(command, sizeof command, "kill -9 $(ps -o pid=,comm= --ppid %d | sed -n 's/ tandem-pmix$//p')",
             (int)l.pid);
    ck_assert_int_eq(system(command), 0);
    launch_finish(&l);
    ck_code(&l, 125);
    ck_contains(l.errors, "tandem has no server for it: its process has ended");
    launch_free(&l);
}
END_TEST

START_TEST(nothing_of_it_is_left) {
    static const char *const ends[] = {"exit:0", "kill", "abort:3"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        char path[256];
        RUN_MPI(l, "-n", "2", "--", mpi_program, "0", "inside", "folder", "1", i == 0 ? "after" : "inside",
                ends[i]);
        const char *line = strstr(l.output, "folder /dev/shm/");
        if (line) { /* a rank that was stopped may not have said it */
            ck_assert_int_eq(sscanf(line, "folder %255s", path), 1);
            ck_assert_msg(access(path, F_OK) != 0, "%s is left", path);
        }
        ck_assert_msg(line || i > 0, "no folder in:\n%s", l.output);
        launch_free(&l);
    }
}
END_TEST

START_TEST(another_program_in_the_same_rank_is_refused) {
    char script[512];
    snprintf(script, sizeof script, "%s && %s", mpi_program, mpi_program);
    RUN_MPI(l, "-n", "3", "--", "sh", "-c", script);
    ck_code(&l, 125);
    ck_contains(l.errors, "another MPI program, and by PMIx each can begin one only");
    launch_free(&l);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("MPI by PMIx");
    suite_add_tcase(suite, mpi_cases());
    TCase *own = tcase_create("PMIx");
    tcase_add_test(own, the_server_runs_only_when_it_is_asked_for);
    tcase_add_test(own, the_server_can_be_there_from_the_start);
    tcase_add_test(own, without_libpmix_the_job_is_refused_with_the_reason);
    tcase_add_test(own, a_server_that_dies_is_told);
    tcase_add_test(own, nothing_of_it_is_left);
    tcase_add_test(own, another_program_in_the_same_rank_is_refused);
    suite_add_tcase(suite, own);
    return suite;
}
