/* A short array in the context's autograd state. */
#include "model/autograd/pass_hook.h"

#include "base/memory.h"

#include <string.h>

struct td_pass_hook_entry {
    td_pass_hook *call;
    void *cookie;
};

td_status td_pass_hook_add(td_context *context, td_pass_hook *hook, void *cookie) {
    if (!context) return td_fail(TD_ERR_STATE, 0, "model/autograd", "a hook: no context is current");
    if (!td_autograd_of(context)) {
        td_scope *scope = td_scope_open(context);
        TD_TRY(td_scope_close(scope));
    }
    td_autograd *autograd = td_autograd_of(context);
    td_pass_hook_entry *grown = td_realloc(autograd->hooks, autograd->hook_count + 1, sizeof *grown);
    if (!grown) return TD_ERR_MEMORY;
    autograd->hooks = grown;
    grown[autograd->hook_count++] = (td_pass_hook_entry){.call = hook, .cookie = cookie};
    return TD_OK;
}

void td_pass_hook_remove(td_context *context, td_pass_hook *hook, void *cookie) {
    td_autograd *autograd = td_autograd_of(context);
    if (!autograd) return;
    for (uint32_t i = 0; i < autograd->hook_count; i++) {
        td_pass_hook_entry *at = &autograd->hooks[i];
        if (at->call != hook || at->cookie != cookie) continue;
        memmove(at, at + 1, (--autograd->hook_count - i) * sizeof *at);
        return;
    }
}

td_status td_pass_hooks_run(td_autograd *autograd) {
    for (uint32_t i = 0; i < autograd->hook_count; i++)
        TD_TRY(autograd->hooks[i].call(autograd->hooks[i].cookie));
    return TD_OK;
}

void td_autograd_free(void *autograd) {
    td_free(((td_autograd *)autograd)->hooks);
    td_free(autograd);
}
