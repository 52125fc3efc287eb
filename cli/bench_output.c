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

#define MIB (1024.0 * 1024.0)

static void time_text(char *text, size_t bytes) {
    time_t now = time(NULL);
    struct tm parts;
    if (!gmtime_r(&now, &parts) || strftime(text, bytes, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0) text[0] = 0;
}

/* All fields but the samples, in llama-bench's order. */
static json_t *fields_of(const cli_bench_result *result) {
    fv_model_bench_figures figures;
    fv_model_bench_figures_of(&result->test, &result->run, &figures);
    json_t *object = json_object();
    char processor[256], when[32];
    const char *isa = fv_isa_name((fv_isa)result->run.report.isa);
    fv_machine_processor_name(processor, sizeof processor);
    time_text(when, sizeof when);
    CLI_ADD(object, {"build_commit", cli_text("fovea-" CLI_VERSION)}, {"build_number", cli_count(0)},
            {"cpu_info", cli_text(processor)}, {"gpu_info", cli_text("")}, {"backends", cli_text("CPU")},
            {"model_filename", cli_text(result->model_filename)}, {"model_type", cli_text(result->model_type)},
            {"model_size", cli_count(result->model_bytes)}, {"model_n_params", cli_count(result->model_parameters)},
            {"n_batch", cli_count(result->test.batch)}, {"n_ubatch", cli_count(result->test.micro_batch)},
            {"n_threads", cli_count(result->threads)}, {"type_k", cli_text(fv_element_name(result->key_type))},
            {"type_v", cli_text(fv_element_name(result->value_type))}, {"n_gpu_layers", cli_count(0)},
            {"n_prompt", cli_count(result->test.prompt)}, {"n_gen", cli_count(result->test.generated)},
            {"n_depth", cli_count(result->test.depth)}, {"test_time", cli_text(when)},
            {"avg_ns", cli_count((uint64_t)figures.mean_ns)}, {"stddev_ns", cli_count((uint64_t)figures.deviation_ns)},
            {"avg_ts", cli_real(figures.mean_rate)}, {"stddev_ts", cli_real(figures.deviation_rate)},
            {"attn", cli_text(result->attention)}, {"density", cli_real(fv_report_density(&result->run.report))});
    cli_json_set(object, "kv_read", cli_real(figures.token_bytes)); /* bytes per token */
    CLI_ADD(object, {"isa", cli_text(isa ? isa : "unknown")}, {"peak_gflops", cli_real(result->limit.peaks.f32_gflops)},
            {"peak_int8_gops", cli_real(result->limit.peaks.int8_gops)},
            {"peak_gb_per_s", cli_real(result->limit.peaks.gb_per_s)}, {"limit", cli_text(result->limit.name)},
            {"limit_share", cli_real(result->limit.share)});
    return object;
}

/* ---- JSON and CSV: the fields as they are ---- */

static json_t *document_of(const cli_bench_result *result) {
    json_t *object = fields_of(result), *times = json_array(), *rates = json_array();
    for (size_t i = 0; i < result->run.samples; i++) {
        cli_json_append(times, json_integer((json_int_t)result->run.samples_ns[i]));
        cli_json_append(rates, json_real(fv_model_bench_rate(&result->test, result->run.samples_ns[i])));
    }
    CLI_ADD(object, {"samples_ns", times}, {"samples_ts", rates});
    return object;
}

static bool print_document(const cli_bench_result *result, size_t flags) {
    json_t *object = document_of(result);
    bool good = cli_json_write(object, flags);
    json_decref(object);
    return good;
}

static void print_csv_value(const json_t *value) {
    const char *text = json_string_value(value);
    cli_write("\"", 1);
    if (!text) cli_json_write(value, JSON_ENCODE_ANY);
    for (const char *c = text ? text : ""; *c; c++) cli_write(*c == '"' ? "\"\"" : c, *c == '"' ? 2 : 1);
    cli_write("\"", 1);
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

/* In the large unit from one of it on, else in the small one. */
static void scaled(char *text, size_t bytes, uint64_t value, double small, double large, const char *const names[2]) {
    bool few = (double)value < large;
    snprintf(text, bytes, "%.2f %s", (double)value / (few ? small : large), names[few ? 0 : 1]);
}

static bool print_markdown(const cli_bench_result *result) {
    fv_model_bench_figures figures;
    fv_model_bench_figures_of(&result->test, &result->run, &figures);
    char test[64], size[32], parameters[32], rate[64], limit[32];
    fv_model_bench_test_name(&result->test, test, sizeof test);
    scaled(size, sizeof size, result->model_bytes, MIB, 1024 * MIB, (const char *const[2]){"MiB", "GiB"});
    scaled(parameters, sizeof parameters, result->model_parameters, 1e6, 1e9, (const char *const[2]){"M", "B"});
    snprintf(rate, sizeof rate, "%.2f \xC2\xB1 %.2f", figures.mean_rate, figures.deviation_rate);
    snprintf(limit, sizeof limit, "%.0f %% %s", 100 * result->limit.share, result->limit.name);
    /* one byte more than a cell is wide: the sign is two */
    return cli_print("| %-30s | %10s | %10s | %-10s | %7" PRIu32
                     " | %6s | %6s | %-22s | %7.4f | %12s | %15s | %21s |\n",
                     result->model_type, size, parameters, "CPU", result->threads, fv_element_name(result->key_type),
                     fv_element_name(result->value_type), result->attention, fv_report_density(&result->run.report),
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
