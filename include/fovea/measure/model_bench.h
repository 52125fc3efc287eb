/* model_bench.h - speed of a model, measured as llama-bench measures it: random tokens, a warm-up, then repetitions;
 * and what the machine allows for it. Hosted. */
#ifndef FOVEA_MODEL_BENCH_H
#define FOVEA_MODEL_BENCH_H

#include "fovea/peaks.h"
#include "fovea/session.h"

#ifdef __cplusplus
extern "C" {
#endif

/** One test: a prompt, tokens generated one by one, or both; in tokens. */
typedef struct fv_model_bench_test {
    uint32_t prompt, generated;
    uint32_t depth; /* in the context before the clock starts */
    uint32_t batch,
        micro_batch; /* >= 1: after `batch` tokens of a prompt logits are computed; micro_batch is the session's */
} fv_model_bench_test;

/** What was measured. */
typedef struct fv_model_bench_result {
    uint64_t *samples_ns; /* the caller's: [repetitions] */
    size_t samples;       /* finished */
    fv_report report;     /* over all samples */
} fv_model_bench_result;

/** What the caller is told and asked, from the thread that called. Each may be NULL. */
typedef struct fv_model_bench_watch {
    void *context;
    bool (*go_on)(void *context);               /* after each batch and token; false stops */
    void (*ran)(void *context, size_t samples); /* so many samples are finished */
} fv_model_bench_watch;

/**
 * Runs a test `repetitions` times in an empty session, whose context holds prompt + generated + depth tokens.
 *
 * warm_up  1: once before, not timed.
 * result   out, also on error: the samples that were finished.
 * returns  FV_OK, FV_ERROR_INTERRUPTED (the watch said no), FV_ERROR_MEMORY, what fv_session_feed() returns.
 */
FV_API fv_status fv_model_bench_run(const fv_llm *llm, fv_session *session, const fv_model_bench_test *test,
                                    bool warm_up, size_t repetitions, const fv_model_bench_watch *watch,
                                    fv_model_bench_result *result);

/** Of the mean sample: products with the weights (int8, where they are quantised; of a prompt's rows but the last of
 * each batch without most of the last layer, as fv_session_feed_prompt() makes them), attention's (f32), the bytes of
 * the weights once for every evaluated batch, and the cache lines of keys and values. */
FV_API void fv_model_bench_work(const fv_llm *llm, const fv_model_bench_test *test, const fv_model_bench_result *result,
                                fv_peak_work *work);

/** Bytes that the work goes through again and again: weights, and keys and values of a token or batch. */
FV_API double fv_model_bench_bytes(const fv_llm *llm, const fv_model_bench_test *test,
                                   const fv_model_bench_result *result);

/** How far a test was from what its machine allows. Start from {0}. */
typedef struct fv_model_bench_limit {
    fv_peaks peaks;
    double share;     /* of the limit that binds, by the mean sample: fv_peaks_share() */
    const char *name; /* "compute" or "memory" */
    double bytes;     /* what the peaks were measured for, with so many threads */
    uint32_t threads;
} fv_model_bench_limit;

/**
 * Holds a result with samples against the peaks of the threads `parallel`. These are measured (about 0.2 s), unless
 * `limit` already holds those of as many threads and as many bytes: hand it on from test to test.
 *
 * isa      what peaks use at most, as for fv_peaks_measure(), whose errors are returned; `limit` untouched on error.
 */
FV_API fv_status fv_model_bench_hold(const fv_llm *llm, const fv_model_bench_test *test,
                                     const fv_model_bench_result *result, fv_isa isa, const fv_parallel *parallel,
                                     fv_model_bench_limit *limit);

/** Means and deviations of a sample (over count - 1), of times and of tokens per second, as llama-bench takes them. */
typedef struct fv_model_bench_figures {
    double mean_ns, deviation_ns, mean_rate, deviation_rate;
    double token_bytes; /* of the cache read per token; 0 without samples */
} fv_model_bench_figures;

FV_API double fv_model_bench_rate(const fv_model_bench_test *test, uint64_t ns); /* tokens per second; 0 if ns is 0 */
FV_API void fv_model_bench_figures_of(const fv_model_bench_test *test, const fv_model_bench_result *result,
                                      fv_model_bench_figures *figures);

/** "llama 134.52M Q4_1" into name[bytes]: the type that most bytes have, as llama-bench's column says it. */
FV_API void fv_model_bench_name(const fv_llm *llm, char *name, size_t bytes);

/** "pp512", "tg128", "pp512+tg128 @ d4096" into name[bytes]: llama-bench's name of a test. */
FV_API void fv_model_bench_test_name(const fv_model_bench_test *test, char *name, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
