/* model_options.c - llama.cpp's names for model, threads, cache and batch, and the opening of what they name. */
#include "model_options.h"
#include <string.h>

#define FIELD(name) offsetof(cli_model_options, name)

const cli_option cli_model_flags[] = {
    {CLI_TEXT, "-m --model", NULL, "FILE", "LLAMA_ARG_MODEL", NULL,
     "the model: a GGUF file (of a split one the first part)", FIELD(model), 0, 0},
    {CLI_INTEGER, "-t --threads", NULL, "N", "LLAMA_ARG_THREADS", NULL, "threads (default: -1, one per processor)",
     FIELD(threads), -1, 1024},
    {CLI_TEXT, "--tune", NULL, "FILE", NULL, NULL,
     "shares of the budget by layer and head, from fovea tune\n"
     "(default: MODEL.fovea.json if it is there; none: equal shares)",
     FIELD(tune), 0, 0},
};
const size_t cli_model_flag_count = sizeof cli_model_flags / sizeof cli_model_flags[0];

/* llama.cpp's --repack takes no value, and its environment a truth. */
#define REPACK_WORDS "auto on off 1 0 true false enabled disabled"
const cli_option cli_weight_flags[] = {
    {CLI_MODE, "--repack", "-nr --no-repack", "[on|off|auto]", "LLAMA_ARG_REPACK", REPACK_WORDS,
     "interleave quantised weights at load, for speed; the same results. Their pages of the file\n"
     "become private to this process. on (also: no value): always; off: the file stays shared with\n"
     "other processes; auto (default): unless they are more than half of the machine's memory",
     FIELD(repack), FV_REPACK_ON, FV_REPACK_OFF},
};
const size_t cli_weight_flag_count = sizeof cli_weight_flags / sizeof cli_weight_flags[0];

const cli_option cli_cache_flags[] = {
    {CLI_CHOICE, "-ctk --cache-type-k", NULL, "TYPE", "LLAMA_ARG_CACHE_TYPE_K", CLI_ELEMENT_WORDS,
     "type of the cached keys: f32, f16 (default), bf16, q8_0, q4_0", FIELD(key_type), 0, 0},
    {CLI_CHOICE, "-ctv --cache-type-v", NULL, "TYPE", "LLAMA_ARG_CACHE_TYPE_V", CLI_ELEMENT_WORDS,
     "type of the cached values, likewise", FIELD(value_type), 0, 0},
    {CLI_INTEGER, "-ub --ubatch-size", NULL, "N", "LLAMA_ARG_UBATCH", NULL,
     "tokens of a prompt that are evaluated at once (default: 512)", FIELD(micro_batch), 1, 65536},
    {CLI_INTEGER, "-b --batch-size", NULL, "N", "LLAMA_ARG_BATCH", NULL,
     "as llama.cpp's; here only an upper limit for -ub (default: 2048)", FIELD(batch), 1, 1048576},
    {CLI_SWITCH, "--exact-activations", NULL, NULL, NULL, NULL,
     "f32 activations against every type of weight: slow, for checking", FIELD(exact), 0, 0},
};
const size_t cli_cache_flag_count = sizeof cli_cache_flags / sizeof cli_cache_flags[0];

#define NO_GPU "fovea runs on the processor"
#define NO_TUNING "threads are placed by the system"
const cli_option cli_ignored_flags[] = {
    {CLI_IGNORED, "-ngl --gpu-layers --n-gpu-layers", NULL, "N", NULL, NULL, NO_GPU, 0, 0, 0},
    {CLI_IGNORED, "-sm --split-mode", NULL, "MODE", NULL, NULL, NO_GPU, 0, 0, 0},
    {CLI_IGNORED, "-mg --main-gpu", NULL, "N", NULL, NULL, NO_GPU, 0, 0, 0},
    {CLI_IGNORED, "-dev --device", NULL, "LIST", NULL, NULL, NO_GPU, 0, 0, 0},
    {CLI_IGNORED, "-fa --flash-attn", NULL, "on|off|auto", NULL, "on off auto 0 1 true false enabled disabled",
     "attention is always computed tile by tile; --attention says what it reads", 0, 0, 0},
    {CLI_IGNORED, "-tb --threads-batch", NULL, "N", NULL, NULL, "prompts use the threads of -t", 0, 0, 0},
    {CLI_IGNORED, "--numa", NULL, "TYPE", NULL, NULL, NO_TUNING, 0, 0, 0},
    {CLI_IGNORED, "--mmap --no-mmap", NULL, NULL, NULL, NULL, "the model file is always mapped", 0, 0, 0},
    {CLI_IGNORED, "--mlock", NULL, NULL, NULL, NULL, "pages are not pinned", 0, 0, 0},
    {CLI_IGNORED, "-lm --load-mode", NULL, "MODE", NULL, NULL, "the model file is always mapped", 0, 0, 0},
    {CLI_IGNORED, "--no-context-shift", NULL, NULL, NULL, NULL, "a context is never shifted", 0, 0, 0},
    {CLI_IGNORED, "--keep", NULL, "N", NULL, NULL, "a context is never shifted", 0, 0, 0},
    {CLI_IGNORED, "--swa-full", NULL, NULL, NULL, NULL, "the cache always holds the whole context", 0, 0, 0},
    {CLI_IGNORED, "--warmup --no-warmup", NULL, NULL, NULL, NULL, "only bench warms up", 0, 0, 0},
    {CLI_IGNORED, "--perf --no-perf", NULL, NULL, NULL, NULL, "the report is always printed", 0, 0, 0},
    {CLI_IGNORED, "--offline", NULL, NULL, NULL, NULL, "fovea never uses the network", 0, 0, 0},
    {CLI_IGNORED, "--log-disable", NULL, NULL, NULL, NULL, "there is no log; send standard error elsewhere", 0, 0, 0},
    {CLI_IGNORED, "-co --color", NULL, "on|off|auto", NULL, "on off auto", "text is printed without colours", 0, 0, 0},
};
const size_t cli_ignored_flag_count = sizeof cli_ignored_flags / sizeof cli_ignored_flags[0];

cli_model_options cli_model_options_default(void) {
    fv_session_config config = fv_session_config_default();
    return (cli_model_options){.threads = -1,
                               .placement = cli_thread_options_default(),
                               .context = -1,
                               .batch = 2048,
                               .micro_batch = config.batch_tokens,
                               .key_type = (int)config.key_type,
                               .value_type = (int)config.value_type};
}

const char *cli_element_name(uint32_t type) {
#define ELEMENT_NAME(NAME, name) #name,
    static const char *const names[] = {FV_ELEMENT_LIST(ELEMENT_NAME)};
#undef ELEMENT_NAME
    return type < FV_ELEMENT_COUNT ? names[type] : "?";
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

fv_session_config cli_session_config(const cli_model_options *options) {
    fv_session_config config = fv_session_config_default();
    int64_t batch = options->micro_batch < options->batch ? options->micro_batch : options->batch;
    config.batch_tokens = (uint32_t)batch;
    config.key_type = (uint32_t)options->key_type;
    config.value_type = (uint32_t)options->value_type;
    config.exact_activations = options->exact;
    return config;
}

int cli_engine_open(fv_engine **engine, const char *verb, const cli_model_options *options) {
    fv_message message = {""};
    fv_engine_config config;
    *engine = NULL;
    fv_engine_config_default(&config);
    config.model = options->model;
    config.tune = options->tune;
    config.repack = cli_repack_of(options);
    config.session = cli_session_config(options);
    int result = cli_need_model(verb, options->model);
    if (result == CLI_GO_ON) result = cli_pool_config(&config.pool, verb, options->threads, &options->placement);
    if (result != CLI_GO_ON) return result;
    fv_status status = fv_engine_open(engine, &config, &message);
    return status == FV_OK ? CLI_GO_ON : cli_fail_status(status, &message);
}

void cli_warn_context(const fv_llm *llm, uint64_t context) {
    uint32_t trained = fv_llm_config(llm)->cache.max_tokens;
    if (context > trained)
        cli_warn("a context of %llu tokens is above the %u that the model was trained on: its answers may be useless "
                 "behind token %u",
                 (unsigned long long)context, trained, trained);
}

void cli_attach_tune(const fv_engine *engine, fv_policy *policy) {
    if (fv_tune_attach(fv_engine_tune(engine), policy))
        cli_note("the budget is divided by %s", fv_engine_tune(engine)->path);
}

int cli_session_open(fv_session **session, const fv_engine *engine, const cli_model_options *options, uint32_t context,
                     fv_policy *policy) {
    fv_message message = {""};
    fv_session_config config = cli_session_config(options);
    config.context_tokens = context;
    cli_attach_tune(engine, policy);
    config.policy = *policy;
    fv_status status = fv_engine_session_open(engine, &config, session, &message);
    return status == FV_OK ? CLI_GO_ON : cli_fail_status(status, &message);
}
