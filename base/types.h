/*
 * Names that every public header needs: the export mark, the printf check and each public object's
 * forward typedef. Objects are opaque; their life and rules are told by the header that declares their
 * functions, named beside each. Any thread may use this header; it has no functions.
 */
#ifndef TANDEM_BASE_TYPES_H
#define TANDEM_BASE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TD_API               __attribute__((visibility("default")))
#define TD_PRINTF(at, first) __attribute__((format(printf, at, first)))

#ifdef __cplusplus
#define TD_BEGIN_DECLS extern "C" {
#define TD_END_DECLS   }
#else
#define TD_BEGIN_DECLS
#define TD_END_DECLS
#endif

typedef struct td_context td_context;     /* base/context.h: what one rank's computation owns */
typedef struct td_generator td_generator; /* base/generator.h: random stream, as PyTorch's CPU one */
typedef struct td_sampler td_sampler;     /* sampler/sampler.h: which indices, in which order */
typedef struct td_dataset td_dataset;     /* sampler/dataset.h: numbered samples */
typedef struct td_loader td_loader;       /* sampler/loader.h: batches, assembled ahead of need */
typedef struct td_job td_job;             /* dist/job.h: who am I in which job */
typedef struct td_arena td_arena;         /* dist/arena.h: memory shared by the ranks of a node */
typedef struct td_group td_group;         /* dist/group.h: ranks that exchange data */
typedef struct td_work td_work;           /* dist/group.h: a posted collective */
typedef struct td_storage td_storage;     /* model/tensor/storage.h: bytes on a device */
typedef struct td_tensor td_tensor;       /* model/tensor/tensor.h: a shaped view of a storage */
typedef struct td_scope td_scope;         /* model/tensor/scope.h: owner of intermediate tensors */
typedef struct td_module td_module;       /* model/nn/module.h: parameters, buffers, children, forward */
typedef struct td_optimizer td_optimizer; /* model/optim/optimizer.h: the rule that updates parameters */
typedef struct td_ddp td_ddp;             /* model/parallel/ddp.h: a module kept equal across ranks */

#endif
