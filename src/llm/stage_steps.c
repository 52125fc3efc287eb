/* stage_steps.c - see stage_steps.h. */
#include "llm/stage_steps.h"
#include "llm/llm.h"
#include "llm/sequence_state.h"
#include "llm/stage_mirror.h"
#include "platform/array.h"
#include <stdlib.h>
#include <string.h>

#define NOT_SENT UINT32_MAX

/* A part of the last step. */
typedef struct sent_part {
    uint32_t first_row, count;
    uint32_t muted;    /* the first of them, without logits */
    uint32_t place;    /* among those that were sent */
    uint32_t sequence; /* its number */
    fv_status status;
} sent_part;

struct fv_stage_steps {
    fv_stage_hub *hub;
    uint32_t number, room, width;
    fv_stage_slot slot;
    fv_stage_message message;
    sent_part *parts; /* [room] */
    uint32_t count, rows;
    bool together; /* parts of the last step fail with each other */
    bool beside;   /* another one's steppers */
};

fv_status fv_stage_steps_open(fv_stage_steps **steps, fv_stage_hub *hub, const fv_session_config *config,
                              uint32_t parts, uint32_t width, fv_message *message) {
    fv_stage_steps *made = calloc(1, sizeof *made);
    if (!made) return fv_message_set(message, FV_ERROR_MEMORY, "no memory for a stepper over stages");
    *made = (fv_stage_steps){.hub = hub, .room = parts, .width = width};
    made->parts = fv_array_new(parts, sizeof *made->parts);
    fv_status status = made->parts ? fv_stage_hub_enter(hub, made, &made->number) : FV_ERROR_MEMORY;
    if (status != FV_OK)
        (void)fv_message_set(message, status, "no memory for a stepper over stages");
    else
        status = fv_stage_mirror_open(hub, FV_STAGE_STEPPER_OPEN, made->number, parts, config, message);
    if (status == FV_OK)
        *steps = made;
    else
        fv_stage_steps_close(made);
    return status;
}

fv_status fv_stage_steps_open_beside(fv_stage_steps **steps, const fv_stage_steps *first) {
    fv_stage_steps *made = calloc(1, sizeof *made);
    if (!made) return FV_ERROR_MEMORY;
    *made = (fv_stage_steps){
        .hub = first->hub, .number = first->number, .room = first->room, .width = first->width, .beside = true};
    made->parts = fv_array_new(made->room, sizeof *made->parts);
    bool good = made->parts != NULL;
    if (good)
        *steps = made;
    else
        free(made);
    return good ? FV_OK : FV_ERROR_MEMORY;
}

void fv_stage_steps_close(fv_stage_steps *steps) {
    if (!steps) return;
    if (steps->beside) (void)fv_stage_hub_wait(steps->hub, steps->slot.ticket);
    if (steps->number && !steps->beside) {
        fv_stage_mirror_tell(steps->hub, FV_STAGE_STEPPER_CLOSE, steps->number);
        (void)fv_stage_hub_wait(steps->hub, steps->slot.ticket);
        fv_stage_hub_leave(steps->hub, steps->number);
    }
    fv_stage_hub_forget(steps->hub, &steps->slot);
    fv_stage_message_free(&steps->message);
    free(steps->parts);
    free(steps);
}

/* --- sending ---------------------------------------------------------------------------------------------------- */

/* What the parts are; how many rows go, and how many parts. */
static uint64_t parts_note(fv_stage_steps *steps, const fv_step_part *parts, const fv_part_outcome *outcomes,
                           uint32_t *sent) {
    uint64_t rows = 0;
    uint32_t first = 0;
    *sent = 0;
    for (uint32_t i = 0; i < steps->count; i++) {
        fv_status status = outcomes ? (fv_status)outcomes[i].status : FV_OK;
        steps->parts[i] = (sent_part){.first_row = first,
                                      .count = parts[i].count,
                                      .muted = parts[i].output_rows ? parts[i].count - parts[i].output_rows : 0,
                                      .place = status == FV_OK ? (*sent)++ : NOT_SENT,
                                      .status = status};
        if (status == FV_OK) rows += parts[i].count;
        first += parts[i].count;
    }
    steps->rows = first;
    for (uint32_t i = 0; i < steps->count; i++) steps->parts[i].sequence = parts[i].sequence->number;
    return rows;
}

fv_status fv_stage_steps_send(fv_stage_steps *steps, const fv_step_part *parts, size_t count,
                              const fv_part_outcome *outcomes, const float *rows, bool together) {
    uint32_t sent = 0;
    size_t row_bytes = steps->width * sizeof *rows;
    steps->count = (uint32_t)count;
    steps->together = together;
    uint64_t going = parts_note(steps, parts, outcomes, &sent);
    if (going > FV_STAGE_MESSAGE_MOST / row_bytes) return FV_ERROR_OVERFLOW;
    fv_status status = fv_stage_begin(&steps->message, FV_STAGE_STEP, steps->number, sent,
                                      sent * sizeof(fv_stage_part) + (size_t)going * row_bytes);
    if (status != FV_OK) return status;
    fv_stage_part *wire = fv_stage_body(&steps->message);
    float *to = fv_stage_rows(&steps->message);
    for (uint32_t i = 0; i < steps->count; i++) {
        const sent_part *part = &steps->parts[i];
        if (part->place == NOT_SENT) continue;
        const fv_sequence *sequence = parts[i].sequence;
        uint32_t tokens = (uint32_t)fv_sequence_tokens(sequence);
        wire[part->place] = (fv_stage_part){.sequence = sequence->number,
                                            .count = part->count,
                                            .position = tokens - part->count,
                                            .dense_rows = parts[i].dense_rows,
                                            .output_rows = parts[i].output_rows};
        memcpy(to, rows + (size_t)part->first_row * steps->width, part->count * row_bytes);
        to += (size_t)part->count * steps->width;
    }
    status = fv_stage_hub_send(steps->hub, &steps->message, &steps->slot, together, NULL);
    for (uint32_t i = 0; i < steps->count; i++)
        if (steps->parts[i].place != NOT_SENT) parts[i].sequence->ticket = steps->slot.ticket;
    return status;
}

void fv_stage_steps_drop(fv_stage_steps *steps) { steps->count = steps->rows = 0; }
uint32_t fv_stage_steps_count(const fv_stage_steps *steps) { return steps->rows; }

/* --- waiting ---------------------------------------------------------------------------------------------------- */

/* The sequence of a part that failed alone goes back. Its status. */
static fv_status part_undo(const fv_stage_steps *steps, const sent_part *part) {
    fv_stage_failure failure;
    fv_sequence *sequence = fv_stage_hub_holder(steps->hub, part->sequence);
    if (!sequence || !fv_stage_hub_failed(steps->hub, 0, part->sequence, &failure)) return part->status;
    return fv_sequence_undo(sequence, failure.position, &failure.outcome);
}

/* Sequences of steps that failed go back. The first failure, of those with a place if there are any. */
static fv_status failures_undo(fv_stage_steps *steps, fv_model_fault *fault) {
    fv_stage_failure failure;
    fv_status first = FV_OK;
    bool has_place = false;
    while (fv_stage_hub_failed(steps->hub, steps->number, 0, &failure)) {
        fv_sequence *sequence = fv_stage_hub_holder(steps->hub, failure.sequence);
        fv_status status = (fv_status)failure.outcome.status;
        if (sequence) status = fv_sequence_undo(sequence, failure.position, &failure.outcome);
        if (first != FV_OK && (has_place || failure.outcome.fault.place == FV_PLACE_NONE)) continue;
        has_place = failure.outcome.fault.place != FV_PLACE_NONE;
        first = status;
        if (has_place) *fault = failure.outcome.fault;
    }
    return first;
}

fv_status fv_stage_steps_await(fv_stage_steps *steps, fv_model_fault *fault, fv_part_outcome *outcomes) {
    fv_status status = fv_stage_hub_wait(steps->hub, steps->slot.ticket);
    for (uint32_t i = 0; status != FV_OK && outcomes && i < steps->count; i++)
        if (outcomes[i].status == FV_OK) outcomes[i] = (fv_part_outcome){.status = (int32_t)status};
    if (status != FV_OK) return status;
    fv_status known = FV_OK, alone = FV_OK;
    const fv_stage_part *wire = steps->slot.answer.bytes ? fv_stage_body(&steps->slot.answer) : NULL;
    for (uint32_t i = 0; wire && i < steps->count; i++) {
        sent_part *part = &steps->parts[i];
        if (part->place == NOT_SENT || wire[part->place].status == FV_OK) continue;
        bool is_new = part->status == FV_OK;
        part->status = known = (fv_status)wire[part->place].status;
        if (!steps->together && is_new) alone = part_undo(steps, part);
        if (outcomes) outcomes[i] = (fv_part_outcome){wire[part->place].status, wire[part->place].fault};
    }
    if (!steps->together) return alone;
    status = failures_undo(steps, fault);
    return status == FV_OK && steps->count ? known : status; /* another stepper may have been told of a sequence's */
}

fv_status fv_stage_steps_look(fv_stage_steps *steps, fv_model_fault *fault) {
    if (steps->beside) return FV_OK;
    if (!fv_stage_hub_has_failed(steps->hub, steps->number, 0)) return FV_OK;
    return fv_stage_steps_await(steps, fault, NULL);
}

/* --- rows ------------------------------------------------------------------------------------------------------- */

/* The part that a row is of; NULL: there is none that has any. */
static const sent_part *part_of(const fv_stage_steps *steps, uint32_t row) {
    for (uint32_t i = 0; i < steps->count; i++) {
        const sent_part *part = &steps->parts[i];
        if (row - part->first_row < part->count)
            return part->status == FV_OK && row - part->first_row >= part->muted ? part : NULL;
    }
    return NULL;
}

/* The last row of a part, as it came by itself. */
static const float *row_here(const fv_stage_steps *steps, const sent_part *part) {
    const fv_stage_part *wire = fv_stage_body(&steps->slot.answer);
    const float *row = fv_stage_rows(&steps->slot.answer);
    for (uint32_t i = 0; i < part->place; i++)
        if (wire[i].status == FV_OK) row += steps->width;
    return row;
}

/* All of them from the last stage. */
static fv_status rows_ask(fv_stage_steps *steps, const uint32_t *rows, uint32_t first, uint32_t count, float *out) {
    fv_stage_message asked = {0};
    fv_status status = fv_stage_begin(&asked, FV_STAGE_ROWS, steps->number, count, count * sizeof(fv_stage_row));
    if (status != FV_OK) return status;
    fv_stage_row *wanted = fv_stage_body(&asked);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t row = rows ? rows[i] : first + i;
        const sent_part *part = part_of(steps, row);
        wanted[i] = (fv_stage_row){part->place, row - part->first_row};
    }
    status = fv_stage_hub_ask(steps->hub, &asked);
    if (status == FV_OK) memcpy(out, fv_stage_body(&asked), (size_t)count * steps->width * sizeof *out);
    fv_stage_message_free(&asked);
    return status;
}

fv_status fv_stage_steps_rows(fv_stage_steps *steps, const uint32_t *rows, uint32_t first, uint32_t count, float *out) {
    bool are_here = true;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t row = rows ? rows[i] : first + i;
        const sent_part *part = part_of(steps, row);
        if (!part) return FV_ERROR_ARGUMENT;
        if (row - part->first_row != part->count - 1) are_here = false;
    }
    if (!are_here) return rows_ask(steps, rows, first, count, out);
    for (uint32_t i = 0; i < count; i++)
        memcpy(out + (size_t)i * steps->width, row_here(steps, part_of(steps, rows ? rows[i] : first + i)),
               steps->width * sizeof *out);
    return FV_OK;
}
