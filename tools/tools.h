/*
 * The entry functions of the sub-commands that only use the library. argv[0] is the sub-command's name; the
 * result is the process's exit status.
 */
#ifndef TANDEM_TOOLS_TOOLS_H
#define TANDEM_TOOLS_TOOLS_H

/* 0: done. As diff and grep have it: 1 is a no, 2 is trouble. */
enum {
    TANDEM_EXIT_NO = 1,    /* a comparison failed */
    TANDEM_EXIT_USAGE = 2, /* wrong usage, or something could not be done */
};

/* tandem sampler: which samples each rank receives at each step. */
int tandem_sampler_main(int argc, char **argv);

/* tandem bench: how fast all-reduce, a training step, the loader and launching are here. */
int tandem_bench_main(int argc, char **argv);

/* tandem trace: what ranks' flight recorders say. */
int tandem_trace_main(int argc, char **argv);

#endif
