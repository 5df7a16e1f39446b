/* Statuses from one list, and the record of the last failure of each thread. */
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local td_error last_error = {.origin = ""};

const char *td_status_name(td_status status) {
    switch (status) {
#define TD_STATUS(name, number, meaning)                                                                     \
    case TD_##name:                                                                                          \
        return #name;
#include "base/status.def"
#undef TD_STATUS
    }
    return "unknown status";
}

const char *td_status_meaning(td_status status) {
    switch (status) {
#define TD_STATUS(name, number, meaning)                                                                     \
    case TD_##name:                                                                                          \
        return meaning;
#include "base/status.def"
#undef TD_STATUS
    }
    return "unknown status";
}

static void record(td_status status, int foreign, const char *origin, const char *format, va_list args) {
    char text[sizeof last_error.text]; /* an argument may be the old record's own text */
    vsnprintf(text, sizeof text, format, args);
    last_error.status = status;
    last_error.foreign = foreign;
    last_error.origin = origin;
    memcpy(last_error.text, text, sizeof text);
}

td_status td_fail(td_status status, int foreign, const char *origin, const char *format, ...) {
    va_list args;
    va_start(args, format);
    record(status, foreign, origin, format, args);
    va_end(args);
    return status;
}

td_status td_fail_errno(int errnum, const char *origin, const char *format, ...) {
    va_list args;
    va_start(args, format);
    record(TD_ERR_SYSTEM, errnum, origin, format, args);
    va_end(args);
    size_t used = strlen(last_error.text);
    char reason[128];
    snprintf(last_error.text + used, sizeof last_error.text - used, ": %s",
             strerror_r(errnum, reason, sizeof reason));
    return TD_ERR_SYSTEM;
}

const td_error *td_error_last(void) { return &last_error; }

void td_error_clear(void) { last_error = (td_error){.origin = ""}; }

void td_error_restore(const td_error *saved) {
    if (saved != &last_error) last_error = *saved;
}
