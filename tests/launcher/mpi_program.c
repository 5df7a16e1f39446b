/* An MPI program that misbehaves when told: mpi_program [RANK WHEN WHAT]... WHEN is before (MPI_Init), inside or after
 * (MPI_Finalize); WHAT is exit:N, kill, abort:N, spawn, hang or folder (say where Open MPI's segments are); RANK * is
 * every one. Nothing of Tandem is linked. */
#include <mpi.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *self;

static void spawn_one(void) {
    MPI_Comm other;
    int error;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    int code = MPI_Comm_spawn(self, MPI_ARGV_NULL, 1, MPI_INFO_NULL, 0, MPI_COMM_WORLD, &other, &error);
    printf("spawn %s\n", code == MPI_SUCCESS ? "worked" : "was refused");
}

static void act(const char *what) {
    if (strncmp(what, "exit:", 5) == 0) exit(atoi(what + 5));
    if (strcmp(what, "kill") == 0) raise(SIGKILL);
    if (strncmp(what, "abort:", 6) == 0) MPI_Abort(MPI_COMM_WORLD, atoi(what + 6));
    if (strcmp(what, "spawn") == 0) spawn_one();
    if (strcmp(what, "folder") == 0) printf("folder %s\n", getenv("OMPI_MCA_btl_vader_backing_directory"));
    fflush(stdout);
    if (strcmp(what, "hang") != 0) return;
    printf("up\n");
    fflush(stdout);
    for (;;) pause();
}

static void act_if_told(char **argv, const char *rank, const char *when) {
    for (; argv[0] && argv[1] && argv[2]; argv += 3)
        if (strcmp(argv[1], when) == 0 && (strcmp(argv[0], rank) == 0 || strcmp(argv[0], "*") == 0))
            act(argv[2]);
    fflush(stdout);
}

int main(int argc, char **argv) {
    const char *told = getenv("RANK");
    char rank[16];
    int number, size, sum = 0, again = 0;
    (void)argc;
    self = argv[0];
    snprintf(rank, sizeof rank, "%s", told ? told : "0");
    act_if_told(argv + 1, rank, "before");
    MPI_Init(NULL, NULL);
    MPI_Comm_rank(MPI_COMM_WORLD, &number);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Allreduce(&number, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    act_if_told(argv + 1, rank, "inside");
    for (int i = 0; i < 20; i++) MPI_Allreduce(&sum, &again, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    printf("rank %d of %d: sum %d\n", number, size, again);
    fflush(stdout);
    MPI_Finalize();
    act_if_told(argv + 1, rank, "after");
    return 0;
}
