/*
 * tandem sampler: what each rank receives at each step of each epoch, as a table, as JSON lines, or compared
 * with a list from elsewhere; and what follows from it: do epochs differ, do ranks share samples. What it
 * concludes it has counted.
 */
#include "sampler/sampler.h"

#include "base/memory.h"
#include "base/options.h"
#include "tools/index_list.h"
#include "tools/tools.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum { MOST_RANKS = 1 << 16, TABLE_WIDTH = 100 };

typedef struct sampler_values {
    int64_t size, world_size, batch_size, global_batch_size, epochs, seed, rank;
    bool no_shuffle, no_set_epoch, drop_last, json;
    const char *check;
} sampler_values;

#define AT(member) offsetof(sampler_values, member)
static const td_option options[] = {
    // clang-format off
    {"size",              0, TD_OPTION_INT,  AT(size),              "N", "samples in the data set", NULL, 1, 0x1p53, false},
    {"world-size",        0, TD_OPTION_INT,  AT(world_size),        "W", "ranks that share them (1)", NULL, 1, MOST_RANKS, false},
    {"batch-size",        0, TD_OPTION_INT,  AT(batch_size),        "B", "samples a step for each rank, as DistributedSampler gives them (1)", NULL, 1, 0x1p53, false},
    {"global-batch-size", 0, TD_OPTION_INT,  AT(global_batch_size), "G", "samples a step for all ranks together, nothing padded", NULL, 1, 0x1p53, false},
    {"epochs",            0, TD_OPTION_INT,  AT(epochs),            "E", "passes over the data (1)", NULL, 1, 0x1p53, false},
    {"seed",              0, TD_OPTION_INT,  AT(seed),              "S", "of the shuffle (0)", NULL, 0, 0, false},
    {"no-shuffle",        0, TD_OPTION_FLAG, AT(no_shuffle),        NULL, "keep the data set's order", NULL, 0, 0, false},
    {"no-set-epoch",      0, TD_OPTION_FLAG, AT(no_set_epoch),      NULL, "forget set_epoch, as scripts do: every pass is epoch 0's", NULL, 0, 0, false},
    {"drop-last",         0, TD_OPTION_FLAG, AT(drop_last),         NULL, "drop what does not divide, instead of padding", NULL, 0, 0, false},
    {"rank",              0, TD_OPTION_INT,  AT(rank),              "R", "show this rank only", NULL, 0, MOST_RANKS - 1, false},
    {"json",              0, TD_OPTION_FLAG, AT(json),              NULL, "one JSON object a line", NULL, 0, 0, false},
    {"check",             0, TD_OPTION_TEXT, AT(check),             "FILE", "compare one rank's order with a list, as PyTorch prints it", NULL, 0, 0, false},
    {NULL, 0, TD_OPTION_FLAG, 0, NULL, NULL, NULL, 0, 0, false},
    // clang-format on
};

static const td_command command = {
    .name = "tandem sampler",
    .summary = "Show which samples each rank receives, step by step.",
    .example = "  tandem sampler --size 16 --world-size 2 --batch-size 2 --epochs 2\n"
               "  tandem sampler --size 16 --world-size 2 --batch-size 2 --epochs 2 --no-set-epoch",
    .options = options,
};

/* The ranks on show and what has been counted so far. */
typedef struct experiment {
    const sampler_values *values;
    int n_ranks, first_rank;
    td_sampler **samplers; /* [n_ranks] */
    int64_t **indices;     /* [n_ranks][capacity], of the current step */
    int64_t *counts;       /* [n_ranks] */

    int32_t *owner; /* [size]: 1 + the rank that got it in this epoch; 0: none so far */
    int64_t shared; /* samples that two ranks got in one epoch, over all epochs */
    int64_t repeated, missing;

    int64_t *first; /* epoch 0's indices, in the order in which they were shown */
    int64_t first_count, place;
    int64_t same_epochs; /* later ones with epoch 0's order */
    bool same;           /* this one so far */
} experiment;

/* --- opening and closing -------------------------------------------------------------------------------- */

static td_status open_sampler(const sampler_values *v, int rank, td_sampler **sampler) {
    if (v->global_batch_size)
        return td_sampler_global_batch(v->size,
                                       &(td_global_batch_options){.global_batch_size = v->global_batch_size,
                                                                  .drop_short_batch = v->drop_last,
                                                                  .world_size = (int)v->world_size,
                                                                  .rank = rank,
                                                                  .shuffle = !v->no_shuffle,
                                                                  .seed = (uint64_t)v->seed},
                                       sampler);
    return td_sampler_distributed(v->size,
                                  &(td_distributed_options){.batch_size = v->batch_size,
                                                            .world_size = (int)v->world_size,
                                                            .rank = rank,
                                                            .shuffle = !v->no_shuffle,
                                                            .drop_last = v->drop_last,
                                                            .seed = (uint64_t)v->seed},
                                  sampler);
}

static void close_experiment(experiment *e) {
    for (int i = 0; e->samplers && i < e->n_ranks; i++) td_sampler_close(&e->samplers[i]);
    for (int i = 0; e->indices && i < e->n_ranks; i++) td_free(e->indices[i]);
    td_free(e->samplers);
    td_free(e->indices);
    td_free(e->counts);
    td_free(e->owner);
    td_free(e->first);
}

static td_status allocate_ranks(experiment *e) {
    e->samplers = td_calloc((size_t)e->n_ranks, sizeof *e->samplers);
    e->indices = td_calloc((size_t)e->n_ranks, sizeof *e->indices);
    e->counts = td_calloc((size_t)e->n_ranks, sizeof *e->counts);
    if (!e->samplers || !e->indices || !e->counts) return TD_ERR_MEMORY;
    for (int i = 0; i < e->n_ranks; i++) {
        TD_TRY(open_sampler(e->values, e->first_rank + i, &e->samplers[i]));
        e->indices[i] = td_calloc((size_t)td_sampler_capacity(e->samplers[i]), sizeof *e->indices[i]);
        if (!e->indices[i]) return TD_ERR_MEMORY;
        e->first_count += td_sampler_length(e->samplers[i]);
    }
    return TD_OK;
}

static td_status open_experiment(const sampler_values *v, experiment *e) {
    *e = (experiment){.values = v, .n_ranks = v->rank < 0 ? (int)v->world_size : 1};
    e->first_rank = v->rank < 0 ? 0 : (int)v->rank;
    td_status status = allocate_ranks(e);
    if (status >= 0) {
        e->owner = td_calloc((size_t)v->size, sizeof *e->owner);
        e->first = td_calloc((size_t)e->first_count, sizeof *e->first);
        if (!e->owner || !e->first) status = TD_ERR_MEMORY;
    }
    if (status < 0) close_experiment(e);
    return status;
}

/* --- counting ------------------------------------------------------------------------------------------- */

static td_status begin_epoch(experiment *e, int64_t epoch) {
    memset(e->owner, 0, (size_t)e->values->size * sizeof *e->owner);
    e->place = 0;
    e->same = true;
    for (int i = 0; i < e->n_ranks; i++) {
        if (!e->values->no_set_epoch) td_sampler_set_epoch(e->samplers[i], (uint64_t)epoch);
        TD_TRY(td_sampler_start(e->samplers[i], 0));
    }
    return TD_OK;
}

static void count_index(experiment *e, int64_t epoch, int rank, int64_t index) {
    int32_t *owner = &e->owner[index];
    if (*owner == 0)
        *owner = rank + 1;
    else if (*owner == rank + 1)
        e->repeated++;
    else
        e->shared++;
    if (epoch == 0) e->first[e->place] = index;
    e->same = e->same && e->first[e->place] == index;
    e->place++;
}

/* The next step of all ranks on show; *more is false after the last. */
static td_status next_step(experiment *e, int64_t epoch, bool *more) {
    bool some = false;
    for (int i = 0; i < e->n_ranks; i++) {
        TD_TRY(td_sampler_next(e->samplers[i], e->indices[i], &e->counts[i]));
        some = some || e->counts[i] != TD_SAMPLER_END;
        for (int64_t k = 0; k < e->counts[i]; k++) count_index(e, epoch, e->first_rank + i, e->indices[i][k]);
    }
    *more = some;
    return TD_OK;
}

static void end_epoch(experiment *e, int64_t epoch) {
    for (int64_t i = 0; i < e->values->size; i++) e->missing += e->owner[i] == 0;
    if (epoch > 0) e->same_epochs += e->same;
}

/* --- showing -------------------------------------------------------------------------------------------- */

static int print_cell(const experiment *e, int i) {
    int width = 0;
    for (int64_t k = 0; k < e->counts[i]; k++)
        width += printf("%s%lld", k ? " " : "", (long long)e->indices[i][k]);
    return e->counts[i] > 0 ? width : printf("-");
}

/* Characters that a cell can take. */
static int64_t cell_width(const experiment *e) {
    char largest[32];
    int digits = snprintf(largest, sizeof largest, "%lld", (long long)e->values->size - 1);
    int64_t width = td_sampler_capacity(e->samplers[0]) * (digits + 1) - 1;
    return width < 8 ? 8 : width;
}

static void print_heading(const experiment *e, int64_t epoch, bool side_by_side) {
    printf("\nepoch %lld\n", (long long)epoch);
    if (!side_by_side) return;
    printf("  %6s", "step");
    for (int i = 0; i < e->n_ranks; i++)
        printf("  rank %-*d", i + 1 < e->n_ranks ? (int)cell_width(e) - 5 : 0, e->first_rank + i);
    putchar('\n');
}

static void print_step(const experiment *e, int64_t step, bool side_by_side) {
    for (int i = 0; i < e->n_ranks; i++) {
        if (side_by_side && i == 0) printf("  %6lld", (long long)step);
        if (!side_by_side) printf("  step %lld  rank %d", (long long)step, e->first_rank + i);
        printf("  ");
        int width = print_cell(e, i);
        bool last = i + 1 == e->n_ranks;
        if (side_by_side && !last) printf("%*s", (int)cell_width(e) - width, "");
        if (!side_by_side || last) putchar('\n');
    }
}

static td_status print_json(const experiment *e, int64_t epoch, int64_t step) {
    for (int i = 0; i < e->n_ranks; i++) {
        json_t *list = json_array();
        for (int64_t k = 0; k < e->counts[i]; k++)
            json_array_append_new(list, json_integer(e->indices[i][k]));
        json_t *line = json_pack("{s:I,s:i,s:I,s:o}", "epoch", (json_int_t)epoch, "rank", e->first_rank + i,
                                 "step", (json_int_t)step, "indices", list);
        if (!line) return td_fail(TD_ERR_MEMORY, 0, "tools", "no memory for a line of JSON");
        json_dumpf(line, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(line);
    }
    return TD_OK;
}

static void conclude_epochs(const experiment *e, FILE *out) {
    int64_t later = e->values->epochs - 1;
    if (later == 0 || e->first_count == 0) return;
    if (e->same_epochs == later) {
        fprintf(out, later == 1 ? "Both epochs" : "All %lld epochs", (long long)later + 1);
        fprintf(out, " have the same order%s.\n",
                e->values->no_set_epoch ? ": each pass is epoch 0's without set_epoch" : "");
    } else if (e->same_epochs == 0)
        fprintf(out, "%s epoch 0.\n",
                later == 1 ? "Epoch 1 has another order than" : "No later epoch repeats the order of");
    else
        fprintf(out, "%lld of %lld later epochs have the order of epoch 0.\n", (long long)e->same_epochs,
                (long long)later);
}

static void conclude_sharing(const experiment *e, FILE *out) {
    int64_t epochs = e->values->epochs;
    if (e->n_ranks < e->values->world_size) return; /* the others' samples were not looked at */
    if (e->shared + e->repeated == 0 && e->missing == 0)
        fprintf(out, "In each epoch every sample goes to exactly one rank: no two ranks share one.\n");
    else if (e->shared + e->repeated == 0)
        fprintf(out, "No two ranks share a sample; %lld of %lld are left out in each epoch.\n",
                (long long)(e->missing / epochs), (long long)e->values->size);
    else
        fprintf(
            out,
            "In each epoch %lld of the samples given were given before: %lld do not divide by %lld ranks.\n",
            (long long)((e->shared + e->repeated) / epochs), (long long)e->values->size,
            (long long)e->values->world_size);
}

static td_status show(experiment *e) {
    const sampler_values *v = e->values;
    bool side_by_side = e->n_ranks * (cell_width(e) + 2) + 8 <= TABLE_WIDTH;
    fprintf(v->json ? stderr : stdout, "%lld sample%s, %lld rank%s, %s of %lld, seed %lld%s\n",
            (long long)v->size, v->size == 1 ? "" : "s", (long long)v->world_size,
            v->world_size == 1 ? "" : "s", v->global_batch_size ? "global batches" : "batches",
            (long long)(v->global_batch_size ? v->global_batch_size : v->batch_size), (long long)v->seed,
            v->no_shuffle ? ", not shuffled" : "");
    for (int64_t epoch = 0; epoch < v->epochs; epoch++) {
        bool more = false;
        TD_TRY(begin_epoch(e, epoch));
        TD_TRY(next_step(e, epoch, &more));
        if (!v->json) print_heading(e, epoch, side_by_side);
        for (int64_t step = 0; more; step++) {
            if (v->json)
                TD_TRY(print_json(e, epoch, step));
            else
                print_step(e, step, side_by_side);
            TD_TRY(next_step(e, epoch, &more));
        }
        end_epoch(e, epoch);
    }
    if (!v->json) putchar('\n');
    conclude_epochs(e, v->json ? stderr : stdout);
    conclude_sharing(e, v->json ? stderr : stdout);
    return TD_OK;
}

/* --- comparing ------------------------------------------------------------------------------------------ */

/* One rank's order against the list. *equal is false, and the difference told, where they part. */
static td_status compare(experiment *e, const index_list *list, bool *equal) {
    int64_t place = 0;
    bool more = true;
    *equal = false;
    for (int64_t epoch = 0; epoch < e->values->epochs; epoch++) {
        TD_TRY(begin_epoch(e, epoch));
        TD_TRY(next_step(e, epoch, &more));
        for (int64_t step = 0; more; step++) {
            for (int64_t k = 0; k < e->counts[0]; k++, place++) {
                int64_t index = e->indices[0][k];
                if (place < list->count && list->indices[place] == index) continue;
                fprintf(stderr, "tandem sampler: %s differs at position %lld (epoch %lld, step %lld): ",
                        e->values->check, (long long)place, (long long)epoch, (long long)step);
                if (place < list->count)
                    fprintf(stderr, "%lld there", (long long)list->indices[place]);
                else
                    fprintf(stderr, "the file ends there");
                fprintf(stderr, ", %lld here\n", (long long)index);
                return TD_OK;
            }
            TD_TRY(next_step(e, epoch, &more));
        }
    }
    *equal = place == list->count;
    if (*equal)
        printf("%s: all %lld indices are equal\n", e->values->check, (long long)place);
    else
        fprintf(stderr,
                "tandem sampler: %s differs at position %lld: %lld there, but rank %d's list ends here\n",
                e->values->check, (long long)place, (long long)list->indices[place], e->first_rank);
    return TD_OK;
}

/* --- the command ---------------------------------------------------------------------------------------- */

static td_status check_values(const sampler_values *v, bool batch_given) {
    if (v->size == 0) return td_fail(TD_ERR_ARG, 0, "tools", "tandem sampler: --size N is needed");
    if (v->rank >= v->world_size)
        return td_fail(TD_ERR_ARG, 0, "tools",
                       "tandem sampler: --rank %lld, but a world of %lld has ranks 0 to %lld",
                       (long long)v->rank, (long long)v->world_size, (long long)v->world_size - 1);
    if (v->global_batch_size && batch_given)
        return td_fail(TD_ERR_ARG, 0, "tools",
                       "tandem sampler: give --batch-size or --global-batch-size, not both");
    if (v->check && v->json)
        return td_fail(TD_ERR_ARG, 0, "tools", "tandem sampler: give --check or --json, not both");
    if (v->check && v->rank < 0 && v->world_size > 1)
        return td_fail(TD_ERR_ARG, 0, "tools",
                       "tandem sampler: --check compares one rank's order; say which of %lld with --rank",
                       (long long)v->world_size);
    return TD_OK;
}

/* Everything after the options are known; gives the exit status, or a failure. */
static td_status run(const sampler_values *v, int *exit_status) {
    experiment e = {0};
    index_list list = {0};
    bool equal = true;
    if (v->check) TD_TRY(index_list_read(v->check, &list));
    td_status status = open_experiment(v, &e);
    if (status >= 0) {
        status = v->check ? compare(&e, &list, &equal) : show(&e);
        close_experiment(&e);
    }
    td_free(list.indices);
    *exit_status = equal ? 0 : TANDEM_EXIT_NO;
    return status;
}

int tandem_sampler_main(int argc, char **argv) {
    sampler_values values = {.world_size = 1, .epochs = 1, .rank = -1};
    int rest = 0, exit_status = 0;
    td_status status = td_options_parse(&command, argc, argv, &values, &rest);
    if (status == TD_PENDING) td_options_help(&command, stdout);
    if (status == TD_OK) status = check_values(&values, values.batch_size != 0);
    if (status == TD_OK) {
        if (!values.batch_size) values.batch_size = 1;
        status = run(&values, &exit_status);
    }
    if (status < 0) {
        fprintf(stderr, "%s\n", td_error_last()->text);
        return TANDEM_EXIT_USAGE;
    }
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "tandem sampler: standard output: %s\n", strerror(errno));
        return TANDEM_EXIT_USAGE;
    }
    return exit_status;
}
