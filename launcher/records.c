/* See records.h. The arena outlives the ranks that wrote into it. */
#include "launcher/records.h"

#include "dist/recorder.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

static void describe(const launcher_account *account, char *text, size_t size) {
    int culprit = account->verdict.culprit;
    if (culprit < 0)
        snprintf(text, size, "the job was stopped");
    else if (WIFSIGNALED(account->ranks[culprit].wait_status))
        snprintf(text, size, "rank %d was killed by SIG%s", culprit,
                 sigabbrev_np(WTERMSIG(account->ranks[culprit].wait_status)));
    else
        snprintf(text, size, "rank %d failed", culprit);
}

void launcher_records_write(int arena, const launcher_account *account, const char *folder) {
    char reason[96];
    int culprit = account->verdict.culprit, files = 0;
    if (!folder || account->verdict.exit_code == 0 || arena < 0) return;
    describe(account, reason, sizeof reason);
    if (td_trace_arena(arena, folder, reason, culprit < 0 ? 0 : account->ranks[culprit].ended_ns, &files) <
        0) {
        fprintf(stderr, "tandem: what the ranks called is not written: %s\n", td_error_last()->text);
    } else if (files) {
        fprintf(stderr, "tandem: what the ranks called: tandem trace %s\n", folder);
    }
}
