/* score.c - log-softmax of rows of logits. The formulas of the sums are those of llama.cpp's tools/perplexity, so that
 * the printed figures can be compared digit by digit. */
#include "fovea/measure/score.h"
#include <math.h>

/* What a row's softmax needs. */
typedef struct row_stats {
    double largest, log_sum; /* log of the sum of exp(logit - largest) */
    size_t top;
} row_stats;

static row_stats stats_of(size_t vocabulary, const float *logits) {
    row_stats stats = {0};
    double sum = 0;
    for (size_t i = 1; i < vocabulary; i++)
        if (logits[i] > logits[stats.top]) stats.top = i;
    stats.largest = (double)logits[stats.top];
    for (size_t i = 0; i < vocabulary; i++) sum += exp((double)logits[i] - stats.largest);
    stats.log_sum = log(sum);
    return stats;
}

double fv_score_log_sum(size_t vocabulary, const float *logits) {
    row_stats stats = stats_of(vocabulary, logits);
    return stats.largest + stats.log_sum;
}

/* sum of p (ln p - ln q) */
static double divergence(size_t vocabulary, const float *base, row_stats p, const float *logits, row_stats q) {
    double sum = 0, p_shift = p.largest + p.log_sum, q_shift = q.largest + q.log_sum;
    for (size_t i = 0; i < vocabulary; i++) {
        double log_p = (double)base[i] - p_shift, log_q = (double)logits[i] - q_shift;
        sum += exp(log_p) * (log_p - log_q);
    }
    return sum;
}

typedef struct score_task {
    size_t vocabulary;
    const float *base, *logits;
    const int32_t *next;
    fv_score *scores;
} score_task;

static void score_row(void *context, size_t row, size_t worker) {
    const score_task *task = context;
    const float *base = task->base + row * task->vocabulary, *logits = task->logits + row * task->vocabulary;
    row_stats q = stats_of(task->vocabulary, logits);
    (void)worker;
    fv_score score = {.loss = q.largest + q.log_sum - (double)logits[task->next[row]], .same_top = true};
    if (base != logits) {
        row_stats p = stats_of(task->vocabulary, base);
        score.divergence = divergence(task->vocabulary, base, p, logits, q);
        score.same_top = p.top == q.top;
    }
    task->scores[row] = score;
}

void fv_score_rows(size_t rows, size_t vocabulary, const float *base, const float *logits, const int32_t *next,
                   const fv_parallel *parallel, fv_score *scores) {
    score_task task = {vocabulary, base, logits, next, scores};
    fv_parallel_run(parallel, rows, score_row, &task);
}

void fv_score_add(fv_score_sum *sum, const fv_score *scores, size_t rows) {
    for (size_t i = 0; i < rows; i++) {
        sum->loss += scores[i].loss;
        sum->loss_squares += scores[i].loss * scores[i].loss;
        sum->divergence += scores[i].divergence;
        sum->same_top += scores[i].same_top;
    }
    sum->count += rows;
}

double fv_score_perplexity(const fv_score_sum *sum) { return exp(sum->loss / (double)sum->count); }

double fv_score_error(const fv_score_sum *sum) {
    double count = (double)sum->count, mean = sum->loss / count;
    double variance = sum->loss_squares / count - mean * mean;
    if (sum->count < 2 || !(variance > 0)) return 0;
    return sqrt(variance / (count - 1)) * exp(mean);
}

double fv_score_divergence(const fv_score_sum *sum) { return sum->divergence / (double)sum->count; }

double fv_score_same_top(const fv_score_sum *sum) { return (double)sum->same_top / (double)sum->count; }
