/* What flight recorders wrote, read and set beside one another; shared by the parts of `tandem trace`. */
#ifndef TANDEM_TOOLS_TRACE_H
#define TANDEM_TOOLS_TRACE_H

#include "base/status.h"

#include <stdio.h>

typedef enum trace_state { TRACE_POSTED, TRACE_DONE, TRACE_FAILED } trace_state;

typedef struct trace_call {
    int64_t number;
    int group; /* the file's number for it */
    char kind[24], op[16], dtype[8], label[32];
    int64_t count, step;
    int64_t more;         /* stands for what else must be equal on all ranks */
    int root, tag;        /* -1: none */
    int64_t posted, done; /* ns; done 0: not */
    trace_state state;
} trace_call;

typedef struct trace_group {
    int group, size, rank, ordinal;
    char ranks[96], backend[16];
    bool broken;
    char cause[512];
} trace_group;

/* One rank's record. */
typedef struct trace_file {
    char path[256];
    int rank, world_size, node, attempt, written_by;
    int64_t pid, written_ns, wall_minus_clock_ns, recorded;
    bool final; /* the rank called nothing afterwards */
    char host[64], job[64], reason[512];
    trace_group *groups;
    int group_count;
    trace_call *calls; /* oldest first */
    int call_count;
    int64_t shift_ns; /* to be added to its times to compare them with the first file's */
} trace_file;

/* trace_read.c. `file` is filled, or TD_ERR_FORMAT says in which line what is wrong. */
td_status trace_parse(const char *bytes, size_t size, const char *path, trace_file *file);
td_status trace_read(const char *path, trace_file *file);
void trace_clear(trace_file *file); /* zeros are fine */

/* "all_reduce(sum) of 1000 f32 "ddp bucket 3""; by value. */
typedef struct trace_text {
    char text[192];
} trace_text;
trace_text trace_describe(const trace_call *call);

/* A group as its members saw it. */
typedef struct trace_member {
    const trace_file *file;       /* NULL: no record of this rank */
    const trace_call **by_number; /* its collectives, in order of number */
    int count;
} trace_member;

typedef struct trace_merged {
    char ranks[96], backend[16], cause[512];
    int ordinal, size;
    bool broken;
    trace_member *members; /* by rank in the group */
} trace_merged;

/* trace_merge.c: all records of a job. */
typedef struct trace_job {
    trace_file *files; /* in order of rank; lent */
    int file_count;
    trace_merged *groups;
    int group_count;
} trace_job;

/* Sets shift_ns of each file. TD_ERR_ARG when the files do not belong together. */
td_status trace_merge(trace_file *files, int count, trace_job *job);
void trace_job_clear(trace_job *job);
/* The call with this number, or NULL. */
const trace_call *trace_find(const trace_member *member, int64_t number);
/* Times of a file on the common clock. */
static inline int64_t trace_time(const trace_file *file, int64_t ns) { return ns + file->shift_ns; }
/* The rank of the whole job behind a rank of a group; -1 when the list of ranks was cut. */
int trace_job_rank(const trace_merged *group, int rank);
/* When the last member posted this call; 0 if not all whose records are here have. */
int64_t trace_all_came(const trace_merged *group, int64_t number);

/* trace_report.c: what is wrong, for people or one JSON object a line. *wrong: something is. */
td_status trace_report(const trace_job *job, bool json, FILE *out, bool *wrong);

/* trace_chrome.c: a file for Perfetto and chrome://tracing. */
td_status trace_write_chrome(const trace_job *job, const char *path);

#endif
