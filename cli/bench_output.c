/* bench_output.c - prints results. Field names, their order and the test names (pp512, tg128 @ d4096) are
 * llama-bench's, so that scripts which read it read this; fields of hardware that fovea has not are left out. */
#include "bench_output.h"
#include "fovea/machine.h"
#include "fovea/report_sum.h"
#include "fovea/tokenizer.h"
#include "json_out.h"
#include "model_options.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define MIB (1024.0 * 1024.0)

/* ---- a line in the making ---- */

static fv_text line;
static bool lost; /* there was no memory for a part of it */

static void put_bytes(const char *bytes, size_t length) {
    if (fv_text_append(&line, bytes, length) != FV_OK) lost = true;
}

CLI_PRINTF(1, 2) static void put(const char *format, ...) {
    char text[1024]; /* no cell and no piece of a frame is longer */
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof text) lost = true;
    put_bytes(text, length < 0 ? 0 : strlen(text));
}

static int put_part(const char *bytes, size_t length, void *context) {
    (void)context;
    put_bytes(bytes, length);
    return 0;
}

/* 12 digits, as in every document. */
static void put_json(const json_t *value, size_t flags) {
    if (json_dump_callback(value, put_part, NULL, flags | JSON_REAL_PRECISION(12)) != 0) lost = true;
}

static bool send(bool errors) {
    bool good = !lost;
    if (lost) cli_fail("no memory for the result");
    if (good && errors) fwrite(line.bytes ? line.bytes : "", 1, line.length, stderr);
    if (good && !errors) good = cli_write(line.bytes ? line.bytes : "", line.length) && cli_flush();
    lost = false;
    fv_text_free(&line);
    return good;
}

/* ---- fields ---- */

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
            {"n_threads", cli_count(result->threads)}, {"cpu_mask", cli_text(result->cpu_mask)},
            {"cpu_strict", json_boolean(result->cpu_strict)}, {"poll", cli_count(result->poll)},
            {"type_k", cli_text(fv_element_name(result->key_type))},
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
    if (result->deadline_ms > 0)
        CLI_ADD(object, {"deadline_ms", cli_real(result->deadline_ms)},
                {"deadline_tokens", cli_count(result->deadline.tokens)},
                {"deadline_cut", cli_count(result->deadline.cut)}, {"deadline_late", cli_count(result->deadline.late)});
    if (result->ranks > 1)
        CLI_ADD(object, {"n_ranks", cli_count(result->ranks)},
                {"border_bytes_per_token", cli_real(result->border_bytes)});
    return object;
}

/* ---- JSON, CSV and SQL: the fields as they are ---- */

static void put_document(const cli_bench_result *result, size_t flags) {
    json_t *object = fields_of(result), *times = json_array(), *rates = json_array();
    for (size_t i = 0; i < result->run.samples; i++) {
        cli_json_append(times, json_integer((json_int_t)result->run.samples_ns[i]));
        cli_json_append(rates, json_real(fv_model_bench_rate(&result->test, result->run.samples_ns[i])));
    }
    CLI_ADD(object, {"samples_ns", times}, {"samples_ts", rates});
    put_json(object, flags);
    json_decref(object);
}

/* A value in quotes, those inside doubled. */
static void put_quoted(const json_t *value, char quote) {
    const char *text = json_string_value(value);
    put("%c", quote);
    if (!text) put_json(value, JSON_ENCODE_ANY);
    for (const char *c = text ? text : ""; *c; c++) put(*c == quote ? "%c%c" : "%c", *c, *c);
    put("%c", quote);
}

static void put_names(const json_t *object, const char *between, const char *quote) {
    const char *key;
    json_t *value;
    size_t column = 0;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
        put("%s%s%s%s", column++ ? between : "", quote, key, quote);
}

static void put_values(const json_t *object, const char *between, char quote) {
    const char *key;
    json_t *value;
    size_t column = 0;
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        put("%s", column++ ? between : "");
        put_quoted(value, quote);
    }
}

static void put_csv(const cli_bench_result *result, size_t index) {
    json_t *object = fields_of(result);
    if (index == 0) put_names(object, ",", "");
    if (index == 0) put("\n");
    put_values(object, ",", '"');
    put("\n");
    json_decref(object);
}

/* llama-bench's table and rows; names in quotes, since "limit" is a word of SQL. */
static void put_sql(const cli_bench_result *result, size_t index) {
    json_t *object = fields_of(result), *value;
    const char *key;
    size_t column = 0;
    if (index == 0) {
        put("CREATE TABLE IF NOT EXISTS llama_bench (\n");
        json_object_foreach(object, key, value) put("%s  \"%s\" %s", column++ ? ",\n" : "", key,
                                                    json_is_string(value)                              ? "TEXT"
                                                    : json_is_integer(value) || json_is_boolean(value) ? "INTEGER"
                                                                                                       : "REAL");
        put("\n);\n\n");
    }
    put("INSERT INTO llama_bench (");
    put_names(object, ", ", "\"");
    put(") VALUES (");
    put_values(object, ", ", '\'');
    put(");\n");
    json_decref(object);
}

/* ---- Markdown ---- */

/* In the large unit from one of it on, else in the small one. */
static void scaled(char *text, size_t bytes, uint64_t value, double small, double large, const char *const names[2]) {
    bool few = (double)value < large;
    snprintf(text, bytes, "%.2f %s", (double)value / (few ? small : large), names[few ? 0 : 1]);
}

static void put_markdown(const cli_bench_result *result) {
    fv_model_bench_figures figures;
    fv_model_bench_figures_of(&result->test, &result->run, &figures);
    char test[64], size[32], parameters[32], rate[64], limit[32];
    fv_model_bench_test_name(&result->test, test, sizeof test);
    scaled(size, sizeof size, result->model_bytes, MIB, 1024 * MIB, (const char *const[2]){"MiB", "GiB"});
    scaled(parameters, sizeof parameters, result->model_parameters, 1e6, 1e9, (const char *const[2]){"M", "B"});
    snprintf(rate, sizeof rate, "%.2f \xC2\xB1 %.2f", figures.mean_rate, figures.deviation_rate);
    snprintf(limit, sizeof limit, "%.0f %% %s", 100 * result->limit.share, result->limit.name);
    /* one byte more than a cell is wide: the sign is two */
    put("| %-30s | %10s | %10s | %-10s | %7" PRIu32 " | %6s | %6s | %-22s | %7.4f | %12s | %15s | %21s |\n",
        result->model_type, size, parameters, "CPU", result->threads, fv_element_name(result->key_type),
        fv_element_name(result->value_type), result->attention, fv_report_density(&result->run.report), limit, test,
        rate);
}

static void put_markdown_head(void) {
    put("| %-30s | %10s | %10s | %-10s | %7s | %6s | %6s | %-22s | %7s | %12s | %15s | %20s |\n", "model", "size",
        "params", "backend", "threads", "type_k", "type_v", "attn", "density", "of limit", "test", "t/s");
    put("| ------------------------------ | ---------: | ---------: | ---------- | ------: | -----: | -----: | "
        "---------------------- | ------: | -----------: | --------------: | -------------------: |\n");
}

/* ---- the three calls ---- */

bool cli_bench_header(const cli_bench_sink *sink) {
    if (sink->format == CLI_BENCH_JSON) put("[\n");
    if (sink->format == CLI_BENCH_MD) put_markdown_head();
    return send(sink->errors);
}

bool cli_bench_row(const cli_bench_sink *sink, const cli_bench_result *result, size_t index) {
    switch (sink->format) {
    case CLI_BENCH_MD:
        put_markdown(result);
        break;
    case CLI_BENCH_CSV:
        put_csv(result, index);
        break;
    case CLI_BENCH_JSON:
        if (index > 0) put(",\n");
        put_document(result, JSON_INDENT(2));
        break;
    case CLI_BENCH_JSONL:
        put_document(result, JSON_COMPACT);
        put("\n");
        break;
    case CLI_BENCH_SQL:
        put_sql(result, index);
        break;
    }
    return send(sink->errors);
}

bool cli_bench_footer(const cli_bench_sink *sink) {
    if (sink->format == CLI_BENCH_JSON) put("\n]\n");
    if (sink->format == CLI_BENCH_MD) put("\nbuild: fovea " CLI_VERSION "\n");
    return send(sink->errors);
}
