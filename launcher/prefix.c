/* The text is made once, and again only when it has the time in it and that is another. */
#include "launcher/prefix.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { VALUE_MOST = 256 };

static bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
static bool is_name(char c) { return is_name_start(c) || (c >= '0' && c <= '9'); }

static void make_time(int64_t ms, char value[VALUE_MOST]) {
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    localtime_r(&seconds, &tm);
    size_t n = strftime(value, VALUE_MOST, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(value + n, VALUE_MOST - n, ".%03d", (int)(ms % 1000));
}

/* False: no such name. */
static bool make_value(launcher_prefix *p, const char *name, size_t n, char value[VALUE_MOST]) {
#define IS(text) (n == strlen(text) && memcmp(name, text, n) == 0)
    if (IS("rank") || IS("local_rank"))
        snprintf(value, VALUE_MOST, "%d", p->rank);
    else if (IS("role_name"))
        snprintf(value, VALUE_MOST, "%s", p->role);
    else if (IS("stream"))
        snprintf(value, VALUE_MOST, "%s", p->stream);
    else if (IS("attempt"))
        snprintf(value, VALUE_MOST, "%d", p->attempt);
    else if (IS("host") || IS("hostname")) {
        value[VALUE_MOST - 1] = 0;
        if (gethostname(value, VALUE_MOST - 1) != 0) return false;
    } else if (IS("time")) {
        p->timed = true;
        make_time(p->made_ms, value);
    } else
        return false;
#undef IS
    return true;
}

/* The placeholder at `at`, which is a dollar: adds its value, returns its length. */
static size_t put_placeholder(launcher_prefix *p, const char *at) {
    char value[VALUE_MOST];
    bool braced = at[1] == '{';
    const char *name = at + 1 + braced;
    size_t n = 0;
    if (at[1] == '$') {
        launcher_buffer_add(&p->text, "$", 1);
        return 2;
    }
    if (is_name_start(*name))
        while (is_name(name[n])) n++;
    size_t length = (size_t)(name + n - at) + (braced && name[n] == '}');
    if (n > 0 && (!braced || name[n] == '}') && make_value(p, name, n, value))
        launcher_buffer_add(&p->text, value, strlen(value));
    else
        launcher_buffer_add(&p->text, at, length);
    return length;
}

static void make(launcher_prefix *p) {
    p->text.begin = p->text.end = 0;
    for (const char *at = p->template; *at;) {
        size_t plain = strcspn(at, "$");
        launcher_buffer_add(&p->text, at, plain);
        at += plain;
        if (*at) at += put_placeholder(p, at);
    }
}

const char *launcher_prefix_text(launcher_prefix *p, size_t *n) {
    *n = 0;
    if (!p->template) return "";
    if (!p->text.data || p->timed) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        int64_t ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
        if (!p->text.data || ms != p->made_ms) {
            p->made_ms = ms;
            make(p);
        }
    }
    *n = launcher_buffer_size(&p->text);
    return p->text.data + p->text.begin;
}

void launcher_prefix_free(launcher_prefix *prefix) { launcher_buffer_free(&prefix->text); }
