/*
 * Modules: what a network is made of, as torch.nn.Module. A module has parameters (trained), buffers (saved
 * and moved with it, never touched by an optimizer), named children, and a forward function that stands in
 * its constant class table. Central object: td_module. Its life: td_module_open builds the root and, through
 * the class's build function, the tree below it; td_module_forward; td_module_close of the root closes the
 * tree. Layers are classes (model/nn/layers.h), whole networks too (model/zoo/zoo.h), and a program adds its
 * own in the same way:
 *
 *     static td_status build_net(td_module *net, const void *options) {
 *         TD_TRY(td_add_linear(net, "fc1", 784, 256));
 *         return td_add_linear(net, "fc2", 256, 10);
 *     }
 *     static td_tensor *forward_net(td_module *net, td_tensor *x) {
 *         x = td_relu(td_module_forward(td_module_child(net, "fc1"), x));
 *         return td_module_forward(td_module_child(net, "fc2"), x);
 *     }
 *     static const td_module_class net_class = {.name = "Net", .build = build_net, .forward = forward_net};
 *
 * Names are PyTorch's: "fc1.weight". Building draws initial values from the context's default generator in
 * the order of construction, so the same seed gives the same bits as PyTorch. Only the thread that has the
 * context may call; opening and forward need no scope and one, respectively.
 */
#ifndef TANDEM_MODEL_NN_MODULE_H
#define TANDEM_MODEL_NN_MODULE_H

#include "model/nn/state_dict.h"

TD_BEGIN_DECLS

typedef struct td_module_class {
    const char *name; /* "Linear", for messages */
    size_t fields;    /* bytes of the module's own data, zeroed before build; td_module_fields. May be 0 */
    /* Add parameters, buffers and children. `options` is td_module_open's. NULL: nothing to add. On failure
     * the half-built module is closed by the caller. */
    td_status (*build)(td_module *module, const void *options);
    /* Compute from x (`lent`), within a scope of its own; the result is handed up by the caller. Checks
     * nothing on the way: after a failure every operation gives NULL, and so does this. */
    td_tensor *(*forward)(td_module *module, td_tensor *x);
} td_module_class;

/* --- life ------------------------------------------------------------------------------------------- */

/* Build a module of a class, in training mode. `class_` is *lent* for its life, `options` for the call.
 * *Yours*. TD_ERR_STATE without a current context. */
TD_API td_status td_module_open(const td_module_class *class_, const void *options, td_module **module);

/* Close a root with all below it; tensors kept elsewhere stay valid. Leaves NULL; NULL inside is fine. */
TD_API void td_module_close(td_module **module);

/* Run forward in a scope of its own and hand its result up to the current scope. NULL after marking that
 * scope. */
TD_API td_tensor *td_module_forward(td_module *module, td_tensor *x);

/* --- building --------------------------------------------------------------------------------------- */

/* Build a child of a class under `name`. Names are not empty, have no dot and do not repeat (TD_ERR_ARG). */
TD_API td_status td_module_add(td_module *parent, const char *name, const td_module_class *class_,
                               const void *options);
/* The same with a module that is built already: *given*, on failure too, and *child becomes NULL. */
TD_API td_status td_module_add_child(td_module *parent, const char *name, td_module **child);

/* *Keep* x under `name` and mark it as requiring grad (TD_ERR_ARG unless its dtype is floating). */
TD_API td_status td_module_add_parameter(td_module *module, const char *name, td_tensor *x);
/* As register_buffer: *keep* x under `name`; it must not require grad. */
TD_API td_status td_module_add_buffer(td_module *module, const char *name, td_tensor *x);

/* --- looking ---------------------------------------------------------------------------------------- */

TD_API void *td_module_fields(td_module *module); /* the class's own data, *lent* */
TD_API const char *td_module_class_name(const td_module *module);

/* *Lent* as long as the module; NULL where there is none. Children are numbered in order of adding. */
TD_API td_module *td_module_child(const td_module *module, const char *name);
TD_API td_module *td_module_child_at(const td_module *module, size_t index);
TD_API size_t td_module_child_count(const td_module *module);
TD_API td_tensor *td_module_parameter(const td_module *module, const char *name);
TD_API td_tensor *td_module_buffer(const td_module *module, const char *name);

/* All parameters or buffers of the tree, as named_parameters() and named_buffers(): a module's own, then its
 * children's, each in order of adding; a tensor that is shared appears once, under its first name. They are
 * appended to `dict`. */
TD_API td_status td_module_parameters(const td_module *module, td_state_dict *dict);
TD_API td_status td_module_buffers(const td_module *module, td_state_dict *dict);
/* As state_dict(): of each module its parameters, then its buffers, then its children; shared tensors under
 * every name. */
TD_API td_status td_module_state(const td_module *module, td_state_dict *dict);
/* Copy values in, strictly (td_state_dict_copy). */
TD_API td_status td_module_load_state(td_module *module, const td_state_dict *dict);

/* Elements of all parameters, a shared tensor once. */
TD_API td_status td_module_parameter_count(const td_module *module, int64_t *count);

/* --- modes ------------------------------------------------------------------------------------------ */

/* Set the mode of the whole tree; dropout and their like ask for it. */
TD_API void td_module_train(td_module *module);
TD_API void td_module_eval(td_module *module);
TD_API bool td_module_is_training(const td_module *module);

/* Empty every parameter's gradient. */
TD_API void td_module_zero_grad(td_module *module);

TD_END_DECLS

#endif
