/* soundness.h - whether the numbers of a forward pass are numbers: looked at where they are few, and where int8, a
 * cache, a softmax or a soft cap would hide that they are not. */
#ifndef FV_SOUNDNESS_H
#define FV_SOUNDNESS_H

#include "model/model_state.h"

/* Marks a token whose query, key or value is not finite, or beyond 2^60, in the first element of its row of `mixed`,
 * which is free until attention. A muted one has no query. */
void fv_sound_mark(const fv_forward_call *call, size_t token);

/* After all tokens of the call are marked. FV_OK (parts that can fail alone may have) or FV_ERROR_NOT_FINITE, and
 * model->fault says where. */
fv_status fv_sound_check(fv_forward_call *call, uint32_t layer);

/* `status` of an append of the part's rows to `cache`; of FV_ERROR_RANGE model->fault says where. */
fv_status fv_sound_range(const fv_forward_call *call, uint32_t index, const fv_cache *cache, fv_status status);

/* Logits before anything caps them; `hidden` are the rows that they were made of. Returns as fv_sound_check(). */
fv_status fv_sound_logits(fv_model *model, const float *hidden, uint32_t rows, const float *logits);

#endif
