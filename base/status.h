/*
 * How functions tell what became of a call. Nearly every function returns a td_status, which decides
 * control flow; for people there is one error record per thread, written by the first function that
 * knew what was wrong. The record lives as long as its thread and is overwritten by the next failure.
 * Recording never allocates, so it cannot fail. Any thread may call; each sees only its own record.
 */
#ifndef TANDEM_BASE_STATUS_H
#define TANDEM_BASE_STATUS_H

#include "base/types.h"

TD_BEGIN_DECLS

/* TD_OK 0, TD_PENDING 1, failures negative: see base/status.def. */
typedef enum td_status {
#define TD_STATUS(name, number, meaning) TD_##name = number,
#include "base/status.def"
#undef TD_STATUS
} td_status;

typedef struct td_error {
    td_status status;
    int foreign;        /* errno, uv, MPI, CUDA... code behind it; 0 if none */
    const char *origin; /* who failed: "sampler", "dist/shm"; static */
    char text[512];     /* one line, no newline: what happened, the values, what to try */
} td_error;

/* The name of a status ("ERR_ARG") and its meaning; "unknown status" for a number that is none. Static. */
TD_API const char *td_status_name(td_status status);
TD_API const char *td_status_meaning(td_status status);

/* Write the calling thread's record and return `status`, so that a failing line reads
 * `return td_fail(TD_ERR_ARG, 0, "dist", "broadcast: root %d, but the group has %d ranks", root, n);`
 * `origin` must be static. Text over 511 bytes is cut. */
TD_API td_status td_fail(td_status status, int foreign, const char *origin, const char *format, ...)
    TD_PRINTF(4, 5);

/* The same with the text of `errnum` (a positive errno) after ": " and `errnum` as the foreign code. */
TD_API td_status td_fail_errno(int errnum, const char *origin, const char *format, ...) TD_PRINTF(3, 4);

/* The calling thread's record: never NULL; status TD_OK and empty text if nothing failed yet. *Lent* until
 * the thread's next failure. */
TD_API const td_error *td_error_last(void);
TD_API void td_error_clear(void);

/* Put a record back: after a cleanup that may itself fail, or from a work finished by another thread. */
TD_API void td_error_restore(const td_error *record);

/* Hand a failure up. Where something must be undone, write the `if` instead. */
#define TD_TRY(call)                                                                                         \
    do {                                                                                                     \
        td_status td_try_status = (call);                                                                    \
        if (td_try_status < 0) return td_try_status;                                                         \
    } while (0)

TD_END_DECLS

#endif
