/*
 * Identical lines of many ranks become one with a count. A line is held for at most LAUNCHER_FOLD_MS, for others
 * to say the same; when all have, or the time is over, it leaves. The order within each rank is kept. One object
 * per stream, *yours* from open to close; single thread.
 */
#ifndef TANDEM_LAUNCHER_FOLD_H
#define TANDEM_LAUNCHER_FOLD_H

#include "base/status.h"

enum { LAUNCHER_FOLD_MS = 100 };

typedef struct launcher_fold launcher_fold;

/* A line that `count` ranks said: those for which said[rank]. *Lent* for the call. */
typedef void launcher_fold_emit(const bool *said, int count, const char *line, size_t n, void *cookie);

td_status launcher_fold_open(int n, launcher_fold_emit *emit, void *cookie, launcher_fold **fold);

/* `rank` says a line at this time. */
void launcher_fold_add(launcher_fold *fold, int rank, const char *line, size_t n, int64_t now_ms);

/* `rank` will say nothing more, so nobody waits for it. */
void launcher_fold_leave(launcher_fold *fold, int rank);

/* Let go what has waited long enough. Milliseconds until the next is due; -1: nothing is held. */
int64_t launcher_fold_pass(launcher_fold *fold, int64_t now_ms);

/* Let go all. */
void launcher_fold_flush(launcher_fold *fold);

/* "[4x, ranks 0-2, 5] "; returns its length. */
size_t launcher_fold_prefix(const bool *said, int n, int count, char *text, size_t bytes);

void launcher_fold_close(launcher_fold **fold);

#endif
