/* row_choice.h - rows that choose by their queries: asks select for their plans, keeps the states of their tails, has
 * them certified. */
#ifndef FV_ROW_CHOICE_H
#define FV_ROW_CHOICE_H

#include "attention/attention_call.h"

/* Of the rows of `view` and a KV head, in the worker's memory. */
fv_choosing *fv_choosing_make(const fv_attention_call *call, const fv_plan_view *view, uint32_t kv_head, size_t worker);

/* The plan of one row by its queries, or of as many as read all; rows of a tile come in rising order. */
fv_status fv_chosen_plan(fv_choosing *at, uint32_t position, size_t worker, fv_plan *plan);

#if FV_BUILD_LISTS
/* Without a plan, for a row that is not short: `reader` is added to what stands for each page that it reads, and its
 * keys are counted. False: it reads all because it is short, and has to be planned. */
bool fv_chosen_readers(fv_choosing *at, uint32_t position, size_t worker, uint16_t reader, uint16_t *readers);
#endif

/* If the call has tails: adds them to the state of what was read of one row, or of two. More rows read all. */
void fv_tails_merge(const fv_attention_call *call, const fv_state *state, const fv_plan *plan, size_t place);

/* The certificate of the row at hand, whose scores and choices are in the scratch; its largest relative estimate. */
float fv_choosing_certify(fv_choosing *at, fv_state state, fv_certified *into);

#endif
