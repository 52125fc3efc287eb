/* token_deadline.c - a sequence's deadline, made one for each token: time runs from when it is handed in. */
#include "fovea/step.h"
#include "llm/divided.h"
#include "llm/sequence_state.h"

fv_status fv_sequence_set_deadline(fv_sequence *sequence, const fv_token_deadline *deadline, fv_message *message) {
    if (!sequence) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is missing");
    const fv_token_deadline none = {0}, *wanted = deadline ? deadline : &none;
    if (deadline &&
        (!wanted->clock || wanted->token_ns == 0 || wanted->on_deadline > FV_DEADLINE_BEST || wanted->reserved != 0))
        return fv_message_set(message, FV_ERROR_ARGUMENT, "a deadline has a clock, a time and what happens then");
    if (deadline && sequence->policy.quality > 0.0f)
        return fv_message_set(message, FV_ERROR_UNSUPPORTED,
                              "a deadline and a policy of quality %g exclude each other: one of them has to give way",
                              (double)sequence->policy.quality);
    if (deadline && sequence->number)
        return fv_message_set(message, FV_ERROR_UNSUPPORTED,
                              "a deadline can't be kept where the model's layers are divided over processes");
    fv_status status = FV_OK;
    if (deadline) status = fv_llm_check_whole(sequence->llm, "they have no common clock, so no deadline", message);
    if (status != FV_OK) return status;
    sequence->deadline = *wanted;
    sequence->deadline_counts = (fv_deadline_counts){0};
    return FV_OK;
}

const fv_deadline_counts *fv_sequence_deadline_counts(const fv_sequence *sequence) {
    return &sequence->deadline_counts;
}

static uint64_t now_of(const fv_deadline *deadline) { return deadline->clock(deadline->context); }

void fv_token_time_begin(fv_token_time *time, const fv_sequence *sequence, size_t count) {
    const fv_token_deadline *of = &sequence->deadline;
    *time = (fv_token_time){0};
    if (!of->clock || count != 1) return;
    time->deadline = (fv_deadline){of->clock, of->context, 0, of->on_deadline};
    uint64_t now = now_of(&time->deadline);
    time->deadline.end_ns = of->token_ns < UINT64_MAX - now ? now + of->token_ns : UINT64_MAX;
}

void fv_token_time_attach(fv_token_time *time, fv_step_part *part) {
    if (!time->deadline.clock) return;
    part->deadline = &time->deadline;
    part->progress = &time->progress;
}

void fv_token_time_end(const fv_token_time *time, fv_sequence *sequence, fv_status status) {
    fv_deadline_counts *counts = &sequence->deadline_counts;
    if (!time->deadline.clock) return;
    counts->tokens++;
    if (status == FV_ERROR_DEADLINE) counts->failed++;
    if (status != FV_OK) return;
    if (time->progress.rows_complete == 0) counts->cut++;
    if (now_of(&time->deadline) >= time->deadline.end_ns) counts->late++;
}

bool fv_token_times_suit(const fv_token_time *one, const fv_token_time *other) {
    const fv_deadline *a = &one->deadline, *b = &other->deadline;
    return !a->clock || !b->clock || (a->clock == b->clock && a->context == b->context);
}
