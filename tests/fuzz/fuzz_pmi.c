/* The PMI-1 server on any bytes of three ranks: a byte that picks the rank, one that is a length, and so many. Answers
 * are single whole lines, and a barrier never holds more than all. */
#include "launcher/pmi.h"

#include <stdlib.h>
#include <string.h>

enum { RANKS = 3 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void answer(int rank, const char *text, size_t bytes, void *cookie) {
    (void)cookie;
    const char *end = memchr(text, '\n', bytes);
    if (rank < 0 || rank >= RANKS || end != text + bytes - 1) abort();
}
static void aborted(int rank, int code, void *cookie) { (void)rank, (void)code, (void)cookie; }
static const char *folder(void *cookie) { return (void)cookie, "/dev/shm/folder"; }
static void want_pmix(int rank, void *cookie) { (void)rank, (void)cookie; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    launcher_pmi *pmi = NULL;
    if (launcher_pmi_open(RANKS, 1, false, (launcher_pmi_events){answer, aborted, folder, want_pmix, NULL},
                          &pmi) < 0)
        return 0;
    while (size > 2) {
        int rank = data[0] % RANKS;
        size_t n = data[1] < size - 2 ? data[1] : size - 2;
        if (launcher_pmi_take(pmi, rank, (const char *)data + 2, n) < 0) break;
        data += 2 + n;
        size -= 2 + n;
        int waiting = 0;
        for (int i = 0; i < RANKS; i++) waiting += launcher_pmi_phase_of(pmi, i) == LAUNCHER_PMI_WAITING;
        if (waiting == RANKS) abort();
    }
    launcher_pmi_close(&pmi);
    return 0;
}
