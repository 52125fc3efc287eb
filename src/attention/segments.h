/* segments.h - one row, or the few that are read together until a deadline: KV heads x segments of keys, whose states
 * are merged. */
#ifndef FV_SEGMENTS_H
#define FV_SEGMENTS_H

#include "attention/attention_call.h"

/* The only row of the call; an error leaves its output untouched. */
fv_status fv_segments_run(fv_attention_call *call);

/* Of call->view, and the segments that any of them reads. Those that choose cannot fail: the call was checked. */
fv_status fv_plans_make(fv_attention_call *call);

fv_state fv_row_state(const fv_attention_call *call, size_t kv_head, size_t segment);

/* The states of segments of the plans, or of what they gather: by an executor of the caller's, which there is. */
void fv_states_execute(fv_attention_call *call, uint32_t first_segment, uint32_t segments, uint32_t gathered);

/* The states merge in rising order, as fv_attend_tile() merges them: the split shows in no bit. Each total is in the
 * place of the first. */
void fv_states_merge(const fv_attention_call *call);

/* To the call's rows. */
void fv_states_write(const fv_attention_call *call);

void fv_plans_certify(fv_attention_call *call);

#endif
