/* kill -9 of a process that writes checkpoints, at random moments: old or new, never half. How often is for each
 * test program to say. */
#include "model/kills.h"

#include "model/checkpoint/checkpoint.h"
#include "model/checkpoint_folder.h"
#include "model/ops/ops.h"
#include "model/tensor/scope.h"
#include "support/check.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* `x`, filled with the step's number. */
static void fill_state(td_state_dict *state, int64_t step, int64_t count) {
    ck_ok(td_state_dict_add(state, "x", td_full(TD_INTS(count), td_num((double)step))));
}

/* The newest one's step, after a look at its contents; -1 when there is none. */
static int64_t newest(void) {
    td_state_dict state = {0};
    td_checkpoint_info info = {0};
    td_status status = td_checkpoint_read_newest(folder, &state, &info);
    if (status == TD_PENDING) return -1;
    ck_ok(status);
    td_tensor *x = td_state_dict_find(&state, "x");
    ck_assert_ptr_nonnull(x);
    const float *at = td_tensor_data(x);
    for (int64_t i = 0; i < td_tensor_count(x); i++) ck_quietly(at[i] == (float)info.step);
    int64_t step = info.step;
    td_checkpoint_info_clear(&info);
    td_state_dict_clear(&state);
    return step;
}

/* Write step after step, as fast as it goes, until killed. */
static void write_for_ever(int told) {
    td_checkpoint_writer *writer = NULL;
    td_checkpoint_saved saved;
    td_state_dict state = {0};
    int64_t step = td_checkpoint_newest_step(folder) + 1;
    ck_ok(td_checkpoint_writer_open(folder, 1, &writer));
    fill_state(&state, 0, 200000);
    for (;; step++) {
        td_scope *s = td_scope_open(context);
        td_fill_(state.at[0].tensor, td_num((double)step));
        ck_ok(td_scope_close(s));
        ck_ok(td_checkpoint_writer_post(writer, step, &state, NULL));
        ck_ok(td_checkpoint_writer_result(writer, true, &saved));
        if (write(told, &step, sizeof step) != sizeof step) _exit(1);
    }
}

static void kill_writers(int times, unsigned seed) {
    int64_t whole = -1;
    srand(seed);
    for (int i = 0; i < times; i++) {
        int pipe_ends[2];
        ck_assert_int_eq(pipe(pipe_ends), 0);
        pid_t pid = fork();
        if (pid == 0) {
            close(pipe_ends[0]);
            write_for_ever(pipe_ends[1]);
        }
        close(pipe_ends[1]);
        int64_t told;
        if (i % 4) /* else before its first one may be whole */
            ck_quietly(read(pipe_ends[0], &told, sizeof told) == sizeof told);
        usleep((useconds_t)(rand() % 20000));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        while (read(pipe_ends[0], &told, sizeof told) == sizeof told) whole = told;
        close(pipe_ends[0]);
        int64_t found = newest(); /* looks at every number in it */
        ck_expect(found >= whole, "step %lld was whole, but %lld is found", (long long)whole,
                  (long long)found);
        ck_assert_str_eq(logged, ""); /* nothing had to be passed over */
        whole = found;
    }
    ck_assert_int_ge(whole, 0);
}

START_TEST(a_killed_writer_leaves_old_or_new) {
    begin();
    kill_writers(checkpoint_kills, 1);
    end();
}
END_TEST

SUITE("kills", a_killed_writer_leaves_old_or_new)
