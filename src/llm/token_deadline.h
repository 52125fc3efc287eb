/* token_deadline.h - the deadline of one token that was handed in, and what became of it. Private to src/llm. */
#ifndef FV_TOKEN_DEADLINE_H
#define FV_TOKEN_DEADLINE_H

#include "fovea/step.h"

/* Where it lies, it stays until its step is over: parts point to it. */
typedef struct fv_token_time {
    fv_deadline deadline; /* without a clock: there is none */
    fv_progress progress;
} fv_token_time;

/* When `count` tokens of the sequence are handed in together: one alone has a deadline, if the sequence has. */
void fv_token_time_begin(fv_token_time *time, const fv_sequence *sequence, size_t count);

/* The part is of those tokens. */
void fv_token_time_attach(fv_token_time *time, fv_step_part *part);

/* Counts what became of them, by what the step returned. */
void fv_token_time_end(const fv_token_time *time, fv_sequence *sequence, fv_status status);

/* Whether tokens with these can be in one step: it has one clock. */
bool fv_token_times_suit(const fv_token_time *one, const fv_token_time *other);

#endif
