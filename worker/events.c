/* JSON by jansson, which keeps the order in which keys are set. */
#include "worker/events.h"

#include <jansson.h>
#include <math.h>

/* json_real refuses what JSON cannot write. *Yours*. */
static json_t *real(double value) { return isfinite(value) ? json_real(value) : json_null(); }

/* Print and release. */
static void print(json_t *event) {
    json_dumpf(event, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    fputc('\n', stdout);
    fflush(stdout);
    json_decref(event);
}

void worker_event_start(const worker_options *o, const worker_setting *s) {
    json_t *event = json_pack("{ss ss sI si ss ss ss si}", "event", "start", "model", o->model, "parameters",
                              (json_int_t)s->parameters, "world_size", s->world_size, "backend", s->backend,
                              "device", s->device, "launcher", s->launcher, "threads", s->threads);
    if (o->global_batch_size)
        json_object_set_new(event, "global_batch_size", json_integer(o->global_batch_size));
    else
        json_object_set_new(event, "batch_size", json_integer(o->batch_size));
    if (o->accumulate > 1) json_object_set_new(event, "accumulate", json_integer(o->accumulate));
    json_object_set_new(event, "deterministic", json_string(o->deterministic));
    if (o->sample_groups) json_object_set_new(event, "sample_groups", json_integer(o->sample_groups));
    json_object_set_new(event, "sync", json_string(s->sync));
    if (*s->sync_refusal) json_object_set_new(event, "sync_refusal", json_string(s->sync_refusal));
    json_object_set_new(event, "optimizer", json_string(o->optimizer));
    json_object_set_new(event, "lr", real(o->lr));
    json_object_set_new(event, "seed", json_integer(o->seed));
    json_object_set_new(event, "train_samples", json_integer(s->train_samples));
    json_object_set_new(event, "test_samples", json_integer(s->test_samples));
    if (s->resumed_from) {
        json_object_set_new(event, "resumed_from", json_string(s->resumed_from));
        json_object_set_new(event, "resumed_step", json_integer(s->resumed_step));
    }
    print(event);
}

void worker_event_step(const worker_step *s) {
    print(json_pack("{ss sI sI so sI so so}", "event", "step", "epoch", (json_int_t)s->epoch, "step",
                    (json_int_t)s->step, "loss", real(s->loss), "samples", (json_int_t)s->samples, "accuracy",
                    real(s->accuracy), "samples_per_second", real(s->samples_per_second)));
}

void worker_event_eval(int64_t epoch, int64_t step, const worker_score *s) {
    double accuracy = s->samples ? (double)s->correct / (double)s->samples : NAN;
    print(json_pack("{ss sI sI so so sI sI}", "event", "eval", "epoch", (json_int_t)epoch, "step",
                    (json_int_t)step, "loss", real(s->loss), "accuracy", real(accuracy), "correct",
                    (json_int_t)s->correct, "samples", (json_int_t)s->samples));
}

void worker_event_checkpoint(const td_checkpoint_saved *saved) {
    print(json_pack("{ss sI ss sI so so}", "event", "checkpoint", "step", (json_int_t)saved->step, "path",
                    saved->path, "bytes", (json_int_t)saved->bytes, "seconds", real(saved->seconds),
                    "blocked_seconds", real(saved->blocked_seconds)));
}

void worker_event_stopped(int64_t step, const char *signal, const char *path, const char *command) {
    print(json_pack("{ss sI ss ss ss}", "event", "stopped", "step", (json_int_t)step, "signal", signal,
                    "path", path, "resume", command));
}

void worker_event_end(const worker_ending *e) {
    json_t *peaks = json_array();
    for (int r = 0; r < e->world_size; r++) json_array_append_new(peaks, json_integer(e->peak_memory[r]));
    print(json_pack("{ss sI so so so}", "event", "end", "steps", (json_int_t)e->steps, "seconds",
                    real(e->seconds), "samples_per_second", real(e->samples_per_second), "peak_memory_bytes",
                    peaks));
}
