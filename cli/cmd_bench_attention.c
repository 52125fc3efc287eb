/* cmd_bench_attention.c - `fovea bench attention`: speed of the attention core alone. The caches of all layers are
 * visited in turn, as a model does it: with many layers they come from memory, with --layers 1 from the processor's
 * own caches. Choosing what is read and merging are inside the clock. */
#include "attention_spec.h"
#include "bench_attention.h"
#include "cli.h"
#include "fovea/attention.h"
#include "fovea/pool.h"
#include "generation.h"
#include "json_out.h"
#include "machine.h"
#include "model_options.h"
#include "options.h"
#include "progress.h"
#include <inttypes.h>
#include <math.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#define FILL_TOKENS 256 /* appended at once when a cache is filled */

static const char pass_words[] = "prefill decode";
enum bench_pass { BENCH_PREFILL, BENCH_DECODE };

typedef struct attention_options {
    int64_t heads, kv_heads, head_dim, layers, tokens, threads, repetitions;
    int pass, kv_type;
    const char *attention;
    bool json;
} attention_options;

#define FIELD(name) offsetof(attention_options, name)
static const cli_option attention_flags[] = {
    {CLI_INTEGER, "--heads", NULL, "N", NULL, NULL, "query heads (default: 9)", FIELD(heads), 1, 4096},
    {CLI_INTEGER, "--kv-heads", NULL, "N", NULL, NULL, "KV heads, a divisor of them (default: 3)", FIELD(kv_heads), 1,
     1024},
    {CLI_INTEGER, "--head-dim", NULL, "N", NULL, NULL, "elements of a head (default: 64)", FIELD(head_dim), 1, 1024},
    {CLI_INTEGER, "--layers", NULL, "N", NULL, NULL, "caches that are visited in turn (default: 30; 1: the hot figure)",
     FIELD(layers), 1, 4096},
    {CLI_INTEGER, "--tokens", NULL, "N", NULL, NULL, "tokens in each cache (default: 8192)", FIELD(tokens), 1,
     16777216},
    {CLI_CHOICE, "--pass", NULL, "prefill|decode", NULL, pass_words,
     "prefill, the default: all positions in one call; decode: the last one", FIELD(pass), 0, 0},
    {CLI_CHOICE, "--kv-type", NULL, "TYPE", NULL, CLI_ELEMENT_WORDS, "f32, f16 (default), q8_0", FIELD(kv_type), 0, 0},
    {CLI_TEXT, "--attention", NULL, "SPEC", NULL, NULL, cli_attention_help, FIELD(attention), 0, 0},
    {CLI_INTEGER, "-t --threads", NULL, "N", "LLAMA_ARG_THREADS", NULL, "threads (default: -1, one per processor)",
     FIELD(threads), -1, 1024},
    {CLI_INTEGER, "-r --repetitions", NULL, "N", NULL, NULL, "visits of all layers (default: 5)", FIELD(repetitions), 1,
     100000},
    {CLI_SWITCH, "--json", NULL, NULL, NULL, NULL, "one JSON document", FIELD(json), 0, 0},
};

typedef struct attention_bench {
    const attention_options *options;
    fv_select_config policy;
    fv_pool *pool;
    const fv_kernels *kernels;
    fv_cache **caches; /* [layers], each in memory of its own */
    void **memory;
    fv_attention *attention;
    void *scratch;
    float *query, *out; /* [rows][heads][head_dim] */
    uint32_t rows, threads;
    uint64_t *samples_ns; /* [repetitions * layers] */
    size_t samples;
    fv_report report;
    alignas(8) unsigned char kernels_memory[FV_KERNELS_BYTES];
} attention_bench;

/* ---- set-up ---- */

/* FV_ISA lowers the level, as in a session. */
static int make_kernels(attention_bench *bench) {
    const char *wanted = getenv("FV_ISA");
    fv_isa limit = (fv_isa)(FV_ISA_COUNT - 1);
    if (wanted && wanted[0] && fv_isa_from_name(wanted, &limit) != FV_OK)
        return cli_fail("FV_ISA=%s names no instruction set", wanted);
    fv_status status = fv_kernels_init(&bench->kernels, limit, bench->kernels_memory, sizeof bench->kernels_memory);
    return status == FV_OK ? CLI_GO_ON : cli_fail_status(status, NULL);
}

static void *take(size_t bytes) {
    size_t whole = bytes + (FV_CACHE_ALIGN - bytes % FV_CACHE_ALIGN);
    return whole < bytes ? NULL : aligned_alloc(FV_CACHE_ALIGN, whole);
}

/* Uniform in -1..1: softmax weights then spread over all keys, the worst case for nothing in particular. */
static void fill_random(uint32_t *state, float *values, size_t count) {
    for (size_t i = 0; i < count; i++) {
        *state = *state * 1664525u + 1013904223u;
        values[i] = (float)(*state >> 8) / 8388608.0f - 1.0f;
    }
}

static fv_status fill_cache(const attention_bench *bench, fv_cache *cache, uint32_t *random, float *rows) {
    size_t stride = (size_t)bench->options->kv_heads * (size_t)bench->options->head_dim;
    fv_status status = FV_OK;
    for (int64_t done = 0; done < bench->options->tokens && status == FV_OK; done += FILL_TOKENS) {
        int64_t left = bench->options->tokens - done;
        uint32_t tokens = left < FILL_TOKENS ? (uint32_t)left : FILL_TOKENS;
        fill_random(random, rows, 2 * FILL_TOKENS * stride);
        status = fv_cache_append(cache, tokens, rows, stride, rows + FILL_TOKENS * stride, stride);
    }
    return status;
}

static fv_cache_config cache_config(const attention_bench *bench) {
    const attention_options *options = bench->options;
    bool marks = bench->policy.selector == FV_SELECTOR_PATTERN && bench->policy.landmarks;
    fv_cache_config config = fv_cache_config_default();
    config.kv_heads = (uint32_t)options->kv_heads;
    config.head_dim = (uint32_t)options->head_dim;
    config.max_tokens = (uint32_t)options->tokens;
    config.key_type = config.value_type = (uint32_t)options->kv_type;
    config.landmark_tokens = marks ? bench->policy.block : 0;
    return config;
}

static fv_status make_caches(attention_bench *bench) {
    fv_cache_config config = cache_config(bench);
    size_t bytes, layers = (size_t)bench->options->layers;
    uint32_t random = 1;
    fv_status status = fv_cache_size(&config, &bytes);
    if (status != FV_OK) return status;
    float *rows = malloc(2 * FILL_TOKENS * (size_t)config.kv_heads * config.head_dim * sizeof *rows);
    bench->caches = calloc(layers, sizeof *bench->caches);
    bench->memory = calloc(layers, sizeof *bench->memory);
    if (!rows || !bench->caches || !bench->memory) status = FV_ERROR_MEMORY;
    for (size_t i = 0; i < layers && status == FV_OK; i++) {
        bench->memory[i] = take(bytes);
        status = fv_cache_init(&bench->caches[i], &config, bench->kernels, bench->memory[i], bytes);
        if (status == FV_OK) status = fill_cache(bench, bench->caches[i], &random, rows);
    }
    free(rows);
    return status;
}

static fv_status make_attention(attention_bench *bench) {
    const attention_options *options = bench->options;
    fv_attention_config config = {.attend = {.query_heads = (uint32_t)options->heads,
                                             .kv_heads = (uint32_t)options->kv_heads,
                                             .head_dim = (uint32_t)options->head_dim,
                                             .scale = 1.0f / sqrtf((float)options->head_dim)},
                                  .max_tokens = (uint32_t)options->tokens,
                                  .workers = bench->threads,
                                  .plan_steps = fv_select_steps(&bench->policy, (uint32_t)options->tokens)};
    size_t bytes;
    fv_status status = fv_attention_size(&config, &bytes);
    if (status != FV_OK) return status;
    bench->scratch = take(bytes);
    return fv_attention_init(&bench->attention, &config, bench->kernels, bench->scratch, bytes);
}

static fv_status make_rows(attention_bench *bench) {
    const attention_options *options = bench->options;
    size_t values = (size_t)bench->rows * (size_t)options->heads * (size_t)options->head_dim;
    uint32_t random = 2;
    bench->query = malloc(values * sizeof *bench->query);
    bench->out = malloc(values * sizeof *bench->out);
    bench->samples_ns = calloc((size_t)(options->repetitions * options->layers), sizeof *bench->samples_ns);
    if (!bench->query || !bench->out || !bench->samples_ns) return FV_ERROR_MEMORY;
    fill_random(&random, bench->query, values);
    return FV_OK;
}

static int set_up(attention_bench *bench) {
    const attention_options *options = bench->options;
    fv_message message = {""};
    int result = make_kernels(bench);
    if (result != CLI_GO_ON) return result;
    fv_status status = fv_pool_open(&bench->pool, options->threads > 0 ? (uint32_t)options->threads : 0, &message);
    if (status != FV_OK) return cli_fail_status(status, &message);
    bench->threads = fv_pool_parallel(bench->pool)->workers;
    bench->rows = options->pass == BENCH_DECODE ? 1 : (uint32_t)options->tokens;
    status = make_caches(bench);
    if (status == FV_OK) status = make_attention(bench);
    if (status == FV_OK) status = make_rows(bench);
    return status == FV_OK ? CLI_GO_ON : cli_fail_status(status, NULL);
}

static void tear_down(attention_bench *bench) {
    for (int64_t i = 0; bench->memory && i < bench->options->layers; i++) free(bench->memory[i]);
    free(bench->memory);
    free((void *)bench->caches);
    free(bench->scratch);
    free(bench->query);
    free(bench->out);
    free(bench->samples_ns);
    fv_pool_close(bench->pool);
}

/* ---- measuring ---- */

static fv_status visit(attention_bench *bench, size_t layer, fv_report *report, uint64_t *ns) {
    size_t stride = (size_t)bench->options->heads * (size_t)bench->options->head_dim;
    uint64_t start_ns = cli_clock_ns();
    fv_status status =
        fv_attention_run(bench->attention, bench->caches[layer], &bench->policy, 0, bench->rows, bench->query, stride,
                         bench->out, stride, fv_pool_parallel(bench->pool), report);
    *ns = cli_clock_ns() - start_ns;
    return status;
}

/* The first visit of all layers warms up and is not counted. */
static int visit_all(attention_bench *bench, cli_progress *progress) {
    size_t layers = (size_t)bench->options->layers, calls = layers * (size_t)(bench->options->repetitions + 1);
    for (size_t call = 0; call < calls; call++) {
        uint64_t ns;
        fv_status status = visit(bench, call % layers, call < layers ? NULL : &bench->report, &ns);
        if (status != FV_OK) return cli_fail_status(status, NULL);
        if (call >= layers) bench->samples_ns[bench->samples++] = ns;
        if (!cli_progress_step(progress, call + 1, calls)) return CLI_INTERRUPTED;
    }
    return CLI_GO_ON;
}

static int measure(attention_bench *bench) {
    cli_progress progress;
    bench->report = (fv_report){.struct_bytes = sizeof(fv_report)};
    cli_progress_start(&progress, "attention", "calls");
    int result = visit_all(bench, &progress);
    cli_progress_end(&progress);
    return result;
}

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* ---- results ---- */

typedef struct attention_figures {
    double density, keys_read, bytes_read, gflops, gb_per_s; /* per layer and call; rates at the median */
    uint64_t median_ns, min_ns;
} attention_figures;

static attention_figures figures_of(attention_bench *bench) {
    const attention_options *options = bench->options;
    double calls = (double)bench->samples;
    qsort(bench->samples_ns, bench->samples, sizeof *bench->samples_ns, compare);
    attention_figures made = {.density = cli_report_density(&bench->report),
                              .keys_read = (double)bench->report.keys_read / calls,
                              .bytes_read = (double)bench->report.bytes_read / calls,
                              .median_ns = bench->samples_ns[bench->samples / 2],
                              .min_ns = bench->samples_ns[0]};
    /* a key is counted per KV head: each query head of its group multiplies it with q, and its value with a weight */
    double products = made.keys_read * (double)(options->heads / options->kv_heads) * (double)options->head_dim;
    double ns = made.median_ns ? (double)made.median_ns : 1;
    made.gflops = 4 * products / ns;
    made.gb_per_s = made.bytes_read / ns;
    return made;
}

static int print_json(attention_bench *bench) {
    const attention_options *options = bench->options;
    attention_figures figures = figures_of(bench);
    json_t *document = json_object();
    cli_json_text(document, "isa", fv_isa_name(fv_kernels_isa(bench->kernels)));
    cli_json_count(document, "threads", bench->threads);
    cli_json_count(document, "heads", (uint64_t)options->heads);
    cli_json_count(document, "kv_heads", (uint64_t)options->kv_heads);
    cli_json_count(document, "head_dim", (uint64_t)options->head_dim);
    cli_json_count(document, "layers", (uint64_t)options->layers);
    cli_json_count(document, "tokens", (uint64_t)options->tokens);
    cli_json_text(document, "pass", options->pass == BENCH_DECODE ? "decode" : "prefill");
    cli_json_text(document, "kv_type", cli_element_name((uint32_t)options->kv_type));
    cli_json_text(document, "attention", options->attention);
    cli_json_real(document, "density", figures.density);
    cli_json_count(document, "median_ns", figures.median_ns);
    cli_json_count(document, "min_ns", figures.min_ns);
    cli_json_real(document, "keys_read", figures.keys_read);
    cli_json_real(document, "bytes_read", figures.bytes_read);
    cli_json_real(document, "gflops", figures.gflops);
    cli_json_set(document, "peak_gflops", json_null()); /* `bench machine` will measure both peaks */
    cli_json_real(document, "gb_per_s", figures.gb_per_s);
    cli_json_set(document, "peak_gb_per_s", json_null());
    return cli_json_print(document);
}

static int print_text(attention_bench *bench) {
    const attention_options *options = bench->options;
    attention_figures figures = figures_of(bench);
    cli_print("%s, %s, %lld:%lld heads x %lld, %lld tokens, %lld layers, K and V %s, %s, %" PRIu32 " threads\n",
              options->pass == BENCH_DECODE ? "decode" : "prefill", options->attention, (long long)options->heads,
              (long long)options->kv_heads, (long long)options->head_dim, (long long)options->tokens,
              (long long)options->layers, cli_element_name((uint32_t)options->kv_type),
              fv_isa_name(fv_kernels_isa(bench->kernels)), bench->threads);
    bool good = cli_print("median %.3f ms, fastest %.3f ms a layer and call; density %.4f, %.0f keys, %.0f bytes; "
                          "%.2f GFLOP/s, %.2f GB/s\n",
                          (double)figures.median_ns * 1e-6, (double)figures.min_ns * 1e-6, figures.density,
                          figures.keys_read, figures.bytes_read, figures.gflops, figures.gb_per_s);
    return good ? CLI_DONE : CLI_FAILED;
}

static int check_options(const attention_options *options, fv_select_config *policy) {
    fv_message message = {""};
    if (options->heads % options->kv_heads != 0)
        return cli_usage_error("bench attention", "--kv-heads %lld does not divide --heads %lld",
                               (long long)options->kv_heads, (long long)options->heads);
    if (cli_attention_parse(options->attention, policy, &message) != FV_OK)
        return cli_usage_error("bench attention", "--attention: %s", message.text);
    return CLI_GO_ON;
}

int cli_bench_attention(int argc, char **argv) {
    attention_options options = {.heads = 9,
                                 .kv_heads = 3,
                                 .head_dim = 64,
                                 .layers = 30,
                                 .tokens = 8192,
                                 .threads = -1,
                                 .repetitions = 5,
                                 .kv_type = FV_ELEMENT_F16,
                                 .attention = "dense"};
    attention_bench bench = {.options = &options};
    const cli_option_group group = {"shape and measure", attention_flags,
                                    sizeof attention_flags / sizeof attention_flags[0], &options};
    const cli_syntax syntax = {
        "bench attention", "[flags]", "Measures the attention core alone on random keys and values.", &group, 1, NULL};
    int result = cli_options_parse(&syntax, argc, argv);
    if (result == CLI_GO_ON) result = check_options(&options, &bench.policy);
    if (result != CLI_GO_ON) return result;
    result = set_up(&bench);
    if (result == CLI_GO_ON) result = measure(&bench);
    bool some = bench.samples > 0 && (result == CLI_GO_ON || result == CLI_INTERRUPTED);
    int printed = !some ? CLI_DONE : options.json ? print_json(&bench) : print_text(&bench);
    tear_down(&bench);
    return printed != CLI_DONE || result == CLI_GO_ON ? printed : result;
}
