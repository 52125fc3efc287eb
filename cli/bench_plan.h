/* bench_plan.h - the lists of `fovea bench`: every combination of them is a test. */
#ifndef FOVEA_BENCH_PLAN_H
#define FOVEA_BENCH_PLAN_H

#include "deadline_option.h"
#include "fovea/policy.h"
#include "model_options.h"
#include "options.h"

#define BENCH_VALUES_MAX 64 /* of one list */
#define BENCH_NO_MASK "0x0" /* llama-bench's: any processor */

typedef struct bench_options {
    cli_deadline_options deadline;
    cli_model_options model; /* its model, threads and types come from the lists below */
    cli_texts models, prompts, generated, pairs, depths, threads, key_types, value_types, batches, micro_batches, masks,
        stricts, polls, embeddings, attention;
    int64_t repetitions, delay;
    int format, error_format; /* cli_bench_format; of the second one more, 0 being none */
    bool no_warmup, progress, json, list_devices;
} bench_options;

typedef struct bench_numbers {
    int64_t values[BENCH_VALUES_MAX];
    size_t count;
} bench_numbers;

/* The axes around the sizes, outermost first. */
typedef enum bench_axis {
    BENCH_MODEL,
    BENCH_BATCH,
    BENCH_MICRO_BATCH,
    BENCH_KEY,
    BENCH_VALUE,
    BENCH_POLICY,
    BENCH_THREADS,
    BENCH_MASK,
    BENCH_STRICT,
    BENCH_DEPTH,
    BENCH_POLL,
    BENCH_AXES
} bench_axis;

/* The lists, read. Models and policies stay texts. */
typedef struct bench_plan {
    cli_texts models, masks;
    char *model_copy, *mask_copy; /* a,b is cut at its commas here */
    struct bench_size {
        uint32_t prompt, generated;
    } sizes[3 * BENCH_VALUES_MAX]; /* of -p, -n and -pg, in this order */
    size_t size_count;
    bench_numbers axes[BENCH_AXES]; /* of models, masks and policies only the count */
    cli_texts attention;
    fv_policy policies[CLI_TEXTS_MOST];
} bench_plan;

/** CLI_GO_ON, CLI_USAGE or CLI_FAILED, and one line said why. bench_plan_free() in any case. */
int bench_plan_read(const bench_options *options, bench_plan *plan);
void bench_plan_free(bench_plan *plan);

#endif
