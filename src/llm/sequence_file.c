/* sequence_file.c - sequences to files and back. Whole segments are read where the file is mapped; what the next token
 * may be written to is the sequence's own. */
#include "fovea/stage.h"
#include "llm/divided.h"
#include "llm/llm.h"
#include "llm/sequence_state.h"
#include "llm/session_layout.h"
#include "llm/session_segments.h"
#include "llm/session_shape.h"
#include "llm/stage_files.h"
#include "llm/stage_session.h"
#include "platform/array.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char LAYERS_MISSING[] =
    "where the layers of a model are divided over processes, sessions are in files that one names, not in a folder";

static bool lacks_layers(const fv_sequence *sequence) {
    return sequence->layers_end - sequence->first_layer < sequence->shape.layers;
}

/* ---- saving ---- */

fv_status fv_sequence_save(fv_sequence *sequence, const char *path, uint32_t end, fv_message *message) {
    if (!sequence || !path) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is missing");
    fv_status status = fv_sequence_await(sequence);
    if (status != FV_OK) return fv_sequence_explain(sequence, status, message);
    if (sequence->number) return fv_stage_session_save(sequence, path, end, message);
    uint64_t before = fv_session_stamp_at(path);
    status = fv_sequence_save_part(sequence, (uint32_t)fv_sequence_tokens(sequence), path, end, NULL, message);
    if (status == FV_OK) fv_stage_files_drop(path, before);
    return status;
}

fv_status fv_sequence_save_part(fv_sequence *sequence, uint32_t tokens, const char *path, uint32_t end, bool *busy,
                                fv_message *message) {
    if (tokens == 0) return fv_message_set(message, FV_ERROR_ARGUMENT, "%s: there is nothing to save", path);
    if (lacks_layers(sequence)) return fv_message_set(message, FV_ERROR_UNSUPPORTED, "%s: %s", path, LAYERS_MISSING);
    fv_session_image image = {.busy = busy};
    return fv_sequence_write(sequence, &image, tokens, path, end, message);
}

/* ---- waking ---- */

static uint32_t segments_of(uint32_t tokens) { return fv_session_segments(tokens); }

static fv_status another(const char *what, const fv_session_info *info, fv_message *message) {
    return fv_message_set(message, FV_ERROR_UNSUPPORTED,
                          "the session was made with %s: keys %s, values %s, attention %s, read by %s", what,
                          fv_element_name(info->cache.key_type), fv_element_name(info->cache.value_type),
                          info->attention, info->model_name);
}

/* Whether the file is of the layers that the sequence has. */
static fv_status check_split(const fv_sequence *sequence, const fv_session_file *file, fv_message *message) {
    const fv_session_split *split = fv_session_file_split(file);
    char layers[FV_SPLIT_TEXT];
    fv_layer_range range;
    if (!lacks_layers(sequence) && split->stages == 1) return FV_OK;
    if (split->stages == 1)
        return fv_message_set(message, FV_ERROR_UNSUPPORTED,
                              "the session was saved by one process, and here layers are divided over several; go on "
                              "in one, or read the document again");
    fv_stage_layers(split->layers, split->index, &range);
    if (range.first == sequence->first_layer && range.first + range.count == sequence->layers_end) return FV_OK;
    if (split->index > 0)
        return fv_message_set(message, FV_ERROR_UNSUPPORTED,
                              "it has the layers of rank %" PRIu32 " alone; name the file of rank 0", split->index);
    fv_split_text(split, layers);
    return fv_message_set(message, FV_ERROR_UNSUPPORTED,
                          "the session was saved by %" PRIu32 " ranks with layers %s; go on with the same ranks and "
                          "layers, or read the document again",
                          split->stages, layers);
}

/* Whether the sequence's model and caches are those that the file is of. */
static fv_status check_shape(const fv_sequence *sequence, const fv_session_file *file, fv_message *message) {
    const fv_session_info *info = fv_session_file_info(file);
    const fv_cache_config *a = &sequence->shape.cache, *b = &info->cache;
    fv_status status = fv_llm_check_whole(sequence->llm, "no saved session can become it", message);
    if (status == FV_OK) status = check_split(sequence, file, message);
    if (status != FV_OK) return status;
    if (info->layers != sequence->shape.layers || info->vocabulary != sequence->shape.vocabulary ||
        a->kv_heads != b->kv_heads || a->head_dim != b->head_dim || info->model != fv_llm_identity(sequence->llm))
        return another("another model", info, message);
    if (a->key_type != b->key_type || a->value_type != b->value_type)
        return another("other types of keys and values", info, message);
    if (a->landmark_tokens != b->landmark_tokens || a->shadow != b->shadow || a->margins != b->margins ||
        a->tail != b->tail)
        return another("a cache for another policy", info, message);
    if (info->exact_activations != sequence->shape.exact_activations)
        return another(info->exact_activations ? "exact activations" : "activations of 8 bits", info, message);
    return FV_OK;
}

/* Whether each layer has the segments that it must, of its size. *first: that of layers with a sliding window. */
static fv_status check_layers(const fv_sequence *sequence, const fv_session_file *file, uint32_t *first,
                              fv_message *message) {
    bool good = true;
    *first = 0;
    for (uint32_t layer = sequence->first_layer; layer < sequence->layers_end; layer++)
        if (fv_model_is_local(&sequence->shape, layer)) *first = fv_session_file_first(file, layer);
    for (uint32_t layer = sequence->first_layer; layer < sequence->layers_end; layer++) {
        uint32_t wanted = fv_model_is_local(&sequence->shape, layer) ? *first : 0;
        if (fv_session_file_first(file, layer) != wanted) good = false;
        if (fv_session_file_segment_bytes(file, layer) != sequence->segment_bytes[layer]) good = false;
    }
    return good ? FV_OK
                : fv_message_set(message, FV_ERROR_CORRUPT,
                                 "the session's segments are not those of this model; read the document again");
}

static void file_release(void *context) { fv_session_file_close(context); }

/* A segment of the file, where it lies. */
static fv_status segment_map(fv_sequence *sequence, fv_session_file *file, uint32_t layer, uint32_t index,
                             const void *mapped) {
    fv_segment *segment = NULL;
    fv_session_file_hold(file);
    /* through uintptr_t: a borrowed segment is never written */
    fv_status status = fv_segment_borrow((void *)(uintptr_t)mapped, file_release, file, &segment);
    if (status == FV_OK)
        fv_sequence_set(sequence, layer, index, segment);
    else
        fv_session_file_close(file);
    return status;
}

static fv_status segment_read(fv_sequence *sequence, const fv_session_file *file, uint32_t layer, uint32_t index,
                              fv_message *message) {
    fv_segment *segment = NULL;
    size_t bytes = sequence->segment_bytes[layer];
    fv_status status = fv_segments_charge(sequence->pool, bytes, 0);
    if (status != FV_OK) return status;
    status = fv_segment_take(sequence->pool, bytes, 1, &segment);
    if (status != FV_OK) {
        fv_segments_refund(sequence->pool, bytes);
        return status;
    }
    status = fv_session_file_read(file, layer, index, segment->memory, message);
    fv_sequence_set(sequence, layer, index, segment);
    return status;
}

/* All segments of the first `tokens` tokens. */
static fv_status segments_fill(fv_sequence *sequence, fv_session_file *file, uint32_t tokens, fv_message *message) {
    fv_status status = FV_OK;
    for (uint32_t layer = sequence->first_layer; layer < sequence->layers_end; layer++)
        for (uint32_t i = fv_session_file_first(file, layer); i < segments_of(tokens) && status == FV_OK; i++) {
            const void *mapped = NULL;
            status = fv_session_file_segment(file, layer, i, &mapped, message);
            if (status != FV_OK) return status;
            status = mapped ? segment_map(sequence, file, layer, i, mapped)
                            : segment_read(sequence, file, layer, i, message);
        }
    return status;
}

/* An empty sequence holds the first `tokens` of the file. */
static fv_status sequence_fill(fv_sequence *sequence, fv_session_file *file, uint32_t tokens, fv_message *message) {
    uint64_t held = (uint64_t)segments_of(tokens) * FV_SEGMENT_TOKENS;
    uint32_t all = fv_session_file_info(file)->tokens, room = sequence->shape.cache.max_tokens;
    if (held > all) held = all;
    if (held > room)
        held = room; /* more than `tokens` all the same, if the file has more: the cut mends what it cuts */
    if (tokens > room || (held == tokens && tokens < all && tokens % FV_SEGMENT_TOKENS != 0)) return FV_ERROR_FULL;
    int32_t *ids = fv_array_reserve(sequence->ids, &sequence->id_room, 0, (size_t)held, sizeof *ids);
    if (!ids) return FV_ERROR_MEMORY;
    sequence->ids = ids;
    memcpy(ids, fv_session_file_tokens(file), (size_t)held * sizeof *ids);
    fv_status status = check_layers(sequence, file, &sequence->local_first, message);
    if (status == FV_OK && tokens < fv_sequence_earliest(sequence)) return FV_ERROR_RANGE;
    if (status == FV_OK) status = segments_fill(sequence, file, (uint32_t)held, message);
    for (uint32_t layer = sequence->first_layer; layer < sequence->layers_end && status == FV_OK; layer++)
        status = fv_cache_adopt(sequence->caches[layer], (uint32_t)held);
    sequence->filled = segments_of((uint32_t)held);
    return status == FV_OK ? fv_sequence_truncate(sequence, tokens) : status;
}

fv_status fv_sequence_wake(fv_sequence *sequence, fv_session_file *file, size_t tokens, fv_message *message) {
    fv_sequence *made = NULL; /* `sequence` is as it was on error */
    if (message) message->text[0] = 0;
    if (!sequence || !file || tokens == 0 || tokens > fv_session_file_info(file)->tokens)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "the session has not so many tokens");
    fv_status status = check_shape(sequence, file, message);
    if (status == FV_OK && sequence->number) status = fv_stage_session_fits(sequence, file, message);
    if (status != FV_OK) return status;
    status = fv_sequence_open(&made, sequence->llm, sequence->pool, &sequence->config, message);
    if (status != FV_OK) return status;
    if (message) message->text[0] = 0; /* a remark that was made when it was opened */
    status = sequence_fill(made, file, (uint32_t)tokens, message);
    if (status == FV_OK && made->number) status = fv_stage_session_wake(made, file, (uint32_t)tokens, message);
    if (status == FV_OK)
        fv_sequence_become(sequence, made);
    else
        fv_sequence_close(made);
    if (status != FV_OK && message && !message->text[0])
        return fv_message_set(message, status, "%s: %zu tokens of the session can't be taken up",
                              fv_status_text(status), tokens);
    return status;
}
