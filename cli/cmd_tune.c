/* cmd_tune.c - `fovea tune`: how much of a budget each layer and KV head deserves. The text is read densely once;
 * behind it every head in turn reads the scored positions sparsely while all others read all, with half and with twice
 * an equal share. Shares follow from the divergence that this costs. They are then tried on tokens that they were not
 * made from, and written only if they are better than equal ones. */
#include "attention_spec.h"
#include "fovea/machine.h"
#include "fovea/measure/score.h"
#include "fovea/measure/tune_shares.h"
#include "input.h"
#include "interrupt.h"
#include "model_options.h"
#include "progress.h"
#include "tune_file.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHOLE UINT16_MAX /* a share of so much that a head reads all */
#define TRIED 4          /* times as many positions as for each head */
#define REACH 0.5        /* other texts need other heads: half-way to what is best for this one (docs/numbers.md) */
#define GROUP_BYTES (64u * 1024 * 1024) /* most bytes of the logits that are compared at once */

typedef struct tune_options {
    cli_model_options model;
    const char *file, *out, *attention;
    int64_t score, skip;
    double bytes;
    bool force;
} tune_options;

#define FIELD(name) offsetof(tune_options, name)
static const cli_option tune_flags[] = {
    {CLI_TEXT, "-f --file", NULL, "FILE", NULL, NULL, "a text of the kind that the model will read", FIELD(file), 0, 0},
    {CLI_INTEGER, "-c --ctx-size", NULL, "N", "LLAMA_ARG_CTX_SIZE", NULL,
     "tokens of the context; the text has to have twice as many (default: 4096)", FIELD(model.context), 512,
     1073741824.0},
    {CLI_REAL, "--bytes", NULL, "FRACTION", NULL, NULL, "the budget to divide, of the visible keys (default: 0.12)",
     FIELD(bytes), 0.001, 1},
    {CLI_TEXT, "--attention", NULL, "SPEC", NULL, NULL, "the policy, without its budget (default: fovea)",
     FIELD(attention), 0, 0},
    {CLI_INTEGER, "--score", NULL, "N", NULL, NULL,
     "positions at the end whose predictions are compared, twice for each head;\n"
     "the result is tried on four times as many (default: 96)",
     FIELD(score), 16, 65536},
    {CLI_INTEGER, "--skip", NULL, "N", NULL, NULL, "tokens dropped from the beginning of the text (default: 0)",
     FIELD(skip), 0, 2147483647.0},
    {CLI_TEXT, "-o --output", NULL, "FILE", NULL, NULL,
     "where the result goes (default: MODEL.fovea.json, where every verb looks for them)", FIELD(out), 0, 0},
    {CLI_SWITCH, "--force", NULL, NULL, NULL, NULL, "write the shares even if equal ones are better", FIELD(force), 0,
     0},
};

typedef struct tune_state {
    const tune_options *options;
    cli_engine engine;
    fv_policy policy;
    char spec[256], path[512];
    fv_session *session;
    fv_text text;
    fv_tokens tokens;
    const int32_t *scored; /* tokens of the positions that are compared, behind those that stay in the session */
    uint32_t context, vocabulary, heads; /* heads: of all layers */
    uint32_t score;                      /* positions that are compared now */
    size_t group;                        /* of them at once */
    float *base, *logits;                /* [TRIED * score][vocabulary], [group][vocabulary] */
    fv_score *scores;                    /* [group] */
    double (*loss)[2];                   /* [heads]: KL with half and with twice an equal share */
    uint16_t *trial;                     /* [heads] */
    cli_tune tune;
    cli_progress progress;
} tune_state;

static int read_spec(tune_state *state) {
    const tune_options *options = state->options;
    fv_message message = {""};
    int length = snprintf(state->spec, sizeof state->spec, "%s%sbudget=%g", options->attention,
                          strchr(options->attention, ':') ? "," : ":", options->bytes);
    if (length < 0 || (size_t)length >= sizeof state->spec) return cli_usage_error("tune", "--attention is too long");
    if (cli_attention_parse(state->spec, &state->policy, &message) != FV_OK)
        return cli_usage_error("tune", "--attention: %s", message.text);
    if (!fv_policy_is_dynamic(&state->policy))
        return cli_usage_error("tune", "--attention: only a policy that chooses has shares to tune: fovea");
    if (!options->file) return cli_usage_error("tune", "give a text with -f");
    if (options->out ? snprintf(state->path, sizeof state->path, "%s", options->out) >= (int)sizeof state->path
                     : options->model.model && !cli_tune_path(options->model.model, state->path, sizeof state->path))
        return cli_usage_error("tune", "the name of the output is too long");
    return CLI_GO_ON;
}

static int read_text(tune_state *state) {
    fv_message message = {""};
    fv_status status = cli_read_file(state->options->file, &state->text, &message);
    if (status == FV_OK)
        status = fv_tokenizer_encode(fv_llm_tokenizer(state->engine.llm), state->text.bytes ? state->text.bytes : "",
                                     state->text.length, FV_TOKENIZE_ADD_SPECIAL, &state->tokens);
    if (status == FV_ERROR_INTERRUPTED) return CLI_INTERRUPTED;
    if (status != FV_OK) return cli_fail_status(status, &message);
    size_t needed = (size_t)state->options->skip + 2 * (size_t)state->context + 1;
    if (state->tokens.count < needed)
        return cli_fail("%s has %zu tokens; %zu are needed: use a longer text or a smaller -c", state->options->file,
                        state->tokens.count, needed);
    return CLI_GO_ON;
}

static int prepare_memory(tune_state *state) {
    const cli_model_options *options = &state->options->model;
    size_t row_bytes = state->vocabulary * sizeof(float), heads = state->heads;
    int64_t batch = options->micro_batch < options->batch ? options->micro_batch : options->batch;
    state->group = row_bytes < GROUP_BYTES ? GROUP_BYTES / row_bytes : 1;
    if (state->group > (size_t)batch) state->group = (size_t)batch; /* logits are kept of one micro-batch */
    state->base = malloc((size_t)TRIED * (size_t)state->options->score * row_bytes);
    state->logits = malloc(state->group * row_bytes);
    state->scores = malloc(state->group * sizeof *state->scores);
    state->loss = calloc(heads, sizeof *state->loss);
    state->trial = calloc(heads, sizeof *state->trial);
    state->tune.shares = calloc(heads, sizeof *state->tune.shares);
    bool good = state->base && state->logits && state->scores && state->loss && state->trial && state->tune.shares;
    return good ? CLI_GO_ON : cli_fail("no memory for %lld rows of logits", TRIED * (long long)state->options->score);
}

static int prepare(tune_state *state) {
    const fv_model_config *shape = fv_llm_config(state->engine.llm);
    state->context = state->options->model.context < 0 ? 4096 : (uint32_t)state->options->model.context;
    if (TRIED * state->options->score >= (int64_t)state->context)
        return cli_usage_error("tune", "-c must be above %d times --score", TRIED);
    state->vocabulary = shape->vocabulary;
    state->heads = shape->layers * shape->cache.kv_heads;
    state->tune =
        (cli_tune){.layers = shape->layers, .kv_heads = shape->cache.kv_heads, .head_dim = shape->cache.head_dim};
    cli_warn_context(state->engine.llm, state->context);
    int result = read_text(state);
    if (result == CLI_GO_ON) result = prepare_memory(state);
    if (result != CLI_GO_ON) return result;
    return cli_session_open(&state->session, &state->engine, &state->options->model, state->context, &state->policy);
}

/* Logits of the scored positions into `logits`, or, if it is NULL, their divergence from state->base. */
static fv_status read_scored(tune_state *state, const fv_policy *policy, float *logits, double *divergence) {
    const fv_parallel *parallel = fv_pool_parallel(state->engine.pool);
    fv_score_sum sum = {0};
    fv_status status = fv_session_truncate(state->session, state->context - state->score);
    if (status == FV_OK) status = fv_session_set_policy(state->session, policy, NULL);
    for (size_t done = 0, rows; done < state->score && status == FV_OK; done += rows) {
        const int32_t *tokens = state->scored + done;
        size_t offset = done * state->vocabulary;
        rows = state->score - done < state->group ? state->score - done : state->group;
        status = fv_session_feed(state->session, tokens, rows, NULL, NULL);
        if (status == FV_OK)
            status = fv_session_logits(state->session, 0, rows, logits ? logits + offset : state->logits);
        if (status == FV_OK && cli_interrupted()) status = FV_ERROR_INTERRUPTED;
        if (status != FV_OK || logits) continue;
        fv_score_rows(rows, state->vocabulary, state->base + offset, state->logits, tokens + 1, parallel,
                      state->scores);
        fv_score_add(&sum, state->scores, rows);
    }
    if (status == FV_OK && !logits) *divergence = fv_score_divergence(&sum);
    return status;
}

/* Reads the context that begins at token `first` densely. What is before its last `score` positions stays in the
 * session. */
static fv_status read_context(tune_state *state, size_t first, int64_t score) {
    fv_policy dense = fv_policy_default(FV_SELECTOR_DENSE);
    size_t before = state->context - (size_t)score;
    state->score = (uint32_t)score;
    state->scored = state->tokens.ids + first + before;
    fv_status status = fv_session_truncate(state->session, 0);
    if (status == FV_OK) status = fv_session_set_policy(state->session, &dense, NULL);
    if (status == FV_OK)
        status = fv_session_feed(state->session, state->scored - before, before, cli_progress_step, &state->progress);
    if (status == FV_OK) status = read_scored(state, &dense, state->base, NULL);
    cli_progress_end(&state->progress);
    return status;
}

/* KL(dense || shares) over the scored positions of the context that was read last. */
static fv_status measure_shares(tune_state *state, const uint16_t *shares, double *divergence) {
    fv_policy policy = state->policy;
    policy.head_share = shares;
    policy.head_share_count = shares ? state->heads : 0;
    return read_scored(state, &policy, NULL, divergence);
}

/* Every head alone under the policy. Layers whose mask is a sliding window don't ask the policy: nothing to measure. */
static fv_status measure_heads(tune_state *state) {
    fv_status status = FV_OK;
    for (uint32_t i = 0; i < state->heads; i++) state->trial[i] = WHOLE;
    for (uint32_t head = 0; head < state->heads && status == FV_OK; head++) {
        for (int twice = 0; twice < 2 && status == FV_OK; twice++) {
            state->trial[head] = twice ? FV_TUNE_SHARE_DOUBLE : FV_TUNE_SHARE_HALF;
            status = measure_shares(state, state->trial, &state->loss[head][twice]);
        }
        state->trial[head] = WHOLE;
        if (status == FV_OK)
            cli_note("layer %u head %u of %u x %u: KL %.6f with half, %.6f with twice an equal share",
                     head / state->tune.kv_heads, head % state->tune.kv_heads, state->tune.layers, state->tune.kv_heads,
                     state->loss[head][0], state->loss[head][1]);
    }
    return status;
}

/* The shares, tried on the next context. */
static fv_status try_shares(tune_state *state, cli_tune_notes *notes) {
    fv_status status =
        read_context(state, (size_t)state->options->skip + state->context, TRIED * state->options->score);
    fv_tune_shares(state->heads, (const double(*)[2])state->loss, REACH, state->tune.shares);
    if (status == FV_OK) status = measure_shares(state, NULL, &notes->kl_uniform);
    if (status == FV_OK) status = measure_shares(state, state->tune.shares, &notes->kl_tuned);
    return status;
}

static int write_tune(tune_state *state, const cli_tune_notes *notes) {
    fv_message message = {""};
    cli_print("on the next %u tokens: KL %.6f with equal shares, %.6f with these\n", state->context, notes->kl_uniform,
              notes->kl_tuned);
    if (notes->kl_tuned >= notes->kl_uniform && !state->options->force)
        return cli_fail("equal shares are better: nothing was written (--force writes all the same)");
    fv_status status = cli_tune_write(&state->tune, state->path, state->engine.llm, notes, &message);
    if (status != FV_OK) return cli_fail_status(status, &message);
    cli_print("written: %s\n", state->path);
    return CLI_DONE;
}

static int tune(tune_state *state) {
    cli_tune_notes notes = {.text = state->options->file,
                            .attention = state->spec,
                            .context = state->context,
                            .scored = (uint32_t)state->options->score,
                            .loss = (const double(*)[2])state->loss};
    cli_progress_start(&state->progress, "reading", "tokens");
    cli_note("%u heads; of %u tokens the last %u are compared", state->heads, state->context,
             (uint32_t)state->options->score);
    fv_status status = read_context(state, (size_t)state->options->skip, state->options->score);
    if (status == FV_OK) status = measure_heads(state);
    if (status == FV_OK) status = try_shares(state, &notes);
    if (status == FV_ERROR_INTERRUPTED) return CLI_INTERRUPTED;
    if (status != FV_OK) return cli_fail_status(status, NULL);
    return write_tune(state, &notes);
}

static void close_tune(tune_state *state) {
    fv_session_close(state->session);
    free(state->base);
    free(state->logits);
    free(state->scores);
    free(state->loss);
    free(state->trial);
    cli_tune_free(&state->tune);
    fv_text_free(&state->text);
    fv_tokens_free(&state->tokens);
    cli_engine_close(&state->engine);
}

int cmd_tune(int argc, char **argv) {
    tune_options options = {.model = cli_model_options_default(), .attention = "fovea", .bytes = 0.12, .score = 96};
    tune_state state = {.options = &options};
    const cli_option_group groups[] = {
        {"text and budget", tune_flags, sizeof tune_flags / sizeof tune_flags[0], &options},
        {"model", cli_model_flags, cli_model_flag_count, &options.model},
        {"weights", cli_weight_flags, cli_weight_flag_count, &options.model},
        {"cache", cli_cache_flags, cli_cache_flag_count, &options.model},
        {"llama.cpp's flags without effect here", cli_ignored_flags, cli_ignored_flag_count, &options.model},
    };
    const cli_syntax syntax = {
        "tune",
        "-m FILE -f FILE [-c N] [--bytes FRACTION] [-o FILE] [flags]",
        "Divides a budget over layers and heads by what each of them costs when it reads sparsely.\n"
        "Activations are f32 here whatever the flags say: the noise of int8 hides what a head costs.\n"
        "Made once for a model; the other verbs use MODEL.fovea.json where it is there, and say so.",
        groups,
        sizeof groups / sizeof groups[0],
        NULL};
    int result = cli_options_parse(&syntax, argc, argv);
    if (result == CLI_GO_ON) result = read_spec(&state);
    if (result == CLI_GO_ON) result = cli_need_model("tune", options.model.model);
    if (result != CLI_GO_ON) return result;
    options.model.tune = "none"; /* what is there already must not matter */
    /* any change moves activations over edges of int8, which alone is a KL of 0.002: more than most heads cost */
    options.model.exact = true;
    result = cli_engine_open(&state.engine, "tune", &options.model);
    if (result == CLI_GO_ON) result = prepare(&state);
    if (result == CLI_GO_ON) result = tune(&state);
    close_tune(&state);
    return result;
}
