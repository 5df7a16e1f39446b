/* Native kernels beside the plain ones. */
#include "support/kernels.h"

#include "base/parallel.h"
#include "support/check.h"

td_context *kernels_open(void) {
    td_context *context = NULL;
    setenv("TANDEM_KERNELS", "native", 1); /* a program with the static library loads no plug-in */
    ck_ok(td_context_open(&context));
    ck_ok(cpu_kernels_open(context));
    return context;
}

void kernels_close(td_context *context) { td_context_close(&context); }

td_kernel *kernels_find(const td_kernel_row *family, td_op op) {
    for (; family->kernel; family++)
        if (family->op == op) return family->kernel;
    ck_abort_msg("operation %d has no kernel in this family", (int)op);
    return NULL;
}

/* A result of the same place and layout, with other contents. */
static void copy_shape(guarded *to, const guarded *from) {
    *to = *from;
    to->block = aligned_alloc(64, (from->bytes + 63) / 64 * 64);
    ck_assert_ptr_nonnull(to->block);
    memcpy(to->block, from->block, from->bytes);
    to->storage.data = (char *)to->block + (from->storage.data - (char *)from->block);
    to->tensor.storage = &to->storage;
    for (int64_t i = 0; i < to->tensor.count; i++) guarded_set(to, i, 1);
}

static void run_native(td_context *context, const kernels_case *c, const cpu_fast *fast, int threads,
                       guarded *copies, const char *what) {
    td_tensor *out[2] = {NULL, NULL};
    for (int i = 0; i < c->outs; i++) {
        copy_shape(&copies[i], c->out[i]);
        copies[i].tensor.storage = &copies[i].storage;
        out[i] = &copies[i].tensor;
    }
    cpu_state_of(context)->fast = fast;
    ck_ok(td_parallel_set_threads(threads));
    td_manual_seed(7);
    td_status status = kernels_find(c->native, c->op)(context, c->args, out);
    ck_assert_msg(status == (c->declined ? TD_PENDING : TD_OK), "%s, %s: native kernel gave %s %s", what,
                  fast->name, td_status_name(status), status < 0 ? td_error_last()->text : "");
    for (int i = 0; i < c->outs; i++) guarded_check(&copies[i], what);
}

static void check_native(const kernels_case *c, const cpu_fast *fast, int threads, guarded *copies,
                         guarded *first, const char *what) {
    for (int i = 0; i < c->outs; i++) {
        if (c->near == NEAR_SAME_BITS) {
            ck_assert_msg(guarded_same(&copies[i], c->out[i]), "%s, %s, %d threads: other bits in result %d",
                          what, fast->name, threads, i);
        } else {
            const double d = guarded_difference(&copies[i], c->out[i], 1);
            ck_assert_msg(d <= c->tolerance, "%s, %s, %d threads: result %d is off by %g", what, fast->name,
                          threads, i, d);
        }
        if (c->near == NEAR_ROUNDED)
            ck_assert_msg(guarded_same(&copies[i], &first[i]), "%s, %s: result %d depends on threads", what,
                          fast->name, i);
    }
}

void kernels_compare(td_context *context, const kernels_case *c, const char *what) {
    const cpu_fast *const all[] = {&cpu_fast_base, &cpu_fast_avx2, &cpu_fast_avx512},
                          *best = cpu_fast_choose();
    td_tensor *out[2] = {NULL, NULL};
    for (int i = 0; i < c->outs; i++) out[i] = &c->out[i]->tensor;
    td_manual_seed(7);
    ck_ok(kernels_find(c->plain, c->op)(context, c->args, out));
    const uint32_t next = td_generator_random(td_context_generator(context));
    for (int i = 0; i < c->outs; i++) guarded_check(c->out[i], what);
    for (int f = 0; f < 3 && all[f]->lanes <= best->lanes; f++) {
        guarded first[2] = {0}, copies[2] = {0};
        run_native(context, c, all[f], 1, first, what);
        if (c->draws)
            ck_assert_msg(td_generator_random(td_context_generator(context)) == next, "%s drew otherwise",
                          what);
        if (!c->declined) {
            check_native(c, all[f], 1, first, first, what);
            run_native(context, c, all[f], 2, copies, what);
            check_native(c, all[f], 2, copies, first, what);
        }
        for (int i = 0; i < c->outs; i++) guarded_free(&first[i]), guarded_free(&copies[i]);
    }
    cpu_state_of(context)->fast = best;
}
