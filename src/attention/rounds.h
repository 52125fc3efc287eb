/* rounds.h - rows until a deadline. */
#ifndef FV_ROUNDS_H
#define FV_ROUNDS_H

#include "attention/attention_call.h"

/* The rows of a call that has been made and has a watch, started or not: see fv_attention_run(). */
fv_status fv_rounds_run(fv_attention_call *call, const fv_attention_rows *rows, fv_report *report);

#endif
