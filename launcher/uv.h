/* The one place where libuv's codes become ours. */
#ifndef TANDEM_LAUNCHER_UV_H
#define TANDEM_LAUNCHER_UV_H

#include "base/status.h"

#include <uv.h>

/* TD_OK for a code that is no failure; else the record says `what` and libuv's reason. */
static inline td_status launcher_from_uv(int code, const char *what) {
    if (code >= 0) return TD_OK;
    return td_fail(TD_ERR_SYSTEM, code, "launcher", "%s: %s", what, uv_strerror(code));
}

#endif
