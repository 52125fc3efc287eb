/* cmd_bench_attention.c - `fovea bench attention`: speed of the attention core alone, beside the machine's limits. */
#include "attention_option.h"
#include "cli.h"
#include "fovea/machine.h"
#include "fovea/measure/attention_bench.h"
#include "fovea/peaks.h"
#include "fovea/report_sum.h"
#include "json_out.h"
#include "model_options.h"
#include "options.h"
#include "progress.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char pass_words[] = "prefill decode";
enum bench_pass { BENCH_PREFILL, BENCH_DECODE };

typedef struct attention_options {
    fv_attention_bench_shape shape;
    int64_t threads, repetitions;
    int pass;
    const char *attention;
    bool json;
    cli_thread_options placement;
} attention_options;

#define CLI_TARGET attention_options
static const cli_option attention_flags[] = {
    CLI_FLAG(U32, "--heads", shape.heads, .low = 1, .high = 4096, .help = "query heads"),
    CLI_FLAG(U32, "--kv-heads", shape.kv_heads, .low = 1, .high = 1024, .help = "KV heads, a divisor of them"),
    CLI_FLAG(U32, "--head-dim", shape.head_dim, .low = 1, .high = 1024, .help = "elements of a head"),
    CLI_FLAG(U32, "--layers", shape.layers, .low = 1, .high = 4096,
             .help = "caches that are visited in turn; 1: the hot figure"),
    CLI_FLAG(U32, "--tokens", shape.tokens, .low = 1, .high = 16777216, .help = "tokens in each cache"),
    CLI_FLAG(CHOICE, "--pass", pass, .value = "prefill|decode", .choices = pass_words,
             .help = "prefill: all positions in one call; decode: the last one"),
    CLI_FLAG(CHOICE, "--kv-type", shape.key_type, .value = "TYPE", .choices = CLI_ELEMENT_WORDS,
             .help = "f32, f16, bf16, q8_0, q4_0"),
    CLI_FLAG(TEXT, "--attention", attention, .value = "SPEC", .help = cli_attention_help),
    CLI_FLAG(INTEGER, "-t --threads", threads, .env = "LLAMA_ARG_THREADS", .low = -1, .high = 1024,
             .note = "one per processor", .help = "threads"),
    CLI_FLAG(INTEGER, "-r --repetitions", repetitions, .low = 1, .high = 100000, .help = "visits of all layers"),
    CLI_FLAG(SWITCH, "--json", json, .help = "one JSON document"),
};

typedef struct attention_state {
    const attention_options *options;
    fv_policy policy;
    fv_pool *pool;
    fv_attention_bench *bench;
    fv_attention_bench_figures figures;
    fv_peaks peaks;
    double ns, share;  /* of a layer and call; of the limit */
    const char *limit; /* the one that binds */
} attention_state;

static int set_up(attention_state *state, fv_isa limit) {
    const attention_options *options = state->options;
    int result = cli_pool_open(&state->pool, "bench attention", options->threads, &options->placement);
    if (result != CLI_GO_ON) return result;
    fv_attention_bench_shape shape = options->shape;
    shape.value_type = shape.key_type;
    shape.batch = options->pass == BENCH_DECODE ? 1 : shape.tokens;
    return cli_outcome(
        fv_attention_bench_open(&state->bench, &shape, &state->policy, fv_pool_parallel(state->pool), limit), NULL);
}

static int measure(attention_state *state) {
    cli_progress progress;
    cli_progress_start(&progress, "attention", "calls");
    fv_status status = fv_attention_bench_run(state->bench, (size_t)state->options->repetitions, cli_progress_step,
                                              &progress, &state->figures);
    cli_progress_end(&progress);
    return cli_outcome(status, NULL);
}

/* ---- results ---- */

static int print_json(attention_state *state) {
    const attention_options *options = state->options;
    const fv_attention_bench_figures *figures = &state->figures;
    double ns = state->ns;
    json_t *document = json_object();
    CLI_ADD(document, {"isa", cli_text(fv_isa_name(fv_attention_bench_isa(state->bench)))},
            {"threads", cli_count(fv_pool_parallel(state->pool)->workers)}, {"heads", cli_count(options->shape.heads)},
            {"kv_heads", cli_count(options->shape.kv_heads)}, {"head_dim", cli_count(options->shape.head_dim)},
            {"layers", cli_count(options->shape.layers)}, {"tokens", cli_count(options->shape.tokens)},
            {"pass", cli_text(options->pass == BENCH_DECODE ? "decode" : "prefill")},
            {"kv_type", cli_text(fv_element_name(options->shape.key_type))},
            {"attention", cli_text(options->attention)}, {"density", cli_real(figures->density)},
            {"mass", cli_real(figures->mass)}, {"median_ns", cli_count(figures->median_ns)},
            {"min_ns", cli_count(figures->min_ns)}, {"choose_ns", cli_count(figures->choose_ns)},
            {"read_ns", cli_count(figures->read_ns)}, {"keys_read", cli_real(figures->keys_read)},
            {"bytes_read", cli_real(figures->bytes_read)}, {"gflops", cli_real(figures->work.f32_operations / ns)},
            {"peak_gflops", cli_real(state->peaks.f32_gflops)}, {"gb_per_s", cli_real(figures->bytes_read / ns)},
            {"peak_gb_per_s", cli_real(state->peaks.gb_per_s)}, {"limit", cli_text(state->limit)},
            {"limit_share", cli_real(state->share)});
    return cli_json_print(document);
}

static int print_text(attention_state *state) {
    const attention_options *options = state->options;
    const fv_attention_bench_figures *figures = &state->figures;
    double ns = state->ns;
    cli_print("%s, %s, %u:%u heads x %u, %u tokens, %u layers, K and V %s, %s, %u threads\n",
              options->pass == BENCH_DECODE ? "decode" : "prefill", options->attention, options->shape.heads,
              options->shape.kv_heads, options->shape.head_dim, options->shape.tokens, options->shape.layers,
              fv_element_name(options->shape.key_type), fv_isa_name(fv_attention_bench_isa(state->bench)),
              fv_pool_parallel(state->pool)->workers);
    cli_print("median %.3f ms, fastest %.3f ms a layer and call; density %.4f, %.0f keys, %.0f bytes\n",
              (double)figures->median_ns * 1e-6, (double)figures->min_ns * 1e-6, figures->density, figures->keys_read,
              figures->bytes_read);
    bool good = cli_print("%.2f of %.1f GFLOP/s, %.2f of %.1f GB/s: %.0f %% of what %s allows\n",
                          figures->work.f32_operations / ns, state->peaks.f32_gflops, figures->bytes_read / ns,
                          state->peaks.gb_per_s, 100 * state->share,
                          strcmp(state->limit, "memory") == 0 ? "reading" : "computing");
    return good ? CLI_DONE : CLI_FAILED;
}

static int check_options(const attention_options *options, fv_policy *policy) {
    if (options->shape.heads % options->shape.kv_heads != 0)
        return cli_usage_error("bench attention", "--kv-heads %u does not divide --heads %u", options->shape.kv_heads,
                               options->shape.heads);
    return cli_policy_read("bench attention", options->attention, policy);
}

static int print_results(attention_state *state, fv_isa limit) {
    double bytes = state->figures.work.bytes * (double)state->options->shape.layers;
    fv_status status = fv_peaks_measure(&state->peaks, limit, bytes, fv_pool_parallel(state->pool));
    if (status != FV_OK) return cli_outcome(status, NULL);
    state->ns = state->figures.median_ns ? (double)state->figures.median_ns : 1;
    state->share = fv_peaks_share(&state->peaks, &state->figures.work, state->ns, &state->limit);
    return state->options->json ? print_json(state) : print_text(state);
}

int cmd_bench_attention(int argc, char **argv) {
    attention_options options = {
        .shape = {.heads = 9, .kv_heads = 3, .head_dim = 64, .layers = 30, .tokens = 8192, .key_type = FV_ELEMENT_F16},
        .threads = -1,
        .repetitions = 5,
        .attention = "dense",
        .placement = cli_thread_options_default()};
    attention_state state = {.options = &options};
    fv_isa limit, reached;
    fv_message message = {""};
    const cli_option_group groups[] = {
        CLI_GROUP("shape and measure", attention_flags, &options),
        CLI_COUNTED("where threads run", cli_thread_flags, &options.placement),
    };
    const cli_syntax syntax = {"bench attention", "[flags]",
                               "Measures the attention core alone on random keys and values.", CLI_GROUPS(groups)};
    int result = cli_options_parse(&syntax, argc, argv);
    if (result == CLI_GO_ON) result = check_options(&options, &state.policy);
    if (result == CLI_GO_ON) result = cli_outcome(fv_machine_isa(&limit, &reached, &message), &message);
    if (result != CLI_GO_ON) return result;
    result = set_up(&state, limit);
    if (result == CLI_GO_ON) result = measure(&state);
    bool some = state.figures.samples > 0 && (result == CLI_GO_ON || result == CLI_INTERRUPTED);
    int printed = some ? print_results(&state, limit) : CLI_DONE;
    fv_attention_bench_close(state.bench);
    fv_pool_close(state.pool);
    return printed != CLI_DONE || result == CLI_GO_ON ? printed : result;
}
