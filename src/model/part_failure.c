/* part_failure.c - a part that fails midway: its caches become what they were, and it ends the step, or leaves it. */
#include "build.h"
#include "model/model_deadline.h"
#include "model/model_state.h"

#if FV_BUILD_MODEL

static void part_take_back(const fv_forward_call *call, uint32_t index) {
    for (uint32_t layer = fv_first_layer(call->model); layer < fv_layers_end(call->model); layer++) {
        fv_cache *cache = fv_part_caches(call->model, &call->parts[index])[layer];
        uint32_t tokens = call->model->places[index].first_token;
        if (fv_cache_tokens(cache) > tokens) fv_cache_truncate(cache, tokens);
    }
}

void fv_model_parts_take_back(const fv_forward_call *call) {
    for (uint32_t i = 0; i < fv_call_parts(call); i++) part_take_back(call, i);
}

#if FV_BUILD_STEP
uint32_t fv_model_part_at(const fv_forward_call *call, uint32_t row) {
    uint32_t index = 0;
    while (call->model->places[index + 1].first_row <= row) index++;
    return index;
}

bool fv_model_part_is_out(const fv_forward_call *call, uint32_t index) {
    return call->outcomes && call->outcomes[index].status != FV_OK;
}

static void zero(float *x, size_t count) {
    for (size_t i = 0; i < count; i++) x[i] = 0.0f;
}

/* Its rows stay in the step as zeros: whatever it has lost must not spoil anything, and not be found again. */
bool fv_model_part_drop(fv_forward_call *call, uint32_t index, fv_status status) {
    const fv_model *model = call->model;
    size_t width = model->config.width, queries = fv_query_width(&model->config), count = call->parts[index].count;
    size_t first = model->places[index].first_row;
    if (!call->outcomes) return false;
    call->outcomes[index] = (fv_part_outcome){.status = status};
    if (status == FV_ERROR_NOT_FINITE || status == FV_ERROR_RANGE) {
        call->outcomes[index].fault = model->fault;
        call->outcomes[index].fault.row -= (uint32_t)first;
    }
    call->model->places[index].status = status;
    call->model->lacks_rows = true;
    fv_model_deadline_drop(call, &call->parts[index]);
    part_take_back(call, index);
    zero(model->stream + first * width, count * width);
    zero(model->mixed + first * queries, count * queries);
    return --call->alive > 0;
}

bool fv_model_has_row(const fv_model *model, uint32_t row) {
    const fv_part_place *place = model->places;
    while (place[1].first_row <= row) place++;
    return place->status == FV_OK && row >= place->first_output;
}
#endif

#endif
