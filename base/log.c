/* The process's one log hook. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

static struct {
    td_log_hook *hook;
    td_log_level most;
    void *cookie;
} sink;

void td_log_set_hook(td_log_hook *hook, td_log_level most, void *cookie) {
    sink.hook = hook;
    sink.most = most;
    sink.cookie = cookie;
}

void td_log_line(td_log_level level, const char *origin, const char *format, ...) {
    if (!sink.hook || level > sink.most) return;
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    sink.hook(level, origin, text, sink.cookie);
}
