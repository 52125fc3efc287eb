/* score.h - how far a next-token distribution is from the text, and from another distribution. Hosted. */
#ifndef FOVEA_SCORE_H
#define FOVEA_SCORE_H

#include "fovea/api.h"
#include "fovea/parallel.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** One scored position. */
typedef struct fv_score {
    double loss;       /* -ln p(next token), nats */
    double divergence; /* KL(base || this), nats; 0 for the base itself */
    bool same_top;     /* equal argmax; the lowest id wins a tie */
} fv_score;

/**
 * Scores `rows` positions.
 *
 * base, logits  [rows][vocabulary] f32, vocabulary >= 1; may be the same array. Log-probabilities are logits, too.
 * next          [rows] ids that the text continues with, inside the vocabulary.
 * parallel      NULL: the calling thread.
 * scores        [rows], out. Sums are in double; each row is computed alone: the same for any number of threads.
 * Reentrant. O(rows * vocabulary).
 */
FV_API void fv_score_rows(size_t rows, size_t vocabulary, const float *base, const float *logits, const int32_t *next,
                          const fv_parallel *parallel, fv_score *scores);

/** ln of the sum of exp(logits): a logit less it is its log-probability. logits [vocabulary] f32, vocabulary >= 1. Sums
 * are in double, in the order of the ids; fv_score_rows() has the same. Reentrant. */
FV_API double fv_score_log_sum(size_t vocabulary, const float *logits);

/** Sums over positions, and llama-perplexity's figures from them. Start from {0}. */
typedef struct fv_score_sum {
    uint64_t count, same_top;
    double loss, loss_squares, divergence;
} fv_score_sum;

FV_API void fv_score_add(fv_score_sum *sum, const fv_score *scores, size_t rows);

/* Of a sum of at least one position; NaN otherwise. Pure. */
FV_API double fv_score_perplexity(const fv_score_sum *sum); /* exp of the mean loss */
FV_API double fv_score_error(const fv_score_sum *sum); /* of the perplexity, one standard deviation; 0 if not known */
FV_API double fv_score_divergence(const fv_score_sum *sum); /* mean, nats */
FV_API double fv_score_same_top(const fv_score_sum *sum);   /* share, 0..1 */

#ifdef __cplusplus
}
#endif

#endif
