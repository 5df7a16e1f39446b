/* The language of ops.def: what it takes, and that every fault is named with its line and column. */
#include "model/ops/gen/types.h"
#include "model/ops/value.h"
#include "support/check.h"

#include <stdio.h>

#define ROW       "add(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor\n    \"self + other\"\n"
#define GRADIENTS "    gradient self = grad\n    gradient other = grad\n"
#define HELPERS   "helper h(Tensor grad, int[] sizes) -> Tensor\n"
#define MUL                                                                                                  \
    "mul(Tensor self, Tensor other) -> Tensor\n    \"p\"\n    pure result f(self, other)\n    no_grad\n"

static const struct {
    const char *text, *message;
    int line, column;
} faults[] = {
    {"$", "'$' has no meaning here", 1, 1},
    {"add(Tensor self\n    \"no end", "the text that begins here has no end on its line", 2, 5},
    {"nonsense", "a row, a helper or a section expected before 'nonsense'", 1, 1},
    {"add(Tensr self) -> Tensor", "there is no type 'Tensr'", 1, 5},
    {"add(Tensor self -> Tensor", "')' expected before '->'", 1, 17},
    {"add(Tensor[3] self) -> Tensor", "lists are Tensor[], int[], int[2] and int[*]", 1, 5},
    {"add(Tensor self) Tensor", "'->' expected before 'Tensor'", 1, 18},
    {"add(Tensor self) -> Tensor\n    pure", "add: a sentence in quotes expected", 2, 5},
    {"add(int a=) -> Tensor", "a default expected", 1, 11},
    {ROW "    result f(self, other)\n" GRADIENTS,
     "add: no effect; write pure, alias, write, random, sync or update", 1, 1},
    {ROW "    pure random result f(self, other)\n" GRADIENTS, "add: pure and an effect too", 1, 1},
    {ROW "    alias other view f(self)\n" GRADIENTS,
     "add: only the first argument can be written or seen through", 1, 1},
    {ROW "    write self\n" GRADIENTS, "add: names end with _ in rows that write, and only there", 1, 1},
    {ROW "    pure\n" GRADIENTS, "add: neither result, view, composite nor write", 1, 1},
    {ROW "    pure result f(self) composite\n", "add: a second result, view or composite", 3, 25},
    {ROW "    pure view f(self)\n" GRADIENTS, "add: a view needs alias", 1, 1},
    {ROW "    pure in_place composite\n", "add: in_place needs a result clause", 1, 1},
    {ROW "    pure result f(nobody)\n" GRADIENTS, "add: f takes arguments of the row by name", 3, 19},
    {ROW "    pure result f(self)\n    gradient self = grad\n",
     "add: no gradient of other; give one, zero or none, or say no_grad", 1, 18},
    {ROW "    pure result f(self)\n" GRADIENTS "    gradient self = zero\n", "add: a second gradient of self",
     6, 14},
    {ROW "    pure result f(self)\n    gradient alpha = grad\n", "add: alpha is no tensor argument", 4, 14},
    {ROW "    pure result f(self)\n    no_grad\n    gradient self = grad\n", "add: no_grad and a gradient", 1,
     1},
    {ROW "    pure composite\n    gradient self = grad\n", "add: a composite has its parts' gradients", 1, 1},
    {ROW "    pure result f(self)\n    gradient self = nobody\n",
     "add: 'nobody' is no argument and no result", 4, 21},
    {ROW "    pure result f(self)\n    gradient self = nobody(grad)\n",
     "add: there is no row or helper 'nobody'", 4, 21},
    {ROW "    pure result f(self)\n    gradient self = alpha\n",
     "add: the gradient of self is Tensor, not Scalar", 4, 21},
    {ROW "    pure result f(self)\n    gradient self, other = grad\n",
     "add: the gradient of self is Tensor[], not Tensor", 4, 28},
    {"helper both(Tensor g) -> Tensor[]\n" ROW
     "    pure result f(self)\n    gradient other, self = both(grad)\n",
     "add: self does not follow other among the arguments", 5, 21},
    {ROW "    pure result f(self)\n    gradient self = alpha * alpha\n", "add: there is no Scalar * Scalar",
     4, 27},
    {ROW "    pure result f(self)\n    gradient self = 2 / grad\n", "add: there is no a number / Tensor", 4,
     23},
    {HELPERS ROW "    pure result f(self)\n    gradient self = h(grad)\n",
     "add: 'h' lacks its argument sizes", 5, 21},
    {HELPERS ROW "    pure result f(self)\n    gradient self = h(grad, grad)\n",
     "add: 'h' wants int[] for sizes, not Tensor", 5, 29},
    {HELPERS ROW "    pure result f(self)\n    gradient self = h(grad, sizes(self), 1)\n",
     "add: 'h' takes no such argument", 5, 42},
    {HELPERS ROW "    pure result f(self)\n    gradient self = h(grad, sizes(grad))\n",
     "add: sizes() is asked of an argument", 5, 29},
    {HELPERS ROW "    pure result f(self)\n    gradient self = h(grad, [grad])\n", "add: lists hold integers",
     5, 30},
    {MUL MUL, "mul: a second row of that name", 5, 1},
    {"f(int a=1.5) -> Tensor\n\"\" pure composite", "f: 1.5 is no default for int a", 1, 3},
    {"f(bool a=true) -> Tensor\n\"\" pure composite", "f: true is no default for bool a", 1, 3},
    {"f(int a=1, int b) -> Tensor\n\"\" pure composite", "f: b has no default but follows one that has", 1,
     12},
    {"f(int a, float a) -> Tensor\n\"\" pure composite", "f: two arguments are called a", 1, 10},
    {"f(Tensor grad) -> Tensor\n\"\" pure composite", "f: no argument may be called grad", 1, 3},
    {"f(int a) -> (Tensor b, int c)\n\"\" pure result g(a)", "f: results are tensors", 1, 24},
};

START_TEST(a_fault_is_named_with_its_place) {
    gen_file file;
    gen_fault fault;
    bool good = gen_parse(faults[_i].text, &file, &fault) && gen_check(&file, &fault);
    ck_assert_msg(!good, "this passes:\n%s", faults[_i].text);
    ck_assert_str_eq(fault.text, faults[_i].message);
    ck_assert_int_eq(fault.at.line, faults[_i].line);
    ck_assert_int_eq(fault.at.column, faults[_i].column);
    gen_file_free(&file);
}
END_TEST

START_TEST(a_row_is_understood_in_all_its_parts) {
    static const char text[] =
        "# a comment\nsection \"Arithmetic\"\n" MUL "max.dim(Tensor self, int? dim=None, int[2] stride=1, *, "
        "bool keepdim=False) -> (Tensor values, Tensor indices)\n"
        "    \"largest\"\n    pure\n    result reduced(self, dim)\n    gradient self = -mul(grad, values) * "
        "2 - self / 3\n";
    gen_file file;
    gen_fault fault;
    ck_assert_msg(gen_parse(text, &file, &fault) && gen_check(&file, &fault), "%d:%d: %s", fault.at.line,
                  fault.at.column, fault.text);
    const gen_row *row = gen_find_row(&file, "max_dim");
    ck_assert_str_eq(gen_find_row(&file, "mul")->section, "Arithmetic");
    ck_assert_ptr_null(row->section);
    ck_assert_str_eq(row->name, "max.dim");
    ck_assert_int_eq(row->arg_count, 4);
    ck_assert_int_eq(row->result_count, 2);
    ck_assert_str_eq(row->results[1].name, "indices");
    ck_assert(row->args[1].type.optional && row->args[1].type.kind == GEN_INT);
    ck_assert(row->args[2].type.kind == GEN_PAIR && !row->args[2].keyword_only);
    ck_assert(row->args[3].keyword_only);
    ck_assert_str_eq(row->args[2].preset, "1");
    const gen_expr *e = row->gradients[0].value; /* ((-mul(...)) * 2) - (self / 3) */
    ck_assert(e->form == GEN_BINARY && *e->name == '-');
    ck_assert(e->parts[0]->form == GEN_BINARY && *e->parts[0]->name == '*');
    ck_assert(e->parts[0]->parts[0]->form == GEN_NEGATE);
    ck_assert(e->parts[1]->form == GEN_BINARY && *e->parts[1]->name == '/');
    gen_file_free(&file);
}
END_TEST

START_TEST(any_cut_of_the_real_file_is_a_fault_or_a_file) {
    FILE *in = fopen(TD_TEST_DATA "/../model/ops/ops.def", "rb");
    ck_assert_ptr_nonnull(in);
    static char text[1 << 17];
    size_t length = fread(text, 1, sizeof text - 1, in);
    fclose(in);
    for (size_t cut = 0; cut < length; cut += 1 + cut % 37) {
        char saved = text[cut];
        text[cut] = 0;
        gen_file file;
        gen_fault fault;
        bool good = gen_parse(text, &file, &fault) && gen_check(&file, &fault);
        ck_quietly(good == (fault.at.line == 0));
        gen_file_free(&file);
        text[cut] = saved;
    }
}
END_TEST

START_TEST(descriptors_tell_what_the_row_says) {
    const td_op_info *info = td_op_describe(TD_OP_MAX_POOL2D);
    ck_assert_str_eq(info->name, "max_pool2d");
    ck_assert(info->composite && !info->view && !info->in_place && info->differentiable);
    ck_assert_int_eq(info->arg_count, 6);
    ck_assert_str_eq(info->args[1].name, "kernel_size");
    ck_assert_int_eq(info->args[1].kind, TD_VALUE_PAIR);
    ck_assert(!info->args[1].has_default && info->args[2].has_default);
    const td_max_pool2d_args *defaults = info->defaults;
    ck_assert_int_eq(defaults->dilation[1], 1);
    ck_assert_int_eq(defaults->stride[0], 0);
    ck_assert_int_eq(td_op_describe(TD_OP_FILL_)->effects, TD_EFFECT_WRITE);
    ck_assert_int_eq(td_op_describe(TD_OP_UNIFORM_)->effects, TD_EFFECT_WRITE | TD_EFFECT_RANDOM);
    ck_assert_ptr_null(td_op_describe(TD_OP_COUNT));
    for (int i = 0; i < TD_OP_COUNT; i++) {
        td_op op;
        ck_ok(td_op_find(td_op_describe((td_op)i)->name, &op));
        ck_assert_int_eq(op, i);
        ck_assert_int_le(td_op_describe((td_op)i)->arg_count, TD_OP_MAX_ARGS);
    }
}
END_TEST

START_TEST(an_unknown_operation_is_answered_with_the_nearest) {
    td_op op = TD_OP_COUNT;
    ck_fails(td_op_find("sofmax", &op), TD_ERR_ARG, "did you mean softmax?");
    ck_assert_int_eq(op, TD_OP_COUNT);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("opsdef");
    TCase *tcase = tcase_create("opsdef");
    tcase_add_loop_test(tcase, a_fault_is_named_with_its_place, 0, (int)(sizeof faults / sizeof *faults));
    tcase_add_test(tcase, a_row_is_understood_in_all_its_parts);
    tcase_add_test(tcase, any_cut_of_the_real_file_is_a_fault_or_a_file);
    tcase_add_test(tcase, descriptors_tell_what_the_row_says);
    tcase_add_test(tcase, an_unknown_operation_is_answered_with_the_nearest);
    suite_add_tcase(suite, tcase);
    return suite;
}
