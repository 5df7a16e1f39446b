/*
 * The experiment that everyone does once with a distributed sampler: 16 samples on 2 ranks in batches of 2.
 * Without set_epoch both epochs come in the same order; with it they differ; and two ranks never share a
 * sample.
 *
 *     cc sampler.c $(pkg-config --cflags --libs tandem) -o sampler && ./sampler
 */
#include <stdio.h>
#include <string.h>
#include <tandem/sampler/sampler.h>

enum { SAMPLES = 16, RANKS = 2, BATCH = 2, EPOCHS = 2 };

/* What each rank receives in each epoch, one after another. */
typedef struct order {
    int64_t got[EPOCHS][RANKS][SAMPLES / RANKS];
} order;

static td_status read_rank(int rank, bool set_epoch, order *all) {
    td_distributed_options options = TD_DISTRIBUTED_DEFAULTS;
    options.batch_size = BATCH;
    options.world_size = RANKS;
    options.rank = rank;
    td_sampler *sampler = NULL;
    TD_TRY(td_sampler_distributed(SAMPLES, &options, &sampler));
    td_status status = TD_OK;
    for (int epoch = 0; epoch < EPOCHS && status >= 0; epoch++) {
        int64_t *next = all->got[epoch][rank], count = 0;
        if (set_epoch) td_sampler_set_epoch(sampler, (uint64_t)epoch);
        status = td_sampler_start(sampler, 0);
        while (status >= 0 && (status = td_sampler_next(sampler, next, &count)) >= 0 &&
               count != TD_SAMPLER_END)
            next += count;
    }
    td_sampler_close(&sampler);
    return status;
}

static void print_order(const order *all) {
    for (int epoch = 0; epoch < EPOCHS; epoch++)
        for (int rank = 0; rank < RANKS; rank++) {
            printf("  epoch %d  rank %d ", epoch, rank);
            for (int i = 0; i < SAMPLES / RANKS; i++)
                printf("%s%3lld", i % BATCH ? "" : "  ", (long long)all->got[epoch][rank][i]);
            printf("\n");
        }
}

static bool ranks_share(const order *all) {
    for (int epoch = 0; epoch < EPOCHS; epoch++) {
        int owners[SAMPLES] = {0};
        for (int i = 0; i < SAMPLES; i++)
            if (owners[all->got[epoch][i % RANKS][i / RANKS]]++) return true;
    }
    return false;
}

int main(void) {
    for (int set_epoch = 0; set_epoch < 2; set_epoch++) {
        order all;
        for (int rank = 0; rank < RANKS; rank++) {
            if (read_rank(rank, set_epoch, &all) < 0) {
                fprintf(stderr, "%s\n", td_error_last()->text);
                return 1;
            }
        }
        printf("%s set_epoch\n", set_epoch ? "with" : "without");
        print_order(&all);
        bool same = memcmp(all.got[0], all.got[1], sizeof all.got[0]) == 0;
        printf("  the epochs %s; ranks %s\n", same ? "have the same order" : "differ",
               ranks_share(&all) ? "share samples" : "never share a sample");
    }
    return 0;
}
