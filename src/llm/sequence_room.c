/* sequence_room.c - a sequence's segments come before a step, and go after it or when tokens are taken back. One that
 * somebody else has too is copied before it is written. */
#include "llm/lead.h"
#include "llm/llm.h"
#include "llm/sequence_state.h"
#include "llm/session_shape.h"
#include "llm/stage_mirror.h"
#include "platform/array.h"
#include <stdlib.h>
#include <string.h>

static uint32_t tokens_of(const fv_sequence *sequence) { return fv_cache_tokens(fv_sequence_first_cache(sequence)); }

/* Segments that hold the first `tokens` tokens. */
static uint32_t segments_of(uint32_t tokens) { return (tokens + FV_SEGMENT_TOKENS - 1) / FV_SEGMENT_TOKENS; }

void fv_sequence_set(fv_sequence *sequence, uint32_t layer, uint32_t index, fv_segment *segment) {
    fv_segment **place = fv_sequence_segment(sequence, layer, index);
    (void)fv_cache_segment_set(sequence->caches[layer], index, segment ? segment->memory : NULL);
    fv_segment_drop(*place);
    *place = segment;
}

/* Tokens before row `tokens` that a layer with a sliding window reads; at least the last one, whose segment an append
 * looks at. */
static uint32_t reach(const fv_sequence *sequence) {
    return sequence->shape.local_window > 2 ? sequence->shape.local_window - 1 : 1;
}

/* The first segment that such layers keep once there are segments up to end - 1: as far back as their ring goes. */
static uint32_t local_kept(const fv_sequence *sequence, uint32_t end) {
    uint32_t ring = fv_session_ring(&sequence->shape, sequence->llm->steps_kept);
    return sequence->locals && end > sequence->local_first + ring ? end - ring : sequence->local_first;
}

/* Whether a layer's segments of one are those of the other, whatever their contexts. */
static bool layers_match(const fv_sequence *a, const fv_sequence *b, uint32_t layer) {
    fv_cache_config one = *fv_cache_shape(a->caches[layer]), other = *fv_cache_shape(b->caches[layer]);
    one.max_tokens = other.max_tokens;
    return memcmp(&one, &other, sizeof one) == 0;
}

/* Segments that will be written, and so must be the sequence's own. */
typedef struct room {
    uint32_t tokens, end;       /* by appending to so many tokens or truncating to them; up to segment end - 1 */
    const fv_sequence *sharing; /* NULL, or whose segments layers of the same shape will share instead */
    fv_replaced_list *replaced; /* NULL, or of the step */
} room;

/* Whether nobody has the segment but this sequence and, for the time being, the list. */
static bool is_own(fv_segment *segment, const fv_replaced_list *replaced) {
    uint32_t held = 0;
    if (fv_segment_is_own(segment)) return true;
    for (size_t i = 0; replaced && i < replaced->count; i++) held += replaced->items[i].segment == segment;
    return held > 0 && segment->group && atomic_load_explicit(&segment->holders, memory_order_acquire) == 1 + held;
}

/* Whether the sequence needs memory of its own for it. */
static bool is_needed(const fv_sequence *sequence, const room *wanted, uint32_t layer, uint32_t index) {
    if (wanted->sharing && layers_match(sequence, wanted->sharing, layer)) return false;
    if (index < fv_cache_segment_written(sequence->caches[layer], wanted->tokens)) return false;
    if (fv_llm_is_foreign(sequence->llm, index)) return false;
    fv_segment *segment = *fv_sequence_segment(sequence, layer, index);
    return !segment || !is_own(segment, wanted->replaced);
}

static uint64_t needed_bytes(const fv_sequence *sequence, const room *wanted) {
    uint64_t bytes = 0;
    for (uint32_t layer = sequence->first_layer; layer < sequence->layers_end; layer++)
        for (uint32_t i = fv_cache_segment_written(sequence->caches[layer], wanted->tokens); i < wanted->end; i++)
            if (is_needed(sequence, wanted, layer, i)) bytes += sequence->segment_bytes[layer];
    return bytes;
}

/* That layers with a sliding window give back. */
static uint64_t spared_bytes(const fv_sequence *sequence, uint32_t end) {
    uint64_t bytes = 0;
    for (uint32_t layer = sequence->first_layer; layer < sequence->layers_end; layer++)
        for (uint32_t i = sequence->local_first;
             fv_model_is_local(&sequence->shape, layer) && i < local_kept(sequence, end); i++) {
            fv_segment *segment = *fv_sequence_segment(sequence, layer, i);
            if (segment && fv_segment_is_own(segment)) bytes += sequence->segment_bytes[layer];
        }
    return bytes;
}

/* The list holds a segment that is shared, before it is replaced. */
static fv_status replaced_add(fv_replaced_list *list, fv_sequence *sequence, uint32_t layer, uint32_t index) {
    fv_segment *segment = *fv_sequence_segment(sequence, layer, index);
    if (!list || !segment) return FV_OK;
    fv_replaced *items = fv_array_reserve(list->items, &list->room, list->count, 1, sizeof *items);
    if (!items) return FV_ERROR_MEMORY;
    list->items = items;
    fv_segment_hold(segment);
    items[list->count++] = (fv_replaced){.sequence = sequence, .layer = layer, .index = index, .segment = segment};
    return FV_OK;
}

void fv_replaced_end(fv_replaced_list *replaced, bool refused) {
    for (size_t i = 0; i < replaced->count; i++) {
        const fv_replaced *item = &replaced->items[i];
        if (refused)
            fv_sequence_set(item->sequence, item->layer, item->index, item->segment);
        else
            fv_segment_drop(item->segment);
    }
    replaced->count = 0;
}

/* A segment of its own in place of none or of a shared one. */
static fv_status segment_own(fv_sequence *sequence, uint32_t layer, uint32_t index, fv_replaced_list *replaced) {
    fv_segment *held = *fv_sequence_segment(sequence, layer, index), *made = NULL;
    uint32_t locals = sequence->locals, layers = sequence->layers_end - sequence->first_layer;
    uint32_t together = fv_model_is_local(&sequence->shape, layer) ? locals : layers - locals;
    fv_status status = fv_segment_take(sequence->pool, sequence->segment_bytes[layer], together, &made);
    if (status != FV_OK) return status;
    status = replaced_add(replaced, sequence, layer, index);
    if (status != FV_OK) fv_segment_drop(made);
    if (status != FV_OK) return status;
    if (held) memcpy(made->memory, held->memory, sequence->segment_bytes[layer]);
    fv_sequence_set(sequence, layer, index, made);
    return FV_OK;
}

/* All of them, or none is charged. spare: bytes that go back soon. */
static fv_status segments_own(fv_sequence *sequence, const room *wanted, uint64_t spare) {
    uint64_t bytes = needed_bytes(sequence, wanted);
    if (bytes == 0) return FV_OK;
    fv_status status = fv_segments_charge(sequence->pool, bytes, spare);
    for (uint32_t i = 0; status == FV_OK && i < wanted->end; i++)
        for (uint32_t layer = sequence->first_layer; layer < sequence->layers_end && status == FV_OK; layer++) {
            if (!is_needed(sequence, wanted, layer, i)) continue;
            status = segment_own(sequence, layer, i, wanted->replaced);
            if (status == FV_OK)
                bytes -= sequence->segment_bytes[layer];
            else
                fv_segments_refund(sequence->pool, bytes);
        }
    return status;
}

fv_status fv_sequence_prepare(fv_sequence *sequence, uint32_t count, fv_replaced_list *replaced) {
    uint32_t tokens = tokens_of(sequence);
    if (count > sequence->shape.cache.max_tokens - tokens) return FV_ERROR_FULL;
    uint32_t end = segments_of(tokens + count);
    size_t more = (size_t)end * FV_SEGMENT_TOKENS - tokens; /* whenever segments come, and not between */
    int32_t *ids = fv_array_reserve(sequence->ids, &sequence->id_room, tokens, more, sizeof *ids);
    if (!ids) return FV_ERROR_MEMORY;
    sequence->ids = ids;
    const room wanted = {.tokens = tokens, .end = end, .replaced = replaced};
    fv_status status = segments_own(sequence, &wanted, spared_bytes(sequence, end));
    if (status != FV_OK) fv_sequence_settle(sequence);
    return status;
}

void fv_sequence_trim(fv_sequence *sequence, uint32_t count) {
    uint32_t kept = local_kept(sequence, segments_of(tokens_of(sequence) + count));
    for (uint32_t layer = sequence->first_layer; layer < sequence->layers_end; layer++)
        for (uint32_t i = sequence->local_first; fv_model_is_local(&sequence->shape, layer) && i < kept; i++)
            fv_sequence_set(sequence, layer, i, NULL);
    sequence->local_first = kept;
}

void fv_sequence_settle(fv_sequence *sequence) {
    uint32_t kept = segments_of(tokens_of(sequence));
    for (uint32_t layer = sequence->first_layer; layer < sequence->layers_end; layer++) {
        uint32_t first =
            fv_model_is_local(&sequence->shape, layer) ? sequence->local_first : 0; /* before it are none */
        for (uint32_t i = kept > first ? kept : first; i < sequence->table; i++) {
            if (fv_llm_is_foreign(sequence->llm, i)) continue;
            if (!*fv_sequence_segment(sequence, layer, i)) break;
            fv_sequence_set(sequence, layer, i, NULL);
        }
    }
    if (tokens_of(sequence) == 0) sequence->local_first = 0;
    if (sequence->filled > kept) sequence->filled = kept;
}

/* From the middle of a segment on its memory is worth huge pages. */
static void segments_fill(fv_sequence *sequence) {
    uint32_t filled = (tokens_of(sequence) + FV_SEGMENT_TOKENS / 2) / FV_SEGMENT_TOKENS;
    for (; sequence->filled < filled; sequence->filled++)
        for (uint32_t layer = sequence->first_layer; layer < sequence->layers_end; layer++) {
            fv_segment *segment = *fv_sequence_segment(sequence, layer, sequence->filled);
            if (segment) fv_segment_fills(segment);
        }
}

void fv_sequence_commit(fv_sequence *sequence, const int32_t *tokens, uint32_t count) {
    int32_t *ids = sequence->ids + (tokens_of(sequence) - count);
    if (tokens)
        memcpy(ids, tokens, count * sizeof *tokens);
    else /* a later stage is not told */
        memset(ids, 0, count * sizeof *ids);
    segments_fill(sequence);
}

size_t fv_sequence_earliest(const fv_sequence *sequence) {
    if (sequence->local_first == 0) return 0;
    return (size_t)sequence->local_first * FV_SEGMENT_TOKENS + reach(sequence);
}

/* All layers, whose segments are the sequence's own as far as a truncation writes. */
static fv_status caches_truncate(fv_sequence *sequence, uint32_t tokens) {
    fv_status status = FV_OK;
    for (uint32_t layer = sequence->first_layer; layer < sequence->layers_end && status == FV_OK; layer++)
        status = fv_cache_truncate(sequence->caches[layer], tokens);
    fv_sequence_settle(sequence);
    return status;
}

/* Here and in the other stages. */
static fv_status sequence_cut(fv_sequence *sequence, uint32_t tokens) {
    const room wanted = {.tokens = tokens, .end = segments_of(tokens)};
    fv_lead_begin(sequence->llm);
    fv_status status = fv_lead_tell(sequence->llm, FV_STAGE_SEQUENCE_CUT, sequence->led, tokens);
    if (status == FV_OK) status = fv_llm_agree(sequence->llm, segments_own(sequence, &wanted, 0), NULL);
    fv_lead_end(sequence->llm);
    if (status == FV_OK && sequence->number) status = fv_stage_mirror_cut(sequence->llm->hub, sequence->number, tokens);
    return status == FV_OK ? caches_truncate(sequence, tokens) : status;
}

fv_status fv_sequence_undo(fv_sequence *sequence, uint32_t position, const fv_part_outcome *outcome) {
    fv_status status = sequence_cut(sequence, position < tokens_of(sequence) ? position : tokens_of(sequence));
    sequence->failed = *outcome;
    sequence->fault_tokens = position;
    return status == FV_OK ? (fv_status)outcome->status : status;
}

fv_status fv_sequence_await(fv_sequence *sequence) {
    fv_stage_failure failure;
    if (!sequence->number) return FV_OK;
    fv_status status = fv_stage_hub_wait(sequence->llm->hub, sequence->ticket);
    if (status != FV_OK || !fv_stage_hub_failed(sequence->llm->hub, 0, sequence->number, &failure)) return status;
    return fv_sequence_undo(sequence, failure.position, &failure.outcome);
}

fv_status fv_sequence_truncate(fv_sequence *sequence, size_t tokens) {
    if (!sequence || tokens > tokens_of(sequence)) return FV_ERROR_ARGUMENT;
    fv_status status = fv_sequence_await(sequence); /* of no interest where what failed is taken back anyway */
    if (tokens > tokens_of(sequence)) return status;
    if (tokens == tokens_of(sequence)) return FV_OK;
    if (tokens > 0 && tokens < fv_sequence_earliest(sequence)) return FV_ERROR_RANGE;
    return sequence_cut(sequence, (uint32_t)tokens);
}

/* --- copies ----------------------------------------------------------------------------------------------------- */

/* Whether what a layer of one holds can be copied to the other. */
static bool layers_resemble(const fv_sequence *a, const fv_sequence *b, uint32_t layer) {
    const fv_cache_config *one = fv_cache_shape(a->caches[layer]), *other = fv_cache_shape(b->caches[layer]);
    return one->key_type == other->key_type && one->value_type == other->value_type &&
           one->landmark_tokens == other->landmark_tokens;
}

/* Shares all of a layer's segments. */
static void layer_share(fv_sequence *to, const fv_sequence *from, uint32_t layer) {
    for (uint32_t i = 0; i < to->table; i++) {
        fv_segment *segment = i < from->table ? *fv_sequence_segment(from, layer, i) : NULL;
        if (segment) fv_segment_hold(segment);
        fv_sequence_set(to, layer, i, segment);
    }
    (void)fv_cache_adopt(to->caches[layer], fv_cache_tokens(from->caches[layer]));
}

/* Whether all stages hold what this one holds: nobody has to take anything back. */
static fv_status check_through(const fv_sequence *sequence) {
    fv_stage_hub *hub = sequence->llm->hub;
    if (!sequence->number) return FV_OK;
    fv_status status = fv_stage_hub_wait(hub, sequence->ticket);
    return status == FV_OK && fv_stage_hub_has_failed(hub, 0, sequence->number) ? FV_ERROR_INTERRUPTED : status;
}

fv_status fv_sequence_fill(fv_sequence *to, const fv_sequence *from) {
    uint32_t tokens = tokens_of(from);
    fv_status status = check_through(from);
    if (status != FV_OK) return status;
    int32_t *ids = fv_array_reserve(to->ids, &to->id_room, 0, tokens, sizeof *ids);
    if (!ids) return FV_ERROR_MEMORY;
    to->ids = ids;
    const room wanted = {.end = segments_of(tokens), .sharing = from};
    status = segments_own(to, &wanted, 0);
    for (uint32_t layer = to->first_layer; layer < to->layers_end && status == FV_OK; layer++) {
        if (layers_match(to, from, layer))
            layer_share(to, from, layer);
        else
            status = fv_cache_copy(to->caches[layer], from->caches[layer]);
    }
    if (status != FV_OK) return status;
    if (tokens) memcpy(to->ids, from->ids, tokens * sizeof *ids);
    to->local_first = from->local_first;
    to->filled = 0;
    segments_fill(to);
    return to->number ? fv_stage_mirror_fill(to->llm->hub, to->number, from->number) : FV_OK;
}

fv_status fv_sequence_resembles(const fv_sequence *to, const fv_sequence *from) {
    if (!to || !from || to->llm != from->llm) return FV_ERROR_ARGUMENT;
    for (uint32_t layer = to->first_layer; layer < to->layers_end; layer++)
        if (!layers_resemble(to, from, layer)) return FV_ERROR_ARGUMENT;
    return tokens_of(from) > to->shape.cache.max_tokens ? FV_ERROR_FULL : FV_OK;
}
