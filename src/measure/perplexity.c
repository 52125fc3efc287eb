/* perplexity.c - one session per policy shares the model; all read the same micro-batch, then their logits are compared
 * in groups of rows, so that memory stays small whatever the vocabulary. */
#include "fovea/measure/perplexity.h"
#include "fovea/machine.h"
#include "fovea/report_sum.h"
#include "measure/read_dense.h"
#include <stdlib.h>
#include <string.h>

#define GROUP_BYTES (16u * 1024 * 1024) /* most bytes of one group of logit rows */

/* One policy under test. */
typedef struct policy_run {
    fv_policy policy;
    fv_session *session;
    fv_mass_table *mass; /* NULL: not asked for */
    fv_perplexity_figures figures;
    fv_perplexity_figures before; /* the chunk that is being measured */
} policy_run;

struct fv_perplexity {
    fv_perplexity_config config; /* its policies are not used any more */
    policy_run *runs;            /* [count]; the first is the base */
    size_t count;
    uint32_t first, vocabulary; /* first scored position of a chunk */
    size_t batch;               /* tokens of a micro-batch */
    size_t group_rows;
    int32_t *tokens;             /* [context] of the chunk */
    float *base_logits, *logits; /* [group_rows][vocabulary] */
    fv_score *scores;            /* [group_rows] */
};

/* ---- opening ---- */

void fv_perplexity_config_default(fv_perplexity_config *config) {
    *config = (fv_perplexity_config){.context = 512};
    fv_session_config_default(&config->session);
}

static fv_status check_config(const fv_perplexity_config *config, fv_message *message) {
    if (!config->llm || !config->policies || config->policy_count == 0)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "a model and at least one policy are needed");
    if (config->context < 4 || config->scored >= config->context)
        return fv_message_set(message, FV_ERROR_ARGUMENT,
                              "a chunk has at least 4 tokens, and fewer scored positions than tokens");
    uint32_t vocabulary = fv_llm_config(config->llm)->vocabulary;
    if (!config->base) return FV_OK;
    if (fv_kld_file_vocabulary(config->base) != vocabulary || fv_kld_file_context(config->base) != config->context)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "the base is of another vocabulary or another context");
    if (config->scored && config->scored != config->context - 1 - config->context / 2)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "the base has the second half of each chunk");
    return FV_OK;
}

static fv_status open_run(const fv_perplexity *perplexity, policy_run *run, fv_message *message) {
    const fv_perplexity_config *config = &perplexity->config;
    fv_session_config session = config->session;
    uint32_t workers = config->pool ? fv_pool_parallel(config->pool)->workers : 1;
    session.context_tokens = config->context;
    session.policy = run->policy;
    fv_status status = fv_session_open(&run->session, config->llm, &session, config->pool, message);
    if (status != FV_OK || !config->mass) return status;
    status = fv_mass_table_open(&run->mass, run->session, config->llm, config->context, (uint32_t)perplexity->batch,
                                workers);
    return status == FV_OK ? FV_OK
                           : fv_message_set(message, status, "no memory for the shares of %u tokens", config->context);
}

static fv_status take_memory(fv_perplexity *perplexity, fv_message *message) {
    size_t row_bytes = (size_t)perplexity->vocabulary * sizeof(float);
    bool base_only = perplexity->count == 1 && !perplexity->config.base;
    perplexity->group_rows = row_bytes < GROUP_BYTES ? GROUP_BYTES / row_bytes : 1;
    if (perplexity->group_rows > perplexity->batch) perplexity->group_rows = perplexity->batch;
    perplexity->tokens = calloc(perplexity->config.context, sizeof *perplexity->tokens);
    perplexity->base_logits = malloc(perplexity->group_rows * row_bytes);
    perplexity->logits = base_only ? NULL : malloc(perplexity->group_rows * row_bytes);
    perplexity->scores = malloc(perplexity->group_rows * sizeof *perplexity->scores);
    bool good =
        perplexity->tokens && perplexity->base_logits && (perplexity->logits || base_only) && perplexity->scores;
    if (good) return FV_OK;
    return fv_message_set(message, FV_ERROR_MEMORY, "no memory for %zu rows of logits", perplexity->group_rows);
}

static fv_status perplexity_make(fv_perplexity *perplexity, fv_message *message) {
    const fv_perplexity_config *config = &perplexity->config;
    perplexity->vocabulary = fv_llm_config(config->llm)->vocabulary;
    perplexity->first = config->scored ? config->context - 1 - config->scored : config->context / 2;
    perplexity->batch = config->session.batch_tokens < config->context ? config->session.batch_tokens : config->context;
    perplexity->runs = calloc(config->policy_count, sizeof *perplexity->runs);
    if (!perplexity->runs) return fv_message_set(message, FV_ERROR_MEMORY, "no memory for the policies");
    fv_status status = FV_OK;
    while (perplexity->count < config->policy_count && status == FV_OK) {
        policy_run *run = &perplexity->runs[perplexity->count];
        run->policy = config->policies[perplexity->count++];
        status = open_run(perplexity, run, message);
    }
    return status == FV_OK ? take_memory(perplexity, message) : status;
}

fv_status fv_perplexity_open(fv_perplexity **perplexity, const fv_perplexity_config *config, fv_message *message) {
    fv_status status = check_config(config, message);
    if (status != FV_OK) return status;
    fv_perplexity *made = calloc(1, sizeof *made);
    if (!made) return fv_message_set(message, FV_ERROR_MEMORY, "no memory to start");
    made->config = *config;
    status = perplexity_make(made, message);
    if (status == FV_OK)
        *perplexity = made;
    else
        fv_perplexity_close(made);
    return status;
}

void fv_perplexity_close(fv_perplexity *perplexity) {
    if (!perplexity) return;
    for (size_t i = 0; i < perplexity->count; i++) {
        fv_mass_table_close(perplexity->runs[i].mass);
        fv_session_close(perplexity->runs[i].session);
    }
    free(perplexity->runs);
    free(perplexity->tokens);
    free(perplexity->base_logits);
    free(perplexity->logits);
    free(perplexity->scores);
    free(perplexity);
}

fv_status fv_perplexity_encode(const fv_llm *llm, const char *text, size_t length, size_t skip, fv_tokens *tokens) {
    const fv_tokenizer *tokenizer = fv_llm_tokenizer(llm);
    size_t before = tokens->count;
    fv_status status = fv_tokenizer_encode(tokenizer, text, length, FV_TOKENIZE_ADD_SPECIAL, tokens);
    if (status != FV_OK) return status;
    if (fv_tokenizer_adds_eos(tokenizer) && tokens->count > before &&
        tokens->ids[tokens->count - 1] == fv_tokenizer_eos(tokenizer))
        tokens->count--;
    size_t left = tokens->count - before;
    if (skip > left) skip = left;
    tokens->count -= skip;
    if (skip > 0) memmove(tokens->ids + before, tokens->ids + before + skip, (left - skip) * sizeof *tokens->ids);
    return FV_OK;
}

/* ---- measuring ---- */

/* Whether to go on, `done` tokens of the chunk being read. */
static bool tell(const fv_perplexity *perplexity, size_t done) {
    const fv_perplexity_config *config = &perplexity->config;
    return !config->progress || config->progress(config->progress_context, done, config->context);
}

/* Scores rows first_row... of the last micro-batch of every policy; the first of them is scored position `scored` of
 * the chunk. */
static fv_status score_group(fv_perplexity *perplexity, size_t chunk, size_t scored, size_t first_row, size_t rows,
                             fv_message *message) {
    fv_kld_file *base = perplexity->config.base;
    const fv_parallel *parallel = fv_pool_parallel(perplexity->config.pool);
    const int32_t *next = perplexity->tokens + perplexity->first + scored + 1;
    fv_status status = base ? fv_kld_file_read(base, chunk, scored, rows, perplexity->base_logits, message) : FV_OK;
    for (size_t i = 0; i < perplexity->count && status == FV_OK; i++) {
        policy_run *run = &perplexity->runs[i];
        float *logits = i == 0 && !base ? perplexity->base_logits : perplexity->logits;
        uint64_t start_ns = fv_machine_clock_ns();
        status = fv_session_logits(run->session, first_row, rows, logits);
        run->figures.scored.ns += fv_machine_clock_ns() - start_ns;
        if (status != FV_OK) return status;
        fv_score_rows(rows, perplexity->vocabulary, perplexity->base_logits, logits, next, parallel,
                      perplexity->scores);
        fv_score_add(&run->figures.sum, perplexity->scores, rows);
    }
    return status;
}

static fv_status feed_all(fv_perplexity *perplexity, size_t position, size_t count, bool score) {
    for (size_t i = 0; i < perplexity->count; i++) {
        policy_run *run = &perplexity->runs[i];
        bool watch = score && run->mass;
        uint64_t start_ns = fv_machine_clock_ns();
        if (watch) fv_mass_table_begin(run->mass, (uint32_t)position);
        fv_status status = fv_session_feed(run->session, perplexity->tokens + position, count, NULL, NULL);
        if (watch) fv_mass_table_end(run->mass, status == FV_OK ? (uint32_t)count : 0);
        run->figures.scored.ns += fv_machine_clock_ns() - start_ns;
        if (status != FV_OK) return status;
        if (!tell(perplexity, i + 1 < perplexity->count ? position : position + count)) return FV_ERROR_INTERRUPTED;
    }
    return FV_OK;
}

/* Reads tokens from position `begin` up to `end` in batches of at most `batch`. */
static fv_status read_span(fv_perplexity *perplexity, size_t begin, size_t end, size_t batch) {
    for (size_t at = begin; at < end; at += batch) {
        fv_status status = feed_all(perplexity, at, end - at < batch ? end - at : batch, false);
        if (status != FV_OK) return status;
    }
    return FV_OK;
}

/* The same for the scored positions. The last token of a chunk predicts nothing that is scored: it is not read. */
static fv_status score_span(fv_perplexity *perplexity, size_t chunk, size_t batch, fv_message *message) {
    size_t end = perplexity->config.context - 1;
    for (size_t at = perplexity->first; at < end; at += batch) {
        size_t rows = end - at < batch ? end - at : batch;
        fv_status status = feed_all(perplexity, at, rows, true);
        for (size_t row = 0; row < rows && status == FV_OK; row += perplexity->group_rows) {
            size_t group = rows - row < perplexity->group_rows ? rows - row : perplexity->group_rows;
            status = score_group(perplexity, chunk, at + row - perplexity->first, row, group, message);
        }
        if (status != FV_OK) return status;
    }
    return FV_OK;
}

static bool tell_before(void *perplexity, size_t done, size_t total) {
    (void)total; /* of what is before the scored positions */
    return tell(perplexity, done);
}

/* What is before the scored positions, densely: read once. */
static fv_status read_densely(fv_perplexity *perplexity) {
    fv_status status = FV_OK;
    for (size_t i = 0; i < perplexity->count && status == FV_OK; i++) {
        policy_run *run = &perplexity->runs[i];
        status = fv_read_dense(run->session, i > 0 ? perplexity->runs[0].session : NULL, perplexity->tokens,
                               perplexity->first, tell_before, perplexity);
        if (status == FV_OK) status = fv_session_set_policy(run->session, &run->policy, NULL);
    }
    return status;
}

static fv_status measure_chunk(fv_perplexity *perplexity, size_t chunk, fv_message *message) {
    bool decode = perplexity->config.decode != 0;
    fv_status status = FV_OK;
    for (size_t i = 0; i < perplexity->count && !decode && status == FV_OK; i++)
        status = fv_session_truncate(perplexity->runs[i].session, 0);
    if (status == FV_OK)
        status = decode ? read_densely(perplexity) : read_span(perplexity, 0, perplexity->first, perplexity->batch);
    /* cut here, so that the counters are those of the scored positions */
    for (size_t i = 0; i < perplexity->count; i++) fv_session_report_reset(perplexity->runs[i].session);
    return status == FV_OK ? score_span(perplexity, chunk, decode ? 1 : perplexity->batch, message) : status;
}

static void book_counters(fv_perplexity *perplexity) {
    for (size_t i = 0; i < perplexity->count; i++) {
        fv_generate_phase *scored = &perplexity->runs[i].figures.scored;
        scored->tokens += fv_perplexity_scored(perplexity);
        fv_report_sum(&scored->report, fv_session_report(perplexity->runs[i].session));
    }
}

fv_status fv_perplexity_chunk(fv_perplexity *perplexity, const int32_t *tokens, size_t chunk, fv_message *message) {
    const fv_tokenizer *tokenizer = fv_llm_tokenizer(perplexity->config.llm);
    memcpy(perplexity->tokens, tokens, perplexity->config.context * sizeof *tokens);
    if (fv_tokenizer_adds_bos(tokenizer) && fv_tokenizer_bos(tokenizer) >= 0)
        perplexity->tokens[0] = fv_tokenizer_bos(tokenizer);
    for (size_t i = 0; i < perplexity->count; i++) {
        policy_run *run = &perplexity->runs[i];
        run->before = run->figures;
        if (run->mass) fv_mass_table_keep(run->mass);
    }
    fv_status status = measure_chunk(perplexity, chunk, message);
    if (status == FV_OK) book_counters(perplexity);
    for (size_t i = 0; i < perplexity->count; i++)
        (void)fv_session_explain(perplexity->runs[i].session, status, message);
    for (size_t i = 0; i < perplexity->count && status != FV_OK; i++) { /* part of a chunk must not count */
        policy_run *run = &perplexity->runs[i];
        run->figures = run->before;
        if (run->mass) fv_mass_table_revert(run->mass);
    }
    return status;
}

const fv_perplexity_figures *fv_perplexity_of(const fv_perplexity *perplexity, size_t policy) {
    return &perplexity->runs[policy].figures;
}

const fv_mass_table *fv_perplexity_mass(const fv_perplexity *perplexity, size_t policy) {
    return perplexity->runs[policy].mass;
}

uint32_t fv_perplexity_scored(const fv_perplexity *perplexity) {
    return perplexity->config.context - 1 - perplexity->first;
}
