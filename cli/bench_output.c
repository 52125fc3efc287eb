/* bench_output.c - prints results. Field names, their order and the test names (pp512, tg128 @ d4096) are
 * llama-bench's, so that scripts which read it read this; fields of hardware that fovea has not are left out. */
#include "bench_output.h"
#include "fovea/machine.h"
#include "fovea/report_sum.h"
#include "json_out.h"
#include "model_options.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double token_bytes_of(const cli_bench_result *result) {
    double tokens = (double)(result->test.prompt + result->test.generated) * (double)result->run.samples;
    return tokens > 0 ? (double)result->run.report.bytes_read / tokens : 0;
}

static void time_text(char *text, size_t bytes) {
    time_t now = time(NULL);
    struct tm parts;
    if (!gmtime_r(&now, &parts) || strftime(text, bytes, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0) text[0] = 0;
}

/* All fields but the samples, in llama-bench's order. */
static json_t *fields_of(const cli_bench_result *result) {
    fv_model_bench_figures figures = fv_model_bench_figures_of(&result->test, &result->run);
    json_t *object = json_object();
    char processor[256], when[32];
    const char *isa = fv_isa_name((fv_isa)result->run.report.isa);
    fv_machine_processor_name(processor, sizeof processor);
    time_text(when, sizeof when);
    cli_json_text(object, "build_commit", "fovea-" CLI_VERSION);
    cli_json_count(object, "build_number", 0);
    cli_json_text(object, "cpu_info", processor);
    cli_json_text(object, "gpu_info", "");
    cli_json_text(object, "backends", "CPU");
    cli_json_text(object, "model_filename", result->model_filename);
    cli_json_text(object, "model_type", result->model_type);
    cli_json_count(object, "model_size", result->model_bytes);
    cli_json_count(object, "model_n_params", result->model_parameters);
    cli_json_count(object, "n_batch", result->test.batch);
    cli_json_count(object, "n_ubatch", result->test.micro_batch);
    cli_json_count(object, "n_threads", result->threads);
    cli_json_text(object, "type_k", cli_element_name(result->key_type));
    cli_json_text(object, "type_v", cli_element_name(result->value_type));
    cli_json_count(object, "n_gpu_layers", 0);
    cli_json_count(object, "n_prompt", result->test.prompt);
    cli_json_count(object, "n_gen", result->test.generated);
    cli_json_count(object, "n_depth", result->test.depth);
    cli_json_text(object, "test_time", when);
    cli_json_count(object, "avg_ns", (uint64_t)figures.mean_ns);
    cli_json_count(object, "stddev_ns", (uint64_t)figures.deviation_ns);
    cli_json_real(object, "avg_ts", figures.mean_rate);
    cli_json_real(object, "stddev_ts", figures.deviation_rate);
    cli_json_text(object, "attn", result->attention);
    cli_json_real(object, "density", fv_report_density(&result->run.report));
    cli_json_real(object, "kv_read", token_bytes_of(result)); /* bytes per token */
    cli_json_text(object, "isa", isa ? isa : "unknown");
    cli_json_real(object, "peak_gflops", result->peaks.f32_gflops);
    cli_json_real(object, "peak_int8_gops", result->peaks.int8_gops);
    cli_json_real(object, "peak_gb_per_s", result->peaks.gb_per_s);
    cli_json_text(object, "limit", result->limit);
    cli_json_real(object, "limit_share", result->limit_share);
    return object;
}

/* ---- JSON and CSV: the fields as they are ---- */

static json_t *document_of(const cli_bench_result *result) {
    json_t *object = fields_of(result), *times = json_array(), *rates = json_array();
    for (size_t i = 0; i < result->run.samples; i++) {
        cli_json_append(times, json_integer((json_int_t)result->run.samples_ns[i]));
        cli_json_append(rates, json_real(fv_model_bench_rate(&result->test, result->run.samples_ns[i])));
    }
    cli_json_set(object, "samples_ns", times);
    cli_json_set(object, "samples_ts", rates);
    return object;
}

static bool print_document(const cli_bench_result *result, size_t flags) {
    json_t *object = document_of(result);
    char *text = json_dumps(object, flags | JSON_REAL_PRECISION(12));
    bool good = text ? cli_write(text, strlen(text)) : cli_fail("no memory for the result") == CLI_DONE;
    free(text);
    json_decref(object);
    return good;
}

static void print_csv_value(json_t *value) {
    char *text = json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(12));
    const char *bytes = text ? text : json_string_value(value);
    cli_write("\"", 1);
    for (const char *c = bytes ? bytes : ""; *c; c++) cli_write(*c == '"' ? "\"\"" : c, *c == '"' ? 2 : 1);
    cli_write("\"", 1);
    free(text);
}

static bool print_csv(const cli_bench_result *result, size_t index) {
    json_t *object = fields_of(result), *value;
    const char *key;
    size_t column = 0;
    if (index == 0) {
        json_object_foreach(object, key, value) cli_print("%s%s", column++ ? "," : "", key);
        cli_write("\n", 1);
    }
    column = 0;
    json_object_foreach(object, key, value) {
        if (column++) cli_write(",", 1);
        print_csv_value(value);
    }
    json_decref(object);
    return cli_write("\n", 1);
}

/* ---- Markdown ---- */

static void test_name(const cli_bench_result *result, char *name, size_t bytes) {
    int used;
    if (result->test.generated == 0)
        used = snprintf(name, bytes, "pp%" PRIu32, result->test.prompt);
    else if (result->test.prompt == 0)
        used = snprintf(name, bytes, "tg%" PRIu32, result->test.generated);
    else
        used = snprintf(name, bytes, "pp%" PRIu32 "+tg%" PRIu32, result->test.prompt, result->test.generated);
    if (result->test.depth > 0 && used > 0 && (size_t)used < bytes)
        snprintf(name + used, bytes - (size_t)used, " @ d%" PRIu32, result->test.depth);
}

static void size_text(char *text, size_t bytes, uint64_t value) {
    const double mib = 1024.0 * 1024.0, size = (double)value;
    if (size < 1024 * mib)
        snprintf(text, bytes, "%.2f MiB", size / mib);
    else
        snprintf(text, bytes, "%.2f GiB", size / mib / 1024);
}

static void count_text(char *text, size_t bytes, uint64_t value) {
    if (value < 1000000000u)
        snprintf(text, bytes, "%.2f M", (double)value / 1e6);
    else
        snprintf(text, bytes, "%.2f B", (double)value / 1e9);
}

static bool print_markdown(const cli_bench_result *result) {
    fv_model_bench_figures figures = fv_model_bench_figures_of(&result->test, &result->run);
    char test[64], size[32], parameters[32], rate[64], limit[32];
    test_name(result, test, sizeof test);
    size_text(size, sizeof size, result->model_bytes);
    count_text(parameters, sizeof parameters, result->model_parameters);
    snprintf(rate, sizeof rate, "%.2f \xC2\xB1 %.2f", figures.mean_rate, figures.deviation_rate);
    snprintf(limit, sizeof limit, "%.0f %% %s", 100 * result->limit_share, result->limit);
    /* one byte more than a cell is wide: the sign is two */
    return cli_print("| %-30s | %10s | %10s | %-10s | %7" PRIu32
                     " | %6s | %6s | %-22s | %7.4f | %12s | %15s | %21s |\n",
                     result->model_type, size, parameters, "CPU", result->threads, cli_element_name(result->key_type),
                     cli_element_name(result->value_type), result->attention, fv_report_density(&result->run.report),
                     limit, test, rate);
}

/* ---- the three calls ---- */

bool cli_bench_header(cli_bench_format format) {
    if (format == CLI_BENCH_JSON) return cli_print("[\n");
    if (format != CLI_BENCH_MD) return true;
    return cli_print(
        "| %-30s | %10s | %10s | %-10s | %7s | %6s | %6s | %-22s | %7s | %12s | %15s | %20s |\n"
        "| ------------------------------ | ---------: | ---------: | ---------- | ------: | -----: | -----: | "
        "---------------------- | ------: | -----------: | --------------: | -------------------: |\n",
        "model", "size", "params", "backend", "threads", "type_k", "type_v", "attn", "density", "of limit", "test",
        "t/s");
}

bool cli_bench_row(cli_bench_format format, const cli_bench_result *result, size_t index) {
    bool good = true;
    if (format == CLI_BENCH_MD) good = print_markdown(result);
    if (format == CLI_BENCH_CSV) good = print_csv(result, index);
    if (format == CLI_BENCH_JSON) good = (index == 0 || cli_write(",\n", 2)) && print_document(result, JSON_INDENT(2));
    if (format == CLI_BENCH_JSONL) good = print_document(result, JSON_COMPACT) && cli_write("\n", 1);
    return good && cli_flush();
}

bool cli_bench_footer(cli_bench_format format) {
    if (format == CLI_BENCH_JSON && !cli_print("\n]\n")) return false;
    if (format == CLI_BENCH_MD && !cli_print("\nbuild: fovea " CLI_VERSION "\n")) return false;
    return cli_flush();
}
