/* stage_worker.c - sequences and steppers of a later stage, by the numbers that the first stage gave them; what each
 * message asks for. */
#include "fovea/report_sum.h"
#include "llm/divided.h"
#include "llm/llm.h"
#include "llm/sequence_state.h"
#include "llm/stage_keeper.h"
#include "llm/stage_wire.h"
#include "llm/stepper_parts.h"
#include "platform/array.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct held_sequence {
    uint32_t number;
    fv_sequence *sequence;
    uint16_t *opened, *shares; /* of its settings and of its policy; NULL: there are none, or they are the same */
} held_sequence;

typedef struct held_stepper {
    uint32_t number;
    fv_stepper *stepper;
    uint16_t *shares;
    uint32_t *first_rows; /* [count] of the parts of its last step; UINT32_MAX: it has none */
    uint32_t *rows;       /* [count] */
    uint32_t count, most; /* parts of a step */
} held_stepper;

struct fv_stage_worker {
    fv_llm *llm;
    uint32_t index; /* of the stage; 0: nobody has said it yet */
    fv_pool *pool;
    fv_segments *segments;
    held_sequence *sequences;
    size_t sequence_count, sequence_room;
    held_stepper *steppers;
    size_t stepper_count, stepper_room;
    fv_attention_observer_fn *observer;
    void *observer_context;
    /* of the step at work: [room] */
    fv_step_part *parts;
    const float **inputs;
    fv_part_outcome *outcomes;
    uint32_t *first_rows, *places;
    size_t room;
};

/* --- opening ---------------------------------------------------------------------------------------------------- */

fv_status fv_stage_worker_open(fv_stage_worker **worker, const fv_engine *engine, fv_message *message) {
    if (!worker || !engine) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is missing");
    const fv_llm *llm = fv_engine_llm(engine);
    bool follows = llm->exchange && llm->exchange->rank > 0; /* whatever layers it has */
    if (!follows && (llm->loaded.range.first == 0 || llm->hub))
        return fv_message_set(message, FV_ERROR_ARGUMENT, "%s: a later stage does not have the first layer",
                              fv_gguf_path(llm->gguf));
    fv_stage_worker *made = calloc(1, sizeof *made);
    if (!made) return fv_message_set(message, FV_ERROR_MEMORY, "no memory for a stage");
    made->llm = llm->self;
    made->pool = fv_engine_pool(engine);
    fv_status status = fv_segments_open(&made->segments, 0, message);
    if (status == FV_OK)
        *worker = made;
    else
        free(made);
    return status;
}

static void sequence_drop(held_sequence *held) {
    fv_sequence_close(held->sequence);
    free(held->opened);
    free(held->shares);
}

static void stepper_drop(held_stepper *held) {
    fv_stepper_close(held->stepper);
    free(held->shares);
    free(held->first_rows);
    free(held->rows);
}

static void step_free(fv_stage_worker *worker) {
    free(worker->parts);
    free(worker->inputs);
    free(worker->outcomes);
    free(worker->first_rows);
    free(worker->places);
}

void fv_stage_worker_close(fv_stage_worker *worker) {
    if (!worker) return;
    for (size_t i = 0; i < worker->sequence_count; i++) sequence_drop(&worker->sequences[i]);
    for (size_t i = 0; i < worker->stepper_count; i++) stepper_drop(&worker->steppers[i]);
    fv_segments_close(worker->segments);
    free(worker->sequences);
    free(worker->steppers);
    step_free(worker);
    free(worker);
}

void fv_stage_worker_observe(fv_stage_worker *worker, fv_attention_observer_fn *observer, void *context) {
    worker->observer = observer;
    worker->observer_context = context;
}

uint64_t fv_stage_worker_bytes(const fv_stage_worker *worker) {
    uint64_t bytes = fv_segments_bytes(worker->segments);
    for (size_t i = 0; i < worker->stepper_count; i++) bytes += fv_stepper_bytes(worker->steppers[i].stepper);
    return bytes;
}

static held_sequence *sequence_of(const fv_stage_worker *worker, uint32_t number) {
    for (size_t i = 0; i < worker->sequence_count; i++)
        if (worker->sequences[i].number == number) return &worker->sequences[i];
    return NULL;
}

static held_stepper *stepper_of(const fv_stage_worker *worker, uint32_t number) {
    for (size_t i = 0; i < worker->stepper_count; i++)
        if (worker->steppers[i].number == number) return &worker->steppers[i];
    return NULL;
}

static bool is_last(const fv_stage_worker *worker) {
    const fv_layer_range *range = &worker->llm->loaded.range;
    return range->first + range->count == worker->llm->loaded.config.layers;
}

static fv_status strange(fv_message *fault, const char *what) {
    return fv_message_set(fault, FV_ERROR_CORRUPT, "a message from the stage before %s: stages do not agree", what);
}

/* --- what messages ask for: they say in the message what became of it, and return an error where stages do not agree
 * --- */

/* The first stage that fails says why. */
static void fail(const fv_stage_message *message, fv_status status) {
    fv_stage_head *head = fv_stage_head_of(message);
    if (status != FV_OK && head->status == FV_OK) head->status = (int32_t)status;
}

static void text_put(char *to, const char *text) { memcpy(to, text, FV_MESSAGE_BYTES); }

static fv_status hello(fv_stage_worker *worker, const fv_stage_message *message, fv_message *fault) {
    fv_stage_hello *said = fv_stage_body(message);
    const fv_layer_range *range = &worker->llm->loaded.range;
    fv_message text = {{0}};
    fv_status status = FV_OK;
    if (said->of_stages < 2 || said->of_stages > worker->llm->loaded.config.layers)
        return strange(fault, "counts stages wrongly");
    if (said->build != fv_stage_build())
        status =
            fv_message_set(&text, FV_ERROR_UNSUPPORTED, "stage %" PRIu32 " is another build of fovea", said->stages);
    else if (said->outline != fv_llm_outline(worker->llm))
        status = fv_message_set(&text, FV_ERROR_ARGUMENT, "%s, which stage %" PRIu32 " opened, is another model",
                                fv_gguf_path(worker->llm->gguf), said->stages);
    else if (said->next_layer != range->first)
        status = fv_message_set(&text, FV_ERROR_ARGUMENT,
                                "stage %" PRIu32 " begins with layer %" PRIu32 "; those before end with layer %" PRIu32,
                                said->stages, range->first, said->next_layer);
    if (status != FV_OK && fv_stage_head_of(message)->status == FV_OK) text_put(said->text, text.text);
    fail(message, status);
    worker->index = said->stages;
    said->next_layer = range->first + range->count;
    said->stages++;
    worker->llm->steps_kept = FV_STAGE_FLIGHT(said->of_stages) + 1;
    return FV_OK;
}

static fv_status stepper_add(fv_stage_worker *worker, const fv_stage_message *message, fv_message *fault) {
    fv_stage_opening *opening = fv_stage_body(message);
    fv_session_config config;
    fv_message text = {{0}};
    uint32_t number = fv_stage_head_of(message)->subject;
    if (stepper_of(worker, number)) return strange(fault, "opens a stepper that there is");
    if (fv_stage_head_of(message)->status != FV_OK) return FV_OK;
    held_stepper *more =
        fv_array_reserve(worker->steppers, &worker->stepper_room, worker->stepper_count, 1, sizeof *more);
    if (more) worker->steppers = more;
    held_stepper made = {.number = number};
    fv_status status = more ? fv_stage_opening_get(message, &config, &made.shares) : FV_ERROR_MEMORY;
    if (status == FV_OK)
        status = fv_stepper_open_parts(&made.stepper, worker->llm, &config, opening->parts, worker->pool, &text);
    if (status == FV_OK) {
        size_t batch = fv_stepper_batch_tokens(made.stepper);
        made.most = opening->parts < batch ? opening->parts : (uint32_t)batch;
        made.first_rows = fv_array_new(made.most, sizeof *made.first_rows);
        made.rows = fv_array_new(made.most, sizeof *made.rows);
        if (!made.first_rows || !made.rows) status = FV_ERROR_MEMORY;
    }
    if (status == FV_OK) {
        fv_stepper_observe(made.stepper, worker->observer, worker->observer_context);
        worker->steppers[worker->stepper_count++] = made;
        return FV_OK;
    }
    stepper_drop(&made);
    text_put(opening->text, text.text);
    fail(message, status);
    return FV_OK;
}

static fv_status sequence_add(fv_stage_worker *worker, const fv_stage_message *message, fv_message *fault) {
    fv_stage_opening *opening = fv_stage_body(message);
    fv_session_config config;
    fv_message text = {{0}};
    uint32_t number = fv_stage_head_of(message)->subject;
    if (sequence_of(worker, number)) return strange(fault, "opens a sequence that there is");
    if (fv_stage_head_of(message)->status != FV_OK) return FV_OK;
    held_sequence *more =
        fv_array_reserve(worker->sequences, &worker->sequence_room, worker->sequence_count, 1, sizeof *more);
    if (more) worker->sequences = more;
    held_sequence made = {.number = number};
    fv_status status = more ? fv_stage_opening_get(message, &config, &made.opened) : FV_ERROR_MEMORY;
    if (status == FV_OK) status = fv_sequence_open(&made.sequence, worker->llm, worker->segments, &config, &text);
    if (status == FV_OK) {
        worker->sequences[worker->sequence_count++] = made;
        return FV_OK;
    }
    sequence_drop(&made);
    text_put(opening->text, text.text);
    fail(message, status);
    return FV_OK;
}

static fv_status policy_set(fv_stage_worker *worker, const fv_stage_message *message, fv_message *fault) {
    fv_stage_opening *opening = fv_stage_body(message);
    held_sequence *held = sequence_of(worker, fv_stage_head_of(message)->subject);
    fv_session_config config;
    fv_message text = {{0}};
    uint16_t *shares = NULL;
    if (!held) return strange(fault, "names a sequence that there is not");
    fv_status status = fv_stage_opening_get(message, &config, &shares);
    if (status == FV_OK) status = fv_sequence_set_policy(held->sequence, &config.policy, &text);
    if (status == FV_OK) {
        free(held->shares);
        held->shares = shares;
        return FV_OK;
    }
    free(shares);
    if (fv_stage_head_of(message)->status == FV_OK) text_put(opening->text, text.text);
    fail(message, status);
    return FV_OK;
}

static void close_one(fv_stage_worker *worker, const fv_stage_message *message) {
    uint32_t number = fv_stage_head_of(message)->subject;
    held_sequence *sequence = sequence_of(worker, number); /* one that could not be opened everywhere may be missing */
    held_stepper *stepper = stepper_of(worker, number);
    if (sequence) {
        sequence_drop(sequence);
        *sequence = worker->sequences[--worker->sequence_count];
    }
    if (stepper) {
        stepper_drop(stepper);
        *stepper = worker->steppers[--worker->stepper_count];
    }
}

static fv_status layers_tell(const fv_stage_worker *worker, const fv_stage_message *message, fv_message *fault) {
    uint32_t *layers = fv_stage_body(message);
    if (worker->index == 0 || worker->index >= fv_stage_head_of(message)->count)
        return strange(fault, "counts stages wrongly");
    layers[worker->index] = worker->llm->loaded.range.count;
    return FV_OK;
}

/* Its file of a session. */
static fv_status session_work(const fv_stage_worker *worker, const fv_stage_message *message, fv_message *fault) {
    const held_sequence *held = sequence_of(worker, fv_stage_head_of(message)->subject);
    if (!held) return strange(fault, "names a sequence that there is not");
    if (!fv_stage_keeper_takes(message, worker->llm, worker->index))
        return strange(fault, "has no session's name or numbers");
    if (fv_stage_head_of(message)->status != FV_OK) return FV_OK;
    fv_stage_session *session = fv_stage_body(message);
    fv_message text = {{0}};
    fv_status status = fv_stage_keeper_run(held->sequence, message, worker->index, &text);
    if (status != FV_OK) text_put(session->text, text.text);
    fail(message, status);
    return FV_OK;
}

/* What is done to one sequence. */
static fv_status sequence_work(fv_stage_worker *worker, const fv_stage_message *message, fv_message *fault) {
    const fv_stage_head *head = fv_stage_head_of(message);
    held_sequence *held = sequence_of(worker, head->subject), *from = NULL;
    if (!held) return strange(fault, "names a sequence that there is not");
    switch (fv_stage_kind_of(message)) {
    case FV_STAGE_SEQUENCE_FILL:
        from = sequence_of(worker, head->count);
        if (!from || from == held) return strange(fault, "names a sequence that there is not");
        fail(message, fv_llm_agree(worker->llm, fv_sequence_fill(held->sequence, from->sequence), NULL));
        break;
    case FV_STAGE_SEQUENCE_CUT:
        if (head->count < fv_sequence_tokens(held->sequence))
            fail(message, fv_sequence_truncate(held->sequence, head->count));
        break;
    case FV_STAGE_REPORT:
        fv_report_sum(fv_stage_body(message), fv_sequence_report(held->sequence));
        break;
    default:
        fv_sequence_report_reset(held->sequence);
    }
    return FV_OK;
}

/* --- steps ------------------------------------------------------------------------------------------------------ */

static bool step_reserve(fv_stage_worker *worker, size_t count) {
    if (count <= worker->room) return true;
    step_free(worker);
    worker->parts = fv_array_new(count, sizeof *worker->parts);
    worker->inputs = fv_array_new(count, sizeof *worker->inputs);
    worker->outcomes = fv_array_new(count, sizeof *worker->outcomes);
    worker->first_rows = fv_array_new(count, sizeof *worker->first_rows);
    worker->places = fv_array_new(count, sizeof *worker->places);
    bool good = worker->parts && worker->inputs && worker->outcomes && worker->first_rows && worker->places;
    worker->room = good ? count : 0;
    return good;
}

/* Parts that go on here; SIZE_MAX: one is of no sequence. Where tokens before a part's are missing, it has failed. */
static size_t parts_take(fv_stage_worker *worker, const fv_stage_message *message) {
    uint32_t count = fv_stage_head_of(message)->count;
    fv_stage_part *parts = fv_stage_body(message);
    const float *rows = fv_stage_rows(message);
    size_t width = worker->llm->loaded.config.width, taken = 0;
    for (uint32_t i = 0; i < count; i++) {
        const held_sequence *held = sequence_of(worker, parts[i].sequence);
        const float *own = rows;
        if (!held) return SIZE_MAX;
        if (parts[i].status != FV_OK) continue;
        rows += parts[i].count * width;
        if (fv_sequence_tokens(held->sequence) != parts[i].position) {
            parts[i].status = FV_ERROR_INTERRUPTED;
            continue;
        }
        worker->parts[taken] = (fv_step_part){.sequence = held->sequence,
                                              .count = parts[i].count,
                                              .dense_rows = parts[i].dense_rows,
                                              .output_rows = parts[i].output_rows};
        worker->inputs[taken] = own;
        worker->places[taken++] = i;
    }
    return taken;
}

/* What became of the parts, and rows of those that came through: all, or after the last layer the last of each. */
static void parts_answer(const fv_stage_worker *worker, held_stepper *held, size_t taken, fv_stage_message *message) {
    fv_stage_part *parts = fv_stage_body(message);
    const float *stream = fv_stepper_stream(held->stepper);
    size_t width = worker->llm->loaded.config.width;
    float *to = fv_stage_rows(message);
    for (size_t i = 0; i < taken; i++) {
        fv_stage_part *part = &parts[worker->places[i]];
        part->status = worker->outcomes[i].status;
        if (part->status != FV_OK) part->fault = worker->outcomes[i].fault;
        if (part->status != FV_OK) continue;
        size_t skipped = is_last(worker) ? part->count - 1 : 0, rows = part->count - skipped;
        memmove(to, stream + (worker->first_rows[i] + skipped) * width, rows * width * sizeof *to);
        to += rows * width;
        held->first_rows[worker->places[i]] = worker->first_rows[i];
        held->rows[worker->places[i]] = part->count;
    }
    message->count = (size_t)((unsigned char *)to - message->bytes);
}

static fv_status step(fv_stage_worker *worker, fv_stage_message *message, fv_message *fault) {
    uint32_t count = fv_stage_head_of(message)->count;
    held_stepper *held = stepper_of(worker, fv_stage_head_of(message)->subject);
    if (!held || count > held->most) return strange(fault, "names a stepper that there is not");
    if (!step_reserve(worker, count)) return fv_message_set(fault, FV_ERROR_MEMORY, "no memory for a step");
    size_t taken = parts_take(worker, message);
    if (taken == SIZE_MAX) return strange(fault, "names a sequence that there is not");
    held->count = count;
    for (uint32_t i = 0; i < count; i++) held->first_rows[i] = UINT32_MAX;
    if (taken > 0)
        (void)fv_stepper_run_rows(held->stepper, worker->parts, worker->inputs, taken, worker->outcomes,
                                  worker->first_rows);
    parts_answer(worker, held, taken, message);
    return FV_OK;
}

/* What rank 0 evaluates, which tells all that hold contexts with it; what became of it is the same at all. */
static fv_status call(fv_stage_worker *worker, const fv_stage_message *message, fv_message *fault) {
    uint32_t count = fv_stage_head_of(message)->count;
    const held_stepper *held = stepper_of(worker, fv_stage_head_of(message)->subject);
    const fv_stage_part *parts = fv_stage_body(message);
    const int32_t *ids = (const int32_t *)(const void *)(parts + count);
    if (!held || count > fv_stepper_batch_tokens(held->stepper))
        return strange(fault, "names a stepper that there is not");
    if (!step_reserve(worker, count)) return fv_message_set(fault, FV_ERROR_MEMORY, "no memory for a step");
    for (uint32_t i = 0; i < count; ids += parts[i++].count) {
        const held_sequence *one = sequence_of(worker, parts[i].sequence);
        if (!one) return strange(fault, "names a sequence that there is not");
        worker->parts[i] = (fv_step_part){.sequence = one->sequence,
                                          .tokens = ids,
                                          .count = parts[i].count,
                                          .dense_rows = parts[i].dense_rows,
                                          .output_rows = parts[i].output_rows};
    }
    if (fv_stage_kind_of(message) == FV_STAGE_CALL)
        (void)fv_stepper_run(held->stepper, worker->parts, count);
    else
        (void)fv_stepper_run_each(held->stepper, worker->parts, count, worker->outcomes);
    return FV_OK;
}

/* Normed rows of the stepper's last step. */
static fv_status rows_answer(const fv_stage_worker *worker, fv_stage_message *message, fv_message *fault) {
    uint32_t count = fv_stage_head_of(message)->count;
    const held_stepper *held = stepper_of(worker, fv_stage_head_of(message)->subject);
    size_t width = worker->llm->loaded.config.width, bytes = width * sizeof(float);
    fv_stage_message made = {0};
    if (!held) return strange(fault, "names a stepper that there is not");
    const fv_stage_row *rows = fv_stage_body(message);
    for (uint32_t i = 0; i < count; i++)
        if (rows[i].part >= held->count || held->first_rows[rows[i].part] == UINT32_MAX ||
            rows[i].row >= held->rows[rows[i].part])
            return strange(fault, "asks for rows that there are not");
    if (count > FV_STAGE_MESSAGE_MOST / bytes) return strange(fault, "asks for too many rows");
    if (fv_stage_begin(&made, FV_STAGE_ROWS, 0, 0, count * bytes) != FV_OK)
        return fv_message_set(fault, FV_ERROR_MEMORY, "no memory for rows of a step");
    *fv_stage_head_of(&made) = *fv_stage_head_of(message);
    for (uint32_t i = 0; i < count; i++)
        memcpy((char *)fv_stage_body(&made) + i * bytes,
               fv_stepper_stream(held->stepper) + (held->first_rows[rows[i].part] + rows[i].row) * width, bytes);
    fv_stage_message_free(message);
    *message = made;
    return FV_OK;
}

fv_status fv_stage_worker_run(fv_stage_worker *worker, fv_stage_message *message, bool *ended, fv_message *fault) {
    if (!worker || !message || !ended) return fv_message_set(fault, FV_ERROR_ARGUMENT, "an argument is missing");
    if (!fv_stage_is_whole(message, worker->llm->loaded.config.width, false)) return strange(fault, "is damaged");
    switch (fv_stage_kind_of(message)) {
    case FV_STAGE_HELLO:
        return hello(worker, message, fault);
    case FV_STAGE_STEPPER_OPEN:
        return stepper_add(worker, message, fault);
    case FV_STAGE_SEQUENCE_OPEN:
        return sequence_add(worker, message, fault);
    case FV_STAGE_SEQUENCE_POLICY:
        return policy_set(worker, message, fault);
    case FV_STAGE_STEPPER_CLOSE:
    case FV_STAGE_SEQUENCE_CLOSE:
        close_one(worker, message);
        return FV_OK;
    case FV_STAGE_STEP:
        return step(worker, message, fault);
    case FV_STAGE_CALL:
    case FV_STAGE_CALL_EACH:
        return call(worker, message, fault);
    case FV_STAGE_ROWS:
        return is_last(worker) ? rows_answer(worker, message, fault) : FV_OK;
    case FV_STAGE_LAYERS:
        return layers_tell(worker, message, fault);
    case FV_STAGE_SESSION_SAVE:
    case FV_STAGE_SESSION_WAKE:
    case FV_STAGE_SESSION_DROP:
        return session_work(worker, message, fault);
    case FV_STAGE_END:
        *ended = true;
        return FV_OK;
    default:
        return sequence_work(worker, message, fault);
    }
}
