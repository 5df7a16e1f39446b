/* The options of `tandem train` as one table, and what no single option can know: which of them contradict
 * each other, and which defaults depend on the optimizer (they are PyTorch's). */
#include "worker/options.h"

#include "base/file.h"
#include "base/number.h"
#include "base/options.h"
#include "model/checkpoint/checkpoint.h"
#include "model/parallel/sample_groups.h"
#include "model/zoo/zoo.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define AT(field) offsetof(worker_options, field)

/* "100" are steps, "30s" or "10m" is a time. */
static td_status parse_interval(const char *text, void *member) {
    worker_interval every = {0};
    bool counts = *text && !text[strspn(text, "0123456789")];
    TD_TRY(counts ? td_parse_i64(text, &every.steps) : td_parse_seconds(text, &every.seconds));
    if (counts ? every.steps < 1 : !(every.seconds > 0 && every.seconds < 1e9))
        return td_fail(TD_ERR_ARG, 0, "train", "%s is no number of steps and no time above 0", text);
    *(worker_interval *)member = every;
    return TD_OK;
}

/* clang-format off */
static const td_option options_table[] = {
    {"nproc-per-node",    'n', TD_OPTION_INT,       AT(ranks),             "N",       "launch N ranks here, as `tandem run -n N` does", NULL, 1, 4096},
    {"model",               0, TD_OPTION_TEXT,      AT(model),             "NAME",    "mlp, mlp-large, mnist-bn or mnist-cnn; mnist-cnn"},
    {"data",                0, TD_OPTION_TEXT,      AT(data),              "DIR",     "mnist (comes with Tandem), or a folder with four IDX files, plain or .gz"},
    {"epochs",              0, TD_OPTION_INT,       AT(epochs),            "N",       "passes over the data; 1, or as many as --steps takes", NULL, 1, 1e9},
    {"steps",               0, TD_OPTION_INT,       AT(steps),             "N",       "stop after N optimizer steps", NULL, 1, 1e15},
    {"batch-size",          0, TD_OPTION_INT,       AT(batch_size),        "N",       "samples per rank and step; 64", NULL, 1, 1e9},
    {"global-batch-size",   0, TD_OPTION_INT,       AT(global_batch_size), "N",       "or of all ranks together, whatever their number", NULL, 1, 1e9},
    {"accumulate",          0, TD_OPTION_INT,       AT(accumulate),        "K",       "batches per rank and step, exchanged once: K times the samples in the same memory; 1", NULL, 1, 1e9},
    {"deterministic",       0, TD_OPTION_CHOICE,    AT(deterministic),     "HOW",     "same bits for every run, or for every number of ranks too (world); run", "run world"},
    {"sample-groups",       0, TD_OPTION_INT,       AT(sample_groups),     "G",       "world: parts of a global batch, a power of two, at least the number of ranks; 8", NULL, 1, TD_SAMPLE_GROUPS_MAX},
    {"optimizer",           0, TD_OPTION_CHOICE,    AT(optimizer),         "NAME",    "sgd, adam or adamw; adam", "sgd adam adamw"},
    {"lr",                  0, TD_OPTION_REAL,      AT(lr),                "X",       "learning rate; 0.001", NULL, 0, 1e15},
    {"momentum",            0, TD_OPTION_REAL,      AT(momentum),          "X",       "of sgd; 0", NULL, 0, 1e15},
    {"nesterov",            0, TD_OPTION_FLAG,      AT(nesterov),          NULL,      "of sgd with momentum"},
    {"weight-decay",        0, TD_OPTION_REAL,      AT(weight_decay),      "X",       "0; of adamw 0.01", NULL, 0, 1e15},
    {"betas",               0, TD_OPTION_REAL_PAIR, AT(betas),             "B1,B2",   "of adam and adamw; 0.9,0.999"},
    {"eps",                 0, TD_OPTION_REAL,      AT(eps),               "X",       "of adam and adamw; 1e-8", NULL, 0, 1e15},
    {"max-norm",            0, TD_OPTION_REAL,      AT(max_norm),          "X",       "scale gradients down to a common norm of X; not", NULL, 0, 1e15},
    {"sync",                0, TD_OPTION_CHOICE,    AT(sync),              "HOW",     "how weights stay equal: replicated, shared (one copy a machine) or zero1 (optimizer state cut); shared where it can be", "replicated shared zero1"},
    {"check-sync",          0, TD_OPTION_INT,       AT(check_sync),        "K",       "every K steps, see that weights, buffers and optimizer state are equal on all ranks", NULL, 1, 1e15},
    {"seed",                0, TD_OPTION_INT,       AT(seed),              "N",       "of weights, data order and dropout; 0"},
    {"no-set-epoch",        0, TD_OPTION_FLAG,      AT(same_order),        NULL,      "the same data order in every epoch"},
    {"drop-last",           0, TD_OPTION_FLAG,      AT(drop_last),         NULL,      "leave samples out instead of repeating some to make ranks even"},
    {"eval-interval",       0, TD_OPTION_INT,       AT(eval_interval),     "N",       "test every N steps too, not only after each epoch", NULL, 1, 1e15},
    {"log-interval",        0, TD_OPTION_INT,       AT(log_interval),      "N",       "--json: a line every N steps; 10", NULL, 1, 1e15},
    {"threads",             0, TD_OPTION_INT,       AT(threads),           "N",       "compute threads per rank; the rank's share of the cores", NULL, 1, 1024},
    {"init-from",           0, TD_OPTION_TEXT,      AT(init_from),         "FILE",    "start from these weights (.safetensors)"},
    {"save",                0, TD_OPTION_TEXT,      AT(save),              "FILE",    "write the trained weights (.safetensors)"},
    {"checkpoint",          0, TD_OPTION_TEXT,      AT(checkpoint),        "DIR",     "save all that is needed to go on exactly, there, in the background; also at the end, and when asked to stop"},
    {"checkpoint-every",    0, TD_OPTION_PARSED,    AT(checkpoint_every),  "N",       "steps, or a time: 30s, 10m; 10m", .parse = parse_interval},
    {"keep",                0, TD_OPTION_INT,       AT(keep),              "N",       "checkpoints; 2", NULL, 1, 1e6},
    {"resume",              0, TD_OPTION_TEXT,      AT(resume),            "auto|PATH", "go on from the newest whole checkpoint of --checkpoint, if there is one; or from that one"},
    {"device",              0, TD_OPTION_CHOICE,    AT(device),            "NAME",    "cpu, cuda or auto; auto", "cpu cuda auto"},
    {"backend",             0, TD_OPTION_TEXT,      AT(backend),           "NAME",    "how ranks exchange data; the first that can serve"},
    {"stall-timeout",       0, TD_OPTION_SECONDS,   AT(stall_timeout),     "SECONDS", "give up waiting for a rank; 600", NULL, 1e-3, INFINITY},
    {"shutdown-timeout",    0, TD_OPTION_SECONDS,   AT(shutdown_timeout),  "SECONDS", "with -n: from asking ranks to stop to killing them; 10", NULL, 0, INFINITY},
    {"max-restarts",        0, TD_OPTION_TEXT,      AT(max_restarts),      "N",       "with -n: start all ranks anew after a failure, so often; with --resume auto they go on"},
    {"restart-backoff",     0, TD_OPTION_TEXT,      AT(restart_backoff),   "SECONDS", "with -n: pause before the first restart; 0.5"},
    {"preempt-signal",      0, TD_OPTION_TEXT,      AT(preempt_signal),    "SIG",     "with -n: at this signal let all ranks save and leave, with status 0"},
    {"trace-dir",           0, TD_OPTION_TEXT,      AT(trace_dir),         "DIR",     "a rank that fails, or waits for long, writes what it called there; see tandem trace"},
    {"verbose",             0, TD_OPTION_FLAG,      AT(verbose),           NULL,      "why backends were refused, and other news"},
    {"json",                0, TD_OPTION_FLAG,      AT(json),              NULL,      "one JSON object a line on standard output"},
    {0},
};
/* clang-format on */

static const td_command command = {
    .name = "tandem train",
    .summary = "Train a model; under several ranks each sees its share of the data.",
    .example = "  tandem train -n 2 --model mnist-cnn --data mnist --epochs 1 --batch-size 32",
    .options = options_table,
};

void worker_options_help(FILE *out) { td_options_help(&command, out); }

static td_status wrong(const char *text) {
    return td_fail(TD_ERR_ARG, 0, "train", "%s: %s", command.name, text);
}

/* Options that the chosen optimizer lacks are refused, the others get its defaults. */
static td_status settle_optimizer(worker_options *o) {
    bool sgd = strcmp(o->optimizer, "sgd") == 0;
    if (!sgd && !isnan(o->momentum)) return wrong("--momentum belongs to --optimizer sgd");
    if (!sgd && o->nesterov) return wrong("--nesterov belongs to --optimizer sgd");
    if (sgd && !isnan(o->betas[0])) return wrong("--betas belong to --optimizer adam or adamw");
    if (sgd && !isnan(o->eps)) return wrong("--eps belongs to --optimizer adam or adamw");
    if (o->nesterov && !(o->momentum > 0)) return wrong("--nesterov needs --momentum above 0");
    if (isnan(o->lr)) o->lr = 1e-3;
    if (isnan(o->momentum)) o->momentum = 0;
    if (isnan(o->weight_decay)) o->weight_decay = strcmp(o->optimizer, "adamw") == 0 ? 1e-2 : 0;
    if (isnan(o->eps)) o->eps = 1e-8;
    if (isnan(o->betas[0])) o->betas[0] = 0.9, o->betas[1] = 0.999;
    for (int i = 0; i < 2; i++)
        if (!(o->betas[i] >= 0 && o->betas[i] < 1)) return wrong("--betas must be at least 0 and below 1");
    return TD_OK;
}

static td_status settle_batch(worker_options *o) {
    if (o->batch_size && o->global_batch_size)
        return wrong("--batch-size (per rank) and --global-batch-size (of all ranks) exclude each other");
    if (o->global_batch_size && o->drop_last)
        return wrong("--drop-last has no use with --global-batch-size, which repeats no sample");
    if (!o->batch_size && !o->global_batch_size) o->batch_size = 64;
    return TD_OK;
}

/* Bits that do not depend on the number of ranks need steps that do not, and one thread for each group. */
static td_status settle_deterministic(worker_options *o) {
    if (strcmp(o->deterministic, "world") != 0) {
        if (o->sample_groups) return wrong("--sample-groups belongs to --deterministic world");
        return TD_OK;
    }
    if (o->sync && strcmp(o->sync, "replicated") != 0)
        return wrong("--deterministic world knows only --sync replicated");
    if (!o->sample_groups) o->sample_groups = TD_SAMPLE_GROUPS;
    if (o->sample_groups & (o->sample_groups - 1)) return wrong("--sample-groups must be a power of two");
    if (!o->global_batch_size)
        return wrong(
            "--deterministic world needs --global-batch-size, which does not depend on the number of ranks");
    if (o->accumulate > 1)
        return wrong(
            "--accumulate has no use with --deterministic world, whose groups are passes of their own: "
            "raise --global-batch-size and --sample-groups");
    if (o->threads > 1)
        return wrong(
            "--deterministic world computes with one thread per rank: use more ranks instead of --threads");
    o->threads = 1;
    return TD_OK;
}

static td_status settle_checkpoint(worker_options *o) {
    if (!o->checkpoint && (o->checkpoint_every.steps || o->checkpoint_every.seconds > 0 || o->keep))
        return wrong("--checkpoint-every and --keep need --checkpoint DIR");
    if (!o->checkpoint && o->resume && strcmp(o->resume, "auto") == 0)
        return wrong("--resume auto looks in --checkpoint DIR; give that, or the checkpoint's path");
    if (!o->checkpoint_every.steps && !(o->checkpoint_every.seconds > 0)) o->checkpoint_every.seconds = 600;
    if (!o->keep) o->keep = 2;
    return TD_OK;
}

/* These stand in the table for --help; the launcher takes them away. */
static td_status check_launchers(const worker_options *o) {
    if (!o->max_restarts && !o->restart_backoff && !o->preempt_signal) return TD_OK;
    return wrong("--max-restarts, --restart-backoff and --preempt-signal are for the launcher: add -n RANKS");
}

static td_status check_device(const worker_options *o) {
    if (strcmp(o->device, "cuda") != 0) return TD_OK;
    return td_fail(TD_ERR_UNSUPPORTED, 0, "train",
                   "%s: --device cuda: this build of Tandem has no CUDA, it computes on the CPU",
                   command.name);
}

static td_status check_model(const worker_options *o) {
    const td_zoo_model *model;
    td_status status = td_zoo_find(o->model, &model);
    if (status >= 0) return status;
    char reason[sizeof td_error_last()->text];
    strcpy(reason, td_error_last()->text);
    return td_fail(status, 0, "train", "%s: --model: %s", command.name, reason);
}

td_status worker_options_read(int argc, char **argv, worker_options *options) {
    worker_options o = {
        .model = "mnist-cnn",
        .data = "mnist",
        .optimizer = "adam",
        .lr = NAN,
        .momentum = NAN,
        .weight_decay = NAN,
        .eps = NAN,
        .betas = {NAN, NAN},
        .deterministic = "run",
        .device = "auto",
    };
    int rest;
    td_status status = td_options_parse(&command, argc, argv, &o, &rest);
    if (status != TD_OK) return status;
    TD_TRY(check_model(&o));
    TD_TRY(settle_optimizer(&o));
    TD_TRY(settle_batch(&o));
    TD_TRY(settle_deterministic(&o));
    TD_TRY(settle_checkpoint(&o));
    TD_TRY(check_launchers(&o));
    TD_TRY(check_device(&o));
    if (!o.epochs) o.epochs = o.steps ? INT32_MAX : 1;
    if (!o.log_interval) o.log_interval = 10;
    if (!o.accumulate) o.accumulate = 1;
    *options = o;
    return TD_OK;
}

static td_status check_data(const char *folder) {
    if (strcmp(folder, "mnist") == 0) return TD_OK; /* comes with Tandem */
    struct stat info;
    if (stat(folder, &info)) return td_fail_errno(errno, "train", "--data %s", folder);
    if (!S_ISDIR(info.st_mode))
        return td_fail(TD_ERR_ARG, 0, "train", "--data %s is a file; name the folder with the four IDX files",
                       folder);
    return TD_OK;
}

/* A file begun and dropped shows whether one could be saved there, before hours of training. */
static td_status check_save(const char *path) {
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode))
        return td_fail(TD_ERR_ARG, 0, "train", "--save %s is a folder; name a file in it", path);
    td_file_writer *writer = NULL;
    td_status status = td_file_begin(path, &writer);
    td_file_drop(&writer);
    return status;
}

/* A folder of checkpoints is one run's history. */
static td_status check_checkpoint(const worker_options *o) {
    int64_t step = td_checkpoint_newest_step(o->checkpoint);
    if (step < 0 || o->resume) return TD_OK;
    return td_fail(
        TD_ERR_ARG, 0, "train",
        "--checkpoint %s has a checkpoint of step %lld already: add --resume auto to go on from there, or "
        "name another folder",
        o->checkpoint, (long long)step);
}

td_status worker_options_check_files(const worker_options *options) {
    TD_TRY(check_data(options->data));
    if (options->init_from && access(options->init_from, R_OK))
        return td_fail_errno(errno, "train", "--init-from %s", options->init_from);
    if (options->save) TD_TRY(check_save(options->save));
    if (options->checkpoint) TD_TRY(check_checkpoint(options));
    if (options->resume && strcmp(options->resume, "auto") != 0 && access(options->resume, R_OK))
        return td_fail_errno(errno, "train", "--resume %s", options->resume);
    return TD_OK;
}
