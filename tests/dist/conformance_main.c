/*
 * The conformance suite as a program, for any launcher and backend:
 *
 *     mpirun -np 3 build/tests/conformance --backend mpi [--full | --brief] [--inexact] [--kind N] [--ten-million]
 *
 * Prints a line for each kind of call and one at the end on rank 0, and exits with 0 when all is right; 77 when the
 * backend cannot serve.
 */
#include "dist/conformance.h"
#include "dist/job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One kind after another, so that a slow machine shows that it gets on. */
static bool run_kinds(td_group *group, conformance_options options, long *cases) {
    int first = options.kind >= 0 ? options.kind : TD_CALL_ALL_REDUCE;
    int last = options.kind >= 0 ? options.kind : TD_CALL_SEND;
    for (options.kind = first; options.kind <= last; options.kind++) {
        char failure[512];
        long done;
        if (!conforms(group, &options, failure, &done)) {
            fprintf(stderr, "conformance: %s\n", failure);
            return false;
        }
        *cases += done;
        options.ten_million = false;
        if (td_group_rank(group) == 0)
            printf("%s: %ld cases\n", td_call_name((td_call_kind)options.kind), done);
        fflush(stdout);
    }
    return true;
}

int main(int count, char **words) {
    td_group_options group_options = {0};
    conformance_options options = {.exact = true, .kind = -1};
    for (int i = 1; i < count; i++) {
        if (!strcmp(words[i], "--backend") && i + 1 < count)
            group_options.backend = words[++i];
        else if (!strcmp(words[i], "--kind") && i + 1 < count)
            options.kind = atoi(words[++i]);
        else if (!strcmp(words[i], "--full"))
            options.full = true;
        else if (!strcmp(words[i], "--brief"))
            options.brief = true;
        else if (!strcmp(words[i], "--inexact"))
            options.exact = false; /* sums of floats come in another order than that of ranks */
        else if (!strcmp(words[i], "--ten-million"))
            options.ten_million = true;
        else
            return fprintf(stderr, "conformance: what is '%s'?\n", words[i]), 2;
    }
    td_job *job = NULL;
    td_group *group = NULL;
    td_status status = td_job_open(&job);
    if (status >= 0) status = td_group_open(job, &group_options, &group);
    if (status < 0) {
        fprintf(stderr, "conformance: %s\n", td_error_last()->text);
        td_job_close(&job);
        return status == TD_ERR_UNSUPPORTED ? 77 : 1;
    }
    long cases = 0;
    bool right = run_kinds(group, options, &cases);
    if (right && td_group_rank(group) == 0)
        printf("%ld cases on %s with %d ranks\n", cases, td_group_backend(group), td_group_size(group));
    td_group_close(&group);
    td_job_close(&job);
    return right ? 0 : 1;
}
