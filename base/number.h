/*
 * Numbers as people write and read them, independent of the locale. Parsing takes the whole text or fails
 * with TD_ERR_ARG and a reason that leaves out whose value it was; formatting writes into the caller's buffer
 * and returns it. Any thread may call.
 */
#ifndef TANDEM_BASE_NUMBER_H
#define TANDEM_BASE_NUMBER_H

#include "base/status.h"

TD_BEGIN_DECLS

typedef struct td_text {
    char text[32];
} td_text;

TD_API td_status td_parse_i64(const char *text, int64_t *value);
TD_API td_status td_parse_u64(const char *text, uint64_t *value);
TD_API td_status td_parse_f64(const char *text, double *value);
TD_API td_status td_parse_bytes(const char *text, int64_t *bytes);    /* 64K, 25M, 1G: powers of 1024 */
TD_API td_status td_parse_seconds(const char *text, double *seconds); /* 10, 500ms, 2m, 1h, inf */

/* Returned by value: use as td_format_bytes(n).text within the same expression. */
TD_API td_text td_format_count(int64_t count);    /* 1,199,882 */
TD_API td_text td_format_bytes(int64_t bytes);    /* 61.2 MB (10^6) */
TD_API td_text td_format_seconds(double seconds); /* 812 us, 3.4 ms, 12.3 s, 4m05s, 2h03m */

TD_END_DECLS

#endif
