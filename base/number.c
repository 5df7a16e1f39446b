/* Numbers to and from text. strtod and printf follow the process's locale, which is the caller's business:
 * parsing and printing reals here goes through the C locale. */
#include "base/number.h"

#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

td_status td_parse_i64(const char *text, int64_t *value) {
    char *end;
    errno = 0;
    long long parsed = strtoll(text, &end, 10);
    if (end == text || *end || isspace((unsigned char)*text))
        return td_fail(TD_ERR_ARG, 0, "base", "'%s' is not a whole number", text);
    if (errno == ERANGE) return td_fail(TD_ERR_ARG, 0, "base", "%s is too large", text);
    *value = parsed;
    return TD_OK;
}

td_status td_parse_u64(const char *text, uint64_t *value) {
    char *end;
    errno = 0;
    unsigned long long parsed = strtoull(text, &end, 10);
    if (end == text || *end || !isdigit((unsigned char)*text))
        return td_fail(TD_ERR_ARG, 0, "base", "'%s' is not a whole number of 0 or more", text);
    if (errno == ERANGE) return td_fail(TD_ERR_ARG, 0, "base", "%s is too large", text);
    *value = parsed;
    return TD_OK;
}

/* strtod in the C locale; *end is where it stopped. */
static td_status parse_real(const char *text, double *value, const char **end) {
    locale_t c = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    if (!c) return td_fail_errno(errno, "base", "C locale");
    locale_t before = uselocale(c);
    char *stop;
    *value = strtod(text, &stop);
    uselocale(before);
    freelocale(c);
    *end = stop;
    if (stop == text || isspace((unsigned char)*text))
        return td_fail(TD_ERR_ARG, 0, "base", "'%s' is not a number", text);
    return TD_OK;
}

td_status td_parse_f64(const char *text, double *value) {
    const char *end = NULL;
    double parsed = 0;
    TD_TRY(parse_real(text, &parsed, &end));
    if (*end) return td_fail(TD_ERR_ARG, 0, "base", "'%s' is not a number", text);
    *value = parsed;
    return TD_OK;
}

typedef struct unit {
    const char *name;
    double factor;
} unit;

static td_status parse_with_unit(const char *text, const unit *units, size_t count, const char *kind,
                                 double *value) {
    const char *end = NULL;
    double parsed = 0;
    TD_TRY(parse_real(text, &parsed, &end));
    for (size_t i = 0; i < count; i++) {
        if (strcasecmp(end, units[i].name)) continue;
        *value = parsed * units[i].factor;
        return TD_OK;
    }
    return td_fail(TD_ERR_ARG, 0, "base", "'%s' has no known unit of %s", text, kind);
}

td_status td_parse_bytes(const char *text, int64_t *bytes) {
    static const unit units[] = {{"", 1},       {"B", 1},        {"K", 0x1p10}, {"KiB", 0x1p10},
                                 {"M", 0x1p20}, {"MiB", 0x1p20}, {"G", 0x1p30}, {"GiB", 0x1p30},
                                 {"T", 0x1p40}, {"TiB", 0x1p40}};
    double parsed = 0;
    TD_TRY(parse_with_unit(text, units, sizeof units / sizeof *units, "size (K, M, G)", &parsed));
    if (!(parsed >= 0 && parsed < 0x1p63)) return td_fail(TD_ERR_ARG, 0, "base", "'%s' is no size", text);
    *bytes = (int64_t)parsed;
    return TD_OK;
}

td_status td_parse_seconds(const char *text, double *seconds) {
    static const unit units[] = {{"", 1},   {"s", 1},    {"ms", 1e-3}, {"us", 1e-6},
                                 {"m", 60}, {"min", 60}, {"h", 3600},  {"d", 86400}};
    double parsed = 0;
    TD_TRY(parse_with_unit(text, units, sizeof units / sizeof *units, "time (ms, s, m, h)", &parsed));
    if (!(parsed >= 0)) return td_fail(TD_ERR_ARG, 0, "base", "'%s' is no duration", text);
    *seconds = parsed;
    return TD_OK;
}

td_text td_format_count(int64_t count) {
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%lld", (long long)count), used = 0;
    td_text out = {{0}};
    for (int i = 0; i < length; i++) {
        bool after_digit = i > (digits[0] == '-');
        if (after_digit && (length - i) % 3 == 0) out.text[used++] = ',';
        out.text[used++] = digits[i];
    }
    return out;
}

/* Three significant digits and a decimal point, whatever the locale says. */
static td_text format_scaled(double value, const char *suffix) {
    td_text out;
    int tenths = value < 99.95;
    long long scaled = llround(value * (tenths ? 10 : 1));
    if (tenths)
        snprintf(out.text, sizeof out.text, "%lld.%lld %s", scaled / 10, scaled % 10, suffix);
    else
        snprintf(out.text, sizeof out.text, "%lld %s", scaled, suffix);
    return out;
}

td_text td_format_bytes(int64_t bytes) {
    static const char *const names[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
    td_text out;
    if (bytes < 1000) {
        snprintf(out.text, sizeof out.text, "%lld B", (long long)bytes);
        return out;
    }
    double value = (double)bytes / 1e3;
    size_t scale = 0;
    for (; value >= 999.5 && scale + 1 < sizeof names / sizeof *names; scale++) value /= 1e3;
    return format_scaled(value, names[scale]);
}

td_text td_format_seconds(double seconds) {
    td_text out;
    if (isinf(seconds)) {
        snprintf(out.text, sizeof out.text, "for ever");
        return out;
    }
    if (seconds < 999.5e-6) return format_scaled(seconds * 1e6, "us");
    if (seconds < 999.5e-3) return format_scaled(seconds * 1e3, "ms");
    if (seconds < 99.95) return format_scaled(seconds, "s");
    long long whole = llround(seconds);
    if (whole < 3600)
        snprintf(out.text, sizeof out.text, "%lldm%02llds", whole / 60, whole % 60);
    else
        snprintf(out.text, sizeof out.text, "%lldh%02lldm", whole / 3600, whole / 60 % 60);
    return out;
}
