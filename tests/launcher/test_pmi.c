/* The PMI-1 server, without a socket. */
#include "launcher/pmi.h"
#include "support/check.h"

#include <stdio.h>

enum { RANKS = 3 };

static struct {
    char answers[RANKS][8192];
    int aborted_rank, aborted_code, folders;
    launcher_pmi *pmi;
} t;

static void answer(int rank, const char *text, size_t bytes, void *cookie) {
    (void)cookie;
    strncat(t.answers[rank], text, bytes);
}
static void aborted(int rank, int code, void *cookie) {
    (void)cookie;
    t.aborted_rank = rank, t.aborted_code = code;
}
static const char *folder(void *cookie) {
    (void)cookie;
    t.folders++;
    return "/dev/shm/x y";
}

/* Rank 2 gets no server. */
static void want_pmix(int rank, void *cookie) {
    static const char *const server = "A=1\037B=x y";
    (void)cookie;
    launcher_pmi_answer_pmix(t.pmi, rank, rank == 2 ? NULL : server);
}

static void open_server(void) {
    t.aborted_rank = -1;
    ck_ok(launcher_pmi_open(RANKS, 4711, true,
                            (launcher_pmi_events){answer, aborted, folder, want_pmix, NULL}, &t.pmi));
}
static void close_server(void) { launcher_pmi_close(&t.pmi); }

static td_status say(int rank, const char *text) {
    return launcher_pmi_take(t.pmi, rank, text, strlen(text));
}

/* The answer to one line, and nothing else. */
static void expect(int rank, const char *question, const char *wanted) {
    t.answers[rank][0] = 0;
    ck_ok(say(rank, question));
    ck_assert_str_eq(t.answers[rank], wanted);
}

static const char *const dialogue[][2] = {
    {"cmd=init pmi_version=1 pmi_subversion=1\n",
     "cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=0\n"},
    {"cmd=init pmi_version=2 pmi_subversion=0\n",
     "cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=-1\n"},
    {"cmd=get_maxes\n", "cmd=maxes kvsname_max=256 keylen_max=64 vallen_max=1024\n"},
    {"cmd=get_universe_size\n", "cmd=universe_size size=3\n"},
    {"cmd=get_appnum\n", "cmd=appnum appnum=0\n"},
    {"cmd=get_my_kvsname\n", "cmd=my_kvsname kvsname=tandem_4711\n"},
    {"cmd=get kvsname=x key=PMI_process_mapping\n",
     "cmd=get_result rc=0 msg=success value=(vector,(0,1,3))\n"},
    {"cmd=get kvsname=x key=absent\n", "cmd=get_result rc=-1 msg=key_not_found value=unknown\n"},
    {"cmd=get_tandem_job\n", "cmd=tandem_job job=4711 crowded=1 value=/dev/shm/x y\n"},
    {"cmd=get_tandem_pmix\n", "cmd=tandem_pmix rc=0 value=A=1\037B=x y\n"},
    {"cmd=publish_name service=a port=b\n",
     "cmd=publish_result rc=-1 info=fail msg=tandem_run_has_no_name_service\n"},
    {"mcmd=spawn\nnprocs=1\nexecname=./a\nendcmd\n",
     "cmd=spawn_result rc=-1 msg=tandem_run_does_not_spawn\n"},
    {"cmd=finalize\n", "cmd=finalize_ack\n"},
};

START_TEST(each_question_has_its_answer) { expect(0, dialogue[_i][0], dialogue[_i][1]); }
END_TEST

START_TEST(a_pmix_server_may_be_refused) { expect(2, "cmd=get_tandem_pmix\n", "cmd=tandem_pmix rc=-1\n"); }
END_TEST

START_TEST(lines_may_come_in_pieces) {
    const char *text = dialogue[_i][0];
    for (size_t i = 0; i < strlen(text); i++) ck_ok(launcher_pmi_take(t.pmi, 1, text + i, 1));
    ck_assert_str_eq(t.answers[1], dialogue[_i][1]);
}
END_TEST

START_TEST(what_one_puts_the_others_get_and_the_last_value_counts) {
    expect(0, "cmd=put kvsname=x key=a value=b=c d\n", "cmd=put_result rc=0 msg=success\n");
    expect(1, "cmd=get kvsname=x key=a\n", "cmd=get_result rc=0 msg=success value=b=c d\n");
    expect(2, "cmd=put kvsname=x key=a value=2\n", "cmd=put_result rc=0 msg=success\n");
    expect(0, "cmd=get kvsname=x key=a\n", "cmd=get_result rc=0 msg=success value=2\n");
}
END_TEST

START_TEST(a_thousand_keys_are_all_found) {
    char line[128], wanted[128];
    for (int i = 0; i < 1000; i++) {
        snprintf(line, sizeof line, "cmd=put kvsname=x key=key-%d value=%d\n", i, i * 7);
        expect(0, line, "cmd=put_result rc=0 msg=success\n");
    }
    for (int i = 0; i < 1000; i++) {
        snprintf(line, sizeof line, "cmd=get kvsname=x key=key-%d\n", i);
        snprintf(wanted, sizeof wanted, "cmd=get_result rc=0 msg=success value=%d\n", i * 7);
        expect(1, line, wanted);
    }
}
END_TEST

static void init_all(void) {
    for (int i = 0; i < RANKS; i++) {
        ck_ok(say(i, "cmd=init pmi_version=1 pmi_subversion=1\n"));
        t.answers[i][0] = 0;
    }
}

START_TEST(the_barrier_opens_when_all_have_come) {
    for (int round = 0; round < 3; round++) {
        init_all();
        expect(0, "cmd=barrier_in\n", "");
        expect(2, "cmd=barrier_in\n", "");
        ck_assert_int_eq(launcher_pmi_phase_of(t.pmi, 0), LAUNCHER_PMI_WAITING);
        expect(2, "cmd=barrier_in\n", ""); /* twice is once */
        expect(1, "cmd=barrier_in\n", "cmd=barrier_out\n");
        ck_assert_str_eq(t.answers[0], "cmd=barrier_out\n");
        ck_assert_str_eq(t.answers[2], "cmd=barrier_out\n");
        ck_assert_int_eq(launcher_pmi_phase_of(t.pmi, 0), LAUNCHER_PMI_INSIDE);
        for (int i = 0; i < RANKS; i++) expect(i, "cmd=finalize\n", "cmd=finalize_ack\n");
        ck_assert_int_eq(launcher_pmi_phase_of(t.pmi, 0), LAUNCHER_PMI_OUTSIDE);
    }
}
END_TEST

START_TEST(a_process_that_begins_anew_no_longer_waits) {
    init_all();
    ck_ok(say(0, "cmd=barrier_in\n"));
    ck_ok(say(0, "cmd=init pmi_version=1 pmi_subversion=1\n"));
    expect(1, "cmd=barrier_in\n", "");
    expect(2, "cmd=barrier_in\n", "");
    expect(0, "cmd=barrier_in\n", "cmd=barrier_out\n");
}
END_TEST

START_TEST(an_abort_is_told_and_not_answered) {
    expect(2, "cmd=abort exitcode=-3\n", "");
    ck_assert_int_eq(t.aborted_rank, 2);
    ck_assert_int_eq(t.aborted_code, -3);
}
END_TEST

START_TEST(no_folder_is_made_before_open_mpi_asks) {
    init_all();
    ck_assert_int_eq(t.folders, 0);
}
END_TEST

START_TEST(what_is_no_pmi_is_an_error) {
    char longer[LAUNCHER_PMI_LINE_MOST + 2];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    ck_fails(say(0, "GET / HTTP/1.1\n"), TD_ERR_FORMAT, "rank 0 sent 'GET / HTTP/1.1'");
    ck_fails(say(1, "cmd=frobnicate\n"), TD_ERR_FORMAT, "no PMI-1");
    ck_fails(say(2, longer), TD_ERR_FORMAT, "a line of more than");
}
END_TEST

START_TEST(keys_and_values_have_their_lengths) {
    char line[2048] = "cmd=put kvsname=x key=a value=";
    size_t n = strlen(line);
    memset(line + n, 'v', 1025);
    strcpy(line + n + 1025, "\n");
    expect(0, line, "cmd=put_result rc=-1 msg=key_or_value_of_bad_length\n");
    expect(0, "cmd=put kvsname=x key= value=b\n", "cmd=put_result rc=-1 msg=key_or_value_of_bad_length\n");
    strcpy(line + n + 1024, "\n");
    expect(0, line, "cmd=put_result rc=0 msg=success\n");
}
END_TEST

Suite *make_suite(void) {
    enum { LINES = sizeof dialogue / sizeof *dialogue };
    Suite *suite = suite_create("pmi");
    TCase *tcase = tcase_create("pmi");
    tcase_add_checked_fixture(tcase, open_server, close_server);
    tcase_add_loop_test(tcase, each_question_has_its_answer, 0, LINES);
    tcase_add_test(tcase, a_pmix_server_may_be_refused);
    tcase_add_loop_test(tcase, lines_may_come_in_pieces, 0, LINES);
    tcase_add_test(tcase, what_one_puts_the_others_get_and_the_last_value_counts);
    tcase_add_test(tcase, a_thousand_keys_are_all_found);
    tcase_add_test(tcase, the_barrier_opens_when_all_have_come);
    tcase_add_test(tcase, a_process_that_begins_anew_no_longer_waits);
    tcase_add_test(tcase, an_abort_is_told_and_not_answered);
    tcase_add_test(tcase, no_folder_is_made_before_open_mpi_asks);
    tcase_add_test(tcase, what_is_no_pmi_is_an_error);
    tcase_add_test(tcase, keys_and_values_have_their_lengths);
    suite_add_tcase(suite, tcase);
    return suite;
}
