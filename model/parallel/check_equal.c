/*
 * Are the ranks still equal? Every rank makes a checksum of each tensor, and all of them go to all ranks, so
 * that each finds the same difference and fails with the same words.
 */
#include "base/memory.h"
#include "model/optim/internal.h"
#include "model/parallel/internal.h"
#include "model/tensor/tensor.h"

#include <stdio.h>
#include <string.h>

static const td_device cpu = {TD_DEVICE_CPU, 0};

/* --- checksums -------------------------------------------------------------------------------------- */

/* Four lanes of multiply and rotate over words of 8 bytes; of equal bytes, not of good manners to enemies. */
static uint64_t mix(uint64_t h, uint64_t word) {
    h = (h ^ word) * 0x9e3779b97f4a7c15u;
    return h << 29 | h >> 35;
}

static uint64_t checksum(const void *data, size_t bytes) {
    uint64_t lanes[4] = {bytes, 1, 2, 3}, words[4];
    const char *at = data;
    for (; bytes >= sizeof words; bytes -= sizeof words, at += sizeof words) {
        memcpy(words, at, sizeof words);
        for (int l = 0; l < 4; l++) lanes[l] = mix(lanes[l], words[l]);
    }
    memset(words, 0, sizeof words);
    if (bytes) memcpy(words, at, bytes);
    uint64_t sum = 0;
    for (int l = 0; l < 4; l++) sum = mix(sum, mix(lanes[l], words[l]));
    return sum;
}

/* In row-major order, as layouts may differ between ranks. */
static td_status sum_tensor(const td_tensor *x, uint64_t *sum) {
    size_t bytes = (size_t)td_tensor_count(x) * td_dtype_size(td_tensor_dtype(x));
    if (td_tensor_is_contiguous(x)) {
        *sum = checksum(td_tensor_data(x), bytes);
        return TD_OK;
    }
    void *copy = td_alloc(bytes);
    if (!copy) return TD_ERR_MEMORY;
    td_status status = td_tensor_copy_to(x, copy, bytes);
    if (status == TD_OK) *sum = checksum(copy, bytes);
    td_free(copy);
    return status;
}

/* --- what is compared ------------------------------------------------------------------------------- */

typedef struct td_comparison {
    td_state_dict tensors;      /* parameters, buffers, optimizer state */
    size_t parameters, buffers; /* of them */
    uint64_t *mine, *all;       /* checksums; all: by rank */
    size_t count;               /* equal on all ranks, once that is known */
} td_comparison;

static td_status list_tensors(const td_module *module, const td_optimizer *optimizer, td_comparison *c) {
    TD_TRY(td_module_parameters(module, &c->tensors));
    c->parameters = c->tensors.count;
    TD_TRY(td_module_buffers(module, &c->tensors));
    c->buffers = c->tensors.count - c->parameters;
    bool cut =
        optimizer && optimizer->stepper && optimizer->stepper->sharded; /* nobody has what another has */
    if (optimizer && !cut) TD_TRY(td_optimizer_state(optimizer, &c->tensors));
    return TD_OK;
}

static td_status sum_tensors(td_comparison *c, int ranks) {
    c->count = c->tensors.count;
    c->mine = td_calloc(c->count + 1, sizeof *c->mine);
    c->all = td_calloc((c->count + 1) * (size_t)ranks, sizeof *c->all);
    if (!c->mine || !c->all) return TD_ERR_MEMORY;
    for (size_t i = 0; i < c->count; i++) TD_TRY(sum_tensor(c->tensors.at[i].tensor, &c->mine[i]));
    return TD_OK;
}

static uint64_t sum_names(const td_state_dict *tensors) {
    uint64_t sum = tensors->count;
    for (size_t i = 0; i < tensors->count; i++)
        sum = mix(sum, checksum(tensors->at[i].name, strlen(tensors->at[i].name)));
    return sum;
}

static td_status gather(td_group *group, const uint64_t *mine, uint64_t *all, size_t count) {
    return td_group_all_gather(group, mine, all, count, TD_DTYPE_I64, cpu, NULL, NULL);
}

/* --- the verdict ------------------------------------------------------------------------------------ */

/* The checksum that most ranks have; of several the one of the first rank. */
static uint64_t usual(const uint64_t *all, size_t stride, int ranks) {
    int best = 0, most = 0;
    for (int r = 0; r < ranks; r++) {
        int alike = 0;
        for (int s = 0; s < ranks; s++) alike += all[(size_t)s * stride] == all[(size_t)r * stride];
        if (alike > most) most = alike, best = r;
    }
    return all[(size_t)best * stride];
}

static bool differs(const uint64_t *all, size_t stride, int ranks) {
    for (int r = 1; r < ranks; r++)
        if (all[(size_t)r * stride] != all[0]) return true;
    return false;
}

/* "rank 1", or "ranks 1 and 3": those whose checksum is not the usual one. */
static void name_ranks(td_group *group, const uint64_t *all, size_t stride, char *text, size_t bytes) {
    int ranks = td_group_size(group), listed = 0, odd = 0;
    uint64_t wanted = usual(all, stride, ranks);
    for (int r = 0; r < ranks; r++) odd += all[(size_t)r * stride] != wanted;
    size_t used = (size_t)snprintf(text, bytes, "rank%s", odd > 1 ? "s" : "");
    for (int r = 0; r < ranks && used < bytes; r++) {
        if (all[(size_t)r * stride] == wanted) continue;
        const char *before = !listed ? " " : listed + 1 < odd ? ", " : " and ";
        used += (size_t)snprintf(text + used, bytes - used, "%s%d", before, td_group_job_rank(group, r));
        listed++;
    }
}

static const char *kind_of(const td_comparison *c, size_t at) {
    if (at < c->parameters) return "parameter";
    return at < c->parameters + c->buffers ? "buffer" : "optimizer's";
}

static td_status judge(td_group *group, const td_comparison *c, int64_t step) {
    int ranks = td_group_size(group);
    size_t first = c->count, different = 0;
    for (size_t i = c->count; i-- > 0;)
        if (differs(c->all + i, c->count, ranks)) first = i, different++;
    if (!different) return TD_OK;
    char odd[160], more[64] = "";
    name_ranks(group, c->all + first, c->count, odd, sizeof odd);
    if (different > 1)
        snprintf(more, sizeof more, "; so do %zu other tensors of %zu", different - 1, c->count);
    return td_fail(TD_ERR_MISMATCH, 0, "model/parallel",
                   "after step %lld %s '%s' on %s differs from the other ranks'%s", (long long)step,
                   kind_of(c, first), c->tensors.at[first].name, odd, more);
}

/* Optimizers that have not the same state at all. */
static td_status judge_names(td_group *group, td_comparison *c, int64_t step) {
    uint64_t names = sum_names(&c->tensors);
    TD_TRY(gather(group, &names, c->all, 1));
    if (!differs(c->all, 1, td_group_size(group))) return TD_OK;
    char odd[160];
    name_ranks(group, c->all, 1, odd, sizeof odd);
    return td_fail(TD_ERR_MISMATCH, 0, "model/parallel",
                   "after step %lld the optimizer on %s has other state than the other ranks'; rank %d has "
                   "%zu tensors",
                   (long long)step, odd, td_group_job_rank(group, td_group_rank(group)), c->count);
}

static td_status compare(td_group *group, td_comparison *c, int64_t step) {
    TD_TRY(sum_tensors(c, td_group_size(group)));
    TD_TRY(judge_names(group, c, step));
    TD_TRY(gather(group, c->mine, c->all, c->count));
    return judge(group, c, step);
}

td_status td_ddp_check_equal(const td_module *module, td_group *group, const td_optimizer *optimizer,
                             int64_t step) {
    if (td_group_size(group) == 1) return TD_OK;
    td_comparison c = {0};
    td_status status = list_tensors(module, optimizer, &c);
    if (status >= 0) status = compare(group, &c, step);
    td_free(c.mine);
    td_free(c.all);
    td_state_dict_clear(&c.tensors);
    return status;
}
