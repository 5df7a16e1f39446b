/* The loader alone: samples per second of shuffled batches, u8 images gathered and normalised to f32, taken
 * as fast as they come. Timings are of whole passes over 60,000 images in memory. */
#include "base/memory.h"
#include "base/number.h"
#include "sampler/loader.h"
#include "tools/bench.h"

#include <stdio.h>

enum { SAMPLES = 60000, SIDE = 28, REPEAT = 9 };

static td_status open_data(uint8_t *pixels, uint8_t *labels, td_dataset **dataset) {
    for (size_t i = 0; i < (size_t)SAMPLES * SIDE * SIDE; i++) pixels[i] = (uint8_t)(i * 2654435761u >> 13);
    for (size_t i = 0; i < SAMPLES; i++) labels[i] = (uint8_t)(i % 10);
    const td_dataset_part parts[] = {{TD_DTYPE_U8, 2, {SIDE, SIDE}}, {TD_DTYPE_U8, 0, {0}}};
    const void *const data[] = {pixels, labels};
    return td_dataset_memory(SAMPLES, parts, data, 2, NULL, dataset);
}

static td_status time_pass(td_loader *loader, td_sampler *sampler, uint64_t epoch, double *us) {
    td_sampler_set_epoch(sampler, epoch);
    double start = bench_now_us();
    TD_TRY(td_loader_start(loader, 0));
    for (;;) {
        td_batch batch;
        TD_TRY(td_loader_next(loader, &batch));
        if (batch.count == TD_SAMPLER_END) break;
    }
    *us = bench_now_us() - start;
    return TD_OK;
}

static void print_row(const bench_options *options, bench_times t, double foreign) {
    double pace = SAMPLES / (t.median * 1e-6);
    if (options->json) {
        bench_print_json(json_pack("{ss sI si sf sf sf sf sf}", "bench", "loader", "batch_size",
                                   (json_int_t)options->batch_size, "samples", SAMPLES, "min_us", t.min,
                                   "median_us", t.median, "p99_us", t.p99, "samples_per_second", pace,
                                   "foreign_cpu", foreign));
    } else {
        printf("loader  batch %lld  %s samples/s  (a pass: min %.2f ms  median %.2f ms)  others %.0f %%\n",
               (long long)options->batch_size, td_format_count((int64_t)pace).text, t.min * 1e-3,
               t.median * 1e-3, 100 * foreign);
    }
}

static td_status run_passes(const bench_options *options, td_loader *loader, td_sampler *sampler) {
    int64_t repeat = options->repeat ? options->repeat : REPEAT;
    double *us = td_alloc((size_t)repeat * sizeof *us), foreign = 0;
    if (!us) return TD_ERR_MEMORY;
    td_status status = time_pass(loader, sampler, 0, us); /* warms up */
    bench_load load;
    bench_load_begin(&load);
    for (int64_t i = 0; i < repeat && status >= 0; i++)
        status = time_pass(loader, sampler, (uint64_t)i, &us[i]);
    if (status >= 0) status = bench_load_end(&load, NULL, &foreign);
    if (status >= 0) print_row(options, bench_summarise(us, (size_t)repeat), foreign);
    td_free(us);
    return status;
}

td_status bench_loader(const bench_options *options) {
    uint8_t *pixels = td_alloc_aligned((size_t)SAMPLES * SIDE * SIDE), *labels = td_alloc(SAMPLES);
    td_dataset *dataset = NULL;
    td_sampler *sampler = NULL;
    td_loader *loader = NULL;
    td_distributed_options order = TD_DISTRIBUTED_DEFAULTS;
    order.batch_size = options->batch_size;
    td_status status = pixels && labels ? open_data(pixels, labels, &dataset) : TD_ERR_MEMORY;
    if (status >= 0) status = td_sampler_distributed(SAMPLES, &order, &sampler);
    if (status >= 0) status = td_loader_open(dataset, sampler, NULL, &loader);
    if (status >= 0) status = run_passes(options, loader, sampler);
    td_loader_close(&loader);
    td_sampler_close(&sampler);
    td_dataset_close(&dataset);
    td_free(labels);
    td_free(pixels);
    return status;
}
