/*
 * `tandem train`: the training loop of one rank, as a PyTorch user would script it. Central function:
 * tandem_train_main, which a process that is to be a rank calls once; it finds out itself which rank of which
 * job it is. One thread.
 */
#ifndef TANDEM_WORKER_TRAIN_H
#define TANDEM_WORKER_TRAIN_H

/* Exit statuses of a rank. */
enum {
    WORKER_EXIT_FAILED = 1,
    WORKER_EXIT_USAGE = 2, /* nothing was started */
    WORKER_EXIT_PEER = 75, /* lost another rank, which is to blame (EX_TEMPFAIL: try again) */
};

/* Train as argv says (argv[0] is "train" or the program); returns the process's exit status. */
int tandem_train_main(int argc, char **argv);

/* Look at the same arguments without starting anything: negative when ranks can be launched; otherwise the
 * exit status, after help was printed (0) or what is wrong (WORKER_EXIT_USAGE). So a mistake is told once. */
int tandem_train_check(int argc, char **argv);

#endif
