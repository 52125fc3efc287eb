/* sequence.c - opening and closing of sequences, forks, and what they say of themselves. */
#include "fovea/step.h"
#include "llm/divided.h"
#include "llm/fault_text.h"
#include "llm/lead.h"
#include "llm/llm.h"
#include "llm/sequence_state.h"
#include "llm/session_shape.h"
#include "llm/stage_mirror.h"
#include "platform/array.h"
#include "platform/pages.h"
#include <stdlib.h>
#include <string.h>

static fv_status no_memory(fv_message *message) {
    return fv_message_set(message, FV_ERROR_MEMORY, "out of memory for the tables of a sequence");
}

/* Caches without segments, and the tables. */
static fv_status caches_make(fv_sequence *sequence, fv_message *message) {
    uint32_t layers = sequence->shape.layers, own = sequence->layers_end - sequence->first_layer;
    size_t bytes = 0, most = 0;
    sequence->table = (sequence->shape.cache.max_tokens - 1) / FV_SEGMENT_TOKENS + 1;
    sequence->caches = fv_array_new(layers, sizeof(fv_cache *));
    sequence->segment_bytes = fv_array_new(layers, sizeof(size_t));
    if (layers > SIZE_MAX / sequence->table) return no_memory(message);
    sequence->segments = fv_array_new((size_t)layers * sequence->table, sizeof(fv_segment *));
    if (!sequence->caches || !sequence->segment_bytes || !sequence->segments) return no_memory(message);
    for (uint32_t layer = sequence->first_layer; layer < sequence->layers_end; layer++) {
        fv_cache_config shape = fv_layer_cache_shape(&sequence->shape, layer);
        fv_status status = fv_cache_segments_size(&shape, &bytes, &sequence->segment_bytes[layer]);
        if (status != FV_OK) return fv_message_set(message, status, "the shape of the cache is out of range");
        most = bytes > most ? bytes : most;
        sequence->locals += fv_model_is_local(&sequence->shape, layer);
    }
    if (most > SIZE_MAX / own) return no_memory(message);
    sequence->cache_bytes = most * own;
    sequence->cache_memory = fv_pages_reserve(sequence->cache_bytes);
    if (!sequence->cache_memory) return no_memory(message);
    unsigned char *memory = sequence->cache_memory;
    for (uint32_t layer = sequence->first_layer; layer < sequence->layers_end; layer++, memory += most) {
        fv_cache_config shape = fv_layer_cache_shape(&sequence->shape, layer);
        fv_status status = fv_cache_segments_init(&sequence->caches[layer], &shape, sequence->kernels, memory, most);
        const fv_exchange *exchange = sequence->llm->exchange;
        if (status == FV_OK && exchange)
            status = fv_cache_divide(sequence->caches[layer], exchange->rank, exchange->ranks);
        if (status != FV_OK) return fv_message_set(message, status, "the cache of a layer could not be made");
    }
    return FV_OK;
}

static fv_status sequence_build(fv_sequence *sequence, fv_message *message) {
    fv_status status = fv_session_shape_make(&sequence->shape, sequence->llm, &sequence->config, 1, message);
    if (status == FV_OK) status = fv_llm_check_divides(sequence->llm, &sequence->config.policy, message);
    if (status == FV_OK)
        status = fv_session_kernels(&sequence->config, &sequence->kernels, &sequence->kernels_memory, message);
    if (status == FV_OK) status = caches_make(sequence, message);
    if (status != FV_OK) return status;
    sequence->policy = sequence->config.policy;
    fv_sequence_report_reset(sequence);
    return fv_session_remark(&sequence->shape, sequence->llm, message);
}

/* The same in all other stages. */
static fv_status mirror_open(fv_sequence *sequence, fv_message *message) {
    fv_stage_hub *hub = sequence->llm->hub;
    sequence->whole = malloc(sizeof *sequence->whole);
    if (!sequence->whole || fv_stage_hub_enter(hub, sequence, &sequence->number) != FV_OK) return no_memory(message);
    fv_message fault = {{0}};
    fv_status status =
        fv_stage_mirror_open(hub, FV_STAGE_SEQUENCE_OPEN, sequence->number, 1, &sequence->config, &fault);
    return status == FV_OK ? FV_OK : fv_message_set(message, status, "%s", fault.text);
}

/* What is made here is made at all ranks that hold contexts together, or at none. What all of them refuse is not told.
 */
static fv_status ranks_open(fv_sequence *sequence, fv_status status, fv_message *message) {
    const fv_llm *llm = sequence->llm;
    if (status != FV_OK && status != FV_ERROR_MEMORY) return status;
    fv_lead_begin(llm);
    fv_status told = fv_lead_open(llm, FV_STAGE_SEQUENCE_OPEN, 1, &sequence->config, &sequence->led);
    if (told == FV_OK) told = fv_llm_agree(llm, status, NULL);
    fv_lead_end(llm);
    if (told == FV_OK || told == status) return told;
    return fv_message_set(message, told, "a sequence can't be opened at all ranks: %s", fv_status_text(told));
}

fv_status fv_sequence_open(fv_sequence **sequence, const fv_llm *llm, fv_segments *segments,
                           const fv_session_config *config, fv_message *message) {
    if (!sequence || !llm || !segments || !config)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is missing");
    fv_sequence *made = calloc(1, sizeof *made);
    if (!made) return no_memory(message);
    fv_status status = fv_llm_hold(llm, message);
    if (status != FV_OK) {
        free(made);
        return status;
    }
    made->llm = llm;
    made->pool = segments;
    made->config = *config;
    made->first_layer = llm->loaded.range.first;
    made->layers_end = made->first_layer + llm->loaded.range.count;
    fv_segments_hold(segments);
    status = sequence_build(made, message);
    if (llm->exchange) status = ranks_open(made, status, message);
    if (status == FV_OK && llm->hub) status = mirror_open(made, message);
    if (status == FV_OK)
        *sequence = made;
    else
        fv_sequence_close(made);
    return status;
}

void fv_sequence_close(fv_sequence *sequence) {
    if (!sequence) return;
    if (sequence->led) {
        fv_lead_begin(sequence->llm);
        (void)fv_lead_tell(sequence->llm, FV_STAGE_SEQUENCE_CLOSE, sequence->led, 0);
        fv_lead_end(sequence->llm);
    }
    if (sequence->number) {
        fv_stage_mirror_tell(sequence->llm->hub, FV_STAGE_SEQUENCE_CLOSE, sequence->number);
        (void)fv_stage_hub_wait(sequence->llm->hub, sequence->ticket);
        fv_stage_hub_leave(sequence->llm->hub, sequence->number);
    }
    if (sequence->cache_memory)
        for (uint32_t layer = sequence->first_layer; layer < sequence->layers_end; layer++)
            for (uint32_t i = 0; i < sequence->table; i++) fv_segment_drop(*fv_sequence_segment(sequence, layer, i));
    fv_pages_unmap(sequence->cache_memory, sequence->cache_bytes);
    free(sequence->segments);
    free(sequence->segment_bytes);
    free(sequence->caches);
    free(sequence->ids);
    free(sequence->kernels_memory);
    free(sequence->whole);
    fv_segments_close(sequence->pool);
    fv_llm_release(sequence->llm);
    free(sequence);
}

/* `made` holds what `from` holds, at all ranks or it is closed. */
static fv_status ranks_fill(fv_sequence *made, const fv_sequence *from) {
    fv_lead_begin(from->llm);
    fv_status status = fv_lead_tell(from->llm, FV_STAGE_SEQUENCE_FILL, made->led, from->led);
    if (status == FV_OK) status = fv_llm_agree(from->llm, fv_sequence_fill(made, from), NULL);
    fv_lead_end(from->llm);
    return status;
}

fv_status fv_sequence_fork(fv_sequence **fork, const fv_sequence *from, fv_message *message) {
    if (!fork || !from) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is missing");
    fv_sequence *made = NULL;
    fv_status status = fv_sequence_open(&made, from->llm, from->pool, &from->config, message);
    if (status != FV_OK) return status;
    status = ranks_fill(made, from);
    if (status == FV_OK) status = fv_sequence_set_policy(made, &from->policy, message);
    if (status != FV_OK) {
        fv_sequence_close(made);
        return status == FV_ERROR_MEMORY ? no_memory(message) : status;
    }
    made->deadline = from->deadline;
    *fork = made;
    return FV_OK;
}

void fv_sequence_blame(fv_sequence *sequence, size_t tokens, fv_status status, const fv_model_fault *fault) {
    sequence->failed = (fv_part_outcome){.status = status, .fault = *fault};
    sequence->fault_tokens = tokens;
}

fv_status fv_sequence_explain(const fv_sequence *sequence, fv_status status, fv_message *message) {
    if (sequence && sequence->number) (void)fv_stage_hub_explain(sequence->llm->hub, status, message);
    if (!sequence || status != sequence->failed.status) return status;
    const fv_cache_config *cache = &sequence->shape.cache;
    const fv_model_fault *fault = &sequence->failed.fault;
    uint32_t type = fault->place == FV_PLACE_VALUE ? cache->value_type : cache->key_type;
    const fv_fault_cache held = {type, fv_element_name(type)};
    return fv_fault_text(fv_gguf_path(sequence->llm->gguf), fault, &held, sequence->fault_tokens, status, message);
}

void fv_sequence_become(fv_sequence *sequence, fv_sequence *made) {
    fv_sequence held = *sequence;
    *sequence = *made;
    *made = held;
    sequence->policy = held.policy;
    sequence->report = held.report;
    sequence->deadline = held.deadline;
    sequence->deadline_counts = held.deadline_counts;
    if (sequence->number) fv_stage_hub_move(sequence->llm->hub, sequence->number, sequence);
    if (made->number) fv_stage_hub_move(made->llm->hub, made->number, made);
    fv_sequence_close(made);
}

fv_status fv_sequence_copy(fv_sequence *to, const fv_sequence *from) {
    fv_status status = fv_sequence_resembles(to, from);
    if (status != FV_OK || to == from) return status;
    fv_sequence *made = NULL; /* `to` is as it was if there is no memory */
    status = fv_sequence_open(&made, to->llm, to->pool, &to->config, NULL);
    if (status != FV_OK) return status;
    status = ranks_fill(made, from);
    if (status == FV_OK)
        fv_sequence_become(to, made);
    else
        fv_sequence_close(made);
    return status;
}

size_t fv_sequence_tokens(const fv_sequence *sequence) { return fv_cache_tokens(fv_sequence_first_cache(sequence)); }
size_t fv_sequence_context_tokens(const fv_sequence *sequence) { return sequence->shape.cache.max_tokens; }
const int32_t *fv_sequence_ids(const fv_sequence *sequence) { return sequence->ids; }
const fv_policy *fv_sequence_policy(const fv_sequence *sequence) { return &sequence->policy; }

const fv_report *fv_sequence_report(const fv_sequence *sequence) {
    if (!sequence->number) return &sequence->report;
    *sequence->whole = sequence->report;
    (void)fv_stage_mirror_report(sequence->llm->hub, sequence->number, sequence->whole);
    return sequence->whole;
}

static uint64_t segments_bytes(const fv_sequence *sequence, bool shared_too) {
    uint64_t bytes = 0;
    for (uint32_t layer = sequence->first_layer; layer < sequence->layers_end; layer++)
        for (uint32_t i = 0; i < sequence->table; i++) {
            fv_segment *segment = *fv_sequence_segment(sequence, layer, i);
            if (segment && (shared_too || fv_segment_is_own(segment))) bytes += sequence->segment_bytes[layer];
        }
    return bytes;
}

uint64_t fv_sequence_bytes(const fv_sequence *sequence) { return segments_bytes(sequence, true); }
uint64_t fv_sequence_own_bytes(const fv_sequence *sequence) { return segments_bytes(sequence, false); }

const fv_cache *fv_sequence_cache(const fv_sequence *sequence, uint32_t layer) {
    return layer < sequence->shape.layers ? sequence->caches[layer] : NULL;
}

fv_status fv_sequence_set_policy(fv_sequence *sequence, const fv_policy *policy, fv_message *message) {
    if (!sequence || !policy) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is missing");
    fv_status status = fv_session_policy_check(policy, &sequence->shape, message);
    if (status == FV_OK) status = fv_llm_check_divides(sequence->llm, policy, message);
    fv_session_config config = sequence->config;
    config.policy = *policy;
    fv_lead_begin(sequence->llm);
    if (status == FV_OK && sequence->led) status = fv_lead_policy(sequence->llm, sequence->led, &config);
    fv_lead_end(sequence->llm);
    if (status == FV_OK && sequence->number)
        status =
            fv_stage_mirror_open(sequence->llm->hub, FV_STAGE_SEQUENCE_POLICY, sequence->number, 1, &config, message);
    if (status == FV_OK) sequence->policy = *policy;
    return status;
}

void fv_sequence_report_reset(fv_sequence *sequence) {
    sequence->report = fv_session_report_new(sequence->kernels);
    fv_lead_begin(sequence->llm);
    if (sequence->led) (void)fv_lead_tell(sequence->llm, FV_STAGE_REPORT_RESET, sequence->led, 0);
    fv_lead_end(sequence->llm);
    if (sequence->number) fv_stage_mirror_tell(sequence->llm->hub, FV_STAGE_REPORT_RESET, sequence->number);
}
