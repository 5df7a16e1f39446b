/*
 * The PMI-1 library that Open MPI 4's pmix/flux component opens (it is the one component that takes a library by
 * name, from FLUX_PMI_LIBRARY_PATH). Signatures are PMI-1's public ones (pmi.h of MPICH and of Slurm); each
 * returns 0 or -1. All ranks are on one node.
 */
#include "launcher/pmi/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DONE = 0, FAILED = -1, NAME_MOST = 256, KEY_MOST = 64, VALUE_MOST = 1024 };

#define PMI_API __attribute__((visibility("default")))

PMI_API int PMI_Init(int *spawned);
PMI_API int PMI_Initialized(int *initialized);
PMI_API int PMI_Finalize(void);
PMI_API int PMI_Get_size(int *size);
PMI_API int PMI_Get_rank(int *rank);
PMI_API int PMI_Get_universe_size(int *size);
PMI_API int PMI_Get_appnum(int *number);
PMI_API int PMI_Get_clique_size(int *size);
PMI_API int PMI_Get_clique_ranks(int *ranks, int n);
PMI_API int PMI_Barrier(void);
PMI_API int PMI_Abort(int code, const char *message);
PMI_API int PMI_KVS_Get_my_name(char *name, int n);
PMI_API int PMI_KVS_Get_name_length_max(int *n);
PMI_API int PMI_KVS_Get_key_length_max(int *n);
PMI_API int PMI_KVS_Get_value_length_max(int *n);
PMI_API int PMI_KVS_Put(const char *space, const char *key, const char *value);
PMI_API int PMI_KVS_Commit(const char *space);
PMI_API int PMI_KVS_Get(const char *space, const char *key, char *value, int n);

static struct {
    int rank, size;
    int begun;
    char space[NAME_MOST];
} self;

static int give(int *to, int value) {
    *to = value;
    return DONE;
}

int PMI_Init(int *spawned) {
    if (!pmi_is_rank()) return FAILED;
    self.rank = atoi(getenv("PMI_RANK"));
    self.size = atoi(getenv("PMI_SIZE"));
    if (spawned) *spawned = 0;
    if (pmi_number(pmi_ask("cmd=init pmi_version=1 pmi_subversion=1\n"), " rc=", -1) != 0) return FAILED;
    const char *line = pmi_ask("cmd=get_my_kvsname\n");
    const char *name = line ? strstr(line, "kvsname=") : NULL;
    if (!name) return FAILED;
    snprintf(self.space, sizeof self.space, "%s", name + strlen("kvsname="));
    self.begun = 1;
    return DONE;
}

int PMI_Initialized(int *initialized) { return give(initialized, self.begun); }

int PMI_Finalize(void) {
    self.begun = 0;
    return pmi_ask("cmd=finalize\n") ? DONE : FAILED;
}

int PMI_Get_size(int *size) { return give(size, self.size); }
int PMI_Get_rank(int *rank) { return give(rank, self.rank); }
int PMI_Get_universe_size(int *size) { return give(size, self.size); }
int PMI_Get_appnum(int *number) { return give(number, 0); }
int PMI_Get_clique_size(int *size) { return give(size, self.size); }

int PMI_Get_clique_ranks(int *ranks, int n) {
    for (int i = 0; i < n && i < self.size; i++) ranks[i] = i;
    return DONE;
}

int PMI_Barrier(void) { return pmi_ask("cmd=barrier_in\n") ? DONE : FAILED; }

/* The launcher reads the code and sees us end. */
int PMI_Abort(int code, const char *message) {
    char line[64];
    (void)message; /* Open MPI has printed its own */
    snprintf(line, sizeof line, "cmd=abort exitcode=%d\n", code);
    pmi_tell(line);
    _exit((code & 255) != 0 ? code & 255 : 1);
}

int PMI_KVS_Get_my_name(char *name, int n) {
    return snprintf(name, (size_t)n, "%s", self.space) < n ? DONE : FAILED;
}
int PMI_KVS_Get_name_length_max(int *n) { return give(n, NAME_MOST); }
int PMI_KVS_Get_key_length_max(int *n) { return give(n, KEY_MOST); }
int PMI_KVS_Get_value_length_max(int *n) { return give(n, VALUE_MOST); }

int PMI_KVS_Put(const char *space, const char *key, const char *value) {
    char line[NAME_MOST + KEY_MOST + VALUE_MOST + 64];
    int n = snprintf(line, sizeof line, "cmd=put kvsname=%s key=%s value=%s\n", space, key, value);
    if (n >= (int)sizeof line) return FAILED;
    return pmi_number(pmi_ask(line), " rc=", -1) == 0 ? DONE : FAILED;
}

int PMI_KVS_Commit(const char *space) {
    (void)space; /* a put is seen at once */
    return DONE;
}

int PMI_KVS_Get(const char *space, const char *key, char *value, int n) {
    char line[NAME_MOST + KEY_MOST + 64];
    if (snprintf(line, sizeof line, "cmd=get kvsname=%s key=%s\n", space, key) >= (int)sizeof line)
        return FAILED;
    const char *got = pmi_ask(line);
    if (pmi_number(got, " rc=", -1) != 0 || !(got = strstr(got, " value="))) return FAILED;
    return snprintf(value, (size_t)n, "%s", got + strlen(" value=")) < n ? DONE : FAILED;
}
