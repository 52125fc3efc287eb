/* cmd_bench.c - `fovea bench`: speed of a model, measured as llama-bench measures it (random tokens, a warm-up, then
 * repetitions), so that lines of both can stand side by side. */
#include "attention_option.h"
#include "bench_output.h"
#include "bench_plan.h"
#include "fovea/machine.h"
#include "fovea/peaks.h"
#include "fovea/words.h"
#include "interrupt.h"
#include "model_options.h"
#include "ranks_option.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPETITIONS_MAX 1000

#define FORMAT_WORD(NAME, name) #name " "
#define CLI_TARGET bench_options
#define LIST " (a list: 1,2,4 or 1-8 or 128-1024*2 or 0-4096+512)"
static const cli_option bench_flags[] = {
    CLI_FLAG(TEXTS, "-m --model", models, .value = "FILE", .help = "the model (several: a,b or -m twice)"),
    CLI_FLAG(TEXTS, "-p --n-prompt", prompts, .value = "N",
             .help = "tokens of a prompt (default: 512; 0: no such test)\n" LIST),
    CLI_FLAG(TEXTS, "-n --n-gen", generated, .value = "N",
             .help = "tokens generated one by one (default: 128; 0: no such test)\n" LIST),
    CLI_FLAG(TEXTS, "-pg", pairs, .value = "P,N", .help = "a prompt of P and then N tokens, as one test"),
    CLI_FLAG(TEXTS, "-d --n-depth", depths, .value = "N",
             .help = "tokens that are in the context before the clock starts (default: 0)\n" LIST),
    CLI_FLAG(TEXTS, "-t --threads", threads, .value = "N", .help = "threads (default: one per processor)\n" LIST),
    CLI_FLAG(TEXTS, "-ctk --cache-type-k", key_types, .value = "TYPE",
             .help = "auto (default), f32, f16, bf16, q8_0, q4_0;\na list"),
    CLI_FLAG(TEXTS, "-ctv --cache-type-v", value_types, .value = "TYPE", .help = "likewise for values"),
    CLI_FLAG(TEXTS, "-b --batch-size", batches, .value = "N",
             .help = "tokens after which a prompt's logits are computed (default: 2048)\n" LIST),
    CLI_FLAG(TEXTS, "-ub --ubatch-size", micro_batches, .value = "N",
             .help = "tokens evaluated at once (default: 512)\n" LIST),
    CLI_FLAG(TEXTS, "--attention", attention, .value = "SPEC", .help = cli_attention_help),
    CLI_FLAG(TEXT, "--tune", model.tune, .value = "FILE",
             .help =
                 "shares and vectors from fovea tune (default: MODEL.fovea.json if it is there; none: equal shares)"),
    CLI_FLAG(INTEGER, "-r --repetitions", repetitions, .low = 1, .high = REPETITIONS_MAX,
             .help = "times that each test is run"),
    CLI_FLAG(CHOICE, "-o --output", format, .value = "md|csv|json|jsonl|sql",
             .choices = CLI_BENCH_FORMAT_LIST(FORMAT_WORD), .help = "format of the results"),
    CLI_FLAG(CHOICE, "-oe --output-err", error_format, .value = "md|csv|json|jsonl|sql",
             .choices = "none " CLI_BENCH_FORMAT_LIST(FORMAT_WORD), .help = "the same on standard error, too"),
    CLI_FLAG(INTEGER, "--delay", delay, .high = 86400, .help = "seconds between two tests"),
    CLI_FLAG(SWITCH, "--json", json, .help = "the same as -o json"),
    CLI_FLAG(SWITCH, "--no-warmup", no_warmup, .help = "no warm-up run before each test"),
    CLI_FLAG(SWITCH, "--progress", progress, .help = "say on standard error which test is running"),
    CLI_FLAG(SWITCH, "--exact-activations", model.exact, .help = "f32 activations against every type of weight: slow"),
    CLI_FLAG(SWITCH, "-v --verbose", model.verbose, .help = "say what was opened"),
    CLI_FLAG(SWITCH, "--list-devices", list_devices, .help = "llama-bench's list of accelerators: there are none"),
};
static const cli_option thread_flags[] = {
    CLI_FLAG(TEXTS, "-C --cpu-mask", masks, .value = "HEX",
             .help = "processors that threads may run on, bit 0 is the first; 0x0: any; a list"),
    CLI_FLAG(TEXT, "-Cr --cpu-range", model.placement.range, .value = "LO-HI",
             .help = "the same as numbers; adds to -C"),
    CLI_FLAG(TEXTS, "--cpu-strict", stricts, .value = "0|1",
             .help = "each thread on one of them alone (default: 0); a list"),
    CLI_FLAG(I32, "--prio", model.placement.pool.priority, .low = -1, .high = 3,
             .help = "-1 low, 0 normal, 1 medium, 2 high, 3 real-time; above 0 needs rights"),
    CLI_FLAG(TEXTS, "--poll", polls, .value = "N",
             .help = "0..100: how long a thread waits awake for work, 2 us each (default: 50)\n" LIST),
    CLI_FLAG(TEXTS, "-embd --embeddings", embeddings, .value = "0", .help = "0 only: no embeddings are measured"),
};
#define OF_GPU "fovea runs on the processor"
static const cli_option bench_ignored_flags[] = {
    CLI_IGNORE("-ts --tensor-split", "LIST", OF_GPU),
    CLI_IGNORE("-ncmoe --n-cpu-moe", "N", OF_GPU),
    CLI_IGNORE("-nkvo --no-kv-offload", "0|1", OF_GPU),
    CLI_IGNORE("-nopo --no-op-offload", "0|1", OF_GPU),
    CLI_IGNORE("--no-host", "0|1", OF_GPU),
    CLI_IGNORE("-ot --override-tensor", "LIST", OF_GPU),
    CLI_IGNORE("-fitt --fit-target", "MIB", OF_GPU),
    CLI_IGNORE("-fitc --fit-ctx", "N", OF_GPU),
    CLI_IGNORE("-mmp --mmap", "0|1", "the model file is always mapped"),
    CLI_IGNORE("-dio --direct-io", "0|1", "the model file is always mapped"),
};

/* One test: a line of the output. */
typedef struct bench_case {
    const char *attention;
    fv_policy policy;
    fv_model_bench_test test;
    cli_model_options options;
} bench_case;

typedef struct bench_state {
    const bench_options *options;
    bench_plan plan;
    fv_engine *engine;
    const char *engine_model; /* what `engine` holds; NULL = nothing */
    int64_t engine_threads;
    cli_thread_options engine_placement;
    cli_bench_sink sinks[2]; /* -o and, if there is one, -oe */
    size_t sink_count;
    fv_session *session;
    uint64_t samples_ns[REPETITIONS_MAX];
    size_t results;
    cli_bench_result result;
    fv_model_bench_limit limit; /* handed on from test to test */
} bench_state;

/* ---- one test ---- */

static void describe(bench_state *state, const bench_case *test) {
    const fv_llm *llm = fv_engine_llm(state->engine);
    cli_bench_result *result = &state->result;
    *result = (cli_bench_result){.model_filename = test->options.model,
                                 .attention = test->attention,
                                 .model_bytes = fv_llm_weight_bytes(llm),
                                 .model_parameters = fv_llm_parameters(llm),
                                 .threads = fv_engine_threads(state->engine),
                                 .cpu_mask = test->options.placement.mask,
                                 .cpu_strict = test->options.placement.pool.strict,
                                 .poll = test->options.placement.pool.poll,
                                 .key_type = test->options.session.key_type,
                                 .value_type = test->options.session.value_type,
                                 .test = test->test,
                                 .run.samples_ns = state->samples_ns};
    fv_model_bench_name(llm, result->model_type, sizeof result->model_type);
}

/* Keeps what the last test had open, if that is the same. */
static int open_engine(bench_state *state, const bench_case *test) {
    const cli_thread_options *placement = &test->options.placement, *before = &state->engine_placement;
    bool same = state->engine_model && strcmp(state->engine_model, test->options.model) == 0 &&
                state->engine_threads == test->options.threads && before->mask == placement->mask &&
                before->pool.strict == placement->pool.strict && before->pool.poll == placement->pool.poll;
    if (same) return CLI_GO_ON;
    fv_engine_close(state->engine);
    state->engine = NULL;
    state->engine_model = NULL;
    int result = cli_engine_open(&state->engine, "bench", &test->options);
    if (result != CLI_GO_ON) return result;
    state->engine_model = test->options.model;
    state->engine_threads = test->options.threads;
    state->engine_placement = *placement;
    return CLI_GO_ON;
}

static int open_case(bench_state *state, const bench_case *test) {
    int result = open_engine(state, test);
    if (result != CLI_GO_ON) return result;
    uint32_t context = test->test.prompt + test->test.generated + test->test.depth;
    fv_policy policy = test->policy;
    result = cli_memory_check(state->engine, &test->options, &policy, context, context);
    if (result != CLI_GO_ON) return result;
    result = cli_session_open(&state->session, state->engine, &test->options, context, &policy);
    return result == CLI_GO_ON ? cli_deadline_set(&state->options->deadline, state->session) : result;
}

static void show_run(void *context, size_t samples) {
    const bench_state *state = context;
    if (state->options->progress)
        fprintf(stderr, "fovea bench: test %zu, run %zu of %lld\n", state->results + 1, samples,
                (long long)state->options->repetitions);
}

/* Tokens that a test has evaluated, with its warm-up and its depth. */
static double tokens_of(const bench_state *state, const fv_model_bench_test *test) {
    double once = (double)test->prompt + (double)test->generated;
    double warm = state->options->no_warmup ? 0 : (double)test->prompt + (test->generated > 0 ? 1 : 0);
    return warm + (double)test->depth + once * (double)state->result.run.samples;
}

static int measure(bench_state *state, const bench_case *test) {
    uint64_t before, after;
    (void)cli_ranks_count(&before);
    const fv_model_bench_watch watch = {state, cli_go_on, show_run};
    fv_message message = {""};
    fv_status status =
        fv_model_bench_run(fv_engine_llm(state->engine), state->session, &test->test, !state->options->no_warmup,
                           (size_t)state->options->repetitions, &watch, &state->result.run);
    state->result.ranks = cli_ranks_count(&after);
    state->result.border_bytes = (double)(after - before) / tokens_of(state, &test->test);
    state->result.deadline_ms = state->options->deadline.milliseconds;
    state->result.deadline = *fv_session_deadline_counts(state->session); /* a warm-up's token, too */
    cli_deadline_print(&state->options->deadline, state->session);
    return cli_fault(fv_session_explain(state->session, status, &message), &message, test->options.model);
}

static int hold_against_limit(bench_state *state) {
    cli_bench_result *result = &state->result;
    fv_isa isa, reached;
    fv_message message = {""};
    int done = cli_outcome(fv_machine_isa(&isa, &reached, &message), &message);
    if (done != CLI_GO_ON || result->run.samples == 0) return done;
    fv_status status = fv_model_bench_hold(fv_engine_llm(state->engine), &result->test, &result->run, isa,
                                           fv_pool_parallel(fv_engine_pool(state->engine)), &state->limit);
    result->limit = state->limit;
    return cli_outcome(status, NULL);
}

static bool print_row(bench_state *state) {
    bool good = true;
    for (size_t i = 0; i < state->sink_count; i++)
        good = cli_bench_row(&state->sinks[i], &state->result, state->results) && good;
    state->results++;
    return good;
}

/* A test of nothing (-p 0) is none. */
static int run_case(bench_state *state, const bench_case *test) {
    if (test->test.prompt + test->test.generated == 0) return CLI_GO_ON;
    int result = state->results > 0 ? cli_interrupt_sleep(state->options->delay) : CLI_GO_ON;
    if (result == CLI_GO_ON) result = open_case(state, test);
    if (result == CLI_GO_ON) {
        describe(state, test);
        result = measure(state, test);
        if (result == CLI_GO_ON && cli_check_file(state->engine, CLI_DONE) != CLI_DONE) result = CLI_FAILED;
        if (result == CLI_GO_ON || (result == CLI_INTERRUPTED && state->result.run.samples > 0)) {
            bool good = hold_against_limit(state) == CLI_GO_ON && print_row(state);
            if (!good) result = CLI_FAILED;
        }
    }
    fv_session_close(state->session);
    state->session = NULL;
    return result;
}

/* ---- all tests, in llama-bench's order ---- */

static int run_sizes(bench_state *state, bench_case test) {
    const bench_plan *plan = &state->plan;
    int result = CLI_GO_ON;
    for (size_t i = 0; i < plan->size_count && result == CLI_GO_ON; i++) {
        test.test.prompt = plan->sizes[i].prompt;
        test.test.generated = plan->sizes[i].generated;
        result = run_case(state, &test);
    }
    return result;
}

static bench_case case_at(const bench_state *state, const size_t *index) {
    const bench_plan *plan = &state->plan;
    bench_case test = {.attention = plan->attention.items[index[BENCH_POLICY]],
                       .policy = plan->policies[index[BENCH_POLICY]],
                       .options = state->options->model};
    int64_t batch = plan->axes[BENCH_BATCH].values[index[BENCH_BATCH]],
            micro = plan->axes[BENCH_MICRO_BATCH].values[index[BENCH_MICRO_BATCH]];
    if (micro > batch) micro = batch;
    test.test = (fv_model_bench_test){.depth = (uint32_t)plan->axes[BENCH_DEPTH].values[index[BENCH_DEPTH]],
                                      .batch = (uint32_t)batch,
                                      .micro_batch = (uint32_t)micro};
    test.options.model = plan->models.items[index[BENCH_MODEL]];
    test.options.threads = plan->axes[BENCH_THREADS].values[index[BENCH_THREADS]];
    test.options.placement.mask = plan->masks.items[index[BENCH_MASK]];
    test.options.placement.pool.strict = (uint32_t)plan->axes[BENCH_STRICT].values[index[BENCH_STRICT]];
    test.options.placement.pool.poll = (uint32_t)plan->axes[BENCH_POLL].values[index[BENCH_POLL]];
    test.options.session.key_type = (uint32_t)plan->axes[BENCH_KEY].values[index[BENCH_KEY]];
    test.options.session.value_type = (uint32_t)plan->axes[BENCH_VALUE].values[index[BENCH_VALUE]];
    test.options.batch = batch;
    test.options.session.batch_tokens = (uint32_t)micro;
    return test;
}

static int run_all(bench_state *state) {
    size_t index[BENCH_AXES] = {0};
    for (;;) {
        int result = run_sizes(state, case_at(state, index));
        if (result != CLI_GO_ON) return result;
        int axis = BENCH_AXES - 1;
        while (axis >= 0 && ++index[axis] == state->plan.axes[axis].count) index[axis--] = 0;
        if (axis < 0) return CLI_GO_ON;
    }
}

static int run_into_sinks(bench_state *state) {
    bool good = true;
    for (size_t i = 0; i < state->sink_count; i++) good = cli_bench_header(&state->sinks[i]) && good;
    int result = good ? run_all(state) : CLI_FAILED;
    /* also after an error: what was measured stays a readable document */
    for (size_t i = 0; i < state->sink_count; i++) good = cli_bench_footer(&state->sinks[i]) && good;
    return good || result != CLI_GO_ON ? result : CLI_FAILED;
}

static int bench_model(const bench_options *options) {
    bench_state *state = calloc(1, sizeof *state); /* too large for a stack: lists and samples */
    if (!state) return cli_fail("no memory to start");
    state->options = options;
    state->sinks[state->sink_count++] = (cli_bench_sink){options->format, false};
    if (options->error_format > 0)
        state->sinks[state->sink_count++] = (cli_bench_sink){options->error_format - 1, true};
    int result = bench_plan_read(options, &state->plan);
    if (result == CLI_GO_ON) result = run_into_sinks(state);
    fv_engine_close(state->engine);
    bench_plan_free(&state->plan);
    free(state);
    return result == CLI_GO_ON ? CLI_DONE : result;
}

int cmd_bench(int argc, char **argv) {
    static bench_options options; /* its lists are large */
    if (argc > 1 && strcmp(argv[1], "attention") == 0) return cmd_bench_attention(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "machine") == 0) return cmd_bench_machine(argc - 1, argv + 1);
    options = (bench_options){.model = cli_model_options_default(), .repetitions = 5};
    const cli_option_group groups[] = {
        CLI_GROUP("tests", bench_flags, &options),
        CLI_COUNTED("weights", cli_weight_flags, &options.model),
        CLI_DEADLINE_GROUP(&options.deadline),
        CLI_GROUP("where threads run", thread_flags, &options),
        CLI_RANKS_GROUP(&options.model)
            CLI_GROUP("llama-bench's flags without effect here", bench_ignored_flags, &options),
        CLI_COUNTED("llama.cpp's flags without effect here", cli_ignored_flags, &options.model),
    };
    const cli_syntax syntax = {
        "bench", "-m FILE [-p N] [-n N] [-d N] [flags]",
        "Measures a model's speed: prompts (pp) and generation (tg), each combination of the lists.\n"
        "`fovea bench attention --help`: the attention core alone; `fovea bench machine --help`: the machine's limits.",
        CLI_GROUPS(groups)};
    int result = cli_options_parse(&syntax, argc, argv);
    if (result == CLI_GO_ON) result = cli_deadline_check("bench", &options.deadline);
    if (result != CLI_GO_ON) return result;
    if (options.list_devices) return cli_print("Available devices:\n  (none)\n") ? CLI_DONE : CLI_FAILED;
    if (options.json) options.format = CLI_BENCH_JSON;
    return bench_model(&options);
}
