/* model_deadline.h - the time of parts of a step that must be done soon, shared out among the layers. */
#ifndef FV_MODEL_DEADLINE_H
#define FV_MODEL_DEADLINE_H

#include "model/model_state.h"

#if FV_BUILD_STEP && FV_BUILD_DEADLINE
fv_status fv_model_deadline_check(const fv_model_part *part);
void fv_model_deadline_begin(fv_forward_call *call);

/* Before and after a part that has a deadline reads in a layer. */
void fv_model_deadline_set(fv_forward_call *call, const fv_model_part *part, uint32_t layer, fv_attention_rows *rows);
void fv_model_deadline_add(fv_forward_call *call, const fv_model_part *part, uint32_t layer);

/* Before the parts of a layer; a part is out of the step. */
static inline void fv_model_deadline_layer(fv_forward_call *call) { call->timed_left = 0; }
static inline void fv_model_deadline_drop(fv_forward_call *call, const fv_model_part *part) {
    if (part->deadline) call->timed_parts--;
}
#else
static inline void fv_model_deadline_layer(fv_forward_call *call) { (void)call; }
static inline void fv_model_deadline_drop(fv_forward_call *call, const fv_model_part *part) { (void)call, (void)part; }
static inline fv_status fv_model_deadline_check(const fv_model_part *part) {
    return part->deadline ? FV_ERROR_UNSUPPORTED : FV_OK;
}
static inline void fv_model_deadline_begin(fv_forward_call *call) { (void)call; }
static inline void fv_model_deadline_set(fv_forward_call *call, const fv_model_part *part, uint32_t layer,
                                         fv_attention_rows *rows) {
    (void)call, (void)part, (void)layer, (void)rows;
}
static inline void fv_model_deadline_add(fv_forward_call *call, const fv_model_part *part, uint32_t layer) {
    (void)call, (void)part, (void)layer;
}
#endif

#endif
