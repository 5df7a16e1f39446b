/*
 * MASTER_PORT: a number that rank 0 can bind and nobody else is handed. The launcher binds it with
 * SO_REUSEADDR and keeps the socket open without listening: the kernel then gives the port to no one who asks
 * for any, but lets rank 0, which sets SO_REUSEADDR as every server does, bind and listen on it.
 */
#ifndef TANDEM_LAUNCHER_PORT_H
#define TANDEM_LAUNCHER_PORT_H

#include "base/status.h"

/* `wanted` or, when that is 0, any. *socket is *yours* to keep open for the life of the job; close-on-exec. */
td_status launcher_port_reserve(int wanted, int *port, int *socket);

#endif
