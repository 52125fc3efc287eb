/* sequence_dither.c - a session woken with noise: its keys and values are read stochastically and written to caches of
 * wider types, which can hold what lies between two quantised values. */
#include "fovea/reference/dither.h"
#include "fovea/session_file.h"
#include "llm/sequence_state.h"
#include "platform/array.h"
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 64 }; /* tokens that are read at once */

/* Whether noise of half a step of `from` survives in `to`. */
static bool holds_noise(uint32_t from, uint32_t to) {
    bool quantised = from == FV_ELEMENT_Q8_0 || from == FV_ELEMENT_Q4_0;
    return from != FV_ELEMENT_F32 && (to == FV_ELEMENT_F32 || (quantised && to == FV_ELEMENT_F16));
}

static fv_status types_check(const fv_session_config *config, const fv_session_info *info, fv_message *message) {
    const uint32_t from[2] = {info->cache.key_type, info->cache.value_type};
    const uint32_t to[2] = {config->key_type, config->value_type};
    bool exact = from[0] == FV_ELEMENT_F32 && from[1] == FV_ELEMENT_F32; /* there is nothing between its values */
    for (int i = 0; i < 2 && !exact; i++)
        if (!holds_noise(from[i], to[i]) && !(from[i] == FV_ELEMENT_F32 && to[i] == FV_ELEMENT_F32))
            return fv_message_set(message, FV_ERROR_UNSUPPORTED,
                                  "%s of type %s have no room for noise on those of the session, which are %s: take "
                                  "f32%s",
                                  i ? "values" : "keys", fv_element_name(to[i]), fv_element_name(from[i]),
                                  holds_noise(from[i], FV_ELEMENT_F16) ? " or f16" : "");
    return exact ? fv_message_set(message, FV_ERROR_UNSUPPORTED, "keys and values of type f32 are read as they are")
                 : FV_OK;
}

/* Keys and values of some tokens of a layer: [tokens][heads * dim] each, and of one head in the order of reading. */
typedef struct rows {
    float *keys, *values, *head_keys, *head_values;
    size_t heads, dim;
} rows;

static bool rows_make(rows *made, const fv_cache_config *shape) {
    size_t heads = shape->kv_heads, dim = shape->head_dim, count = CHUNK * heads * dim;
    float *all = fv_array_new(2 * count + 2 * CHUNK * dim, sizeof *all);
    *made = (rows){.keys = all, .heads = heads, .dim = dim};
    if (!all) return false;
    made->values = all + count;
    made->head_keys = made->values + count;
    made->head_values = made->head_keys + CHUNK * dim;
    return true;
}

/* Zeros where a sliding window has lost them: nobody reads them. */
static fv_status rows_read(const rows *into, const fv_cache *cache, uint32_t first, uint32_t count,
                           const fv_dither *dither) {
    size_t width = into->heads * into->dim;
    memset(into->keys, 0, count * width * sizeof *into->keys);
    memset(into->values, 0, count * width * sizeof *into->values);
    if (!fv_cache_segment_at(cache, first / FV_SEGMENT_TOKENS)) return FV_OK;
    for (uint32_t head = 0; head < into->heads; head++) {
        fv_status status =
            fv_cache_read_dithered(cache, head, first, count, dither, into->head_keys, into->head_values);
        if (status != FV_OK) return status;
        for (size_t t = 0; t < count; t++) {
            size_t at = t * width + head * into->dim, from = t * into->dim, bytes = into->dim * sizeof(float);
            memcpy(into->keys + at, into->head_keys + from, bytes);
            memcpy(into->values + at, into->head_values + from, bytes);
        }
    }
    return FV_OK;
}

/* The next `count` tokens, of one segment. */
static fv_status chunk_copy(fv_sequence *to, const fv_sequence *from, uint32_t count, uint64_t seed, const rows *used) {
    uint32_t first = (uint32_t)fv_sequence_tokens(to);
    size_t width = used->heads * used->dim;
    fv_status status = fv_sequence_prepare(to, count, NULL);
    if (status != FV_OK) return status;
    fv_sequence_trim(to, count);
    for (uint32_t layer = to->first_layer; layer < to->layers_end && status == FV_OK; layer++) {
        const fv_dither dither = {.seed = seed, .stream = layer};
        status = rows_read(used, from->caches[layer], first, count, &dither);
        if (status == FV_OK) status = fv_cache_append(to->caches[layer], count, used->keys, width, used->values, width);
    }
    if (status == FV_OK) fv_sequence_commit(to, from->ids + first, count);
    return status;
}

/* What `from` has lost, `to` has not either. */
static void locals_forget(fv_sequence *to, const fv_sequence *from) {
    for (uint32_t layer = to->first_layer; layer < to->layers_end; layer++)
        for (uint32_t i = to->local_first; fv_model_is_local(&to->shape, layer) && i < from->local_first; i++)
            fv_sequence_set(to, layer, i, NULL);
    if (to->local_first < from->local_first) to->local_first = from->local_first;
}

static fv_status sequence_copy(fv_sequence *to, const fv_sequence *from, uint64_t seed) {
    rows used;
    fv_status status = rows_make(&used, &to->shape.cache) ? FV_OK : FV_ERROR_MEMORY;
    uint32_t tokens = (uint32_t)fv_sequence_tokens(from);
    for (uint32_t done = 0, count; done < tokens && status == FV_OK; done += count) {
        count = tokens - done < CHUNK ? tokens - done : CHUNK; /* of one segment: a chunk divides it */
        status = chunk_copy(to, from, count, seed, &used);
    }
    free(used.keys);
    if (status == FV_OK) locals_forget(to, from);
    return status;
}

/* The session as it is, in caches of its own types. */
static fv_status stored_wake(const fv_sequence *sequence, fv_session_file *file, size_t tokens, fv_sequence **stored,
                             fv_message *message) {
    const fv_session_info *info = fv_session_file_info(file);
    fv_session_config config = sequence->config;
    config.key_type = info->cache.key_type;
    config.value_type = info->cache.value_type;
    fv_status status = fv_sequence_open(stored, sequence->llm, sequence->pool, &config, message);
    return status == FV_OK ? fv_sequence_wake(*stored, file, tokens, message) : status;
}

fv_status fv_sequence_wake_dithered(fv_sequence *sequence, fv_session_file *file, size_t tokens, uint64_t seed,
                                    fv_message *message) {
    fv_sequence *stored = NULL, *made = NULL; /* `sequence` is as it was on error */
    if (!sequence || !file) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is missing");
    if (sequence->layers_end - sequence->first_layer < sequence->shape.layers)
        return fv_message_set(message, FV_ERROR_UNSUPPORTED,
                              "sessions of a model whose layers are divided over processes can't be woken with noise");
    fv_status status = types_check(&sequence->config, fv_session_file_info(file), message);
    if (status == FV_OK) status = stored_wake(sequence, file, tokens, &stored, message);
    if (status == FV_OK) status = fv_sequence_open(&made, sequence->llm, sequence->pool, &sequence->config, message);
    bool begun = status == FV_OK;
    if (begun && message) message->text[0] = 0; /* a remark that was made when it was opened */
    if (begun) status = sequence_copy(made, stored, seed);
    fv_sequence_close(stored);
    if (status == FV_OK)
        fv_sequence_become(sequence, made);
    else
        fv_sequence_close(made);
    if (begun && status != FV_OK)
        return fv_message_set(message, status, "%s: %zu tokens of the session can't be taken up with noise",
                              fv_status_text(status), tokens);
    return status;
}
