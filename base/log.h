/*
 * Lines for people that no return value can carry: a failure while closing, a warning about the machine.
 * The library itself never prints: it hands each line to the process's one hook; without a hook, lines are
 * dropped. Set the hook before other threads start; any thread may log.
 */
#ifndef TANDEM_BASE_LOG_H
#define TANDEM_BASE_LOG_H

#include "base/types.h"

TD_BEGIN_DECLS

typedef enum td_log_level { TD_LOG_ERROR, TD_LOG_WARN, TD_LOG_INFO, TD_LOG_DEBUG } td_log_level;

/* `text` is one line without newline, *lent* for the call. */
typedef void td_log_hook(td_log_level level, const char *origin, const char *text, void *cookie);

/* Lines above `most` ("at most this chatty") are not even formatted. hook NULL: drop all (the default). */
TD_API void td_log_set_hook(td_log_hook *hook, td_log_level most, void *cookie);

TD_API void td_log_line(td_log_level level, const char *origin, const char *format, ...) TD_PRINTF(3, 4);

TD_END_DECLS

#endif
