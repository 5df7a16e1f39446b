#include "model/checkpoint_folder.h"

#include "base/context.h"
#include "base/log.h"
#include "base/parallel.h"
#include "model/tensor/scope.h"
#include "model/tensor/storage.h"
#include "support/check.h"

#include <stdio.h>
#include <unistd.h>

td_context *context;
td_scope *scope;
char folder[64], logged[2048];

static void on_log(td_log_level level, const char *origin, const char *text, void *cookie) {
    (void)level, (void)origin, (void)cookie;
    snprintf(logged + strlen(logged), sizeof logged - strlen(logged), "%s\n", text);
}

void begin(void) {
    snprintf(folder, sizeof folder, "/tmp/tandem-checkpoint-%d", (int)getpid());
    logged[0] = 0;
    td_log_set_hook(on_log, TD_LOG_WARN, NULL);
    ck_ok(td_parallel_set_threads(1));
    ck_ok(td_context_open(&context));
    scope = td_scope_open(context);
}

void end(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
    ck_ok(td_scope_close(scope));
    ck_assert_uint_eq(td_memory_used(context).used, 0);
    td_context_close(&context);
}
