/*
 * Calls that operations must refuse, as PyTorch does, with a message that begins with the
 * operation's name and says what was wrong. Calls are written as in support/op_cases.c.
 */
#include "base/context.h"
#include "model/tensor/scope.h"
#include "support/check.h"
#include "support/op_inputs.h"
#include "support/tensors.h"

#include <stdio.h>

/* A call, and a part of the message that helps. */
typedef struct refusal {
    const char *op, *args, *part;
    bool unsupported; /* TD_ERR_UNSUPPORTED, not TD_ERR_ARG */
} refusal;

/* clang-format off */
static const refusal refusals[] = {
    /* Sizes that do not fit together */
    {"add", "self=(2,3) other=(2)", "(2, 3)"},
    {"mul", "self=(2,3) other=(4,3)", "(4, 3)"},
    {"where", "condition=bool(2) self=(3) other=(3)", "(2)"},
    {"masked_fill", "self=(2,3) mask=bool(2) value=0", "(2)"},
    {"mm", "self=(2,3) mat2=(2,3)", "(2, 3)"},
    {"mm", "self=(2,3,4) mat2=(4,3)", "(2, 3, 4)"},
    {"bmm", "self=(2,3,4) mat2=(3,4,2)", "(3, 4, 2)"},
    {"matmul", "self=(2,3) other=(2)", "(2, 1)"},
    {"matmul", "self=() other=(2)", "without dimensions"},
    {"linear", "input=(2,3) weight=(4,2)", "(4, 2)"},
    {"linear", "input=(2,3) weight=(4,3) bias=(3)", "(3)"},
    {"cat", "tensors={(2,3) (2,4)}", "(2, 4)"},
    {"cat", "tensors={(2,3) (2)}", "(2)"},
    {"cat", "tensors={() ()}", "without dimensions"},
    {"stack", "tensors={(2,3) (3,2)}", "3, 2)"},
    {"gather", "self=(3,4) dim=1 index=i64(4,2)<4", "(4, 2)"},
    {"gather", "self=(3,4) dim=1 index=i64(4)<4", "(4)"},
    {"scatter_add", "self=(3,4) dim=1 index=i64(3,2)<4 src=(2,2)", "(2, 2)"},
    {"copy_", "self=(2,3) src=(2)", "(2)"},
    {"nll_loss", "self=(3,4) target=i64(2)<4", "(2)"},
    {"nll_loss", "self=(3,4) target=i64(3)<4 weight=fixed(3)", "(3)"},
    {"cross_entropy", "self=(3,4) target=unit(3,3)", "(3, 3)"},
    {"mse_loss", "self=(2,3) target=(2)", "(2)"},
    {"sum_to_size", "self=(2,3) size=[2,2]", "(2, 2)"},
    {"conv2d", "input=(1,3,5,5) weight=(2,2,3,3)", "3"},
    {"conv2d", "input=(1,4,5,5) weight=(3,2,3,3) groups=2", "groups"},
    {"conv2d", "input=(1,2,2,2) weight=(2,2,3,3)", "image of (2, 2)"},
    {"conv2d", "input=(1,2,5,5) weight=(2,2,3,3) bias=(3)", "bias of 3"},
    {"max_pool2d", "self=(1,1,2,2) kernel_size=[3,3]", "image of (2, 2)"},
    {"max_pool2d", "self=(2,2) kernel_size=[2,2]", "(2, 2)"},
    {"batch_norm", "input=(2) training=True", "1 dimensions"},
    {"batch_norm", "input=(2,3) weight=(2) training=True", "weight of 2 for 3 channels"},
    {"batch_norm", "input=(2,3) running_mean=(3)", "running_var is missing"},
    {"batch_norm", "input=(1,3) training=True", "more than one value"},
    {"batch_norm", "input=i64(2,3) training=True", "i64"},

    /* Dimensions and positions that are not there */
    {"sum", "self=(2,3) dim=[2]", "2"},
    {"sum", "self=(2,3) dim=[1,-1]", "1"},
    {"amax", "self=(0,3) dim=[0]", "0"},
    {"argmax", "self=(0)", "size 0"},
    {"softmax", "self=(2,3) dim=2", "2"},
    {"transpose", "self=(2,3) dim0=0 dim1=-3", "-3"},
    {"t", "self=(2,3,4)", "(2, 3, 4)"},
    {"permute", "self=(2,3) dims=[0,0]", "0"},
    {"permute", "self=(2,3) dims=[0]", "tensor of 2"},
    {"unsqueeze", "self=(2,3) dim=3", "3"},
    {"select", "self=(2,3) dim=1 index=3", "3"},
    {"select", "self=() dim=0 index=0", "no parts"},
    {"narrow", "self=(5) dim=0 start=3 length=3", "3"},
    {"slice", "self=(5) dim=0 step=0", "step"},
    {"slice", "self=(5) dim=0 step=-1", "step"},
    {"gather", "self=(3,4) dim=2 index=i64(3,4)<4", "2"},
    {"gather", "self=(3,4) dim=1 index=i64(3,2)=4", "4"},
    {"gather", "self=(3,4) dim=1 index=i64(3,2)=-1", "-1"},
    {"scatter_add", "self=(3,4) dim=0 index=i64(3,2)=3 src=(3,2)", "3"},
    {"nll_loss", "self=(3,4) target=i64(3)=4", "4"},
    {"nll_loss", "self=(3,4) target=i64(3)=-1", "-1"},
    {"cross_entropy", "self=(3,4) target=i64(3)=7", "7"},
    {"flatten", "self=(2,3) start_dim=1 end_dim=0", "1"},

    /* Sizes that cannot be had */
    {"view", "self=(2,6) size=[5,-1]", "(2, 6)"},
    {"view", "self=(2,6) size=[-1,-1]", "-1"},
    {"reshape", "self=(2,6) shape=[3,3]", "(2, 6)"},
    {"reshape", "self=(0,4) shape=[0,-1]", "-1"},
    {"expand", "self=(2,3) size=[3]", "(2, 3)"},
    {"expand", "self=(2,3) size=[4,3]", "4"},
    {"expand", "self=(3) size=[-1,3]", "(-1, 3)"},
    {"as_strided", "self=(6) size=[3,3] stride=[3,1]", "stor"},
    {"as_strided", "self=(6) size=[2] stride=[1,1]", "strides"},
    {"zeros", "size=[2,-3]", "-3"},
    {"full", "size=[1000000000,1000000000,1000000000] fill_value=1", "too large"},
    {"arange_start", "start=0 end=3 step=0", "step"},
    {"arange_start", "start=0 end=3 step=-1", "step"},
    {"unsqueeze", "self=(1,1,1,1,1,1,1,1) dim=0", "8"},

    /* Dtypes and options */
    {"mean", "self=i64(3)", "i64"},
    {"softmax", "self=i64(2,3) dim=1", "i64"},
    {"where", "condition=i64(3) self=(3) other=(3)", "bool"},
    {"masked_fill", "self=(3) mask=u8(3) value=0", "bool"},
    {"gather", "self=(3,4) dim=1 index=(3,2)", "i64"},
    {"nll_loss", "self=(3,4) target=(3)", "i64"},
    {"sub", "self=bool(3) other=bool(3)", "bool", true},
    {"neg", "self=bool(3)", "bool", true},
    {"clamp", "self=(3)", "min"},
    {"clamp", "self=u8(3) max=-1", "-1"},
    {"clamp", "self=i8(3) min=300", "300"},
    {"add", "self=i64(3) other=i64(3) alpha=0.5", "0.5"},
    {"mm", "self=(2,3) mat2=i64(3,2)", "i64"},
    {"dropout", "input=(3) p=1.5", "1.5"},
    {"bernoulli_", "self=(3) p=-0.5", "-0.5"},
    {"uniform_", "self=(3) from=2 to=1", "2"},
    {"normal_", "self=(3) std=-1", "-1"},
    {"normal_", "self=i64(3)", "i64", true},
    {"conv2d", "input=(1,2,5,5) weight=(2,2,3,3) stride=[0,1]", "stride"},
    {"conv2d", "input=(1,2,5,5) weight=(2,2,3,3) padding=[-1,0]", "padding"},
    {"max_pool2d", "self=(1,1,5,5) kernel_size=[2,2] padding=[2,2]", "padding"},
    {"contiguous", "self=(2,3) memory_format=ChannelsLast", "(2, 3)"},
    {"cross_entropy", "self=(3,4) target=i64(3)<4 label_smoothing=1.5", "1.5"},
    {"pow", "self=i64(3) exponent=-1", "negative"},
};

/* Results that do not fit the argument they are to be written to. */
static const refusal in_place_refusals[] = {
    {"add", "self=(3) other=(2,3)", "(2, 3)"},
    {"add_scalar", "self=i64(3) other=1.5", "i64"},
    {"div", "self=i64(3) other=i64(3)", "i64"},
    {"add", "self=bool(3) other=i64(3)", "bool"},
};
/* clang-format on */

static td_context *context;

static void open_context(void) { ck_ok(td_context_open(&context)); }
static void close_context(void) { close_context_empty(&context); }

static void check_refusal(const refusal *r, td_op form) {
    const op_case call = {.op = r->op, .args = r->args};
    op_inputs inputs;
    td_value out[TD_OP_MAX_RESULTS] = {{0}};
    td_status wanted = r->unsupported ? TD_ERR_UNSUPPORTED : TD_ERR_ARG;
    td_scope *scope = td_scope_open(context);
    op_inputs_make(&inputs, &call, TD_DTYPE_F32, OP_CONTIGUOUS, 0);
    td_status status = td_op_call((td_op)(inputs.op | form), inputs.in, out);
    const char *text = td_error_last()->text;
    ck_expect(status == wanted, "%s%s(%s) gave %s: %s", r->op, form ? "_" : "", r->args,
              td_status_name(status), text);
    /* Composite rows may be refused by one of their parts: cross_entropy by nll_loss. */
    const char *colon = strchr(text, ':');
    ck_expect(colon && (inputs.info->composite || strncmp(text, r->op, strlen(r->op)) == 0),
              "%s(%s) says '%s', without its name", r->op, r->args, text);
    ck_expect(strstr(text, r->part), "%s(%s) says '%s', without '%s'", r->op, r->args, text, r->part);
    ck_assert_int_eq(td_scope_close(scope), wanted);
}

START_TEST(a_call_that_cannot_be_is_refused) { check_refusal(&refusals[_i], 0); }
END_TEST

START_TEST(a_result_that_does_not_fit_in_place_is_refused) {
    check_refusal(&in_place_refusals[_i], TD_OP_INPLACE);
}
END_TEST

#define LENGTH(table) ((int)(sizeof(table) / sizeof *(table)))

Suite *make_suite(void) {
    Suite *suite = suite_create("ops_errors");
    TCase *tcase = tcase_create("calls");
    tcase_add_checked_fixture(tcase, open_context, close_context);
    tcase_add_loop_test(tcase, a_call_that_cannot_be_is_refused, 0, LENGTH(refusals));
    tcase_add_loop_test(tcase, a_result_that_does_not_fit_in_place_is_refused, 0, LENGTH(in_place_refusals));
    suite_add_tcase(suite, tcase);
    return suite;
}
