/* Each layer may read until its share of the time is over, so that none is left without. */
#include "model/model_deadline.h"
#include "attention/watch.h"

#if FV_BUILD_STEP && FV_BUILD_DEADLINE

static uint64_t now_of(const fv_deadline *deadline) { return deadline->clock(deadline->context); }

fv_status fv_model_deadline_check(const fv_model_part *part) {
    if (!part->deadline) return FV_OK;
    if (!fv_deadline_is_usable(part->deadline, part->progress)) return FV_ERROR_ARGUMENT;
    return part->policy->quality > 0.0f ? FV_ERROR_UNSUPPORTED : FV_OK;
}

void fv_model_deadline_begin(fv_forward_call *call) {
    for (uint32_t i = 0; i < fv_call_parts(call); i++) {
        const fv_model_part *part = &call->parts[i];
        if (!part->deadline) continue;
        if (!call->timed_parts++) call->begin_ns = call->seen_ns = now_of(part->deadline);
        if (part->progress) *part->progress = (fv_progress){.rows_complete = part->count};
    }
}

/* What lies between the reading of two layers, products above all: a running mean, of steps before as well. */
static void rest_note(fv_forward_call *call, uint64_t now, uint32_t layer) {
    uint64_t *rest = &call->model->rest_ns, made = now > call->seen_ns ? now - call->seen_ns : 0;
    *rest = layer == 0 && *rest == 0 ? made : (*rest * 7 + made) / 8;
}

/* Of a part of which `parts` are not read yet in this layer, it included. */
static uint64_t share_end(const fv_forward_call *call, const fv_deadline *deadline, uint64_t now, uint32_t layer,
                          uint32_t parts) {
    uint64_t layers = call->model->config.layers - layer, left = deadline->end_ns > now ? deadline->end_ns - now : 0;
    uint64_t rest = call->model->rest_ns * layers;
    if (deadline->on_deadline == FV_DEADLINE_FAIL) return deadline->end_ns;
    return now + (left > rest ? (left - rest) / layers / parts : 0);
}

void fv_model_deadline_set(fv_forward_call *call, const fv_model_part *part, uint32_t layer, fv_attention_rows *rows) {
    uint64_t now = now_of(part->deadline);
    if (call->timed_left == 0) {
        rest_note(call, now, layer);
        call->timed_left = call->timed_parts;
    }
    call->deadline = *part->deadline;
    call->deadline.end_ns = share_end(call, part->deadline, now, layer, call->timed_left--);
    rows->deadline = &call->deadline;
    rows->progress = &call->made;
}

void fv_model_deadline_add(fv_forward_call *call, const fv_model_part *part, uint32_t layer) {
    const fv_progress *made = &call->made;
    fv_progress *sum = part->progress;
    call->seen_ns = now_of(part->deadline);
    if (!sum) return;
    sum->keys_read += made->keys_read;
    sum->keys_planned += made->keys_planned;
    if (made->rows_complete < sum->rows_complete) sum->rows_complete = made->rows_complete;
    if (layer == 0 || made->checkpoint < sum->checkpoint) sum->checkpoint = made->checkpoint;
    sum->expired |= made->expired;
    sum->elapsed_ns = call->seen_ns - call->begin_ns;
}

#endif
