/* model_bench.c - runs a test in a session; a figure's formula is llama-bench's. */
#include "fovea/measure/model_bench.h"
#include "fovea/machine.h"
#include "fovea/report_sum.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define TYPES_MAX 64 /* different types of tensors that are counted */

typedef struct bench {
    const fv_llm *llm;
    fv_session *session;
    const fv_model_bench_test *test;
    const fv_model_bench_watch *watch;
    int32_t *tokens; /* [batch] */
    float *logits;   /* [vocabulary] */
    uint32_t random;
} bench;

static int32_t random_token(bench *run) {
    run->random = run->random * 1664525u + 1013904223u; /* Numerical Recipes' generator: tokens need no better */
    return (int32_t)((run->random >> 8) % fv_llm_config(run->llm)->vocabulary);
}

static bool go_on(const bench *run) {
    return !run->watch || !run->watch->go_on || run->watch->go_on(run->watch->context);
}

/* Reads `count` random tokens after what is there; the logits of each batch's last token are computed, as a program
 * that wants the next token would. */
static fv_status read_prompt(bench *run, uint32_t count) {
    const fv_tokenizer *tokenizer = fv_llm_tokenizer(run->llm);
    for (uint32_t done = 0; done < count;) {
        uint32_t rows = count - done < run->test->batch ? count - done : run->test->batch;
        for (uint32_t i = 0; i < rows; i++) run->tokens[i] = random_token(run);
        if (done == 0 && fv_tokenizer_adds_bos(tokenizer) && fv_tokenizer_bos(tokenizer) >= 0)
            run->tokens[0] = fv_tokenizer_bos(tokenizer);
        fv_status status = fv_session_feed_prompt(run->session, run->tokens, rows, count - done - rows, NULL, NULL);
        if (status == FV_OK)
            status = fv_session_logits(run->session, fv_session_batch_rows(run->session) - 1, 1, run->logits);
        if (status != FV_OK) return status;
        if (!go_on(run)) return FV_ERROR_INTERRUPTED;
        done += rows;
    }
    return FV_OK;
}

static fv_status generate(bench *run, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        int32_t token = random_token(run);
        fv_status status = fv_session_feed(run->session, &token, 1, NULL, NULL);
        if (status == FV_OK) status = fv_session_logits(run->session, 0, 1, run->logits);
        if (status != FV_OK) return status;
        if (!go_on(run)) return FV_ERROR_INTERRUPTED;
    }
    return FV_OK;
}

static fv_status warm(bench *run) {
    fv_status status = run->test->prompt > 0 ? read_prompt(run, run->test->prompt) : FV_OK;
    if (status == FV_OK && run->test->generated > 0) status = generate(run, 1);
    return status == FV_OK ? fv_session_truncate(run->session, 0) : status;
}

static fv_status measure_once(bench *run, fv_model_bench_result *result) {
    /* back to the depth: cheaper than reading it again, and the same tokens are in the cache */
    fv_status status = fv_session_rewind(run->session, run->test->depth);
    if (status != FV_OK) return status;
    fv_session_report_reset(run->session);
    uint64_t start_ns = fv_machine_clock_ns();
    if (run->test->prompt > 0) status = read_prompt(run, run->test->prompt);
    if (status == FV_OK && run->test->generated > 0) status = generate(run, run->test->generated);
    result->samples_ns[result->samples] = fv_machine_clock_ns() - start_ns;
    if (status != FV_OK) return status;
    fv_report_sum(&result->report, fv_session_report(run->session));
    result->samples++;
    if (run->watch && run->watch->ran) run->watch->ran(run->watch->context, result->samples);
    return FV_OK;
}

fv_status fv_model_bench_run(const fv_llm *llm, fv_session *session, const fv_model_bench_test *test, bool warm_up,
                             size_t repetitions, const fv_model_bench_watch *watch, fv_model_bench_result *result) {
    bench run = {llm, session, test, watch, NULL, NULL, 1};
    result->samples = 0;
    result->report = (fv_report){.struct_bytes = sizeof(fv_report)};
    run.tokens = malloc(test->batch * sizeof *run.tokens);
    run.logits = malloc(fv_llm_config(llm)->vocabulary * sizeof *run.logits);
    fv_status status = run.tokens && run.logits ? FV_OK : FV_ERROR_MEMORY;
    if (status == FV_OK && warm_up) status = warm(&run);
    if (status == FV_OK && test->depth > 0) status = read_prompt(&run, test->depth);
    for (size_t i = 0; i < repetitions && status == FV_OK; i++) status = measure_once(&run, result);
    free(run.tokens);
    free(run.logits);
    return status;
}

/* ---- figures ---- */

double fv_model_bench_rate(const fv_model_bench_test *test, uint64_t ns) {
    return ns > 0 ? 1e9 * ((double)test->prompt + (double)test->generated) / (double)ns : 0;
}

/* Of sample i: its time, or its rate. */
static double sample(const fv_model_bench_test *test, const fv_model_bench_result *result, size_t i, bool rate) {
    uint64_t ns = result->samples_ns[i];
    return rate ? fv_model_bench_rate(test, ns) : (double)ns;
}

static void mean_and_deviation(const fv_model_bench_test *test, const fv_model_bench_result *result, bool rate,
                               double *mean, double *deviation) {
    double sum = 0, squares = 0, count = (double)result->samples;
    for (size_t i = 0; i < result->samples; i++) sum += sample(test, result, i, rate);
    *mean = result->samples ? sum / count : 0;
    for (size_t i = 0; i < result->samples; i++) {
        double difference = sample(test, result, i, rate) - *mean;
        squares += difference * difference;
    }
    *deviation = result->samples > 1 ? sqrt(squares / (count - 1)) : 0;
}

void fv_model_bench_figures_of(const fv_model_bench_test *test, const fv_model_bench_result *result,
                               fv_model_bench_figures *figures) {
    mean_and_deviation(test, result, false, &figures->mean_ns, &figures->deviation_ns);
    mean_and_deviation(test, result, true, &figures->mean_rate, &figures->deviation_rate);
    double tokens = ((double)test->prompt + (double)test->generated) * (double)result->samples;
    figures->token_bytes = tokens > 0 ? (double)result->report.bytes_read / tokens : 0;
}

void fv_model_bench_name(const fv_llm *llm, char *name, size_t bytes) {
    const fv_gguf *gguf = fv_llm_gguf(llm);
    fv_gguf_type_use uses[TYPES_MAX];
    size_t count = fv_gguf_type_uses(gguf, uses, TYPES_MAX), best = 0;
    for (size_t i = 1; i < count; i++)
        if (uses[i].bytes > uses[best].bytes) best = i;
    const char *type = count ? fv_gguf_type_name(uses[best].ggml_type) : NULL;
    double parameters = (double)fv_llm_parameters(llm);
    snprintf(name, bytes, "%s %.2f%s %s", fv_llm_architecture(llm),
             parameters < 1e9 ? parameters / 1e6 : parameters / 1e9, parameters < 1e9 ? "M" : "B", type ? type : "?");
}

void fv_model_bench_test_name(const fv_model_bench_test *test, char *name, size_t bytes) {
    int used;
    if (test->generated == 0)
        used = snprintf(name, bytes, "pp%" PRIu32, test->prompt);
    else if (test->prompt == 0)
        used = snprintf(name, bytes, "tg%" PRIu32, test->generated);
    else
        used = snprintf(name, bytes, "pp%" PRIu32 "+tg%" PRIu32, test->prompt, test->generated);
    if (test->depth > 0 && used > 0 && (size_t)used < bytes)
        snprintf(name + used, bytes - (size_t)used, " @ d%" PRIu32, test->depth);
}
