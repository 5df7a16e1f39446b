/*
 * Threads for kernels: OpenMP, whose pool oneDNN shares. This file holds the only pragma. Thread-sanitizer
 * builds, which do not see OpenMP's synchronisation, start plain threads instead.
 */
#include "base/parallel.h"

#include "config.h"

#include <stdlib.h>

#if TD_HAVE_OPENMP
#include <omp.h>
#else
#include <pthread.h>
#endif

/* 0: not asked yet. Each rank is a process, or a thread of a test with a count of its own. */
static _Thread_local int thread_count;
static _Thread_local bool inside_region;

static int initial_threads(void) {
    const char *wanted = getenv("OMP_NUM_THREADS");
    int threads = wanted ? atoi(wanted) : 0;
    return threads >= 1 && threads <= 1024 ? threads : td_core_count();
}

int td_parallel_threads(void) {
    if (inside_region) return 1;
    if (!thread_count) thread_count = initial_threads();
    return thread_count;
}

td_status td_parallel_set_threads(int threads) {
    if (threads < 1 || threads > 1024)
        return td_fail(TD_ERR_ARG, 0, "base", "%d threads: between 1 and 1024 are possible", threads);
    thread_count = threads;
#if TD_HAVE_OPENMP
    omp_set_num_threads(threads);
#endif
    return TD_OK;
}

typedef struct share {
    td_parallel_body *body;
    void *cookie;
    size_t count;
    int threads;
} share;

static void run_share(const share *s, int thread) {
    size_t base = s->count / (size_t)s->threads, extra = s->count % (size_t)s->threads, t = (size_t)thread;
    size_t begin = base * t + (t < extra ? t : extra), end = begin + base + (t < extra);
    inside_region = true;
    s->body(begin, end, thread, s->cookie);
    inside_region = false;
}

#if TD_HAVE_OPENMP

static void run_all(const share *s) {
#pragma omp parallel num_threads(s->threads)
    {
        /* A nested or limited team may be smaller than asked for: its threads take the shares in turn. */
        for (int t = omp_get_thread_num(); t < s->threads; t += omp_get_num_threads()) run_share(s, t);
    }
}

#else

typedef struct helper {
    pthread_t id;
    const share *s;
    int thread;
} helper;

static void *run_helper(void *cookie) {
    helper *h = cookie;
    run_share(h->s, h->thread);
    return NULL;
}

static void run_all(const share *s) {
    helper helpers[1024];
    int started = 0;
    for (int t = 1; t < s->threads; t++) {
        helper *h = &helpers[started];
        *h = (helper){.s = s, .thread = t};
        if (pthread_create(&h->id, NULL, run_helper, h))
            run_share(s, t);
        else
            started++;
    }
    run_share(s, 0);
    for (int i = 0; i < started; i++) pthread_join(helpers[i].id, NULL);
}

#endif

void td_parallel_for(size_t count, size_t grain, td_parallel_body *body, void *cookie) {
    if (!count) return;
    size_t most = count / (grain ? grain : 1), threads = (size_t)td_parallel_threads();
    if (most < threads) threads = most ? most : 1;
    if (threads == 1) {
        body(0, count, 0, cookie); /* not a region: what it calls may still go parallel */
        return;
    }
    run_all(&(share){body, cookie, count, (int)threads});
}
