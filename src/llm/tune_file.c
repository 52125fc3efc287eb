/* tune_file.c - the JSON of shares. It is believed only as far as it fits the model. */
#include "fovea/tune.h"
#include "platform/replacement.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef FV_HAVE_JANSSON
#define FV_HAVE_JANSSON 0 /* the build description says whether there is a library for JSON */
#endif
#if FV_HAVE_JANSSON
#include <jansson.h>
#include <math.h>
#endif

#define NAME_BYTES 595 /* a longer name of a file is refused */
#define FORMAT 3       /* 1: without head_dim; 2: with gates, which nothing reads any more; both are still read */

bool fv_tune_path(const char *model, char *path, size_t bytes) {
    int length = snprintf(path, bytes, "%s.fovea.json", model);
    return length > 0 && (size_t)length < bytes;
}

void fv_tune_free(fv_tune *tune) {
    free(tune->shares);
    *tune = (fv_tune){0};
}

bool fv_tune_attach(const fv_tune *tune, fv_policy *policy) {
    if (!tune || !tune->shares || policy->head_share || !fv_policy_is_dynamic(policy)) return false;
    policy->head_share = tune->shares;
    policy->head_share_count = tune->layers * tune->kv_heads;
    return true;
}

#if FV_HAVE_JANSSON

static fv_status corrupt(const char *path, const char *what, fv_message *message) {
    return fv_message_set(message, FV_ERROR_CORRUPT, "%s: %s; make it again with fovea tune, or delete it", path, what);
}

/* Whether `object` has the whole number `expected` under `key`. */
static bool has_number(const json_t *object, const char *key, uint64_t expected) {
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) && json_integer_value(value) >= 0 && (uint64_t)json_integer_value(value) == expected;
}

static fv_status check_model(const json_t *root, const char *path, const fv_llm *llm, fv_message *message) {
    const fv_model_config *shape = fv_llm_config(llm);
    const json_t *model = json_object_get(root, "model");
    if (!has_number(root, "format", 1) && !has_number(root, "format", 2) && !has_number(root, "format", FORMAT))
        return fv_message_set(message, FV_ERROR_UNSUPPORTED, "%s: not of a format from 1 to %d", path, FORMAT);
    bool dim = has_number(root, "format", 1) || has_number(model, "head_dim", shape->cache.head_dim);
    if (!dim || !has_number(model, "layers", shape->layers) || !has_number(model, "kv_heads", shape->cache.kv_heads) ||
        !has_number(model, "parameters", fv_llm_parameters(llm)) ||
        !has_number(model, "weight_bytes", fv_llm_weight_bytes(llm)))
        return fv_message_set(message, FV_ERROR_UNSUPPORTED,
                              "%s: made for another model; make it again with fovea tune, or "
                              "delete it",
                              path);
    return FV_OK;
}

static bool is_list(const json_t *value, size_t count) {
    return json_is_array(value) && json_array_size(value) == count;
}

/* Whether `layers` has a list for each layer with one value for each head. */
static bool is_table(const fv_tune *tune, const json_t *layers) {
    if (!is_list(layers, tune->layers)) return false;
    for (uint32_t layer = 0; layer < tune->layers; layer++)
        if (!is_list(json_array_get(layers, layer), tune->kv_heads)) return false;
    return true;
}

static const json_t *table_at(const fv_tune *tune, const json_t *layers, size_t head) {
    return json_array_get(json_array_get(layers, head / tune->kv_heads), head % tune->kv_heads);
}

static fv_status read_shares(fv_tune *tune, const json_t *root, const char *path, fv_message *message) {
    const json_t *layers = json_object_get(root, "shares");
    size_t heads = (size_t)tune->layers * tune->kv_heads;
    if (!is_table(tune, layers)) return corrupt(path, "the shares are not one for each layer and head", message);
    tune->shares = calloc(heads, sizeof *tune->shares);
    if (!tune->shares) return fv_message_set(message, FV_ERROR_MEMORY, "%s: no memory", path);
    for (size_t head = 0; head < heads; head++) {
        const json_t *share = table_at(tune, layers, head);
        if (!json_is_integer(share) || json_integer_value(share) < 1 || json_integer_value(share) > UINT16_MAX)
            return corrupt(path, "a share is not a whole number from 1 to 65535", message);
        tune->shares[head] = (uint16_t)json_integer_value(share);
    }
    return FV_OK;
}

/* Takes the reference. */
static fv_status read_root(fv_tune *tune, json_t *root, const char *path, const fv_llm *llm, fv_message *message) {
    const fv_model_config *shape = fv_llm_config(llm);
    fv_tune made = {.layers = shape->layers, .kv_heads = shape->cache.kv_heads, .head_dim = shape->cache.head_dim};
    fv_status status = check_model(root, path, llm, message);
    if (status == FV_OK) status = read_shares(&made, root, path, message);
    json_decref(root);
    if (status != FV_OK) {
        fv_tune_free(&made);
        return status;
    }
    snprintf(made.path, sizeof made.path, "%s", path);
    *tune = made;
    return FV_OK;
}

fv_status fv_tune_parse(fv_tune *tune, const char *json, size_t length, const char *path, const fv_llm *llm,
                        fv_message *message) {
    json_error_t error;
    json_t *root = json_loadb(json, length, JSON_REJECT_DUPLICATES, &error);
    return root ? read_root(tune, root, path, llm, message) : corrupt(path, error.text, message);
}

fv_status fv_tune_read(fv_tune *tune, const char *path, const fv_llm *llm, fv_message *message) {
    json_error_t error;
    if (access(path, F_OK) != 0) return fv_message_set(message, FV_ERROR_FILE, "%s: there is none", path);
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    return root ? read_root(tune, root, path, llm, message) : corrupt(path, error.text, message);
}

/* ---- writing ---- */

/* Each of these is NULL where there was no memory. */

static json_t *count_json(uint64_t count) { return json_integer((json_int_t)count); }
static json_t *real_json(double value) { return isfinite(value) ? json_real(value) : json_null(); }

static json_t *text_json(const char *text) {
    fv_text clean = {0};
    json_t *string = NULL;
    if (fv_utf8_clean(text, strlen(text), &clean) == FV_OK) string = json_stringn(clean.bytes, clean.length);
    fv_text_free(&clean);
    return string;
}

static json_t *model_json(const fv_llm *llm) {
    const fv_model_config *shape = fv_llm_config(llm);
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "architecture", text_json(fv_llm_architecture(llm)), "layers",
                     count_json(shape->layers), "kv_heads", count_json(shape->cache.kv_heads), "head_dim",
                     count_json(shape->cache.head_dim), "parameters", count_json(fv_llm_parameters(llm)),
                     "weight_bytes", count_json(fv_llm_weight_bytes(llm)));
}

typedef json_t *head_json_fn(const void *values, size_t head);

/* A list for each layer with a value for each head. */
static json_t *table_json(const fv_tune *tune, const void *values, head_json_fn *head_json) {
    json_t *layers = json_array();
    bool good = layers != NULL;
    for (uint32_t layer = 0; layer < tune->layers && good; layer++) {
        json_t *heads = json_array();
        good = json_array_append_new(layers, heads) == 0;
        for (uint32_t head = 0; head < tune->kv_heads && good; head++)
            good = json_array_append_new(heads, head_json(values, (size_t)layer * tune->kv_heads + head)) == 0;
    }
    if (good) return layers;
    json_decref(layers);
    return NULL;
}

static json_t *share_json(const void *values, size_t head) { return count_json(((const uint16_t *)values)[head]); }

static json_t *loss_json(const void *values, size_t head) {
    const double(*pairs)[2] = values;
    return json_pack("[o, o]", real_json(pairs[head][0]), real_json(pairs[head][1]));
}

static json_t *notes_json(const fv_tune *tune, const fv_tune_notes *notes) {
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "text", text_json(notes->text), "attention",
                     text_json(notes->attention), "context", count_json(notes->context), "scored",
                     count_json(notes->scored), "kl_uniform", real_json(notes->kl_uniform), "kl_tuned",
                     real_json(notes->kl_tuned), "kl_of_head", table_json(tune, notes->loss, loss_json));
}

/* One member, a list with a line for each of its items: so a file can be looked at, and compared line by line. */
static bool write_member(FILE *file, const char *name, json_t *value, size_t digits, const char *end) {
    if (!value) return false;
    size_t flags = JSON_REAL_PRECISION(digits) | JSON_ENCODE_ANY | JSON_COMPACT;
    bool list = json_is_array(value), good = fprintf(file, "\"%s\": %s", name, list ? "[\n" : "") > 0;
    for (size_t i = 0; list && good && i < json_array_size(value); i++)
        good = fprintf(file, "%s ", i ? ",\n" : "") > 0 && json_dumpf(json_array_get(value, i), file, flags) == 0;
    if (!list && good) good = json_dumpf(value, file, flags) == 0;
    json_decref(value);
    return good && fprintf(file, "%s%s\n", list ? "]" : "", end) > 0;
}

static bool write_all(FILE *file, const fv_tune *tune, const fv_llm *llm, const fv_tune_notes *notes) {
    return fprintf(file, "{") > 0 && write_member(file, "format", json_integer(FORMAT), 6, ",") &&
           write_member(file, "model", model_json(llm), 6, ",") &&
           write_member(file, "made", notes_json(tune, notes), 4, ",") &&
           write_member(file, "shares", table_json(tune, tune->shares, share_json), 6, "}");
}

fv_status fv_tune_write(const fv_tune *tune, const char *path, const fv_llm *llm, const fv_tune_notes *notes,
                        fv_message *message) {
    fv_replacement made;
    if (strlen(path) >= NAME_BYTES) return fv_message_set(message, FV_ERROR_FILE, "%s: the name is too long", path);
    fv_status status = fv_replacement_begin(&made, path, message);
    if (status != FV_OK) return status;
    return fv_replacement_end(&made, made.file && write_all(made.file, tune, llm, notes), message);
}

#else

static fv_status no_json(const char *path, fv_message *message) {
    return fv_message_set(message, FV_ERROR_UNSUPPORTED,
                          "%s: this build of the library has no JSON (it was built without jansson)", path);
}

fv_status fv_tune_parse(fv_tune *tune, const char *json, size_t length, const char *path, const fv_llm *llm,
                        fv_message *message) {
    (void)tune, (void)json, (void)length, (void)llm;
    return no_json(path, message);
}

fv_status fv_tune_read(fv_tune *tune, const char *path, const fv_llm *llm, fv_message *message) {
    (void)tune, (void)llm;
    if (access(path, F_OK) != 0) return fv_message_set(message, FV_ERROR_FILE, "%s: there is none", path);
    return no_json(path, message);
}

fv_status fv_tune_write(const fv_tune *tune, const char *path, const fv_llm *llm, const fv_tune_notes *notes,
                        fv_message *message) {
    (void)tune, (void)llm, (void)notes;
    return no_json(path, message);
}

#endif
