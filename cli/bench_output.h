/* bench_output.h - results of `fovea bench` in llama-bench's formats and field names, plus attn and density. */
#ifndef FOVEA_BENCH_OUTPUT_H
#define FOVEA_BENCH_OUTPUT_H

#include "fovea/measure/model_bench.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** One finished test. */
typedef struct cli_bench_result {
    const char *model_filename, *attention;
    char model_type[128];
    uint64_t model_bytes, model_parameters;
    const char *cpu_mask; /* "0x0": none was given */
    uint32_t threads, cpu_strict, poll, key_type, value_type;
    fv_model_bench_test test;
    fv_model_bench_result run;
    fv_model_bench_limit limit;
    double deadline_ms; /* 0: there was none, and its fields are left out */
    fv_deadline_counts deadline;
    uint32_t ranks;      /* 1: no other process helps, and its fields are left out */
    double border_bytes; /* that rank 0 sends to the next, per token */
} cli_bench_result;

/* X(NAME, name): what -o takes. */
#define CLI_BENCH_FORMAT_LIST(X) X(MD, md) X(CSV, csv) X(JSON, json) X(JSONL, jsonl) X(SQL, sql)
#define CLI_BENCH_FORMAT_ENUM(NAME, name) CLI_BENCH_##NAME,
typedef enum cli_bench_format { CLI_BENCH_FORMAT_LIST(CLI_BENCH_FORMAT_ENUM) } cli_bench_format;
#undef CLI_BENCH_FORMAT_ENUM

/** Where results go, and as what. */
typedef struct cli_bench_sink {
    int format;  /* cli_bench_format */
    bool errors; /* to standard error */
} cli_bench_sink;

/* Each writes to the sink; false if that failed. `index` counts the results from 0. */
bool cli_bench_header(const cli_bench_sink *sink);
bool cli_bench_row(const cli_bench_sink *sink, const cli_bench_result *result, size_t index);
bool cli_bench_footer(const cli_bench_sink *sink);

#endif
