/*
 * The data of a run: a training and a test set, decoded once per machine by its first rank into memory that
 * all its ranks share; where ranks share none (over mpi), by each rank for itself. Central object: worker_data, a plain struct; opened by all ranks together, closed
 * before the group.
 */
#ifndef TANDEM_WORKER_DATA_H
#define TANDEM_WORKER_DATA_H

#include "dist/group.h"
#include "model/zoo/zoo.h"
#include "sampler/loader.h"

typedef struct worker_data {
    td_dataset *train, *test;
    td_group *machine;   /* the ranks that share memory, where they are not all; ours */
    uint8_t *own[2 * 2]; /* what this rank has decoded for itself */
} worker_data;

/* Read `folder` ("mnist": the files that come with Tandem) and see that it fits the model. Every rank calls
 * it; a failure is every rank's. */
td_status worker_data_open(td_group *group, const char *folder, const td_zoo_model *model, worker_data *data);
void worker_data_close(worker_data *data);

/* A batch as tensors of the current scope, over the loader's own memory: good until its next call. Inputs f32
 * (count, the model's input), labels i64 (count). NULL after marking the scope. */
td_tensor *worker_batch_inputs(const td_batch *batch, const td_zoo_model *model);
td_tensor *worker_batch_labels(const td_batch *batch);

#endif
