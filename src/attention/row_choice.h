/* row_choice.h - the plan of a row that chooses by its queries, with its tail and its certificate. */
#ifndef FV_ROW_CHOICE_H
#define FV_ROW_CHOICE_H

#include "attention/attention_call.h"

static inline size_t fv_group_width(const fv_choosing *at) {
    return (size_t)at->chooser.group * at->call->attention->config.attend.head_dim;
}

fv_choosing *fv_choosing_make(const fv_attention_call *call, const fv_plan_view *view, uint32_t kv_head, size_t worker);

void fv_call_chooser(const fv_attention_call *call, uint32_t kv_head, uint32_t position, fv_chooser *chooser);

/* Makes at->chooser that of a row. */
static inline const fv_chooser *fv_chooser_at(fv_choosing *at, uint32_t position) {
    fv_call_chooser(at->call, at->kv_head, position, &at->chooser);
    return &at->chooser;
}

/* The plan of one row by its queries, or of as many as read all or share their choice; rows of a tile come in rising
 * order. */
fv_status fv_chosen_plan(fv_choosing *at, uint32_t position, size_t worker, fv_plan *plan);

/* If the call has tails: adds them to the state of what was read of one row, or of two. More rows than that read all.
 */
void fv_tails_merge(const fv_attention_call *call, const fv_state *state, const fv_plan *plan, size_t place);

/* The certificate of the chooser's row, whose scores and choices are in the scratch; its largest relative estimate. */
float fv_choosing_certify(fv_choosing *at, fv_state state, fv_certified *into);

#endif
