/*
 * A rank that only logs: writes BYTES bytes of lines of LINE bytes to standard output, 64 KiB at a time. First it
 * leaves a file of its own in the folder TD_BENCH_MARKS, whose time tells when it began.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char chunk[64 << 10];

int main(int argc, char **argv) {
    char path[4096];
    long left = argc > 1 ? atol(argv[1]) : 0, line = argc > 2 ? atol(argv[2]) : 100;
    if (line < 1 || line > (long)sizeof chunk) return 2;
    snprintf(path, sizeof path, "%s/%d", getenv("TD_BENCH_MARKS"), (int)getpid());
    close(open(path, O_WRONLY | O_CREAT | O_EXCL, 0600));
    size_t whole = sizeof chunk / (size_t)line * (size_t)line;
    memset(chunk, '.', whole);
    for (size_t end = (size_t)line; end <= whole; end += (size_t)line) chunk[end - 1] = '\n';
    while (left > 0) {
        size_t n = (size_t)left < whole ? (size_t)left : whole;
        ssize_t wrote = write(1, chunk, n);
        if (wrote != (ssize_t)n) return 1;
        left -= wrote;
    }
    return 0;
}
