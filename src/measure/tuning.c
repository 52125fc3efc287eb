/* tuning.c - the divergence that each head costs when it alone reads sparsely, and the shares that follow from it. */
#include "fovea/measure/tuning.h"
#include "fovea/measure/score.h"
#include "fovea/measure/tune_shares.h"
#include "measure/read_dense.h"
#include <stdlib.h>
#include <string.h>

#define WHOLE UINT16_MAX /* a share of so much that a head reads all */
#define REACH 0.5        /* other texts need other heads: half-way to what is best for this one (docs/lab/tune.md) */
#define GROUP_BYTES (64u * 1024 * 1024) /* most bytes of the logits that are compared at once */

typedef struct tuner {
    const fv_tuning_config *config;
    fv_session *session;
    const int32_t *scored;      /* tokens of the positions that are compared, after those that stay in the session */
    uint32_t vocabulary, heads; /* heads: of all layers */
    uint32_t score;             /* positions that are compared now */
    size_t group;               /* of them at once */
    float *base, *logits;       /* [FV_TUNING_TRIED * scored][vocabulary], [group][vocabulary] */
    fv_score *scores;           /* [group] */
    uint16_t *trial;            /* [heads] */
    fv_tuning found;
} tuner;

void fv_tuning_config_default(fv_tuning_config *config) {
    *config = (fv_tuning_config){.context = 4096, .scored = 96};
    fv_session_config_default(&config->session);
    fv_policy_default(FV_SELECTOR_FOVEA, &config->policy);
    config->session.exact_activations = 1;
}

static fv_status check_config(const fv_tuning_config *config, fv_message *message) {
    if (!config->llm || !config->tokens || !fv_policy_is_dynamic(&config->policy) || config->scored == 0)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "a model, a text and a policy that chooses are needed");
    if ((uint64_t)FV_TUNING_TRIED * config->scored >= config->context)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "the context must be above %d times the scored positions",
                              FV_TUNING_TRIED);
    if (config->count < 2 * (size_t)config->context + 1)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "the text has %zu tokens; %zu are needed", config->count,
                              2 * (size_t)config->context + 1);
    return FV_OK;
}

static fv_status take_memory(tuner *tune, fv_message *message) {
    const fv_tuning_config *config = tune->config;
    const fv_model_config *shape = fv_llm_config(config->llm);
    size_t row_bytes = (size_t)shape->vocabulary * sizeof(float), rows = (size_t)FV_TUNING_TRIED * config->scored;
    tune->vocabulary = shape->vocabulary;
    tune->heads = shape->layers * shape->cache.kv_heads;
    tune->group = row_bytes < GROUP_BYTES ? GROUP_BYTES / row_bytes : 1;
    if (tune->group > config->session.batch_tokens)
        tune->group = config->session.batch_tokens; /* logits are kept of one micro-batch */
    tune->base = malloc(rows * row_bytes);
    tune->logits = malloc(tune->group * row_bytes);
    tune->scores = malloc(tune->group * sizeof *tune->scores);
    tune->trial = calloc(tune->heads, sizeof *tune->trial);
    tune->found.loss = calloc(tune->heads, sizeof *tune->found.loss);
    tune->found.tune =
        (fv_tune){.layers = shape->layers, .kv_heads = shape->cache.kv_heads, .head_dim = shape->cache.head_dim};
    tune->found.tune.shares = calloc(tune->heads, sizeof *tune->found.tune.shares);
    bool good =
        tune->base && tune->logits && tune->scores && tune->trial && tune->found.loss && tune->found.tune.shares;
    return good ? FV_OK : fv_message_set(message, FV_ERROR_MEMORY, "no memory for %zu rows of logits", rows);
}

static bool go_on(const tuner *tune) {
    const fv_tuning_watch *watch = &tune->config->watch;
    return !watch->go_on || watch->go_on(watch->context);
}

/* Logits of the scored positions into `logits`, or, if it is NULL, their divergence from tune->base. */
static fv_status read_scored(tuner *tune, const fv_policy *policy, float *logits, double *divergence) {
    const fv_parallel *parallel = fv_pool_parallel(tune->config->pool);
    fv_score_sum sum = {0};
    fv_status status = fv_rewind_dense(tune->session, tune->config->context - tune->score);
    if (status == FV_OK) status = fv_session_set_policy(tune->session, policy, NULL);
    for (size_t done = 0, rows; done < tune->score && status == FV_OK; done += rows) {
        const int32_t *tokens = tune->scored + done;
        size_t offset = done * tune->vocabulary;
        rows = tune->score - done < tune->group ? tune->score - done : tune->group;
        status = fv_session_feed(tune->session, tokens, rows, NULL, NULL);
        if (status == FV_OK)
            status = fv_session_logits(tune->session, 0, rows, logits ? logits + offset : tune->logits);
        if (status == FV_OK && !go_on(tune)) status = FV_ERROR_INTERRUPTED;
        if (status != FV_OK || logits) continue;
        fv_score_rows(rows, tune->vocabulary, tune->base + offset, tune->logits, tokens + 1, parallel, tune->scores);
        fv_score_add(&sum, tune->scores, rows);
    }
    if (status == FV_OK && !logits) *divergence = fv_score_divergence(&sum);
    return status;
}

/* Reads the context that begins at token `first` densely. What is before its last `score` positions stays in the
 * session. */
static fv_status read_context(tuner *tune, size_t first, uint32_t score) {
    const fv_tuning_watch *watch = &tune->config->watch;
    fv_policy dense;
    fv_policy_default(FV_SELECTOR_DENSE, &dense);
    size_t before = tune->config->context - score;
    tune->score = score;
    tune->scored = tune->config->tokens + first + before;
    fv_status status =
        fv_read_dense(tune->session, NULL, tune->scored - before, before, watch->progress, watch->context);
    return status == FV_OK ? read_scored(tune, &dense, tune->base, NULL) : status;
}

/* KL(dense || shares) over the scored positions of the context that was read last. */
static fv_status measure_shares(tuner *tune, const uint16_t *shares, double *divergence) {
    fv_policy policy = tune->config->policy;
    policy.head_share = shares;
    policy.head_share_count = shares ? tune->heads : 0;
    return read_scored(tune, &policy, NULL, divergence);
}

/* Every head alone under the policy. Layers whose mask is a sliding window don't ask the policy: nothing to measure. */
static fv_status measure_heads(tuner *tune) {
    const fv_tuning_watch *watch = &tune->config->watch;
    uint32_t kv_heads = tune->found.tune.kv_heads;
    fv_status status = FV_OK;
    for (uint32_t i = 0; i < tune->heads; i++) tune->trial[i] = WHOLE;
    for (uint32_t head = 0; head < tune->heads && status == FV_OK; head++) {
        double *loss = tune->found.loss[head];
        for (int twice = 0; twice < 2 && status == FV_OK; twice++) {
            tune->trial[head] = twice ? FV_TUNE_SHARE_DOUBLE : FV_TUNE_SHARE_HALF;
            status = measure_shares(tune, tune->trial, &loss[twice]);
        }
        tune->trial[head] = WHOLE;
        if (status == FV_OK && watch->head) watch->head(watch->context, head / kv_heads, head % kv_heads, loss);
    }
    return status;
}

/* The shares, tried on the next context. */
static fv_status try_shares(tuner *tune) {
    fv_tuning *found = &tune->found;
    fv_status status = read_context(tune, tune->config->context, FV_TUNING_TRIED * tune->config->scored);
    fv_tune_shares(tune->heads, (const double(*)[2])found->loss, REACH, found->tune.shares);
    if (status == FV_OK) status = measure_shares(tune, NULL, &found->kl_uniform);
    return status == FV_OK ? measure_shares(tune, found->tune.shares, &found->kl_tuned) : status;
}

fv_status fv_tuning_run(fv_tuning *tuning, const fv_tuning_config *config, fv_message *message) {
    tuner tune = {.config = config};
    fv_status status = check_config(config, message);
    if (status != FV_OK) return status;
    fv_session_config session = config->session;
    session.context_tokens = config->context;
    session.policy = config->policy;
    status = take_memory(&tune, message);
    if (status == FV_OK) status = fv_session_open(&tune.session, config->llm, &session, config->pool, message);
    if (status == FV_OK && message) message->text[0] = 0; /* a remark, not an error */
    if (status == FV_OK) status = read_context(&tune, 0, config->scored);
    if (status == FV_OK) status = measure_heads(&tune);
    if (status == FV_OK) status = try_shares(&tune);
    status = fv_session_explain(tune.session, status, message);
    fv_session_close(tune.session);
    free(tune.base);
    free(tune.logits);
    free(tune.scores);
    free(tune.trial);
    if (status == FV_OK)
        *tuning = tune.found;
    else
        fv_tuning_free(&tune.found);
    return status;
}

void fv_tuning_free(fv_tuning *tuning) {
    fv_tune_free(&tuning->tune);
    free(tuning->loss);
    *tuning = (fv_tuning){0};
}
