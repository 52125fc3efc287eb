/* score.h - how far a model's next-token distribution is from the text, and from another distribution. */
#ifndef FOVEA_SCORE_H
#define FOVEA_SCORE_H

#include "fovea/parallel.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** One scored position. */
typedef struct cli_score {
    double loss;       /* -ln p(next token), nats */
    double divergence; /* KL(base || this), nats; 0 for the base itself */
    bool same_top;     /* equal argmax; the lowest id wins a tie */
} cli_score;

/**
 * Scores `rows` positions.
 *
 * base, logits  [rows][vocabulary] f32; may be the same array.
 * next          [rows] ids that the text goes on with, inside the vocabulary.
 * scores        [rows], out. Sums are in double; each row is computed alone: the same for any number of threads.
 */
void cli_score_rows(size_t rows, size_t vocabulary, const float *base, const float *logits, const int32_t *next,
                    const fv_parallel *parallel, cli_score *scores);

/** Sums over positions, and llama-perplexity's figures from them. Start from {0}. */
typedef struct cli_score_sum {
    uint64_t count, same_top;
    double loss, loss_squares, divergence;
} cli_score_sum;

void cli_score_add(cli_score_sum *sum, const cli_score *scores, size_t rows);
double cli_score_perplexity(const cli_score_sum *sum);
double cli_score_error(const cli_score_sum *sum); /* of the perplexity, one standard deviation; 0 if not known */
double cli_score_divergence(const cli_score_sum *sum);
double cli_score_same_top(const cli_score_sum *sum); /* 0..1 */

#endif
