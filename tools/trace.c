/* `tandem trace`: reads what flight recorders wrote, or lets a running job write it first; says what is wrong. */
#include "tools/trace.h"

#include "base/memory.h"
#include "base/options.h"
#include "dist/recorder.h"
#include "tools/tools.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct options {
    int64_t live;
    const char *into, *chrome;
    bool json;
} options;

#define AT(field) offsetof(options, field)
/* clang-format off */
static const td_option options_table[] = {
    {"json",   0, TD_OPTION_FLAG, AT(json),   NULL,   "one JSON object a line"},
    {"chrome", 0, TD_OPTION_TEXT, AT(chrome), "FILE", "write a trace that ui.perfetto.dev and chrome://tracing open"},
    {"live",   0, TD_OPTION_INT,  AT(live),   "PID",  "look at the running job of this process: a rank, or `tandem run`", NULL, 1, INT32_MAX},
    {"into",   0, TD_OPTION_TEXT, AT(into),   "DIR",  "where --live writes the records; tandem-trace-PID"},
    {0},
};
/* clang-format on */

static const td_command command = {
    .name = "tandem trace",
    .summary =
        "Read what the ranks' flight recorders wrote, set it side by side, and say what is wrong: which "
        "rank\n"
        "never came to which call, which calls differ, who is late. Records are written into the folder\n"
        "that --trace-dir of `tandem run` (or TANDEM_TRACE_DIR) names, when ranks fail or wait for long.\n"
        "Status 0: nothing is wrong; 1: something is; 2: the records could not be read.",
    .example = "  tandem run -n 4 --trace-dir trace -- tandem train\n"
               "  tandem trace trace --chrome trace.json\n"
               "  tandem trace --live 4711                           # hangs: where is everybody?",
    .options = options_table,
    .positional = "FILE|DIR...",
};

typedef struct paths {
    char **at;
    int count, room;
} paths;

static td_status add_path(paths *p, const char *folder, const char *name) {
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s%s%s", folder, *folder ? "/" : "", name) >= (int)sizeof path)
        return td_fail_errno(ENAMETOOLONG, "trace", "%s", folder);
    if (p->count == p->room) {
        char **larger = td_realloc(p->at, (size_t)p->room * 2 + 16, sizeof *larger);
        if (!larger) return TD_ERR_MEMORY;
        p->at = larger;
        p->room = p->room * 2 + 16;
    }
    p->at[p->count] = td_strdup(path);
    return p->at[p->count] ? p->count++, TD_OK : TD_ERR_MEMORY;
}

static void drop_paths(paths *p) {
    for (int i = 0; i < p->count; i++) td_free(p->at[i]);
    td_free(p->at);
}

/* Which attempt of the job a file is of by its name, 0 the first; -1: it is no record. */
static int attempt_of(const char *name) {
    int attempt = 0, rank, end = 0;
    if (sscanf(name, "tandem-rank-%9d.jsonl%n", &rank, &end) == 1 && end && !name[end]) return 0;
    end = 0;
    if (sscanf(name, "tandem-attempt-%9d-rank-%9d.jsonl%n", &attempt, &rank, &end) == 2 && end && !name[end])
        return attempt;
    return -1;
}

/* The records in a folder; of several attempts, those of the last. */
static td_status add_folder(paths *p, const char *folder) {
    int last = -1, before = p->count;
    for (int pass = 0; pass < 2; pass++) {
        DIR *entries = opendir(folder);
        if (!entries) return td_fail_errno(errno, "trace", "cannot read %s", folder);
        td_status status = TD_OK;
        for (struct dirent *e; status >= 0 && (e = readdir(entries));) {
            int attempt = attempt_of(e->d_name);
            if (pass == 0 && attempt > last) last = attempt;
            if (pass == 1 && attempt >= 0 && attempt == last) status = add_path(p, folder, e->d_name);
        }
        closedir(entries);
        TD_TRY(status);
    }
    if (p->count > before) return TD_OK;
    return td_fail(TD_ERR_ARG, 0, "trace", "there are no records (tandem-rank-N.jsonl) in %s", folder);
}

static td_status add_argument(paths *p, const char *name) {
    struct stat about;
    if (stat(name, &about)) return td_fail_errno(errno, "trace", "cannot read %s", name);
    return S_ISDIR(about.st_mode) ? add_folder(p, name) : add_path(p, "", name);
}

static td_status look_live(const options *o, paths *p) {
    char name[64];
    int files;
    snprintf(name, sizeof name, "tandem-trace-%lld", (long long)o->live);
    const char *folder = o->into ? o->into : name;
    TD_TRY(td_trace_live(o->live, folder, &files));
    fprintf(stderr, "%d record%s written into %s\n", files, files == 1 ? "" : "s", folder);
    return add_folder(p, folder);
}

static td_status tell(const options *o, trace_file *files, int count, bool *wrong) {
    trace_job job;
    TD_TRY(trace_merge(files, count, &job));
    td_status status = trace_report(&job, o->json, stdout, wrong);
    if (status >= 0 && o->chrome) status = trace_write_chrome(&job, o->chrome);
    trace_job_clear(&job);
    if (status >= 0 && fflush(stdout)) status = td_fail_errno(errno, "trace", "cannot write");
    return status;
}

static td_status read_and_tell(const options *o, const paths *p, bool *wrong) {
    trace_file *files = td_calloc((size_t)p->count, sizeof *files);
    if (!files) return TD_ERR_MEMORY;
    td_status status = TD_OK;
    for (int i = 0; i < p->count && status >= 0; i++) status = trace_read(p->at[i], &files[i]);
    if (status >= 0) status = tell(o, files, p->count, wrong);
    for (int i = 0; i < p->count; i++) trace_clear(&files[i]);
    td_free(files);
    return status;
}

static td_status run(const options *o, char **names, int count, bool *wrong) {
    paths p = {0};
    td_status status = o->live ? look_live(o, &p) : TD_OK;
    for (int i = 0; i < count && status >= 0; i++) status = add_argument(&p, names[i]);
    if (status >= 0) status = read_and_tell(o, &p, wrong);
    drop_paths(&p);
    return status;
}

int tandem_trace_main(int argc, char **argv) {
    options o = {0};
    int count = 0;
    bool wrong = false;
    td_status status = td_options_parse(&command, argc, argv, &o, &count);
    if (status == TD_PENDING) {
        td_options_help(&command, stdout);
        return fflush(stdout) == 0 ? 0 : TANDEM_EXIT_USAGE;
    }
    if (status >= 0 && !count && !o.live)
        status = td_fail(TD_ERR_ARG, 0, "trace", "tandem trace: which records? As in: tandem trace DIR");
    if (status >= 0) status = run(&o, argv + 1, count, &wrong);
    if (status >= 0) return wrong ? TANDEM_EXIT_NO : 0;
    fprintf(stderr, "tandem trace: %s\n", td_error_last()->text);
    return TANDEM_EXIT_USAGE;
}
