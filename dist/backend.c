/* The backends, best first. */
#include "dist/backend.h"

static const td_backend mpi = {.name = "mpi", .plugin = "mpi"};

const td_backend *const td_backends[] = {&td_backend_self, &td_backend_shm, &mpi, NULL};
