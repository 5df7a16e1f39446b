/* Who am I in which job: a table of environments, the mark, the control channel. */
#include "dist/control.h"
#include "dist/job_facts.h"
#include "dist/job_mark.h"
#include "dist/ranks.h"
#include "support/check.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* clang-format off: the table keeps a case on a line */
#define TORCHRUN(rank, world)                                                                                \
    "RANK=" rank, "WORLD_SIZE=" world, "LOCAL_RANK=" rank, "LOCAL_WORLD_SIZE=" world,                        \
        "MASTER_ADDR=127.0.0.1", "MASTER_PORT=4711"
#define OPENMPI(rank, world)                                                                                 \
    "OMPI_COMM_WORLD_RANK=" rank, "OMPI_COMM_WORLD_SIZE=" world, "OMPI_COMM_WORLD_LOCAL_RANK=" rank,         \
        "OMPI_COMM_WORLD_LOCAL_SIZE=" world, "PMIX_RANK=" rank, "PMIX_NAMESPACE=1234.1"
#define SLURM(rank, world)                                                                                   \
    "SLURM_PROCID=" rank, "SLURM_STEP_NUM_TASKS=" world, "SLURM_LOCALID=" rank, "SLURM_JOB_ID=7",            \
        "SLURM_STEP_ID=0", "SLURM_NODEID=0", "SLURM_STEP_NUM_NODES=1", "SLURM_STEP_TASKS_PER_NODE=" world

/* What `tandem run` adds for MPI programs. */
#define OUR_PMI(rank, world) "PMI_FD=+15", "PMI_RANK=" rank, "PMI_SIZE=" world
#define OUR_OPENMPI(rank, world)                                                                             \
    "OMPI_COMM_WORLD_RANK=" rank, "OMPI_COMM_WORLD_SIZE=" world, "OMPI_COMM_WORLD_LOCAL_RANK=" rank,         \
        "OMPI_COMM_WORLD_LOCAL_SIZE=" world

/* Either a place or an error. */
static const struct {
    const char *environment[24];
    const char *error; /* part of the text, or NULL */
    td_launcher launcher;
    int rank, world, local_rank, local_world, node, nodes;
    const char *id;
} cases[] = {
    {{OPENMPI("3", "5"), "TANDEM_NODES=2,2,1"},
     NULL,
     TD_LAUNCHER_OPENMPI,
     3,
     5,
     1,
     2,
     1,
     3,
     "openmpi:1234.1:0/node1"},
    {{OPENMPI("4", "5"), "TANDEM_NODES=2(x2),1"},
     NULL,
     TD_LAUNCHER_OPENMPI,
     4,
     5,
     0,
     1,
     2,
     3,
     "openmpi:1234.1:0/node2"},
    {{OPENMPI("4", "5"), "TANDEM_NODES=2,2"}, "TANDEM_NODES=2,2 does not say", 0, 0, 0, 0, 0, 0, 0, NULL},
    {{"HOME=/root"}, NULL, TD_LAUNCHER_NONE, 0, 1, 0, 1, 0, 1, ""},
    {{TORCHRUN("1", "2"), "TANDEM_JOB=1:1:2:4711"},
     NULL,
     TD_LAUNCHER_TANDEM,
     1,
     2,
     1,
     2,
     0,
     1,
     "tandem:4711"},
    {{TORCHRUN("0", "1"), "TANDEM_JOB=1:0:1:4711"}, NULL, TD_LAUNCHER_TANDEM, 0, 1, 0, 1, 0, 1, ""},
    {{TORCHRUN("1", "2"), "TANDEM_JOB=1:1:2:4711", SLURM("3", "9")},
     NULL,
     TD_LAUNCHER_TANDEM,
     1,
     2,
     1,
     2,
     0,
     1,
     "tandem:4711"},
    {{TORCHRUN("1", "2"), "TANDEM_JOB=1:1:2:4711", OUR_PMI("1", "2"), OUR_OPENMPI("1", "2")},
     NULL,
     TD_LAUNCHER_TANDEM,
     1,
     2,
     1,
     2,
     0,
     1,
     "tandem:4711"},
    /* a launcher inside a rank of ours: torchrun, Open MPI's, MPICH's */
    {{TORCHRUN("1", "2"), "TANDEM_JOB=1:0:1:99", OUR_PMI("0", "1"), OUR_OPENMPI("0", "1")},
     NULL,
     TD_LAUNCHER_TORCHRUN,
     1,
     2,
     1,
     2,
     0,
     1,
     "hand:127.0.0.1:4711"},
    {{TORCHRUN("1", "2"), "TANDEM_JOB=1:1:2:4711", OUR_PMI("1", "2"), OPENMPI("1", "3")},
     NULL,
     TD_LAUNCHER_OPENMPI,
     1,
     3,
     1,
     3,
     0,
     1,
     "openmpi:1234.1:0"},
    {{TORCHRUN("1", "2"), "TANDEM_JOB=1:1:2:4711", OUR_OPENMPI("1", "2"), "PMI_FD=6", "PMI_RANK=1",
      "PMI_SIZE=2", "PMI_JOBID=x"},
     NULL,
     TD_LAUNCHER_PMI,
     1,
     2,
     1,
     2,
     0,
     1,
     "pmi:x:0"},
    /* a nearer launcher than tandem run: torchrun sets RANK anew, mpirun stands beside it */
    {{TORCHRUN("1", "2"), "TANDEM_JOB=1:0:1:4711"},
     NULL,
     TD_LAUNCHER_TORCHRUN,
     1,
     2,
     1,
     2,
     0,
     1,
     "hand:127.0.0.1:4711"},
    {{TORCHRUN("0", "1"), "TANDEM_JOB=1:0:1:99"}, NULL, TD_LAUNCHER_TORCHRUN, 0, 1, 0, 1, 0, 1, ""},
    {{TORCHRUN("0", "1"), "TANDEM_JOB=1:0:1:4711", OPENMPI("1", "2")},
     NULL,
     TD_LAUNCHER_OPENMPI,
     1,
     2,
     1,
     2,
     0,
     1,
     "openmpi:1234.1:0"},
    {{TORCHRUN("0", "1"), "TANDEM_JOB=1:0:1:4711", "PMI_RANK=1", "PMI_SIZE=2", "PMI_JOBID=x"},
     NULL,
     TD_LAUNCHER_PMI,
     1,
     2,
     1,
     2,
     0,
     1,
     "pmi:x:0"},
    {{TORCHRUN("0", "2"), "TORCHELASTIC_RUN_ID=ab", "TORCHELASTIC_RESTART_COUNT=3"},
     NULL,
     TD_LAUNCHER_TORCHRUN,
     0,
     2,
     0,
     2,
     0,
     1,
     "torchrun:ab:3:4711"},
    {{"RANK=5", "WORLD_SIZE=8", "LOCAL_RANK=1", "LOCAL_WORLD_SIZE=4", "GROUP_RANK=1", "GROUP_WORLD_SIZE=2",
      "MASTER_PORT=1"},
     NULL,
     TD_LAUNCHER_TORCHRUN,
     5,
     8,
     1,
     4,
     1,
     2,
     "hand::1"},
    {{"RANK=1", "WORLD_SIZE=2", "MASTER_PORT=1"}, NULL, TD_LAUNCHER_TORCHRUN, 1, 2, 1, 2, 0, 1, "hand::1"},
    {{TORCHRUN("1", "2"), SLURM("0", "1"), "PMI_RANK=0", "PMI_SIZE=1"},
     NULL,
     TD_LAUNCHER_TORCHRUN,
     1,
     2,
     1,
     2,
     0,
     1,
     "hand:127.0.0.1:4711"},
    {{TORCHRUN("1", "2"), OPENMPI("1", "2")},
     NULL,
     TD_LAUNCHER_TORCHRUN,
     1,
     2,
     1,
     2,
     0,
     1,
     "hand:127.0.0.1:4711"},
    {{OPENMPI("1", "2")}, NULL, TD_LAUNCHER_OPENMPI, 1, 2, 1, 2, 0, 1, "openmpi:1234.1:0"},
    {{OPENMPI("1", "2"), SLURM("0", "1")}, NULL, TD_LAUNCHER_OPENMPI, 1, 2, 1, 2, 0, 1, "openmpi:1234.1:0"},
    {{"PMI_RANK=2", "PMI_SIZE=4", "MPI_LOCALRANKID=0", "MPI_LOCALNRANKS=2", "PMI_JOBID=j"},
     NULL,
     TD_LAUNCHER_PMI,
     2,
     4,
     0,
     2,
     1,
     2,
     "pmi:j:0"},
    {{SLURM("1", "2")}, NULL, TD_LAUNCHER_SLURM, 1, 2, 1, 2, 0, 1, "slurm:7.0"},
    {{"PMIX_RANK=1", SLURM("1", "2")}, NULL, TD_LAUNCHER_SLURM, 1, 2, 1, 2, 0, 1, "slurm:7.0"},
    {{"SLURM_PROCID=4", "SLURM_STEP_NUM_TASKS=5", "SLURM_LOCALID=0", "SLURM_STEP_ID=1", "SLURM_NODEID=2",
      "SLURM_NNODES=3", "SLURM_TASKS_PER_NODE=2(x2),1"},
     NULL,
     TD_LAUNCHER_SLURM,
     4,
     5,
     0,
     1,
     2,
     3,
     "slurm:.1"},
    /* a batch script is one process, whatever it asked for */
    {{"SLURM_PROCID=0", "SLURM_NTASKS=8", "SLURM_LOCALID=0", "SLURM_JOB_ID=7"},
     NULL,
     TD_LAUNCHER_NONE,
     0,
     1,
     0,
     1,
     0,
     1,
     ""},
    /* Slurm's PMI-2 tells no local rank */
    {{SLURM("1", "2"), "PMI_RANK=1", "PMI_SIZE=2"}, NULL, TD_LAUNCHER_SLURM, 1, 2, 1, 2, 0, 1, "slurm:7.0"},
    {{"RANK=1", OPENMPI("1", "2")}, NULL, TD_LAUNCHER_OPENMPI, 1, 2, 1, 2, 0, 1, "openmpi:1234.1:0"},
    {{"RANK=", "WORLD_SIZE="}, NULL, TD_LAUNCHER_NONE, 0, 1, 0, 1, 0, 1, ""},

    {{"RANK=0"}, .error = "RANK=0 is set in the environment, but WORLD_SIZE is not"},
    {{"WORLD_SIZE=2"}, .error = "WORLD_SIZE=2 is set in the environment, but RANK is not"},
    {{"RANK=x", "WORLD_SIZE=2"}, .error = "RANK=x in the environment is not a number"},
    {{"RANK=-1", "WORLD_SIZE=2"}, .error = "RANK=-1"},
    {{"RANK=2", "WORLD_SIZE=2"}, .error = "RANK=2, but WORLD_SIZE=2"},
    {{"RANK=0", "WORLD_SIZE=0"}, .error = "WORLD_SIZE=0"},
    {{"RANK=1", "WORLD_SIZE=2", "LOCAL_RANK=0"}, .error = "LOCAL_WORLD_SIZE must be set too"},
    {{"RANK=1", "WORLD_SIZE=2", "LOCAL_WORLD_SIZE=1"}, .error = "LOCAL_RANK is not"},
    {{"RANK=1", "WORLD_SIZE=2", "LOCAL_RANK=1", "LOCAL_WORLD_SIZE=3"},
     .error = "LOCAL_WORLD_SIZE=3, but WORLD_SIZE=2"},
    {{"RANK=1", "WORLD_SIZE=4", "LOCAL_RANK=2", "LOCAL_WORLD_SIZE=2"},
     .error = "LOCAL_RANK=2, but LOCAL_WORLD_SIZE=2"},
    {{TORCHRUN("1", "2"), OPENMPI("0", "2")}, .error = "RANK=1, but OMPI_COMM_WORLD_RANK=0"},
    {{TORCHRUN("1", "2"), OPENMPI("1", "3")}, .error = "WORLD_SIZE=2, but OMPI_COMM_WORLD_SIZE=3"},
    {{"RANK=3", OPENMPI("1", "2")}, .error = "RANK=3, but OMPI_COMM_WORLD_RANK=1"},
    {{"RANK=3", SLURM("1", "2")}, .error = "RANK=3, but SLURM_PROCID=1"},
    {{"RANK=3", "PMI_RANK=1", "PMI_SIZE=2"}, .error = "RANK=3, but PMI_RANK=1"},
    {{"OMPI_COMM_WORLD_RANK=0"}, .error = "OMPI_COMM_WORLD_SIZE is not"},
    {{"PMI_RANK=0"}, .error = "PMI_SIZE is not"},
    {{"PMIX_RANK=3"}, .error = "PMIX_RANK=3 is set, but nothing says how many ranks"},
    {{TORCHRUN("1", "2"), "TANDEM_JOB=2:1:2:4711"}, .error = "is of version 2"},
    {{TORCHRUN("1", "2"), "TANDEM_JOB=nonsense"}, .error = "TANDEM_JOB=nonsense"},
    {{TORCHRUN("1", "2"), "TANDEM_JOB=1:1:2:4711", "TANDEM_STALL_TIMEOUT=soon"},
     .error = "TANDEM_STALL_TIMEOUT=soon"},
    {{TORCHRUN("1", "2"), "TANDEM_JOB=1:1:2:4711", "TANDEM_ARENA_FD=0"},
     .error = "TANDEM_ARENA_FD=0 is not what"},
    {{TORCHRUN("1", "2"), "TANDEM_JOB=1:1:2:4711", "TANDEM_CONTROL_FD=999"},
     .error = "TANDEM_CONTROL_FD=999 is not what"},
};
/* clang-format on */
enum { CASES = sizeof cases / sizeof *cases };

START_TEST(an_environment_gives_a_place_or_an_error) {
    td_job *job = NULL;
    if (cases[_i].error) {
        td_status status = open_job(cases[_i].environment, &job);
        ck_assert_ptr_null(job);
        ck_assert_msg(status < 0 && strstr(td_error_last()->text, cases[_i].error), "case %d says '%s'", _i,
                      td_error_last()->text);
        return;
    }
    ck_ok(open_job(cases[_i].environment, &job));
    ck_assert_str_eq(td_launcher_name(td_job_launcher(job)), td_launcher_name(cases[_i].launcher));
    ck_assert_int_eq(td_job_rank(job), cases[_i].rank);
    ck_assert_int_eq(td_job_world_size(job), cases[_i].world);
    ck_assert_int_eq(td_job_local_rank(job), cases[_i].local_rank);
    ck_assert_int_eq(td_job_local_world_size(job), cases[_i].local_world);
    ck_assert_int_eq(td_job_node(job), cases[_i].node);
    ck_assert_int_eq(td_job_node_count(job), cases[_i].nodes);
    ck_assert_str_eq(td_job_id(job), cases[_i].id);
    ck_assert_double_eq(td_job_stall_timeout(job), 600);
    ck_assert_int_eq(td_job_terminal_columns(job), 0);
    td_job_close(&job);
    td_job_close(&job);
}
END_TEST

START_TEST(the_stall_timeout_comes_with_the_mark) {
    td_job *job;
    ck_ok(open_job(
        (const char *const[]){TORCHRUN("1", "2"), "TANDEM_JOB=1:1:2:4711", "TANDEM_STALL_TIMEOUT=2m", NULL},
        &job));
    ck_assert_double_eq(td_job_stall_timeout(job), 120);
    td_job_close(&job);
    ck_ok(open_job((const char *const[]){TORCHRUN("1", "2"), "TANDEM_STALL_TIMEOUT=2m", NULL}, &job));
    ck_assert_double_eq(td_job_stall_timeout(job), 600);
    td_job_close(&job);
}
END_TEST

START_TEST(a_mark_survives_the_way_through_text) {
    const td_job_mark marks[] = {{0, 1, 0}, {1, 2, 29500}, {999999, 1000000, 65535}};
    for (int i = 0; i < 3; i++) {
        td_job_mark back = {0};
        ck_ok(td_job_mark_parse(td_job_mark_format(marks[i]).text, &back));
        ck_assert_mem_eq(&back, &marks[i], sizeof back);
    }
    const char *const wrong[] = {"",         "1",        "1:0:1",    "1:0:1:",   "1:0:1:70000",
                                 "1:1:1:5",  "1:0:1:5x", " 1:0:1:5", "1:-1:1:5", "1:0:99999999999999999999:5",
                                 "1:0:1:5:6"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        td_job_mark untouched = {7, 8, 9};
        ck_assert_int_eq(td_job_mark_parse(wrong[i], &untouched), TD_ERR_FORMAT);
        ck_assert_int_eq(untouched.rank, 7);
    }
}
END_TEST

START_TEST(control_messages_survive_the_way_through_bytes) {
    td_control_message sent = {
        .kind = TD_CONTROL_LOST, .rank = 3, .value = -4, .text = "all_reduce(sum) of 8 f32 (call 2)"};
    uint8_t frame[TD_CONTROL_FRAME_MAX], longest[TD_CONTROL_FRAME_MAX];
    td_control_message got;
    size_t size = td_control_encode(&sent, frame), used = 0;
    for (size_t part = 0; part < size; part++)
        ck_assert_int_eq(td_control_decode(frame, part, &used, &got), TD_PENDING);
    ck_ok(td_control_decode(frame, size, &used, &got));
    ck_assert_uint_eq(used, size);
    ck_assert_int_eq(got.kind, TD_CONTROL_LOST);
    ck_assert_int_eq(got.rank, 3);
    ck_assert_int_eq(got.value, -4);
    ck_assert_str_eq(got.text, sent.text);
    memset(sent.text, 'x', sizeof sent.text);
    ck_assert_uint_le(size = td_control_encode(&sent, longest), TD_CONTROL_FRAME_MAX);
    ck_ok(td_control_decode(longest, size, &used, &got));
    ck_assert_uint_eq(strlen(got.text), TD_CONTROL_TEXT_MAX);
    ck_fails(td_control_decode((const uint8_t *)"\0\0", 2, &used, &got), TD_ERR_FORMAT, "frame of 0 bytes");
    ck_fails(td_control_decode((const uint8_t *)"\xff\xff", 2, &used, &got), TD_ERR_FORMAT, "frame of 65535");
}
END_TEST

static void say_terminal(int s, int columns) {
    uint8_t frame[TD_CONTROL_FRAME_MAX];
    size_t size =
        td_control_encode(&(td_control_message){.kind = TD_CONTROL_TERMINAL, .value = columns}, frame);
    ck_assert_int_eq((int)send(s, frame, size, 0), (int)size);
}

START_TEST(a_rank_learns_of_the_terminal_behind_the_launcher) {
    int ends[2];
    char control[40];
    td_job *job;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    snprintf(control, sizeof control, "TANDEM_CONTROL_FD=%d", ends[1]);
    ck_ok(open_job((const char *const[]){TORCHRUN("0", "1"), "TANDEM_JOB=1:0:1:4711", control, NULL}, &job));
    say_terminal(ends[0], 132);
    ck_assert_int_eq(td_job_terminal_columns(job), 132);
    ck_assert_int_eq(td_job_terminal_columns(job), 132);
    say_terminal(ends[0], 90);
    say_terminal(ends[0], 80);
    ck_assert_int_eq(td_job_terminal_columns(job), 80);
    ck_assert_int_ne(fcntl(ends[1], F_GETFD) & FD_CLOEXEC, 0); /* programs of the rank do not inherit it */
    close(ends[0]);
    close(ends[1]);
    ck_assert_int_eq(td_job_terminal_columns(job), 0);
    ck_assert_int_eq(td_job_terminal_columns(job), 0);
    td_job_close(&job);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("job");
    TCase *tcase = tcase_create("job");
    tcase_add_loop_test(tcase, an_environment_gives_a_place_or_an_error, 0, CASES);
    tcase_add_test(tcase, the_stall_timeout_comes_with_the_mark);
    tcase_add_test(tcase, a_mark_survives_the_way_through_text);
    tcase_add_test(tcase, control_messages_survive_the_way_through_bytes);
    tcase_add_test(tcase, a_rank_learns_of_the_terminal_behind_the_launcher);
    suite_add_tcase(suite, tcase);
    return suite;
}
