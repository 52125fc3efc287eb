/* stepper_lane.c - steps of one stepper that are on their way at the same time. */
#include "llm/llm.h"
#include "llm/stepper_parts.h"
#include "llm/stepper_state.h"
#include "platform/array.h"
#include <stdlib.h>

struct fv_stepper_lane {
    fv_stepper *stepper;
    fv_stage_steps *stages;  /* NULL: all layers are here */
    fv_part_outcome *became; /* [shape.parts], of those that were sent */
    uint32_t *places;        /* [shape.parts], which those are */
    size_t count;
};

uint32_t fv_stepper_lanes(const fv_stepper *stepper) {
    return stepper->stages ? fv_stage_hub_stages(stepper->llm->hub) : 1;
}

fv_status fv_stepper_lane_open(fv_stepper_lane **lane, fv_stepper *stepper) {
    fv_stepper_lane *made = calloc(1, sizeof *made);
    if (!made) return FV_ERROR_MEMORY;
    made->stepper = stepper;
    made->became = fv_array_new(stepper->shape.parts, sizeof *made->became);
    made->places = fv_array_new(stepper->shape.parts, sizeof *made->places);
    fv_status status = made->became && made->places ? FV_OK : FV_ERROR_MEMORY;
    if (status == FV_OK && stepper->stages) status = fv_stage_steps_open_beside(&made->stages, stepper->stages);
    if (status == FV_OK)
        *lane = made;
    else
        fv_stepper_lane_close(made);
    return status;
}

void fv_stepper_lane_close(fv_stepper_lane *lane) {
    if (!lane) return;
    fv_stage_steps_close(lane->stages);
    free(lane->became);
    free(lane->places);
    free(lane);
}

/* The stepper's steps are the lane's; which it had. */
static fv_stage_steps *lane_enter(const fv_stepper_lane *lane) {
    fv_stage_steps *held = lane->stepper->stages;
    if (lane->stages) lane->stepper->stages = lane->stages;
    return held;
}

fv_status fv_stepper_lane_begin(fv_stepper_lane *lane, const fv_step_part *parts, size_t count,
                                fv_part_outcome *outcomes, uint32_t *first_rows) {
    fv_stepper *stepper = lane->stepper;
    fv_stage_steps *held = lane_enter(lane);
    stepper->defers = lane->stages != NULL;
    fv_status status = fv_stepper_run_rest(stepper, parts, count, outcomes, first_rows);
    stepper->defers = false;
    stepper->stages = held;
    lane->count = 0;
    for (size_t i = 0; status == FV_OK && i < count; i++) {
        if (first_rows[i] == UINT32_MAX) continue;
        lane->places[lane->count] = (uint32_t)i;
        lane->became[lane->count++] = outcomes[i];
    }
    return status;
}

fv_status fv_stepper_lane_end(fv_stepper_lane *lane, fv_part_outcome *outcomes) {
    fv_model_fault fault = {0};
    if (!lane->stages) return FV_OK;
    fv_status failed = FV_ERROR_ARGUMENT;
    bool came = false;
    (void)fv_stage_steps_await(lane->stages, &fault, lane->became); /* outcomes say it all */
    for (size_t i = 0; i < lane->count; i++) {
        fv_part_outcome *outcome = &outcomes[lane->places[i]];
        *outcome = lane->became[i];
        if (outcome->status == FV_OK) came = true;
        if (outcome->status != FV_OK) failed = (fv_status)outcome->status;
    }
    return came ? FV_OK : failed;
}

fv_status fv_stepper_lane_logits(fv_stepper_lane *lane, const uint32_t *rows, size_t count, float *logits) {
    fv_stage_steps *held = lane_enter(lane);
    fv_status status = fv_stepper_logits(lane->stepper, rows, count, logits);
    lane->stepper->stages = held;
    return status;
}
