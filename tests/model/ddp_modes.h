/*
 * Every way in which DDP can be used, each as three steps of a small network whose gradients are compared with
 * those of one process that has all samples. On the public interface, so that ranks may be threads of a test or
 * processes under any launcher.
 */
#ifndef TANDEM_TESTS_MODEL_DDP_MODES_H
#define TANDEM_TESTS_MODEL_DDP_MODES_H

#include "base/dtype.h"
#include "model/parallel/ddp.h"

typedef enum ddp_shares {
    SHARES_EVEN,
    SHARES_UNEVEN, /* each rank has more than the one before */
    SHARES_IDLE    /* rank 0 has none, the others as even as can be */
} ddp_shares;

typedef struct ddp_mode {
    const char *name;
    td_ddp_options options;
    ddp_shares shares;
    bool weighted; /* td_ddp_begin says how many samples */
    int passes;    /* accumulated in a step; 0: one */
    bool norm;     /* with synchronised batch normalisation */
    bool unused;   /* a layer that only odd ranks use */
    bool tied;     /* a layer used twice, under two names */
    bool frozen;   /* a parameter that does not require grad */
    bool hook;     /* the plain one */
    td_dtype sent; /* f16 or bf16: compressed; f32 is 0 */
} ddp_mode;

extern const ddp_mode ddp_modes[]; /* ends with one without name */

/* Run it on this rank; every rank of the group does. NULL, or what is wrong; valid until the next call on this
 * thread. Needs a current context. */
const char *ddp_mode_run(const ddp_mode *mode, td_group *group);

#endif
