/*
 * Keys live in an open hash table that only grows, because 64 ranks read one another's keys in MPI_Init. What a
 * rank could make us hold is bounded. Messages and answers are those of src/pmi/simple/simple_pmi.c in MPICH
 * 4.0 and of launcher/pmi/.
 */
#include "launcher/pmi.h"

#include "base/memory.h"
#include "base/number.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { KEY_MOST = 64, VALUE_MOST = 1024, NAME_MOST = 256, HELD_MOST = 64 << 20 };

typedef struct entry {
    uint64_t hash;
    char *text; /* the key, a zero byte, the value; NULL: a free place */
} entry;

typedef struct member {
    launcher_pmi_phase phase;
    bool in_block;   /* of a command of several lines, up to "endcmd" */
    char *beginning; /* of a line that has not come whole; made when the first does so */
    size_t beginning_n;
} member;

struct launcher_pmi {
    int n, waiting, job;
    bool crowded;
    launcher_pmi_events events;
    entry *table;
    size_t capacity, used, held; /* capacity is a power of two; held in bytes */
    member members[];
};

/* --- keys ----------------------------------------------------------------------------------------------- */

static uint64_t hash_of(const char *key) {
    uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a */
    for (; *key; key++) h = (h ^ (unsigned char)*key) * UINT64_C(1099511628211);
    return h;
}

/* The entry of this key, or the free place where it belongs. The table is never full. */
static entry *find_entry(entry *table, size_t capacity, uint64_t hash, const char *key) {
    for (size_t i = hash & (capacity - 1);; i = (i + 1) & (capacity - 1))
        if (!table[i].text || (table[i].hash == hash && strcmp(table[i].text, key) == 0)) return &table[i];
}

static td_status grow(launcher_pmi *p) {
    size_t capacity = p->capacity ? 2 * p->capacity : 64;
    entry *table = td_calloc(capacity, sizeof *table);
    if (!table) return TD_ERR_MEMORY;
    for (size_t i = 0; i < p->capacity; i++)
        if (p->table[i].text) *find_entry(table, capacity, p->table[i].hash, p->table[i].text) = p->table[i];
    td_free(p->table);
    p->table = table;
    p->capacity = capacity;
    return TD_OK;
}

/* A later value replaces an earlier one. */
static bool put(launcher_pmi *p, const char *key, const char *value) {
    size_t key_n = strlen(key) + 1, value_n = strlen(value) + 1;
    if (p->held + key_n + value_n > HELD_MOST) return false;
    if (2 * (p->used + 1) > p->capacity && grow(p) < 0) return false;
    char *text = td_alloc(key_n + value_n);
    if (!text) return false;
    memcpy(text, key, key_n);
    memcpy(text + key_n, value, value_n);
    uint64_t hash = hash_of(key);
    entry *e = find_entry(p->table, p->capacity, hash, key);
    if (e->text) {
        p->held -= key_n + strlen(e->text + key_n) + 1;
        td_free(e->text);
    } else {
        p->used++;
    }
    p->held += key_n + value_n;
    *e = (entry){hash, text};
    return true;
}

static const char *get(const launcher_pmi *p, const char *key) {
    if (!p->capacity) return NULL;
    const entry *e = find_entry(p->table, p->capacity, hash_of(key), key);
    return e->text ? e->text + strlen(key) + 1 : NULL;
}

/* --- lines ---------------------------------------------------------------------------------------------- */

/* The value of the word `name`: up to the next space, or to the end of the line for the word "value", the last.
 * False when it is not there, is empty or has more than most - 1 characters. */
static bool read_word(const char *line, const char *name, char *value, size_t most) {
    size_t name_n = strlen(name);
    for (const char *at = line; (at = strstr(at, name)); at++) {
        if ((at > line && at[-1] != ' ') || at[name_n] != '=') continue;
        const char *begin = at + name_n + 1;
        size_t n = strcmp(name, "value") == 0 ? strlen(begin) : strcspn(begin, " ");
        if (n == 0 || n >= most) return false;
        memcpy(value, begin, n);
        value[n] = 0;
        return true;
    }
    return false;
}

static void answer(launcher_pmi *p, int rank, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void answer(launcher_pmi *p, int rank, const char *format, ...) {
    char text[LAUNCHER_PMI_LINE_MOST + 128];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    p->events.answer(rank, text, (size_t)n, p->events.cookie);
}

/* --- commands ------------------------------------------------------------------------------------------- */

/* Another process may begin where one has died in the barrier. */
static void enter_phase(launcher_pmi *p, int rank, launcher_pmi_phase phase) {
    if (p->members[rank].phase == LAUNCHER_PMI_WAITING) p->waiting--;
    p->members[rank].phase = phase;
}

static void take_init(launcher_pmi *p, int rank, const char *line) {
    char version[16] = "";
    read_word(line, "pmi_version", version, sizeof version);
    bool known = strcmp(version, "1") == 0;
    answer(p, rank, "cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=%d\n", known ? 0 : -1);
    if (known) enter_phase(p, rank, LAUNCHER_PMI_INSIDE);
}

static void take_finalize(launcher_pmi *p, int rank, const char *line) {
    (void)line;
    enter_phase(p, rank, LAUNCHER_PMI_OUTSIDE);
    answer(p, rank, "cmd=finalize_ack\n");
}

/* No answer: whoever asked this waits until it is stopped. */
static void take_abort(launcher_pmi *p, int rank, const char *line) {
    char text[24] = "";
    int64_t code = 1;
    if (read_word(line, "exitcode", text, sizeof text)) td_parse_i64(text, &code);
    p->events.aborted(rank, (int)code, p->events.cookie);
}

static void take_barrier(launcher_pmi *p, int rank, const char *line) {
    (void)line;
    if (p->members[rank].phase != LAUNCHER_PMI_INSIDE)
        return; /* a rank counts once, and only a member does */
    p->members[rank].phase = LAUNCHER_PMI_WAITING;
    if (++p->waiting < p->n) return;
    p->waiting = 0;
    for (int i = 0; i < p->n; i++) p->members[i].phase = LAUNCHER_PMI_INSIDE;
    for (int i = 0; i < p->n; i++) answer(p, i, "cmd=barrier_out\n");
}

static void take_put(launcher_pmi *p, int rank, const char *line) {
    char key[KEY_MOST + 1], value[VALUE_MOST + 1];
    bool fits = read_word(line, "key", key, sizeof key) && read_word(line, "value", value, sizeof value);
    if (fits && put(p, key, value))
        answer(p, rank, "cmd=put_result rc=0 msg=success\n");
    else
        answer(p, rank, "cmd=put_result rc=-1 msg=%s\n",
               fits ? "out_of_memory" : "key_or_value_of_bad_length");
}

static void take_get(launcher_pmi *p, int rank, const char *line) {
    char key[KEY_MOST + 1];
    const char *value = read_word(line, "key", key, sizeof key) ? get(p, key) : NULL;
    if (value)
        answer(p, rank, "cmd=get_result rc=0 msg=success value=%s\n", value);
    else
        answer(p, rank, "cmd=get_result rc=-1 msg=key_not_found value=unknown\n");
}

static void take_get_maxes(launcher_pmi *p, int rank, const char *line) {
    (void)line;
    answer(p, rank, "cmd=maxes kvsname_max=%d keylen_max=%d vallen_max=%d\n", NAME_MOST, KEY_MOST,
           VALUE_MOST);
}

static void take_get_universe(launcher_pmi *p, int rank, const char *line) {
    (void)line;
    answer(p, rank, "cmd=universe_size size=%d\n", p->n);
}

static void take_get_appnum(launcher_pmi *p, int rank, const char *line) {
    (void)line;
    answer(p, rank, "cmd=appnum appnum=0\n");
}

static void take_get_name(launcher_pmi *p, int rank, const char *line) {
    (void)line;
    answer(p, rank, "cmd=my_kvsname kvsname=tandem_%d\n", p->job);
}

/* Ours, before init: what Open MPI cannot be told over PMI-1. */
static void take_get_job(launcher_pmi *p, int rank, const char *line) {
    (void)line;
    answer(p, rank, "cmd=tandem_job job=%d crowded=%d value=%s\n", p->job, p->crowded,
           p->events.folder(p->events.cookie));
}

static void take_get_pmix(launcher_pmi *p, int rank, const char *line) {
    (void)line;
    p->events.want_pmix(rank, p->events.cookie);
}

/* Names are for programs that were started apart, which these are not. */
static void refuse_publish(launcher_pmi *p, int rank, const char *line) {
    (void)line;
    answer(p, rank, "cmd=publish_result rc=-1 info=fail msg=tandem_run_has_no_name_service\n");
}
static void refuse_unpublish(launcher_pmi *p, int rank, const char *line) {
    (void)line;
    answer(p, rank, "cmd=unpublish_result rc=-1 info=fail msg=tandem_run_has_no_name_service\n");
}
static void refuse_lookup(launcher_pmi *p, int rank, const char *line) {
    (void)line;
    answer(p, rank, "cmd=lookup_result rc=-1 info=fail msg=tandem_run_has_no_name_service\n");
}

static const struct command {
    const char *name;
    void (*take)(launcher_pmi *p, int rank, const char *line);
} commands[] = {
    {"init", take_init},
    {"finalize", take_finalize},
    {"abort", take_abort},
    {"barrier_in", take_barrier},
    {"put", take_put},
    {"get", take_get},
    {"get_maxes", take_get_maxes},
    {"get_universe_size", take_get_universe},
    {"get_appnum", take_get_appnum},
    {"get_my_kvsname", take_get_name},
    {"get_tandem_job", take_get_job},
    {"get_tandem_pmix", take_get_pmix},
    {"publish_name", refuse_publish},
    {"unpublish_name", refuse_unpublish},
    {"lookup_name", refuse_lookup},
};

static td_status take_line(launcher_pmi *p, int rank, const char *line) {
    member *m = &p->members[rank];
    char name[32];
    if (m->in_block) {
        m->in_block = strcmp(line, "endcmd") != 0;
        /* MPI_Comm_spawn: ranks that begin later have no place in this job. */
        if (!m->in_block) answer(p, rank, "cmd=spawn_result rc=-1 msg=tandem_run_does_not_spawn\n");
        return TD_OK;
    }
    if (strcmp(line, "mcmd=spawn") == 0) {
        m->in_block = true;
        return TD_OK;
    }
    if (read_word(line, "cmd", name, sizeof name))
        for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
            if (strcmp(name, commands[i].name) == 0) {
                commands[i].take(p, rank, line);
                return TD_OK;
            }
    return td_fail(TD_ERR_FORMAT, 0, "launcher", "rank %d sent '%.60s' over PMI, which is no PMI-1", rank,
                   line);
}

/* --- bytes ---------------------------------------------------------------------------------------------- */

td_status launcher_pmi_take(launcher_pmi *p, int rank, const char *bytes, size_t n) {
    member *m = &p->members[rank];
    if (!m->beginning && !(m->beginning = td_alloc(LAUNCHER_PMI_LINE_MOST + 1))) return TD_ERR_MEMORY;
    while (n > 0) {
        const char *end = memchr(bytes, '\n', n);
        size_t take = end ? (size_t)(end - bytes) : n;
        if (m->beginning_n + take > LAUNCHER_PMI_LINE_MOST)
            return td_fail(TD_ERR_FORMAT, 0, "launcher", "rank %d sent a line of more than %d bytes over PMI",
                           rank, LAUNCHER_PMI_LINE_MOST);
        memcpy(m->beginning + m->beginning_n, bytes, take);
        m->beginning_n += take;
        if (!end) break;
        m->beginning[m->beginning_n] = 0;
        m->beginning_n = 0;
        TD_TRY(take_line(p, rank, m->beginning));
        bytes += take + 1;
        n -= take + 1;
    }
    return TD_OK;
}

/* --- life ----------------------------------------------------------------------------------------------- */

td_status launcher_pmi_open(int n, int job, bool crowded, launcher_pmi_events events, launcher_pmi **pmi) {
    launcher_pmi *p = td_calloc(1, sizeof *p + (size_t)n * sizeof *p->members);
    if (!p) return TD_ERR_MEMORY;
    p->n = n;
    p->job = job;
    p->crowded = crowded;
    p->events = events;
    char mapping[64]; /* all ranks on one node */
    snprintf(mapping, sizeof mapping, "(vector,(0,1,%d))", n);
    if (!put(p, "PMI_process_mapping", mapping)) {
        launcher_pmi_close(&p);
        return TD_ERR_MEMORY;
    }
    *pmi = p;
    return TD_OK;
}

void launcher_pmi_answer_pmix(launcher_pmi *p, int rank, const char *environment) {
    if (environment)
        answer(p, rank, "cmd=tandem_pmix rc=0 value=%s\n", environment);
    else
        answer(p, rank, "cmd=tandem_pmix rc=-1\n");
}

launcher_pmi_phase launcher_pmi_phase_of(const launcher_pmi *pmi, int rank) {
    return pmi->members[rank].phase;
}

void launcher_pmi_close(launcher_pmi **pmi) {
    launcher_pmi *p = *pmi;
    if (!p) return;
    for (int i = 0; i < p->n; i++) td_free(p->members[i].beginning);
    for (size_t i = 0; i < p->capacity; i++) td_free(p->table[i].text);
    td_free(p->table);
    td_free(p);
    *pmi = NULL;
}
