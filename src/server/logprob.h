/* logprob.h - log-probabilities of the model's own distribution: of the logits before anything was done to them. */
#ifndef FV_LOGPROB_H
#define FV_LOGPROB_H

#include "request.h"

/** Of `token`; and the `count` likeliest tokens into tops, best first, ties by id. O(vocabulary * log count). */
float fv_logprob_find(const float *logits, uint32_t vocabulary, int32_t token, fv_alternative *tops, size_t count);

#endif
