/* certificate_rows.c - rows of a real model: how wrong the sparse output is, and what its certificate says. A program,
 * not a test; tools/certificate.py runs it and draws the conclusions.
 *
 *   certificate_rows MODEL TEXT CONTEXT SKIP STEP BUDGET [SEGMENTS]
 *
 * With SEGMENTS, as if a deadline had come when as many of the newest segments were read, of 1,024 tokens.
 * Reads CONTEXT tokens of TEXT (after SKIP) densely and, at every STEP-th position from 1,024 on, compares what the
 * policy fovea:budget=BUDGET would give in every layer and query head with dense attention, both in double over the
 * stored keys and values. One line a row:
 * layer,head,position,error,relative_error,trivial,error_bound,relative_bound,raw_estimate */
#include "attend/certificate.h"
#include "fovea/session.h"
#include "kernels/kernels.h"
#include "select/unread.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_DIM = 1024, FIRST = 1024 };

typedef struct rows_job {
    fv_policy policy;
    uint32_t step, context, segments; /* segments 0: all */
    unsigned char *scratch;
    float *keys, *values;
    double *score, *dense, *sparse;
    uint8_t *read;
} rows_job;

static void *must(void *memory) {
    if (memory) return memory;
    fprintf(stderr, "no memory\n");
    exit(1);
}

/* exp(score - most) of each token; the sum over all and over what is read; both outputs. */
static void outputs_make(rows_job *job, const fv_attend_config *attend, uint32_t count, const float *query,
                         double *most, double *read_sum) {
    uint32_t dim = attend->head_dim;
    double sum = 0;
    *most = -1e300;
    *read_sum = 0;
    for (uint32_t t = 0; t < count; t++) {
        double dot = 0;
        for (uint32_t c = 0; c < dim; c++) dot += (double)query[c] * (double)job->keys[t * dim + c];
        job->score[t] = dot * (double)attend->scale;
        if (job->score[t] > *most) *most = job->score[t];
    }
    for (uint32_t c = 0; c < dim; c++) job->dense[c] = job->sparse[c] = 0;
    for (uint32_t t = 0; t < count; t++) {
        double weight = exp(job->score[t] - *most);
        sum += weight;
        if (job->read[t]) *read_sum += weight;
        for (uint32_t c = 0; c < dim; c++) {
            double part = weight * (double)job->values[t * dim + c];
            job->dense[c] += part;
            if (job->read[t]) job->sparse[c] += part;
        }
    }
    for (uint32_t c = 0; c < dim; c++) {
        job->dense[c] /= sum;
        job->sparse[c] /= *read_sum;
    }
}

static void row_print(rows_job *job, const fv_attention_seen *seen, const fv_chooser *chooser,
                      const fv_choose_scratch *scratch, uint32_t g, const float *query) {
    uint32_t position = chooser->position;
    uint32_t dim = seen->attend->head_dim;
    double most, read_sum, error = 0, squares = 0, largest = 0;
    float out[MOST_DIM];
    outputs_make(job, seen->attend, position + 1, query, &most, &read_sum);
    for (uint32_t c = 0; c < dim; c++) {
        out[c] = (float)job->sparse[c];
        error = fmax(error, fabs(job->sparse[c] - job->dense[c]));
        squares += job->dense[c] * job->dense[c];
    }
    for (size_t i = 0; i < (size_t)(position + 1) * dim; i++) largest = fmax(largest, fabs((double)job->values[i]));
    float maximum = (float)(most * 1.4426950408889634);
    fv_unread unread = fv_unread_of(chooser, scratch, g, query, maximum);
    fv_certificate_input input = {.read = (float)read_sum,
                                  .mass_bound = unread.mass_bound,
                                  .mass_estimate = unread.mass_estimate,
                                  .value_max = unread.value_max,
                                  .value_rms = unread.value_rms,
                                  .head_dim = dim,
                                  .out = out};
    fv_certificate made = fv_certificate_make(&input);
    printf("%u,%u,%u,%.6g,%.6g,%.6g,%.6g,%.6g,%.6g\n", seen->layer, seen->kv_head * chooser->group + g, position, error,
           error / sqrt(squares / dim), 2 * largest, (double)made.error_bound, (double)made.relative_bound,
           (double)made.raw_estimate);
}

static void row_measure(rows_job *job, const fv_attention_seen *seen, uint32_t position, const float *query) {
    uint32_t group = seen->attend->query_heads / seen->attend->kv_heads, dim = seen->attend->head_dim;
    fv_chooser chooser;
    fv_chooser_make(&chooser, &job->policy, seen->cache, seen->kernels, seen->attend->scale, group, seen->layer,
                    seen->kv_head, position);
    fv_choose_scratch scratch = {0};
    fv_choose_scratch_at(&scratch, job->scratch, dim, group, job->context, 1);
    if (!fv_chooser_has_choice(&chooser)) return;
    fv_choose_weigh(&chooser, &scratch, 1, query, 0);
    fv_choose_pages(&chooser, &scratch);
    uint32_t segment = position / FV_SEGMENT_TOKENS, from = 0;
    if (job->segments && segment + 1 > job->segments) from = (segment + 1 - job->segments) * FV_SEGMENT_TOKENS;
    for (uint32_t t = 0; t <= position; t++) {
        uint32_t page = t / FV_PAGE_TOKENS;
        job->read[t] = page < chooser.begin || page >= chooser.end || scratch.weight[page] == FV_CHOSEN;
        job->read[t] = job->read[t] && t >= from;
    }
    if (from) {
        fv_chooser_take_all(&chooser);
        fv_choose_weigh(&chooser, &scratch, 1, query, 0);
        for (uint32_t page = 0; page < chooser.scored; page++)
            if (job->read[page * FV_PAGE_TOKENS]) scratch.weight[page] = FV_CHOSEN;
    }
    if (fv_cache_read(seen->cache, seen->kv_head, 0, position + 1, job->keys, job->values) != FV_OK) exit(1);
    for (uint32_t g = 0; g < group; g++) row_print(job, seen, &chooser, &scratch, g, query + g * dim);
}

static void observe(void *context, const fv_attention_seen *seen, size_t worker) {
    rows_job *job = context;
    size_t offset =
        (size_t)seen->kv_head * (seen->attend->query_heads / seen->attend->kv_heads) * seen->attend->head_dim;
    (void)worker;
    if (seen->local_window) return;
    for (uint32_t row = 0; row < seen->plan->rows; row++) {
        uint32_t position = seen->plan->first_token + row;
        if (position >= FIRST && position % job->step == job->step - 1)
            row_measure(job, seen, position, seen->query + row * seen->query_stride + offset);
    }
}

static void job_open(rows_job *job, const fv_model_config *shape) {
    size_t bytes = 0, elements = (size_t)job->context * shape->cache.head_dim;
    if (!fv_choose_scratch_bytes(shape->cache.head_dim, shape->query_heads / shape->cache.kv_heads, job->context, 1,
                                 &bytes))
        exit(1);
    job->scratch = must(aligned_alloc(64, (bytes + 63) / 64 * 64));
    job->keys = must(malloc(elements * sizeof *job->keys));
    job->values = must(malloc(elements * sizeof *job->values));
    job->score = must(malloc(job->context * sizeof *job->score));
    job->dense = must(malloc(MOST_DIM * sizeof *job->dense));
    job->sparse = must(malloc(MOST_DIM * sizeof *job->sparse));
    job->read = must(malloc(job->context));
}

static char *file_read(const char *path, size_t *length) {
    FILE *file = fopen(path, "rb");
    char *text = must(malloc(8u << 20));
    *length = file ? fread(text, 1, 8u << 20, file) : 0;
    if (file) fclose(file);
    return text;
}

int main(int argc, char **argv) {
    if (argc != 7 && argc != 8) {
        fprintf(stderr, "usage: certificate_rows MODEL TEXT CONTEXT SKIP STEP BUDGET [SEGMENTS]\n");
        return 2;
    }
    fv_message message = {""};
    fv_llm *llm = NULL;
    fv_session *session = NULL;
    fv_tokens tokens = {0};
    size_t length, skip = strtoul(argv[4], NULL, 10);
    rows_job job = {.context = (uint32_t)strtoul(argv[3], NULL, 10), .step = (uint32_t)strtoul(argv[5], NULL, 10)};
    if (argc == 8) job.segments = (uint32_t)strtoul(argv[7], NULL, 10);
    char *text = file_read(argv[2], &length);
    fv_policy_default(FV_SELECTOR_FOVEA, &job.policy);
    fv_policy_set_budget(&job.policy, strtof(argv[6], NULL));
    job.policy.certificate = 1;
    fv_status status = fv_llm_open(&llm, argv[1], &message);
    fv_session_config config;
    fv_session_config_default(&config);
    config.context_tokens = job.context;
    config.policy = job.policy;
    if (status == FV_OK) status = fv_session_open(&session, llm, &config, NULL, &message);
    if (status == FV_OK)
        status = fv_tokenizer_encode(fv_llm_tokenizer(llm), text, length, FV_TOKENIZE_ADD_SPECIAL, &tokens);
    if (status == FV_OK && tokens.count < skip + job.context) status = FV_ERROR_ARGUMENT;
    if (status == FV_OK) {
        fv_policy dense;
        fv_policy_default(FV_SELECTOR_DENSE, &dense);
        job_open(&job, fv_llm_config(llm));
        fv_session_observe(session, observe, &job);
        printf("layer,head,position,error,relative_error,trivial,error_bound,relative_bound,raw_estimate\n");
        status = fv_session_set_policy(session, &dense, &message);
        if (status == FV_OK) status = fv_session_feed(session, tokens.ids + skip, job.context, NULL, NULL);
    }
    if (status != FV_OK) fprintf(stderr, "%s: %s %s\n", argv[1], fv_status_text(status), message.text);
    return status == FV_OK ? 0 : 1;
}
