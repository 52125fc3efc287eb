/* model_options.c - llama.cpp's names for model, threads, cache and batch, and the opening of what they name. */
#include "model_options.h"
#include "input.h"
#include "ranks_option.h"
#include "verbose.h"
#include <stdio.h>
#include <string.h>

#define CLI_TARGET cli_thread_options
const cli_option cli_thread_flags[] = {
    CLI_FLAG(TEXT, "-C --cpu-mask", mask, .value = "HEX",
             .help = "processors that threads may run on, bit 0 is the first"),
    CLI_FLAG(TEXT, "-Cr --cpu-range", range, .value = "LO-HI", .help = "the same as numbers; adds to -C"),
    CLI_FLAG(U32, "--cpu-strict", pool.strict, .value = "0|1", .high = 1, .help = "each thread on one of them alone"),
    CLI_FLAG(I32, "--prio", pool.priority, .low = -1, .high = 3,
             .help = "-1 low, 0 normal, 1 medium, 2 high, 3 real-time; above 0 needs rights"),
    CLI_FLAG(U32, "--poll", pool.poll, .high = 100,
             .help = "0..100: how long a thread waits awake for work, 2 us each"),
};
const size_t cli_thread_flags_count = sizeof cli_thread_flags / sizeof cli_thread_flags[0];

#undef CLI_TARGET
#define CLI_TARGET cli_model_options

const cli_option cli_model_flags[] = {
    CLI_FLAG(TEXT, "-m --model", model, .value = "FILE", .env = "LLAMA_ARG_MODEL",
             .help = "the model: a GGUF file (of a split one the first part)"),
    CLI_FLAG(INTEGER, "-t --threads", threads, .env = "LLAMA_ARG_THREADS", .low = -1, .high = 1024,
             .note = "one per processor", .help = "threads"),
    CLI_FLAG(TEXT, "--tune", tune, .value = "FILE",
             .help = "shares of the budget by layer and head, from fovea tune\n(default: MODEL.fovea.json if it is "
                     "there; none: equal shares)"),
    CLI_FLAG(TEXTS, "--allow-key", allowed_keys, .value = "KEY",
             .help = "a metadata key that fovea does not know and you know to change nothing; may be repeated"),
    CLI_FLAG(SWITCH, "-v --verbose --log-verbose", verbose,
             .help = "say what was opened: model, tokenizer, processor, limits of the process"),
};
const size_t cli_model_flags_count = sizeof cli_model_flags / sizeof cli_model_flags[0];

/* llama.cpp's --repack takes no value, and its environment a truth. */
#define REPACK_WORDS "auto on off 1 0 true false enabled disabled"
const cli_option cli_weight_flags[] = {
    CLI_FLAG(MODE, "--repack", repack, .negated = "-nr --no-repack", .value = "[on|off|auto]",
             .env = "LLAMA_ARG_REPACK", .choices = REPACK_WORDS, .low = FV_REPACK_ON, .high = FV_REPACK_OFF,
             .help = "interleave quantised weights at load, for speed; the same results. Their pages of the "
                     "file\nbecome private to this process. on (also: no value): always; off: the file stays shared "
                     "with\nother processes; auto (default): unless they are more than half of the memory that "
                     "this\nprocess may use"),
    CLI_FLAG(SWITCH, "--check-tensors", check_tensors,
             .help = "read all tensors first: one with a number that is not finite is an error"),
};
const size_t cli_weight_flags_count = sizeof cli_weight_flags / sizeof cli_weight_flags[0];

const cli_option cli_cache_flags[] = {
    CLI_FLAG(CHOICE, "-ctk --cache-type-k", session.key_type, .value = "TYPE", .env = "LLAMA_ARG_CACHE_TYPE_K",
             .choices = CLI_TYPE_WORDS, .standard = "",
             .help = "type of the cached keys: auto, f32, f16, bf16, q8_0, q4_0 (default: auto: bf16 where the\n"
                     "instruction set avx512bf16 is in use, which multiplies pairs of bf16; else f16)"),
    CLI_FLAG(CHOICE, "-ctv --cache-type-v", session.value_type, .value = "TYPE", .env = "LLAMA_ARG_CACHE_TYPE_V",
             .choices = CLI_TYPE_WORDS, .help = "type of the cached values, likewise"),
    CLI_FLAG(U32, "-ub --ubatch-size", session.batch_tokens, .env = "LLAMA_ARG_UBATCH", .low = 1, .high = 65536,
             .help = "tokens of a prompt that are evaluated at once"),
    CLI_FLAG(INTEGER, "-b --batch-size", batch, .env = "LLAMA_ARG_BATCH", .low = 1, .high = 1048576,
             .help = "as llama.cpp's; here only an upper limit for -ub"),
    CLI_FLAG(SWITCH, "--exact-activations", exact,
             .help = "f32 activations against every type of weight: slow, for checking"),
};
const size_t cli_cache_flags_count = sizeof cli_cache_flags / sizeof cli_cache_flags[0];

#define NO_GPU "fovea runs on the processor"
#define NO_TUNING "threads are placed by the system"
#define NO_LOG "there is no log; send standard error elsewhere"
const cli_option cli_ignored_flags[] = {
    CLI_IGNORE("-ngl --gpu-layers --n-gpu-layers", "N", NO_GPU),
    CLI_IGNORE("-sm --split-mode", "MODE", NO_GPU),
    CLI_IGNORE("-mg --main-gpu", "N", NO_GPU),
    CLI_IGNORE("-dev --device", "LIST", NO_GPU),
    {.kind = CLI_IGNORED,
     .names = "-fa --flash-attn",
     .value = "on|off|auto",
     .choices = "on off auto 0 1 true false enabled disabled",
     .help = "attention is always computed tile by tile; --attention says what it reads"},
    CLI_IGNORE("-tb --threads-batch", "N", "prompts use the threads of -t"),
    CLI_IGNORE("--numa", "TYPE", NO_TUNING),
    CLI_IGNORE("--mmap --no-mmap", NULL, "the model file is always mapped"),
    CLI_IGNORE("--mlock", NULL, "pages are not pinned"),
    CLI_IGNORE("-lm --load-mode", "MODE", "the model file is always mapped"),
    CLI_IGNORE("--no-context-shift", NULL, "a context is never shifted"),
    CLI_IGNORE("--keep", "N", "a context is never shifted"),
    CLI_IGNORE("--swa-full", NULL, "the cache always holds the whole context"),
    CLI_IGNORE("--warmup --no-warmup", NULL, "only bench warms up"),
    CLI_IGNORE("--perf --no-perf", NULL, "the report is always printed"),
    CLI_IGNORE("--offline", NULL, "fovea never uses the network"),
    CLI_IGNORE("--log-disable --log-prefix --log-timestamps --no-log-prefix --no-log-timestamps", NULL, NO_LOG),
    CLI_IGNORE("--log-file", "FILE", NO_LOG),
    CLI_IGNORE("-lv --verbosity --log-verbosity", "N", NO_LOG),
    {.kind = CLI_IGNORED,
     .names = "-co --color",
     .value = "on|off|auto",
     .choices = "on off auto",
     .help = "text is printed without colours"},
};
const size_t cli_ignored_flags_count = sizeof cli_ignored_flags / sizeof cli_ignored_flags[0];

cli_thread_options cli_thread_options_default(void) {
    cli_thread_options options = {0};
    fv_pool_config_default(&options.pool);
    return options;
}

int cli_pool_config(fv_pool_config *config, const char *verb, int64_t threads, const cli_thread_options *options) {
    *config = options->pool;
    if (options->mask && !fv_pool_config_mask(config, options->mask))
        return cli_usage_error(verb, "-C takes up to %d hexadecimal digits, not '%s'", FV_POOL_PROCESSORS / 4,
                               options->mask);
    if (options->range && !fv_pool_config_range(config, options->range))
        return cli_usage_error(verb, "-Cr takes two numbers of processors (0-3), not '%s'", options->range);
    config->threads = threads > 0 ? (uint32_t)threads : 0;
    return CLI_GO_ON;
}

int cli_pool_open(fv_pool **pool, const char *verb, int64_t threads, const cli_thread_options *options) {
    fv_pool_config config;
    fv_message message = {""};
    int result = cli_pool_config(&config, verb, threads, options);
    if (result != CLI_GO_ON) return result;
    return cli_outcome(fv_pool_open_config(pool, &config, &message), &message);
}

cli_model_options cli_model_options_default(void) {
    cli_model_options options = {.threads = -1,
                                 .placement = cli_thread_options_default(),
                                 .context = -1,
                                 .batch = 2048,
                                 .timeout = CLI_TIMEOUT,
                                 .ranks_per_stage = 1};
    fv_session_config_default(&options.session);
    options.session.key_type = options.session.value_type = CLI_TYPE_AUTO;
    return options;
}

int cli_need_model(const char *verb, const char *model) {
    if (model && model[0]) return CLI_GO_ON;
    return cli_usage_error(verb, "no model: name a GGUF file with -m FILE");
}

/* The words after auto say on and off in turn. */
fv_repack cli_repack_of(const cli_model_options *options) {
    if (options->repack == FV_REPACK_AUTO) return FV_REPACK_AUTO;
    return options->repack % 2 == FV_REPACK_ON % 2 ? FV_REPACK_ON : FV_REPACK_OFF;
}

uint32_t cli_cache_type(uint32_t word) {
    if (word != CLI_TYPE_AUTO) return word;
    return fv_isa_includes(cli_ranks_isa(), FV_ISA_AVX512BF16) ? FV_ELEMENT_BF16 : FV_ELEMENT_F16;
}

fv_session_config cli_session_config(const cli_model_options *options) {
    fv_session_config config = options->session;
    config.key_type = cli_cache_type(config.key_type);
    config.value_type = cli_cache_type(config.value_type);
    if (config.batch_tokens > options->batch) config.batch_tokens = (uint32_t)options->batch;
    config.exact_activations = options->exact;
    return config;
}

void cli_advise(fv_message *message) {
    size_t length = strlen(message->text);
    if (strstr(message->text, FV_LLM_ALLOW_ADVICE))
        snprintf(message->text + length, sizeof message->text - length, " (--allow-key KEY)");
}

int cli_fault(fv_status status, const fv_message *message, const char *model) {
    int result = cli_outcome(status, message);
    if (status == FV_ERROR_NOT_FINITE) cli_note("fovea inspect --check looks through all tensors of %s", model);
    if (status == FV_ERROR_RANGE) cli_note("the types of keys and values are chosen with -ctk and -ctv");
    return result;
}

int cli_check_file(const fv_engine *engine, int result) {
    fv_message message = {""};
    if (result != CLI_DONE) return result;
    return cli_outcome(fv_llm_check_file(fv_engine_llm(engine), &message), &message) == CLI_GO_ON ? CLI_DONE
                                                                                                  : CLI_FAILED;
}

/* In this process, or over the ranks that mpirun started. */
static fv_status open_where_it_runs(fv_engine **engine, const fv_engine_config *config,
                                    const cli_model_options *options, fv_message *message) {
#if CLI_HAVE_MPI
    if (cli_ranks()) return cli_ranks_engine_open(engine, config, options, message);
#else
    (void)options;
#endif
    return fv_engine_open(engine, config, message);
}

int cli_engine_open(fv_engine **engine, const char *verb, const cli_model_options *options) {
    fv_message message = {""};
    fv_engine_config config;
    *engine = NULL;
    fv_engine_config_default(&config);
    config.model = options->model;
    config.tune = options->tune;
    config.repack = cli_repack_of(options);
    config.allowed_keys = options->allowed_keys.items;
    config.allowed_key_count = (uint32_t)options->allowed_keys.count;
    config.session = cli_session_config(options);
    int result = cli_need_model(verb, options->model);
    if (result == CLI_GO_ON) result = cli_pool_config(&config.pool, verb, options->threads, &options->placement);
    if (result != CLI_GO_ON) return result;
    fv_status status = open_where_it_runs(engine, &config, options, &message);
    cli_advise(&message);
    result = cli_outcome(status, &message);
    if (result == CLI_GO_ON && options->check_tensors)
        result = cli_outcome(fv_gguf_check_numbers(fv_llm_gguf(fv_engine_llm(*engine)), &message), &message);
    if (result == CLI_GO_ON) cli_warn_of_file(fv_llm_tokenizer(fv_engine_llm(*engine)));
    if (result == CLI_GO_ON && options->verbose) cli_verbose_engine(*engine);
    return result;
}

int cli_attach_tune(const fv_engine *engine, fv_policy *policies, size_t count) {
    fv_message message = {""};
    fv_status status = FV_OK;
    for (size_t i = 0; i < count && status == FV_OK; i++) {
        bool attached = false;
        status = fv_engine_tune_attach(engine, &policies[i], &attached, &message);
        if (attached) cli_note("the budget is divided by %s", fv_engine_tune(engine)->path);
    }
    return cli_outcome(status, &message);
}

int cli_memory_check(const fv_engine *engine, const cli_model_options *options, const fv_policy *policy,
                     uint32_t context, uint64_t tokens) {
    fv_message message = {""};
    fv_session_config config = cli_session_config(options);
    config.context_tokens = context;
    config.policy = *policy;
    return cli_outcome(fv_engine_memory_check(engine, &config, tokens, &message), &message);
}

int cli_session_open(fv_session **session, const fv_engine *engine, const cli_model_options *options, uint32_t context,
                     fv_policy *policy) {
    fv_message message = {""};
    fv_session_config config = cli_session_config(options);
    config.context_tokens = context;
    int result = cli_attach_tune(engine, policy, 1);
    if (result != CLI_GO_ON) return result;
    config.policy = *policy;
    return cli_outcome(fv_engine_session_open(engine, &config, session, &message), &message);
}
