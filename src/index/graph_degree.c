/* graph_degree.c - estimates in how many dimensions vectors spread where they lie, by how fast distances grow from the
 * nearest to the 20th: from m dimensions the j-th nearest of n is at about (j / n)^(1 / m) (Levina & Bickel 2004).
 *
 * What is compared are products of quotients of f64, of which no logarithm is taken: the same bits everywhere. */
#include "index/graph_degree.h"
#include "index/kept_row.h"
#include "numeric/splitmix.h"
#include <float.h>

enum {
    SAMPLE = 4096, /* rows among which the nearest are looked for */
    PROBES = 256,  /* of them, around which */
    NEAR = 20
};

/* The estimate of m is (NEAR - 1) / sum over j < NEAR of log(distance of the last / distance j): with distances
 * squared the product of their quotients is under e^2 if it is above 19. Of 4,096 rows of the manifold of 16 dimensions
 * in bench/index_data.py it is 14, of sentences 24, of token embeddings 61 and more. */
#define WIDE_PRODUCT 7.38905609893065

/* With fewer rows walks are short whatever the vectors are, and 32 neighbours lead as far. */
#define WIDE_ROWS 32768

typedef struct degree_job {
    const fv_index *index;
    uint32_t rows[SAMPLE];
    bool is_wide[PROBES];
} degree_job;

static void offer(float *near, float distance) {
    size_t place = NEAR;
    if (!(distance < near[NEAR - 1])) return;
    for (; place > 0 && distance < near[place - 1]; place--)
        if (place < NEAR) near[place] = near[place - 1];
    near[place] = distance;
}

/* Vectors that are there several times spread in no direction: a quotient is infinite, or no number. */
static void probe_task(void *context, size_t task, size_t worker) {
    degree_job *job = context;
    size_t self = task * (SAMPLE / PROBES);
    float near[NEAR];
    double product = 1;
    (void)worker;
    for (size_t i = 0; i < NEAR; i++) near[i] = FLT_MAX;
    for (size_t i = 0; i < SAMPLE; i++)
        if (i != self) offer(near, fv_kept_pair(job->index, job->rows[self], job->rows[i]));
    for (size_t i = 0; i + 1 < NEAR; i++) product *= (double)near[NEAR - 1] / (double)near[i];
    job->is_wide[task] = product < WIDE_PRODUCT;
}

uint32_t fv_graph_degree_for(const fv_index *index, bool is_lean, const fv_parallel *parallel) {
    degree_job job = {.index = index};
    size_t wide = 0;
    if (is_lean || index->rows < WIDE_ROWS) return FV_GRAPH_DEGREE_LEAST;
    for (size_t i = 0; i < SAMPLE; i++) { /* one by chance of each part */
        uint64_t first = i * (uint64_t)index->rows / SAMPLE, end = (i + 1) * (uint64_t)index->rows / SAMPLE;
        job.rows[i] = (uint32_t)(first + fv_splitmix(index->config.seed, i) % (end - first));
    }
    fv_parallel_run(parallel, PROBES, probe_task, &job);
    for (size_t i = 0; i < PROBES; i++) wide += job.is_wide[i];
    return 2 * wide > PROBES ? FV_GRAPH_DEGREE_WIDE : FV_GRAPH_DEGREE_LEAST;
}
