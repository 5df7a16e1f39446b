/* torchrun's meanings: torch/distributed/run.py, elastic/rendezvous/{utils,static_tcp_rendezvous}.py. */
#include "launcher/rendezvous.h"

#include "base/number.h"

#include <string.h>

td_status launcher_parse_endpoint(const char *text, void *to) {
    launcher_endpoint e = {0};
    const char *host = text, *colon = strrchr(text, ':');
    size_t n = strlen(text);
    if (*text == '[') {
        const char *end = strchr(text, ']');
        if (!end || (end[1] && end[1] != ':'))
            return td_fail(TD_ERR_ARG, 0, "launcher", "'%s' is not [ADDRESS]:PORT", text);
        host = text + 1;
        n = (size_t)(end - host);
        colon = end[1] ? end + 1 : NULL;
    } else if (colon) {
        n = (size_t)(colon - text);
    }
    if (n == 0 || n >= sizeof e.host)
        return td_fail(TD_ERR_ARG, 0, "launcher", "'%s' is not HOST:PORT", text);
    memcpy(e.host, host, n);
    int64_t port = 0;
    if (colon) TD_TRY(td_parse_i64(colon + 1, &port));
    if (port < 0 || port > 65535)
        return td_fail(TD_ERR_ARG, 0, "launcher", "%s is no port, which is at most 65535", colon + 1);
    e.port = (int)port;
    *(launcher_endpoint *)to = e;
    return TD_OK;
}

td_status launcher_parse_backend(const char *text, void *to) {
    if (strcmp(text, "static") == 0 || strcmp(text, "c10d") == 0) {
        *(const char **)to = text;
        return TD_OK;
    }
    if (strncmp(text, "etcd", 4) == 0)
        return td_fail(TD_ERR_UNSUPPORTED, 0, "launcher",
                       "'%s' is for several machines, and tandem run starts ranks on one; use c10d or static",
                       text);
    return td_fail(TD_ERR_ARG, 0, "launcher", "'%s' is not one of: static c10d", text);
}

td_status launcher_parse_nodes(const char *text, void *unused) {
    (void)unused;
    if (strcmp(text, "1") == 0 || strcmp(text, "1:1") == 0) return TD_OK;
    return td_fail(TD_ERR_UNSUPPORTED, 0, "launcher",
                   "'%s' machines, but tandem run starts ranks on this one only; mpirun and srun can start "
                   "tandem's workers on several",
                   text);
}

td_status launcher_parse_node_rank(const char *text, void *unused) {
    (void)unused;
    if (strcmp(text, "0") == 0) return TD_OK;
    return td_fail(TD_ERR_UNSUPPORTED, 0, "launcher",
                   "'%s', but tandem run starts ranks on one machine, whose rank is 0", text);
}

/* Timeouts, who is the host, the store's type: nothing here waits for other machines. */
td_status launcher_parse_conf(const char *text, void *unused) {
    (void)unused;
    for (const char *at = text; *at;) {
        size_t n = strcspn(at, ","), key = strcspn(at, "=,");
        if (key == 0 || at[key] != '=')
            return td_fail(TD_ERR_ARG, 0, "launcher", "'%.*s' is not KEY=VALUE", (int)n, at);
        at += n + (at[n] == ',');
    }
    return TD_OK;
}

static bool is_static(const launcher_rendezvous *r) {
    return !r->standalone && strcmp(r->backend, "static") == 0;
}

const char *launcher_rendezvous_address(const launcher_rendezvous *r) {
    if (is_static(r) && *r->endpoint.host) return r->endpoint.host;
    if (is_static(r) && r->master_addr) return r->master_addr;
    return r->local_addr ? r->local_addr : "127.0.0.1";
}

int launcher_rendezvous_port(const launcher_rendezvous *r) {
    if (r->standalone) return 0;
    return is_static(r) && !*r->endpoint.host ? (int)r->master_port : r->endpoint.port;
}

const char *launcher_rendezvous_id(const launcher_rendezvous *r) { return r->standalone ? NULL : r->id; }
