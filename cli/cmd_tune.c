/* cmd_tune.c - `fovea tune`: how much of a budget each layer and KV head deserves (fovea/measure/tuning.h). The shares
 * are written only if they are better than equal ones on tokens that they were not made from. */
#include "attention_option.h"
#include "fovea/measure/tuning.h"
#include "fovea/policy_text.h"
#include "input.h"
#include "interrupt.h"
#include "model_options.h"
#include "progress.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct tune_options {
    cli_model_options model;
    const char *file, *out, *attention;
    int64_t score, skip;
    double bytes;
    bool force;
} tune_options;

#define CLI_TARGET tune_options
static const cli_option tune_flags[] = {
    CLI_FLAG(TEXT, "-f --file", file, .value = "FILE", .help = "a text of the kind that the model will read"),
    CLI_FLAG(INTEGER, "-c --ctx-size", model.context, .env = "LLAMA_ARG_CTX_SIZE", .low = 512, .high = CLI_CONTEXT_MAX,
             .help = "tokens of the context; the text has to have twice as many"),
    CLI_FLAG(REAL, "--bytes", bytes, .value = "FRACTION", .low = 0.001, .high = 1,
             .help = "the budget to divide, of the visible keys"),
    CLI_FLAG(TEXT, "--attention", attention, .value = "SPEC",
             .help = "the policy, without its budget (default: fovea)"),
    CLI_FLAG(INTEGER, "--score", score, .low = 16, .high = 65536,
             .help = "positions at the end whose predictions are compared, twice for each head;\nthe result is tried "
                     "on four times as many"),
    CLI_FLAG(INTEGER, "--skip", skip, .high = CLI_COUNT_MAX, .help = "tokens dropped from the beginning of the text"),
    CLI_FLAG(TEXT, "-o --output", out, .value = "FILE",
             .help = "where the result goes (default: MODEL.fovea.json, where every verb looks for them)"),
    CLI_FLAG(SWITCH, "--force", force, .help = "write the shares even if equal ones are better"),
};

typedef struct tune_state {
    const tune_options *options;
    fv_engine *engine;
    fv_policy policy;
    char spec[256], path[512];
    fv_text text;
    fv_tokens tokens;
    uint32_t context;
    cli_progress progress;
} tune_state;

static int read_spec(tune_state *state) {
    const tune_options *options = state->options;
    int length = snprintf(state->spec, sizeof state->spec, "%s%sbudget=%g", options->attention,
                          strchr(options->attention, ':') ? "," : ":", options->bytes);
    if (length < 0 || (size_t)length >= sizeof state->spec) return cli_usage_error("tune", "--attention is too long");
    int result = cli_policy_read("tune", state->spec, &state->policy);
    if (result != CLI_GO_ON) return result;
    if (!fv_policy_is_dynamic(&state->policy))
        return cli_usage_error("tune", "--attention: only a policy that chooses has shares to tune: fovea");
    if (!options->file) return cli_usage_error("tune", "give a text with -f");
    if (options->out ? snprintf(state->path, sizeof state->path, "%s", options->out) >= (int)sizeof state->path
                     : options->model.model && !fv_tune_path(options->model.model, state->path, sizeof state->path))
        return cli_usage_error("tune", "the name of the output is too long");
    return CLI_GO_ON;
}

static int read_text(tune_state *state) {
    fv_message message = {""};
    fv_status status = cli_read_file(&state->text, state->options->file, &message);
    if (status == FV_OK) cli_look_at_text(state->options->file, &state->text);
    if (status == FV_OK)
        status = fv_tokenizer_encode(fv_llm_tokenizer(fv_engine_llm(state->engine)),
                                     state->text.bytes ? state->text.bytes : "", state->text.length,
                                     FV_TOKENIZE_ADD_SPECIAL, &state->tokens);
    if (status != FV_OK) return cli_outcome(status, &message);
    size_t needed = (size_t)state->options->skip + 2 * (size_t)state->context + 1;
    if (state->tokens.count < needed)
        return cli_fail("%s has %zu tokens; %zu are needed: use a longer text or a smaller -c", state->options->file,
                        state->tokens.count, needed);
    return CLI_GO_ON;
}

static int prepare(tune_state *state) {
    fv_session_memory memory;
    fv_message message = {""};
    state->context = (uint32_t)state->options->model.context;
    if (FV_TUNING_TRIED * state->options->score >= (int64_t)state->context)
        return cli_usage_error("tune", "-c must be above %d times --score", FV_TUNING_TRIED);
    fv_session_config config = cli_session_config(&state->options->model);
    config.context_tokens = state->context;
    int result = cli_outcome(fv_session_memory_plan(fv_engine_llm(state->engine), &config,
                                                    fv_engine_threads(state->engine), &memory, &message),
                             &message);
    return result == CLI_GO_ON ? read_text(state) : result;
}

static bool show_reading(void *context, size_t done, size_t total) {
    tune_state *state = context;
    bool more = cli_progress_step(&state->progress, done, total);
    if (done == total) cli_progress_end(&state->progress);
    return more;
}

static void show_head(void *context, uint32_t layer, uint32_t head, const double loss[2]) {
    const tune_state *state = context;
    const fv_model_config *shape = fv_llm_config(fv_engine_llm(state->engine));
    cli_note("layer %u head %u of %u x %u: KL %.6f with half, %.6f with twice an equal share", layer, head,
             shape->layers, shape->cache.kv_heads, loss[0], loss[1]);
}

static int write_tune(tune_state *state, const fv_tuning *tuning) {
    fv_message message = {""};
    fv_tune_notes notes = {.text = state->options->file,
                           .attention = state->spec,
                           .context = state->context,
                           .scored = (uint32_t)state->options->score,
                           .kl_uniform = tuning->kl_uniform,
                           .kl_tuned = tuning->kl_tuned,
                           .loss = (const double(*)[2])tuning->loss};
    cli_print("on the next %u tokens: KL %.6f with equal shares, %.6f with these\n", state->context, tuning->kl_uniform,
              tuning->kl_tuned);
    if (tuning->kl_tuned >= tuning->kl_uniform && !state->options->force)
        return cli_fail("equal shares are better: nothing was written (--force writes all the same)");
    fv_status status = fv_tune_write(&tuning->tune, state->path, fv_engine_llm(state->engine), &notes, &message);
    if (status != FV_OK) return cli_outcome(status, &message);
    cli_print("written: %s\n", state->path);
    return CLI_DONE;
}

static int tune(tune_state *state) {
    const fv_model_config *shape = fv_llm_config(fv_engine_llm(state->engine));
    fv_tuning tuning = {.loss = NULL};
    fv_message message = {""};
    fv_tuning_config config;
    fv_tuning_config_default(&config);
    config.llm = fv_engine_llm(state->engine);
    config.pool = fv_engine_pool(state->engine);
    config.session = cli_session_config(&state->options->model);
    config.session.exact_activations = 1;
    config.policy = state->policy;
    config.tokens = state->tokens.ids + state->options->skip;
    config.count = state->tokens.count - (size_t)state->options->skip;
    config.context = state->context;
    config.scored = (uint32_t)state->options->score;
    config.watch = (fv_tuning_watch){state, show_reading, cli_go_on, show_head};
    cli_progress_start(&state->progress, "reading", "tokens");
    cli_note("%u heads; of %u tokens the last %u are compared", shape->layers * shape->cache.kv_heads, state->context,
             config.scored);
    fv_status status = fv_tuning_run(&tuning, &config, &message);
    cli_progress_end(&state->progress);
    if (status != FV_OK) return cli_fault(status, &message, state->options->model.model);
    int result = write_tune(state, &tuning);
    fv_tuning_free(&tuning);
    return result;
}

static void close_tune(tune_state *state) {
    fv_text_free(&state->text);
    fv_tokens_free(&state->tokens);
    fv_engine_close(state->engine);
}

int cmd_tune(int argc, char **argv) {
    tune_options options = {.model = cli_model_options_default(), .attention = "fovea", .bytes = 0.12, .score = 96};
    options.model.context = 4096;
    tune_state state = {.options = &options};
    const cli_option_group groups[] = {
        CLI_GROUP("text and budget", tune_flags, &options),
        CLI_MODEL_GROUPS(&options.model),
    };
    const cli_syntax syntax = {
        "tune", "-m FILE -f FILE [-c N] [--bytes FRACTION] [-o FILE] [flags]",
        "Divides a budget over layers and heads by what each of them costs when it reads sparsely.\n"
        "Activations are f32 here whatever the flags say: the noise of int8 hides what a head costs.\n"
        "Made once for a model; the other verbs use MODEL.fovea.json where it is there, and say so.",
        CLI_GROUPS(groups)};
    int result = cli_options_parse(&syntax, argc, argv);
    if (result == CLI_GO_ON) result = read_spec(&state);
    if (result == CLI_GO_ON) result = cli_need_model("tune", options.model.model);
    if (result != CLI_GO_ON) return result;
    options.model.tune = "none"; /* what is there already must not matter */
    result = cli_engine_open(&state.engine, "tune", &options.model);
    if (result == CLI_GO_ON) result = prepare(&state);
    if (result == CLI_GO_ON) result = cli_check_file(state.engine, tune(&state));
    close_tune(&state);
    return result;
}
