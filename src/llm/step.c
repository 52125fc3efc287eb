/* step.c - steps over sequences: segments first, then the forward pass, then tokens. */
#include "fovea/step.h"
#include "gguf/gguf_map.h"
#include "llm/lead.h"
#include "llm/llm.h"
#include "llm/sequence_state.h"
#include "llm/session_shape.h"
#include "llm/stepper_parts.h"
#include "llm/stepper_state.h"
#include "platform/array.h"
#include "platform/pages.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { EMBEDDED_MOST = 512 /* tokens until rows of the embedding are given back */ };

/* Steps together with the other ranks that hold the contexts. */
static fv_status exchange_build(fv_stepper *stepper, fv_message *message) {
    const fv_exchange *exchange = stepper->llm->exchange;
    if (!exchange) return FV_OK;
    fv_status status = fv_model_exchange_size(stepper->model, exchange->ranks, &stepper->exchange_bytes);
    if (status == FV_OK) {
        stepper->exchange_memory = fv_pages_reserve(stepper->exchange_bytes);
        if (!stepper->exchange_memory) status = FV_ERROR_MEMORY;
    }
    if (status == FV_OK)
        status = fv_model_set_exchange(stepper->model, exchange, stepper->exchange_memory, stepper->exchange_bytes);
    return status == FV_OK ? FV_OK
                           : fv_message_set(message, status, "steps over %" PRIu32 " ranks can't be made: %s",
                                            exchange->ranks, fv_status_text(status));
}

static fv_status stepper_build(fv_stepper *stepper, const fv_session_config *config, uint32_t parts,
                               fv_message *message) {
    fv_session_memory use;
    uint32_t workers = stepper->parallel ? stepper->parallel->workers : 1;
    fv_status status = fv_session_shape_make(&stepper->shape, stepper->llm, config, parts, message);
    if (status == FV_OK) status = fv_llm_check_divides(stepper->llm, &config->policy, message);
    if (status == FV_OK) status = fv_session_kernels(config, &stepper->kernels, &stepper->kernels_memory, message);
    const fv_session_layers layers = fv_session_layers_of(stepper->llm);
    if (status == FV_OK)
        status = fv_session_memory_of(&stepper->shape, &layers, workers, &use, &stepper->memory_bytes, message);
    if (status != FV_OK) return status;
    stepper->parts = fv_array_new(stepper->shape.parts, sizeof *stepper->parts);
    stepper->kept = fv_array_new(stepper->shape.parts, sizeof *stepper->kept);
    stepper->became = fv_array_new(stepper->shape.parts, sizeof *stepper->became);
    stepper->places = fv_array_new(stepper->shape.parts, sizeof *stepper->places);
    stepper->memory = fv_pages_reserve(stepper->memory_bytes);
    if (!stepper->parts || !stepper->kept || !stepper->became || !stepper->places || !stepper->memory)
        return fv_message_set(message, FV_ERROR_MEMORY,
                              "no memory for a step of %" PRIu32 " tokens: activations %" PRIu64 " bytes",
                              stepper->shape.batch_tokens, use.scratch_bytes);
    const fv_model_weights weights = fv_loaded_weights(&stepper->llm->loaded, stepper->shape.cache.max_tokens);
    status = fv_model_init_range(&stepper->model, &stepper->shape, &weights, &layers.range, stepper->kernels, workers,
                                 stepper->memory, stepper->memory_bytes);
    if (status != FV_OK)
        return fv_message_set(message, status, "the forward pass refuses the model's shape or weights");
    return exchange_build(stepper, message);
}

/* What is made here is made at all ranks, or at none. What all of them refuse is not told. */
static fv_status ranks_open(fv_stepper *stepper, const fv_session_config *config, uint32_t parts, fv_status status,
                            fv_message *message) {
    const fv_llm *llm = stepper->llm;
    if (status != FV_OK && status != FV_ERROR_MEMORY) return status;
    fv_lead_begin(llm);
    fv_status told = fv_lead_open(llm, FV_STAGE_STEPPER_OPEN, parts, config, &stepper->led);
    if (told == FV_OK) told = fv_llm_agree(llm, status, NULL);
    fv_lead_end(llm);
    if (told == FV_OK || told == status) return told;
    return fv_message_set(message, told, "steps can't be made at all ranks: %s", fv_status_text(told));
}

fv_status fv_stepper_open_parts(fv_stepper **stepper, const fv_llm *llm, const fv_session_config *config,
                                uint32_t parts, fv_pool *pool, fv_message *message) {
    if (!stepper || !llm || !config) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is missing");
    fv_stepper *made = calloc(1, sizeof *made);
    if (!made) return fv_message_set(message, FV_ERROR_MEMORY, "out of memory for a stepper");
    fv_status status = fv_llm_hold(llm, message);
    if (status != FV_OK) {
        free(made);
        return status;
    }
    made->llm = llm;
    made->parallel = fv_pool_parallel(pool);
    status = stepper_build(made, config, parts, message);
    if (llm->exchange) status = ranks_open(made, config, parts, status, message);
    if (status == FV_OK && llm->hub)
        status = fv_stage_steps_open(&made->stages, llm->hub, config, made->shape.parts, made->shape.width, message);
    if (status == FV_OK)
        *stepper = made;
    else
        fv_stepper_close(made);
    return status;
}

fv_status fv_stepper_open(fv_stepper **stepper, const fv_llm *llm, const fv_session_config *config, fv_pool *pool,
                          fv_message *message) {
    return fv_stepper_open_parts(stepper, llm, config, UINT32_MAX, pool, message);
}

void fv_stepper_close(fv_stepper *stepper) {
    if (!stepper) return;
    if (stepper->led) {
        fv_lead_begin(stepper->llm);
        (void)fv_lead_tell(stepper->llm, FV_STAGE_STEPPER_CLOSE, stepper->led, 0);
        fv_lead_end(stepper->llm);
    }
    fv_stage_steps_close(stepper->stages);
    free(stepper->hidden);
    fv_pages_unmap(stepper->memory, stepper->memory_bytes);
    fv_pages_unmap(stepper->exchange_memory, stepper->exchange_bytes);
    free(stepper->parts);
    free(stepper->kept);
    free(stepper->became);
    free(stepper->places);
    free(stepper->replaced.items);
    free(stepper->kernels_memory);
    fv_llm_release(stepper->llm);
    free(stepper);
}

size_t fv_stepper_batch_tokens(const fv_stepper *stepper) { return stepper->shape.batch_tokens; }
uint64_t fv_stepper_bytes(const fv_stepper *stepper) { return stepper->memory_bytes + stepper->exchange_bytes; }
uint64_t fv_stepper_exchanged_bytes(const fv_stepper *stepper) { return fv_model_exchanged_bytes(stepper->model); }

static fv_status part_check(const fv_stepper *stepper, const fv_step_part *part) {
    const fv_sequence *sequence = part->sequence;
    if (!sequence || part->count < 1 || sequence->llm != stepper->llm) return FV_ERROR_ARGUMENT;
    if (!part->tokens && !stepper->inputs) return FV_ERROR_ARGUMENT;
    if (part->deadline && (part->dense_rows || part->output_rows || fv_llm_ranks(stepper->llm) > 1))
        return FV_ERROR_UNSUPPORTED;
    if (part->count > sequence->shape.batch_tokens || part->dense_rows > part->count) return FV_ERROR_ARGUMENT;
    if (part->output_rows > part->count) return FV_ERROR_ARGUMENT;
    if (sequence->shape.cache.max_tokens > stepper->shape.cache.max_tokens) return FV_ERROR_ARGUMENT;
    for (uint32_t i = 0; part->tokens && i < part->count; i++)
        if (part->tokens[i] < 0 || (uint32_t)part->tokens[i] >= stepper->shape.vocabulary) return FV_ERROR_ARGUMENT;
    return fv_policy_is_dynamic(&sequence->policy) && !stepper->shape.cache.shadow ? FV_ERROR_POLICY : FV_OK;
}

/* *refused: the part that is why, where it is one. */
static fv_status parts_check(const fv_stepper *stepper, const fv_step_part *parts, size_t count, size_t *refused) {
    if (!stepper || !parts || count < 1 || count > stepper->shape.parts) return FV_ERROR_ARGUMENT;
    uint64_t rows = 0;
    for (size_t i = 0; i < count; i++) {
        fv_status status = part_check(stepper, &parts[i]);
        if (status != FV_OK) *refused = i;
        if (status != FV_OK) return status;
        rows += parts[i].count;
        for (size_t j = 0; j < i; j++)
            if (parts[j].sequence == parts[i].sequence) {
                *refused = i;
                return FV_ERROR_ARGUMENT;
            }
    }
    return rows > stepper->shape.batch_tokens ? FV_ERROR_ARGUMENT : FV_OK;
}

/* Segments for all parts, or for none. */
static fv_status parts_prepare(const fv_step_part *parts, size_t count, fv_replaced_list *replaced, size_t *refused) {
    fv_status status = FV_OK;
    size_t ready = 0;
    while (ready < count && status == FV_OK) {
        status = fv_sequence_prepare(parts[ready].sequence, parts[ready].count, replaced);
        if (status == FV_OK) ready++;
    }
    uint32_t which = status == FV_OK ? UINT32_MAX : (uint32_t)ready;
    status = fv_llm_agree(parts->sequence->llm, status, &which);
    if (status != FV_OK) *refused = which < count ? which : SIZE_MAX;
    fv_replaced_end(replaced, status != FV_OK);
    for (size_t i = 0; i < ready; i++) {
        if (status == FV_OK)
            fv_sequence_trim(parts[i].sequence, parts[i].count);
        else
            fv_sequence_settle(parts[i].sequence);
    }
    return status;
}

/* Activations of a prompt are worth huge pages; those of single tokens are a few small ones of each kind. */
static void place_memory(fv_stepper *stepper) {
    if (stepper->huge || fv_stepper_rows(stepper) < stepper->shape.batch_tokens / 2) return;
    stepper->huge = true;
    fv_pages_huge(stepper->memory, stepper->memory_bytes, stepper->memory_bytes);
}

/* All is there that stepper->parts need, or nothing is changed. */
static fv_status parts_make(fv_stepper *stepper, const fv_step_part *parts, size_t count, fv_stage_kind kind,
                            size_t *refused) {
    fv_status status = parts_check(stepper, parts, count, refused);
    if (status == FV_OK && stepper->led) status = fv_lead_step(stepper->llm, kind, stepper->led, parts, count);
    if (status == FV_OK) status = parts_prepare(parts, count, &stepper->replaced, refused);
    if (status != FV_OK) return status;
    for (size_t i = 0; i < count; i++) {
        fv_sequence *sequence = parts[i].sequence;
        stepper->parts[i] = (fv_model_part){.caches = sequence->caches,
                                            .tokens = parts[i].tokens,
                                            .count = parts[i].count,
                                            .dense_rows = parts[i].dense_rows,
                                            .policy = &sequence->policy,
                                            .report = &sequence->report,
                                            .deadline = parts[i].deadline,
                                            .progress = parts[i].progress,
                                            .output_rows = parts[i].output_rows};
    }
    return FV_OK;
}

static void part_settle(const fv_step_part *part, fv_status status) {
    if (status == FV_OK)
        fv_sequence_commit(part->sequence, part->tokens, part->count);
    else
        fv_sequence_settle(part->sequence);
}

/* --- stages ------------------------------------------------------------------------------------------------------ */

/* The first of several stages is not to fill up with an embedding of which it reads a few rows: those that were read
 * stay in the system's cache of the file, and are not this process's. What was repacked lies elsewhere. */
static void embedding_release(fv_stepper *stepper, const fv_step_part *parts, size_t count) {
    const fv_weight *embedding = &stepper->llm->loaded.weights.embedding;
    if (embedding->data == stepper->llm->loaded.weights.output.data) return;
    for (size_t i = 0; i < count; i++) stepper->embedded += parts[i].count;
    if (stepper->embedded < EMBEDDED_MOST) return;
    stepper->embedded = 0;
    fv_gguf_release(stepper->llm->gguf, embedding->data,
                    embedding->rows * fv_weight_row_bytes(embedding->type, embedding->columns));
}

/* What failed later, if it is known by now. */
static fv_status stages_look(fv_stepper *stepper) {
    if (!stepper || !stepper->stages) return FV_OK;
    fv_status status = fv_stage_steps_look(stepper->stages, &stepper->fault);
    if (status != FV_OK) fv_stage_steps_drop(stepper->stages);
    return status;
}

/* Nothing was handed on, and so nothing is held here either. */
static fv_status stages_take_back(fv_stepper *stepper, const fv_step_part *parts, size_t count,
                                  const fv_part_outcome *outcomes, fv_status status) {
    for (size_t i = 0; i < count; i++)
        if (!outcomes || outcomes[i].status == FV_OK)
            (void)fv_sequence_truncate(parts[i].sequence, fv_sequence_tokens(parts[i].sequence) - parts[i].count);
    fv_stage_steps_drop(stepper->stages);
    return status;
}

/* The step is made here. */
static fv_status stages_send(fv_stepper *stepper, const fv_step_part *parts, size_t count, fv_status status) {
    if (!stepper->stages) return status;
    embedding_release(stepper, parts, count);
    if (status == FV_OK) {
        status = fv_stage_steps_send(stepper->stages, parts, count, NULL, fv_model_stream(stepper->model), true);
        return status == FV_OK ? FV_OK : stages_take_back(stepper, parts, count, NULL, status);
    }
    stepper->fault = *fv_model_last_fault(stepper->model);
    fv_stage_steps_drop(stepper->stages);
    return status;
}

/* The same of parts that fail alone, until it is known what became of them. */
static fv_status stages_each(fv_stepper *stepper, const fv_step_part *parts, size_t count, fv_part_outcome *outcomes,
                             fv_status status) {
    if (!stepper->stages || status != FV_OK) return stages_send(stepper, parts, count, status);
    embedding_release(stepper, parts, count);
    status = fv_stage_steps_send(stepper->stages, parts, count, outcomes, fv_model_stream(stepper->model), false);
    if (status != FV_OK) return stages_take_back(stepper, parts, count, outcomes, status);
    if (stepper->defers) return FV_OK;
    fv_status failed = fv_stage_steps_await(stepper->stages, &stepper->fault, outcomes);
    for (size_t i = 0; i < count; i++)
        if (outcomes[i].status == FV_OK) return FV_OK;
    fv_stage_steps_drop(stepper->stages);
    return failed;
}

fv_status fv_stepper_wait(fv_stepper *stepper) {
    if (!stepper) return FV_ERROR_ARGUMENT;
    if (!stepper->stages) return FV_OK;
    fv_status status = fv_stage_steps_await(stepper->stages, &stepper->fault, NULL);
    if (status != FV_OK) fv_stage_steps_drop(stepper->stages);
    return status;
}

/* Rows of a later stage's step go to where its layers read them. */
static void inputs_place(const fv_stepper *stepper, const fv_step_part *parts, size_t count) {
    float *to = fv_model_stream(stepper->model);
    size_t width = stepper->shape.width;
    for (size_t i = 0; stepper->inputs && i < count; to += parts[i++].count * width)
        memcpy(to, stepper->inputs[stepper->places[i]], parts[i].count * width * sizeof *to);
}

const float *fv_stepper_stream(const fv_stepper *stepper) { return fv_model_stream(stepper->model); }

/* --- running ----------------------------------------------------------------------------------------------------- */

static fv_status step_run(fv_stepper *stepper, const fv_step_part *parts, size_t count) {
    size_t refused = 0;
    fv_status status = stages_look(stepper);
    if (status == FV_OK) status = parts_make(stepper, parts, count, FV_STAGE_CALL, &refused);
    if (status != FV_OK) return status;
    status = fv_model_step(stepper->model, stepper->parts, (uint32_t)count, stepper->parallel);
    for (size_t i = 0; i < count; i++) part_settle(&parts[i], status);
    if (status == FV_OK) place_memory(stepper);
    return stages_send(stepper, parts, count, status);
}

static fv_status step_run_each(fv_stepper *stepper, const fv_step_part *parts, size_t count,
                               fv_part_outcome *outcomes) {
    size_t refused = SIZE_MAX;
    fv_status status = stages_look(stepper);
    if (status == FV_OK) status = parts_make(stepper, parts, count, FV_STAGE_CALL_EACH, &refused);
    for (size_t i = 0; i < count; i++) outcomes[i] = (fv_part_outcome){.status = i == refused ? status : FV_OK};
    if (status != FV_OK) return status;
    inputs_place(stepper, parts, count);
    status = fv_model_step_each(stepper->model, stepper->parts, (uint32_t)count, stepper->parallel, outcomes);
    for (size_t i = 0; i < count; i++) {
        fv_status became = (fv_status)outcomes[i].status;
        fv_sequence *sequence = parts[i].sequence;
        if (became != FV_OK) fv_sequence_blame(sequence, fv_sequence_tokens(sequence), became, &outcomes[i].fault);
        part_settle(&parts[i], status == FV_OK ? became : status);
    }
    if (status == FV_OK) place_memory(stepper);
    return stages_each(stepper, parts, count, outcomes, status);
}

fv_status fv_stepper_run(fv_stepper *stepper, const fv_step_part *parts, size_t count) {
    if (!stepper) return FV_ERROR_ARGUMENT;
    fv_lead_begin(stepper->llm);
    fv_status status = step_run(stepper, parts, count);
    fv_lead_end(stepper->llm);
    return status;
}

fv_status fv_stepper_run_each(fv_stepper *stepper, const fv_step_part *parts, size_t count, fv_part_outcome *outcomes) {
    if (!stepper || !outcomes) return FV_ERROR_ARGUMENT;
    fv_lead_begin(stepper->llm);
    fv_status status = step_run_each(stepper, parts, count, outcomes);
    fv_lead_end(stepper->llm);
    return status;
}

/* Of those in the step, the ones with a fault go; how many are left. */
static size_t take_out(fv_stepper *stepper, size_t count, fv_part_outcome *outcomes) {
    size_t left = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t place = stepper->places[i];
        if (stepper->became[i].status != FV_OK) {
            outcomes[place] = stepper->became[i];
            continue;
        }
        stepper->kept[left] = stepper->kept[i];
        stepper->places[left++] = place;
    }
    return left;
}

fv_status fv_stepper_run_rest(fv_stepper *stepper, const fv_step_part *parts, size_t count, fv_part_outcome *outcomes,
                              uint32_t *first_rows) {
    if (!stepper || !parts || !outcomes || !first_rows || count < 1 || count > stepper->shape.parts)
        return FV_ERROR_ARGUMENT;
    size_t left = count, before = 0;
    fv_status status = FV_ERROR_ARGUMENT;
    for (size_t i = 0; i < count; i++) {
        stepper->kept[i] = parts[i];
        stepper->places[i] = (uint32_t)i;
        first_rows[i] = UINT32_MAX;
    }
    while (status != FV_OK && left > 0 && left != before) {
        before = left;
        status = fv_stepper_run_each(stepper, stepper->kept, left, stepper->became);
        if (status != FV_OK) left = take_out(stepper, left, outcomes);
    }
    uint32_t row = 0;
    for (size_t i = 0; i < left; i++) {
        uint32_t place = stepper->places[i];
        outcomes[place] = status == FV_OK ? stepper->became[i] : (fv_part_outcome){.status = status};
        if (status == FV_OK) first_rows[place] = row;
        row += parts[place].count;
    }
    return status;
}

fv_status fv_stepper_run_rows(fv_stepper *stepper, const fv_step_part *parts, const float *const *inputs, size_t count,
                              fv_part_outcome *outcomes, uint32_t *first_rows) {
    stepper->inputs = inputs;
    fv_status status = fv_stepper_run_rest(stepper, parts, count, outcomes, first_rows);
    stepper->inputs = NULL;
    return status;
}

/* --- logits ------------------------------------------------------------------------------------------------------ */

size_t fv_stepper_rows(const fv_stepper *stepper) {
    return stepper->stages ? fv_stage_steps_count(stepper->stages) : fv_model_batch_rows(stepper->model);
}

/* Of rows that come from the last stage. rows: NULL: from `first` on. */
static fv_status stages_logits(fv_stepper *stepper, const uint32_t *rows, uint32_t first, uint32_t count,
                               float *logits) {
    if (count < 1 || !logits) return FV_ERROR_ARGUMENT;
    fv_status status = fv_stepper_wait(stepper);
    if (status != FV_OK) return status;
    if (count > stepper->hidden_rows) {
        float *more = fv_array_new(count, stepper->shape.width * sizeof *more);
        if (!more) return FV_ERROR_MEMORY;
        free(stepper->hidden);
        stepper->hidden = more;
        stepper->hidden_rows = count;
    }
    status = fv_stage_steps_rows(stepper->stages, rows, first, count, stepper->hidden);
    if (status != FV_OK) return status;
    status = fv_model_logits_from(stepper->model, stepper->hidden, count, stepper->parallel, logits);
    if (status == FV_ERROR_NOT_FINITE) {
        stepper->fault = *fv_model_last_fault(stepper->model);
        stepper->fault.row = rows ? rows[stepper->fault.row] : first + stepper->fault.row;
    }
    return status;
}

fv_status fv_stepper_logits(fv_stepper *stepper, const uint32_t *rows, size_t count, float *logits) {
    if (!stepper || count > stepper->shape.batch_tokens) return FV_ERROR_ARGUMENT;
    if (stepper->stages) return rows ? stages_logits(stepper, rows, 0, (uint32_t)count, logits) : FV_ERROR_ARGUMENT;
    return fv_model_logits_of(stepper->model, rows, (uint32_t)count, stepper->parallel, logits);
}

fv_status fv_stepper_logits_run(fv_stepper *stepper, uint32_t first_row, uint32_t rows, float *logits) {
    if (stepper->stages) return stages_logits(stepper, NULL, first_row, rows, logits);
    return fv_model_logits(stepper->model, first_row, rows, stepper->parallel, logits);
}

fv_status fv_sequence_feed_piece(fv_sequence *sequence, fv_stepper *stepper, const int32_t *tokens, size_t count,
                                 uint64_t later, fv_session_progress_fn *progress, void *context) {
    if (!sequence || !stepper || (count && !tokens)) return FV_ERROR_ARGUMENT;
    if (count > fv_sequence_context_tokens(sequence) - fv_sequence_tokens(sequence)) return FV_ERROR_FULL;
    for (size_t i = 0; i < count; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= stepper->shape.vocabulary) return FV_ERROR_ARGUMENT;
    uint32_t most = sequence->shape.batch_tokens;
    if (stepper->shape.batch_tokens < most) most = stepper->shape.batch_tokens;
    fv_token_time time;
    bool is_prompt = later != UINT64_MAX;
    fv_token_time_begin(&time, sequence, is_prompt ? 0 : count);
    for (size_t done = 0; done < count;) {
        fv_step_part part = {.sequence = sequence,
                             .tokens = tokens + done,
                             .count = count - done < most ? (uint32_t)(count - done) : most};
        if (is_prompt) fv_step_part_ask(&part, later + (count - done));
        fv_token_time_attach(&time, &part);
        fv_status status = fv_stepper_run(stepper, &part, 1);
        fv_token_time_end(&time, sequence, status);
        if (status != FV_OK) return status;
        done += part.count;
        bool goes_on = !progress || progress(context, done, count);
        if (!goes_on || done == count) {
            status = fv_stepper_wait(stepper);
            return status == FV_OK && !goes_on ? FV_ERROR_INTERRUPTED : status;
        }
    }
    return FV_OK;
}

fv_status fv_sequence_feed(fv_sequence *sequence, fv_stepper *stepper, const int32_t *tokens, size_t count,
                           fv_session_progress_fn *progress, void *context) {
    return fv_sequence_feed_piece(sequence, stepper, tokens, count, UINT64_MAX, progress, context);
}

fv_status fv_sequence_feed_prompt(fv_sequence *sequence, fv_stepper *stepper, const int32_t *tokens, size_t count,
                                  size_t later, fv_session_progress_fn *progress, void *context) {
    return fv_sequence_feed_piece(sequence, stepper, tokens, count, later, progress, context);
}

void fv_stepper_observe(fv_stepper *stepper, fv_attention_observer_fn *observer, void *context) {
    fv_model_observe(stepper->model, observer, context);
}

const fv_model_fault *fv_stepper_last_fault(const fv_stepper *stepper) {
    return stepper->stages ? &stepper->fault : fv_model_last_fault(stepper->model);
}

void fv_stepper_time(fv_stepper *stepper, fv_clock_fn *clock, void *context) {
    fv_model_time(stepper->model, clock, context);
}
