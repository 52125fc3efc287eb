/* logprob.c - by the sum that perplexity is measured with: the same whoever else is served. */
#include "logprob.h"
#include "fovea/measure/score.h"
#include <math.h>

/* Puts a candidate in its place among the best so far, of which there are `held`. */
static size_t insert(fv_alternative *tops, size_t held, size_t count, fv_alternative one) {
    if (held == count && !(one.logprob > tops[held - 1].logprob)) return held;
    size_t place = held < count ? held : count - 1;
    for (; place > 0 && one.logprob > tops[place - 1].logprob; place--) tops[place] = tops[place - 1];
    tops[place] = one;
    return held < count ? held + 1 : count;
}

float fv_logprob_find(const float *logits, uint32_t vocabulary, int32_t token, fv_alternative *tops, size_t count) {
    double total = fv_score_log_sum(vocabulary, logits);
    size_t held = 0;
    for (uint32_t i = 0; i < vocabulary && count > 0; i++)
        held = insert(tops, held, count, (fv_alternative){(int32_t)i, logits[i]});
    for (size_t i = 0; i < count; i++) {
        if (i >= held) tops[i] = (fv_alternative){-1, -INFINITY};
        tops[i].logprob = (float)((double)tops[i].logprob - total);
    }
    return (float)((double)logits[token] - total);
}
