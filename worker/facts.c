/* JSON by jansson. Every field is a row of a table, by which it is written, read and compared. */
#include "worker/facts.h"

#include "base/memory.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum field_kind { FIELD_INT, FIELD_REAL, FIELD_BOOL, FIELD_TEXT } field_kind;

typedef struct field {
    const char *name; /* in the file */
    field_kind kind;
    size_t offset;         /* in worker_facts */
    const char *what;      /* in messages */
    bool depends_on_world; /* --deterministic world is there to make it irrelevant */
} field;

#define AT(member) offsetof(worker_facts, member)
#define END                                                                                                  \
    { NULL }

static const field position_fields[] = {
    {"step", FIELD_INT, AT(position.step), NULL},
    {"epoch", FIELD_INT, AT(position.epoch), NULL},
    {"entries", FIELD_INT, AT(position.entries), NULL},
    {"complete", FIELD_BOOL, AT(position.complete), NULL},
    {"correct", FIELD_INT, AT(position.correct), NULL},
    {"seen", FIELD_INT, AT(position.seen), NULL},
    END,
};

static const field order_fields[] = {
    {"model", FIELD_TEXT, AT(order.model), "--model"},
    {"optimizer", FIELD_TEXT, AT(order.optimizer), "--optimizer"},
    {"samples", FIELD_INT, AT(order.samples), "a number of training samples of"},
    {"seed", FIELD_INT, AT(order.seed), "--seed"},
    {"no_set_epoch", FIELD_BOOL, AT(order.same_order), "--no-set-epoch"},
    {"drop_last", FIELD_BOOL, AT(order.drop_last), "--drop-last"},
    END,
};

static const field computation_fields[] = {
    {"deterministic", FIELD_TEXT, AT(computation.deterministic), "deterministic"},
    {"sample_groups", FIELD_INT, AT(computation.sample_groups), "sample groups"},
    {"batch_size", FIELD_INT, AT(computation.batch_size), "batch size"},
    {"global_batch_size", FIELD_INT, AT(computation.global_batch_size), "global batch size"},
    {"accumulate", FIELD_INT, AT(computation.accumulate), "accumulate"},
    {"lr", FIELD_REAL, AT(computation.lr), "lr"},
    {"momentum", FIELD_REAL, AT(computation.momentum), "momentum"},
    {"weight_decay", FIELD_REAL, AT(computation.weight_decay), "weight decay"},
    {"eps", FIELD_REAL, AT(computation.eps), "eps"},
    {"beta1", FIELD_REAL, AT(computation.betas[0]), "beta1"},
    {"beta2", FIELD_REAL, AT(computation.betas[1]), "beta2"},
    {"nesterov", FIELD_BOOL, AT(computation.nesterov), "nesterov"},
    {"max_norm", FIELD_REAL, AT(computation.max_norm), "max norm"},
    {"world_size", FIELD_INT, AT(computation.world_size), "number of ranks", true},
    {"threads", FIELD_INT, AT(computation.threads), "threads per rank"},
    {"backend", FIELD_TEXT, AT(computation.backend), "backend", true},
    {"kernels", FIELD_TEXT, AT(computation.kernels), "kernels"},
    END,
};

static const struct {
    const char *name;
    const field *fields;
} parts[] = {{"position", position_fields}, {"order", order_fields}, {"computation", computation_fields}};
enum { PARTS = sizeof parts / sizeof *parts };

static const void *place_in(const worker_facts *facts, const field *f) {
    return (const char *)facts + f->offset;
}

/* --- writing -------------------------------------------------------------------------------------------- */

static json_t *write_field(const worker_facts *facts, const field *f) {
    const void *place = place_in(facts, f);
    switch (f->kind) {
    case FIELD_INT: return json_integer(*(const int64_t *)place);
    case FIELD_REAL: return json_real(*(const double *)place);
    case FIELD_BOOL: return json_boolean(*(const bool *)place);
    default: return json_string(place);
    }
}

td_status worker_facts_write(const worker_facts *facts, char *const *arguments, char **text) {
    json_t *root = json_object(), *words = json_array();
    for (int p = 0; p < PARTS; p++) {
        json_t *part = json_object();
        for (const field *f = parts[p].fields; f->name; f++)
            json_object_set_new(part, f->name, write_field(facts, f));
        json_object_set_new(root, parts[p].name, part);
    }
    for (; *arguments; arguments++) /* bytes that are no UTF-8 are left out */
        json_array_append_new(words, json_string(*arguments));
    json_object_set_new(root, "arguments", words);
    char *made = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    if (!made) return td_fail(TD_ERR_MEMORY, 0, "train", "no memory for a checkpoint's description");
    *text = td_strdup(made);
    free(made);
    return *text ? TD_OK : TD_ERR_MEMORY;
}

/* --- reading -------------------------------------------------------------------------------------------- */

static bool read_field(worker_facts *facts, const field *f, const json_t *value) {
    void *place = (char *)facts + f->offset;
    switch (f->kind) {
    case FIELD_INT: *(int64_t *)place = json_integer_value(value); return json_is_integer(value);
    case FIELD_REAL: *(double *)place = json_number_value(value); return json_is_number(value);
    case FIELD_BOOL: *(bool *)place = json_is_true(value); return json_is_boolean(value);
    default: {
        const char *text = json_string_value(value);
        return text && snprintf(place, FACT_BYTES, "%s", text) < FACT_BYTES;
    }
    }
}

static td_status read_parts(const json_t *root, const char *what, worker_facts *facts) {
    for (int p = 0; p < PARTS; p++)
        for (const field *f = parts[p].fields; f->name; f++)
            if (!read_field(facts, f, json_object_get(json_object_get(root, parts[p].name), f->name)))
                return td_fail(TD_ERR_FORMAT, 0, "train",
                               "%s is no checkpoint of tandem train: it has no %s.%s of the kind expected",
                               what, parts[p].name, f->name);
    const worker_position *at = &facts->position;
    if (at->step < 0 || at->epoch < 0 || at->entries < 0 || at->correct < 0 || at->seen < 0 ||
        at->entries > facts->order.samples)
        return td_fail(TD_ERR_FORMAT, 0, "train", "%s: its position is no possible one", what);
    return TD_OK;
}

td_status worker_facts_read(const char *text, size_t bytes, const char *what, worker_facts *facts) {
    json_error_t problem;
    json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &problem);
    if (!root) return td_fail(TD_ERR_FORMAT, 0, "train", "%s: %s", what, problem.text);
    worker_facts found = {0};
    td_status status = read_parts(root, what, &found);
    json_decref(root);
    if (status == TD_OK) *facts = found;
    return status;
}

/* --- comparing ------------------------------------------------------------------------------------------ */

static bool is_same(const worker_facts *a, const worker_facts *b, const field *f) {
    const void *x = place_in(a, f), *y = place_in(b, f);
    switch (f->kind) {
    case FIELD_INT: return *(const int64_t *)x == *(const int64_t *)y;
    case FIELD_REAL: return *(const double *)x == *(const double *)y;
    case FIELD_BOOL: return *(const bool *)x == *(const bool *)y;
    default: return strcmp(x, y) == 0;
    }
}

static const char *describe(const worker_facts *facts, const field *f, char text[FACT_BYTES]) {
    const void *place = place_in(facts, f);
    switch (f->kind) {
    case FIELD_INT: snprintf(text, FACT_BYTES, "%lld", (long long)*(const int64_t *)place); break;
    case FIELD_REAL: snprintf(text, FACT_BYTES, "%g", *(const double *)place); break;
    case FIELD_BOOL: snprintf(text, FACT_BYTES, "%s", *(const bool *)place ? "yes" : "no"); break;
    default: snprintf(text, FACT_BYTES, "%s", (const char *)place);
    }
    return text;
}

td_status worker_facts_check(const worker_facts *saved, const worker_facts *now, const char *what) {
    char was[FACT_BYTES], is[FACT_BYTES];
    for (const field *f = order_fields; f->name; f++)
        if (!is_same(saved, now, f))
            return td_fail(
                TD_ERR_ARG, 0, "train",
                "%s was saved with %s %s, but this run has %s; give the same, or begin anew in another "
                "--checkpoint folder",
                what, f->what, describe(saved, f, was), describe(now, f, is));
    return TD_OK;
}

void worker_facts_compare(const worker_computation *saved, const worker_computation *now, char *text,
                          size_t bytes) {
    const worker_facts before = {.computation = *saved}, after = {.computation = *now};
    char was[FACT_BYTES], is[FACT_BYTES];
    size_t used = 0;
    *text = 0;
    bool for_any_world = saved->sample_groups && now->sample_groups;
    for (const field *f = computation_fields; f->name; f++) {
        if (is_same(&before, &after, f) || (for_any_world && f->depends_on_world)) continue;
        int n = snprintf(text + used, bytes - used, "%s%s %s (was %s)", used ? ", " : "", f->what,
                         describe(&after, f, is), describe(&before, f, was));
        used += (size_t)n;
        if (used >= bytes) return;
    }
}
