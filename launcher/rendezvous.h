/*
 * Where the ranks of a job meet, as torchrun's options say it: MASTER_ADDR, MASTER_PORT and the run's id. On one
 * machine there is no one to look for, so what concerns several is accepted where it says "one", and refused
 * otherwise. Plain data, filled by the option table; pure functions.
 */
#ifndef TANDEM_LAUNCHER_RENDEZVOUS_H
#define TANDEM_LAUNCHER_RENDEZVOUS_H

#include "base/status.h"

typedef struct launcher_endpoint {
    char host[256]; /* "": none was given */
    int port;       /* 0: any */
} launcher_endpoint;

typedef struct launcher_rendezvous {
    bool standalone;     /* the others are ignored then */
    const char *backend; /* "static" or "c10d" */
    launcher_endpoint endpoint;
    const char *id;                       /* NULL: a random one */
    const char *master_addr, *local_addr; /* NULL: not given */
    int64_t master_port;                  /* 0: any */
} launcher_rendezvous;

/* For rows of kind TD_OPTION_PARSED. */
td_status launcher_parse_endpoint(const char *text, void *endpoint); /* HOST[:PORT], [IPV6]:PORT */
td_status launcher_parse_backend(const char *text, void *backend);
td_status launcher_parse_nodes(const char *text, void *unused);     /* "1" or "1:1" */
td_status launcher_parse_node_rank(const char *text, void *unused); /* "0" */
td_status launcher_parse_conf(const char *text, void *unused);      /* KEY=VALUE,... */

const char *launcher_rendezvous_address(const launcher_rendezvous *r);
int launcher_rendezvous_port(const launcher_rendezvous *r);       /* 0: any */
const char *launcher_rendezvous_id(const launcher_rendezvous *r); /* NULL: a random one */

#endif
