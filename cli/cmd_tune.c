/* cmd_tune.c - `fovea tune`: how much of a budget each layer and KV head deserves. Every head in turn reads sparsely
 * while all others read all; its share follows the root of the divergence that this costs. The shares are then tried on
 * tokens that they were not made from, and written only if they are better than equal ones. */
#include "attention_spec.h"
#include "input.h"
#include "interrupt.h"
#include "machine.h"
#include "model_options.h"
#include "progress.h"
#include "score.h"
#include "tune_file.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNIT 1024        /* a share of 1 */
#define WHOLE UINT16_MAX /* so much that a head reads all */
#define MOST_SHARE 4.0
#define LEAST_SHARE 0.25

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
     "tokens that are read for each head; the text has to have twice as many\n(default: 4096)", FIELD(model.context),
     512, 1073741824.0},
    {CLI_REAL, "--bytes", NULL, "FRACTION", NULL, NULL, "the budget to divide, of the visible keys (default: 0.12)",
     FIELD(bytes), 0.001, 1},
    {CLI_TEXT, "--attention", NULL, "SPEC", NULL, NULL, "the policy, without its budget (default: fovea)",
     FIELD(attention), 0, 0},
    {CLI_INTEGER, "--score", NULL, "N", NULL, NULL,
     "positions at the end whose predictions are compared (default: 128)", FIELD(score), 16, 65536},
    {CLI_INTEGER, "--skip", NULL, "N", NULL, NULL, "tokens dropped from the beginning of the text (default: 0)",
     FIELD(skip), 0, 2147483647.0},
    {CLI_TEXT, "-o --output", NULL, "FILE", NULL, NULL,
     "where the shares go (default: MODEL.fovea.json, where every verb looks for them)", FIELD(out), 0, 0},
    {CLI_SWITCH, "--force", NULL, NULL, NULL, NULL, "write the shares even if equal ones are better", FIELD(force), 0,
     0},
};

typedef struct tune_state {
    const tune_options *options;
    cli_engine engine;
    fv_select_config policy;
    char spec[256], path[512];
    fv_session *session;
    fv_text text;
    fv_tokens tokens;
    uint32_t context, score, vocabulary, heads; /* heads: of all layers */
    float *base, *logits;                       /* [score][vocabulary] */
    cli_score *scores;
    double *divergence; /* [heads] */
    uint16_t *trial;    /* [heads] */
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
    if (!fv_select_chooses(&state->policy))
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

static int prepare(tune_state *state) {
    const fv_model_config *shape = fv_llm_config(state->engine.llm);
    state->context = state->options->model.context < 0 ? 4096 : (uint32_t)state->options->model.context;
    state->score = (uint32_t)state->options->score;
    if (state->score >= state->context) return cli_usage_error("tune", "--score must be below -c");
    state->vocabulary = shape->vocabulary;
    state->heads = shape->layers * shape->kv_heads;
    state->tune = (cli_tune){.layers = shape->layers, .kv_heads = shape->kv_heads};
    cli_warn_context(state->engine.llm, state->context);
    int result = read_text(state);
    if (result != CLI_GO_ON) return result;
    result = cli_session_open(&state->session, &state->engine, &state->options->model, state->context, &state->policy);
    if (result != CLI_GO_ON) return result;
    size_t floats = (size_t)state->score * state->vocabulary;
    state->base = malloc(floats * sizeof *state->base);
    state->logits = malloc(floats * sizeof *state->logits);
    state->scores = malloc(state->score * sizeof *state->scores);
    state->divergence = calloc(state->heads, sizeof *state->divergence);
    state->trial = calloc(state->heads, sizeof *state->trial);
    state->tune.shares = calloc(state->heads, sizeof *state->tune.shares);
    bool good =
        state->base && state->logits && state->scores && state->divergence && state->trial && state->tune.shares;
    return good ? CLI_GO_ON : cli_fail("no memory for %u rows of logits", state->score);
}

/* Logits of the last `score` positions of the context that begins at token `first`, under `policy`. */
static fv_status read_context(tune_state *state, const fv_select_config *policy, size_t first, float *logits) {
    const int32_t *tokens = state->tokens.ids + first;
    size_t before = state->context - state->score;
    fv_status status = fv_session_truncate(state->session, 0);
    if (status == FV_OK) status = fv_session_set_attention(state->session, policy, NULL);
    if (status == FV_OK) status = fv_session_feed(state->session, tokens, before, cli_progress_step, &state->progress);
    for (size_t done = 0; done < state->score && status == FV_OK;) {
        size_t rest = state->score - done, rows = rest < 64 ? rest : 64;
        status = fv_session_feed(state->session, tokens + before + done, rows, NULL, NULL);
        if (status == FV_OK) status = fv_session_logits(state->session, 0, rows, logits + done * state->vocabulary);
        if (status == FV_OK && cli_interrupted()) status = FV_ERROR_INTERRUPTED;
        done += rows;
    }
    return status;
}

/* KL(dense || shares) over the scored positions; the dense logits are in state->base. */
static fv_status measure_shares(tune_state *state, const uint16_t *shares, size_t first, double *divergence) {
    fv_select_config policy = state->policy;
    cli_score_sum sum = {0};
    policy.head_share = shares;
    policy.head_share_count = shares ? state->heads : 0;
    fv_status status = read_context(state, &policy, first, state->logits);
    if (status != FV_OK) return status;
    const int32_t *next = state->tokens.ids + first + state->context - state->score + 1;
    cli_score_rows(state->score, state->vocabulary, state->base, state->logits, next,
                   fv_pool_parallel(state->engine.pool), state->scores);
    cli_score_add(&sum, state->scores, state->score);
    *divergence = cli_score_divergence(&sum);
    return FV_OK;
}

/* Every head alone under the policy. Layers whose mask is a sliding window don't ask the policy: nothing to measure. */
static fv_status measure_heads(tune_state *state) {
    fv_select_config dense = fv_select_config_default(FV_SELECTOR_DENSE);
    size_t first = (size_t)state->options->skip;
    fv_status status = read_context(state, &dense, first, state->base);
    for (uint32_t head = 0; head < state->heads && status == FV_OK; head++) {
        for (uint32_t other = 0; other < state->heads; other++) state->trial[other] = other == head ? UNIT : WHOLE;
        status = measure_shares(state, state->trial, first, &state->divergence[head]);
        cli_progress_end(&state->progress);
        if (status == FV_OK)
            cli_note("layer %u head %u of %u x %u: KL %.6f", head / state->tune.kv_heads, head % state->tune.kv_heads,
                     state->tune.layers, state->tune.kv_heads, state->divergence[head]);
    }
    return status;
}

/* Shares in proportion to the root of the divergence, between a quarter and four, 1 on average over the heads that the
 * policy serves at all. */
static void make_shares(tune_state *state) {
    double factor = 1;
    uint32_t served = 0;
    double total = 0;
    for (uint32_t i = 0; i < state->heads; i++) {
        served += state->divergence[i] > 0;
        total += sqrt(state->divergence[i] > 0 ? state->divergence[i] : 0);
    }
    if (total <= 0) total = served = 1;
    for (int round = 0; round < 50; round++) {
        double mean = 0;
        for (uint32_t i = 0; i < state->heads; i++) {
            double share = factor * sqrt(state->divergence[i] > 0 ? state->divergence[i] : 0) * served / total;
            share = share < LEAST_SHARE ? LEAST_SHARE : share > MOST_SHARE ? MOST_SHARE : share;
            if (state->divergence[i] > 0) mean += share / served;
            state->tune.shares[i] = (uint16_t)lrint(share * UNIT);
        }
        if (mean <= 0 || fabs(mean - 1) < 1e-4) break;
        factor /= mean;
    }
}

static int try_and_write(tune_state *state) {
    fv_select_config dense = fv_select_config_default(FV_SELECTOR_DENSE);
    size_t first = (size_t)state->options->skip + state->context;
    cli_tune_notes notes = {.text = state->options->file,
                            .attention = state->spec,
                            .context = state->context,
                            .scored = state->score,
                            .divergence = state->divergence};
    fv_message message = {""};
    fv_status status = read_context(state, &dense, first, state->base);
    if (status == FV_OK) status = measure_shares(state, NULL, first, &notes.kl_uniform);
    if (status == FV_OK) status = measure_shares(state, state->tune.shares, first, &notes.kl_tuned);
    cli_progress_end(&state->progress);
    if (status == FV_ERROR_INTERRUPTED) return CLI_INTERRUPTED;
    if (status != FV_OK) return cli_fail_status(status, NULL);
    cli_print("on the next %u tokens: KL %.6f with equal shares, %.6f with these\n", state->context, notes.kl_uniform,
              notes.kl_tuned);
    if (notes.kl_tuned >= notes.kl_uniform && !state->options->force)
        return cli_fail("equal shares are better: nothing was written (--force writes all the same)");
    status = cli_tune_write(&state->tune, state->path, state->engine.llm, &notes, &message);
    if (status != FV_OK) return cli_fail_status(status, &message);
    cli_print("written: %s\n", state->path);
    return CLI_DONE;
}

static int tune(tune_state *state) {
    cli_progress_start(&state->progress, "reading", "tokens");
    cli_note("%u heads, %u tokens read for each, the last %u compared", state->heads, state->context, state->score);
    fv_status status = measure_heads(state);
    if (status == FV_ERROR_INTERRUPTED) return CLI_INTERRUPTED;
    if (status != FV_OK) return cli_fail_status(status, NULL);
    make_shares(state);
    return try_and_write(state);
}

static void close_tune(tune_state *state) {
    fv_session_close(state->session);
    free(state->base);
    free(state->logits);
    free(state->scores);
    free(state->divergence);
    free(state->trial);
    cli_tune_free(&state->tune);
    fv_text_free(&state->text);
    fv_tokens_free(&state->tokens);
    cli_engine_close(&state->engine);
}

int cmd_tune(int argc, char **argv) {
    tune_options options = {.model = cli_model_options_default(), .attention = "fovea", .bytes = 0.12, .score = 128};
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
        "Made once for a model; the other verbs use MODEL.fovea.json where it is there, and say so.",
        groups,
        sizeof groups / sizeof groups[0],
        NULL};
    int result = cli_options_parse(&syntax, argc, argv);
    if (result == CLI_GO_ON) result = read_spec(&state);
    if (result == CLI_GO_ON) result = cli_need_model("tune", options.model.model);
    if (result != CLI_GO_ON) return result;
    options.model.tune = "none"; /* what is there already must not matter */
    result = cli_engine_open(&state.engine, "tune", &options.model);
    if (result == CLI_GO_ON) result = prepare(&state);
    if (result == CLI_GO_ON) result = tune(&state);
    close_tune(&state);
    return result;
}
