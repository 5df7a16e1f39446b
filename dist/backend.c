/* The backends, best first. */
#include "dist/backend.h"

const td_backend *const td_backends[] = {&td_backend_self, &td_backend_shm, NULL};
