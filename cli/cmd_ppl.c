/* cmd_ppl.c - `fovea ppl`: perplexity of a text in the manner of llama-perplexity, for several attention policies side
 * by side. One session per policy shares the model; all read the same micro-batch, then their logits are compared in
 * groups of rows, so that memory stays small whatever the vocabulary. */
#include "attention_spec.h"
#include "fovea/generate.h"
#include "fovea/machine.h"
#include "fovea/measure/kld_file.h"
#include "fovea/measure/mass_table.h"
#include "fovea/measure/score.h"
#include "fovea/report_sum.h"
#include "input.h"
#include "interrupt.h"
#include "json_out.h"
#include "model_options.h"
#include "progress.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POLICIES_MOST 17                /* dense and 16 more */
#define GROUP_BYTES (16u * 1024 * 1024) /* most bytes of one group of logit rows */

typedef struct ppl_options {
    cli_model_options model;
    const char *file, *prompt, *base, *by_head;
    cli_texts attention;
    int64_t chunks, skip, score;
    int pass; /* enum ppl_pass */
    bool json, escape, mass;
} ppl_options;

static const char pass_words[] = "prompt decode";
enum ppl_pass { PASS_PROMPT, PASS_DECODE };

#define FIELD(name) offsetof(ppl_options, name)
static const cli_option ppl_flags[] = {
    {CLI_TEXT, "-f --file", NULL, "FILE", NULL, NULL,
     "the text (- is standard input); one newline at its end is dropped", FIELD(file), 0, 0},
    {CLI_TEXT, "-p --prompt", NULL, "TEXT", NULL, NULL, "the text itself", FIELD(prompt), 0, 0},
    {CLI_INTEGER, "-c --ctx-size", NULL, "N", "LLAMA_ARG_CTX_SIZE", NULL,
     "tokens of a chunk; 0: as many as the model was trained on (default: 512)", FIELD(model.context), 0, 1073741824.0},
    {CLI_INTEGER, "--chunks", NULL, "N", NULL, NULL, "most chunks; -1, the default: all", FIELD(chunks), -1,
     2147483647.0},
    {CLI_INTEGER, "--skip", NULL, "N", NULL, NULL, "tokens dropped from the beginning of the text (default: 0)",
     FIELD(skip), 0, 2147483647.0},
    {CLI_INTEGER, "--score", NULL, "N", NULL, NULL,
     "score the last N positions of each chunk (default: the second half, which is\n(chunk - 1 - chunk/2) positions)",
     FIELD(score), 1, 1073741824.0},
    {CLI_CHOICE, "--pass", NULL, "prompt|decode", NULL, pass_words,
     "prompt, the default: everything is read in batches with the policy;\n"
     "decode: what is before the scored positions is read densely in batches, the\n"
     "scored ones one at a time with the policy",
     FIELD(pass), 0, 0},
    {CLI_TEXT, "--kl-divergence-base --save-all-logits", NULL, "FILE", NULL, NULL,
     "what KL and top-1 are measured against, in place of our dense attention: a file\n"
     "of llama-perplexity's flag of this name; text and chunks come from it",
     FIELD(base), 0, 0},
    {CLI_TEXTS, "--attention", NULL, "SPEC", NULL, NULL, cli_attention_help, FIELD(attention), 0, 0},
    {CLI_SWITCH, "--mass", NULL, NULL, NULL, NULL, "also the share of dense attention's mass that is read (slow)",
     FIELD(mass), 0, 0},
    {CLI_TEXT, "--by-head", NULL, "FILE", NULL, NULL,
     "that share for each policy, layer and query head, as CSV in a file", FIELD(by_head), 0, 0},
    {CLI_SWITCH, "--json", NULL, NULL, NULL, NULL, "a JSON array, one object a policy, dense first", FIELD(json), 0, 0},
    {CLI_SWITCH, "-e --escape", "--no-escape", NULL, NULL, NULL,
     "process \\n \\t \\xHH ... in -p (default: off; never in files)", FIELD(escape), 0, 0},
};

/* One policy under test. policies[0] is dense: the base. */
typedef struct policy_run {
    const char *text;
    fv_policy config;
    fv_session *session;
    fv_score_sum sum;
    fv_generate_phase scored; /* counters over the scored positions; ns over all that was read with the policy */
    fv_mass_table *mass;      /* with --mass */
} policy_run;

typedef struct ppl_state {
    const ppl_options *options;
    cli_engine engine;
    fv_kld_file *base; /* NULL where dense attention is the base */
    policy_run policies[POLICIES_MOST];
    size_t policy_count;
    fv_text text;
    fv_tokens tokens;
    uint32_t context, first, vocabulary; /* first scored position of a chunk */
    size_t batch;                        /* tokens of a micro-batch */
    size_t chunks, chunks_done;
    size_t group_rows;
    float *base_logits, *logits; /* [group_rows][vocabulary] */
    fv_score *scores;            /* [group_rows] */
    cli_progress progress;
} ppl_state;

/* ---- options and text ---- */

/* Dense is measured first, always; it is not measured twice. */
static int read_policies(ppl_state *state) {
    cli_attention list[POLICIES_MOST];
    int result = cli_attention_list("ppl", &state->options->attention, list, POLICIES_MOST, &state->policy_count);
    for (size_t i = 0; result == CLI_GO_ON && i < state->policy_count; i++)
        state->policies[i] = (policy_run){.text = list[i].text, .config = list[i].config};
    return result;
}

static int check_options(ppl_state *state) {
    const ppl_options *options = state->options;
    int result = read_policies(state);
    if (result == CLI_GO_ON && options->base &&
        (options->score > 0 || options->skip > 0 || options->model.context >= 0))
        result =
            cli_usage_error("ppl", "--kl-divergence-base says which tokens are scored: drop -c, --skip and --score");
    if (result == CLI_GO_ON && (options->prompt != NULL) + (options->file != NULL) + (options->base != NULL) != 1)
        result = cli_usage_error("ppl", "give the text by one of -f, -p and --kl-divergence-base");
    return result == CLI_GO_ON ? cli_need_model("ppl", options->model.model) : result;
}

static int read_text(ppl_state *state) {
    const ppl_options *options = state->options;
    fv_message message = {""};
    fv_status status = options->file ? cli_read_file(options->file, &state->text, &message)
                                     : fv_text_append(&state->text, options->prompt, strlen(options->prompt));
    if (status == FV_ERROR_INTERRUPTED) return CLI_INTERRUPTED;
    if (status != FV_OK) return cli_fail_status(status, &message);
    if (options->file)
        cli_text_chomp(&state->text);
    else if (options->escape)
        cli_text_unescape(&state->text);
    cli_warn_unless_utf8(options->file ? options->file : "the text", &state->text);
    return CLI_GO_ON;
}

/* The chunk's size and what of it is scored. */
static int choose_positions(ppl_state *state) {
    const ppl_options *options = state->options;
    uint32_t trained = fv_llm_config(state->engine.llm)->cache.max_tokens;
    int64_t context = options->model.context < 0 ? 512 : options->model.context;
    state->context = context == 0 ? trained : (uint32_t)context;
    if (state->context < 4) return cli_usage_error("ppl", "-c takes at least 4 tokens");
    if (options->score > (int64_t)state->context - 1)
        return cli_usage_error("ppl", "--score %lld: a chunk of %u tokens has %u positions that a token follows",
                               (long long)options->score, state->context, state->context - 1);
    state->first = options->score > 0 ? state->context - 1 - (uint32_t)options->score : state->context / 2;
    cli_warn_context(state->engine.llm, state->context);
    return CLI_GO_ON;
}

/* state->tokens without the skipped ones and without an end token that the metadata may ask for. */
static int encode_text(ppl_state *state) {
    const fv_tokenizer *tokenizer = fv_llm_tokenizer(state->engine.llm);
    fv_tokens *tokens = &state->tokens;
    fv_status status = fv_tokenizer_encode(tokenizer, state->text.bytes ? state->text.bytes : "", state->text.length,
                                           FV_TOKENIZE_ADD_SPECIAL, tokens);
    if (status != FV_OK) return cli_fail_status(status, NULL);
    if (fv_tokenizer_adds_eos(tokenizer) && tokens->count > 0 &&
        tokens->ids[tokens->count - 1] == fv_tokenizer_eos(tokenizer))
        tokens->count--;
    size_t skip = state->options->skip < (int64_t)tokens->count ? (size_t)state->options->skip : tokens->count;
    tokens->count -= skip;
    if (skip > 0) memmove(tokens->ids, tokens->ids + skip, tokens->count * sizeof *tokens->ids);
    state->chunks = tokens->count / state->context;
    if (state->chunks == 0)
        return cli_fail("the text has %zu tokens, a chunk needs %u; use a longer text or a smaller -c", tokens->count,
                        state->context);
    if (state->options->chunks >= 0 && (size_t)state->options->chunks < state->chunks)
        state->chunks = (size_t)state->options->chunks;
    return state->chunks > 0 ? CLI_GO_ON : cli_usage_error("ppl", "--chunks 0 leaves nothing to measure");
}

/* Text, chunks and base out of the file. */
static int open_base(ppl_state *state) {
    fv_message message = {""};
    fv_status status = fv_kld_file_open(&state->base, state->options->base, &message);
    if (status != FV_OK) return cli_fail_status(status, &message);
    uint32_t theirs = fv_kld_file_vocabulary(state->base), ours = fv_llm_config(state->engine.llm)->vocabulary;
    if (theirs != ours)
        return cli_fail("%s was made with a vocabulary of %u tokens, the model has %u", state->options->base, theirs,
                        ours);
    state->context = fv_kld_file_context(state->base);
    state->first = state->context / 2;
    state->chunks = fv_kld_file_chunks(state->base);
    if (state->options->chunks > 0 && (size_t)state->options->chunks < state->chunks)
        state->chunks = (size_t)state->options->chunks;
    cli_warn_context(state->engine.llm, state->context);
    status = fv_tokens_append(&state->tokens, fv_kld_file_tokens(state->base), state->chunks * state->context);
    return status == FV_OK ? CLI_GO_ON : cli_fail_status(status, NULL);
}

static int prepare_text(ppl_state *state) {
    if (state->options->base) return open_base(state);
    int result = read_text(state);
    if (result == CLI_GO_ON) result = choose_positions(state);
    return result == CLI_GO_ON ? encode_text(state) : result;
}

static int open_sessions(ppl_state *state) {
    const cli_model_options *options = &state->options->model;
    int64_t batch = options->micro_batch < options->batch ? options->micro_batch : options->batch;
    state->batch = batch < state->context ? (size_t)batch : state->context;
    for (size_t i = 0; i < state->policy_count; i++) {
        policy_run *policy = &state->policies[i];
        int result = cli_session_open(&policy->session, &state->engine, options, state->context, &policy->config);
        if (result != CLI_GO_ON) return result;
        if ((state->options->mass || state->options->by_head) &&
            fv_mass_table_open(&policy->mass, policy->session, state->engine.llm, state->context,
                               (uint32_t)state->batch, state->engine.threads) != FV_OK)
            return cli_fail("no memory for the shares of %u tokens", state->context);
    }
    state->vocabulary = fv_llm_config(state->engine.llm)->vocabulary;
    size_t row_bytes = (size_t)state->vocabulary * sizeof(float);
    state->group_rows = row_bytes < GROUP_BYTES ? GROUP_BYTES / row_bytes : 1;
    if (state->group_rows > state->batch) state->group_rows = state->batch;
    state->base_logits = malloc(state->group_rows * row_bytes);
    bool base_only = state->policy_count == 1 && !state->base;
    state->logits = base_only ? NULL : malloc(state->group_rows * row_bytes);
    state->scores = malloc(state->group_rows * sizeof *state->scores);
    if (state->base_logits && (state->logits || base_only) && state->scores) return CLI_GO_ON;
    return cli_fail("no memory for %zu rows of logits", state->group_rows);
}

/* ---- measuring ---- */

static fv_status policy_logits(policy_run *policy, size_t first_row, size_t rows, float *logits) {
    uint64_t start_ns = fv_machine_clock_ns();
    fv_status status = fv_session_logits(policy->session, first_row, rows, logits);
    policy->scored.ns += fv_machine_clock_ns() - start_ns;
    return status;
}

/* Scores rows first_row... of the last micro-batch of every policy; the first of them is scored position `scored` of
 * its chunk. */
static fv_status score_group(ppl_state *state, size_t scored, size_t first_row, size_t rows, const int32_t *next) {
    const fv_parallel *parallel = fv_pool_parallel(state->engine.pool);
    fv_status status = FV_OK;
    if (state->base) {
        fv_message message = {""};
        status = fv_kld_file_read(state->base, state->chunks_done, scored, rows, state->base_logits, &message);
        if (status != FV_OK) cli_warn("%s", message.text);
    }
    for (size_t i = 0; i < state->policy_count && status == FV_OK; i++) {
        policy_run *policy = &state->policies[i];
        float *logits = i == 0 && !state->base ? state->base_logits : state->logits;
        status = policy_logits(policy, first_row, rows, logits);
        if (status != FV_OK) return status;
        fv_score_rows(rows, state->vocabulary, state->base_logits, logits, next, parallel, state->scores);
        fv_score_add(&policy->sum, state->scores, rows);
    }
    return status;
}

static fv_status feed_all(ppl_state *state, const int32_t *tokens, size_t count, bool score) {
    for (size_t i = 0; i < state->policy_count; i++) {
        policy_run *policy = &state->policies[i];
        bool watch = score && policy->mass;
        uint64_t start_ns = fv_machine_clock_ns();
        if (watch) fv_mass_table_begin(policy->mass, (uint32_t)fv_session_tokens(policy->session));
        fv_status status = fv_session_feed(policy->session, tokens, count, NULL, NULL);
        if (watch) fv_mass_table_end(policy->mass, status == FV_OK ? (uint32_t)count : 0);
        policy->scored.ns += fv_machine_clock_ns() - start_ns;
        if (status != FV_OK) return status;
        if (cli_interrupted()) return FV_ERROR_INTERRUPTED;
    }
    return FV_OK;
}

/* Reads `count` tokens from position `begin` on in batches of at most `batch`, scoring each if `score`. */
static fv_status read_span(ppl_state *state, const int32_t *chunk, size_t begin, size_t count, size_t batch,
                           bool score) {
    for (size_t done = 0; done < count;) {
        size_t rows = count - done < batch ? count - done : batch;
        fv_status status = feed_all(state, chunk + begin + done, rows, score);
        for (size_t row = 0; row < rows && score && status == FV_OK; row += state->group_rows) {
            size_t group = rows - row < state->group_rows ? rows - row : state->group_rows;
            status = score_group(state, begin + done + row - state->first, row, group, chunk + begin + done + row + 1);
        }
        if (status != FV_OK) return status;
        done += rows;
        cli_progress_show(&state->progress, state->chunks_done * state->context + begin + done,
                          state->chunks * state->context);
    }
    return FV_OK;
}

static bool show_before(void *context, size_t done, size_t total) {
    ppl_state *state = context;
    (void)total;
    cli_progress_show(&state->progress, state->chunks_done * state->context + done, state->chunks * state->context);
    return !cli_interrupted();
}

/* What is before the scored positions, densely: read once. */
static fv_status read_densely(ppl_state *state, const int32_t *chunk) {
    fv_status status = FV_OK;
    for (size_t i = 0; i < state->policy_count && status == FV_OK; i++) {
        policy_run *policy = &state->policies[i];
        status = cli_session_read_dense(policy->session, i > 0 ? state->policies[0].session : NULL, chunk, state->first,
                                        show_before, state);
        if (status == FV_OK) status = fv_session_set_policy(policy->session, &policy->config, NULL);
    }
    return status;
}

static void book_counters(ppl_state *state, uint64_t positions) {
    for (size_t i = 0; i < state->policy_count; i++) {
        fv_generate_phase *phase = &state->policies[i].scored;
        fv_report report = fv_session_report(state->policies[i].session);
        phase->tokens += positions;
        fv_report_sum(&phase->report, &report);
    }
}

/* The last token of a chunk predicts nothing that is scored: it is not read. */
static fv_status measure_chunk(ppl_state *state, int32_t *chunk) {
    const fv_tokenizer *tokenizer = fv_llm_tokenizer(state->engine.llm);
    bool decode = state->options->pass == PASS_DECODE;
    size_t scored = state->context - 1 - state->first;
    if (fv_tokenizer_adds_bos(tokenizer) && fv_tokenizer_bos(tokenizer) >= 0) chunk[0] = fv_tokenizer_bos(tokenizer);
    fv_status status = FV_OK;
    for (size_t i = 0; i < state->policy_count && !decode && status == FV_OK; i++)
        status = fv_session_truncate(state->policies[i].session, 0);
    if (status == FV_OK)
        status = decode ? read_densely(state, chunk) : read_span(state, chunk, 0, state->first, state->batch, false);
    /* cut here, so that the counters are those of the scored positions */
    for (size_t i = 0; i < state->policy_count; i++) fv_session_report_reset(state->policies[i].session);
    if (status == FV_OK) status = read_span(state, chunk, state->first, scored, decode ? 1 : state->batch, true);
    if (status == FV_OK) book_counters(state, scored);
    return status;
}

/* ---- results ---- */

static void print_table(const ppl_state *state) {
    double base = fv_score_perplexity(&state->policies[0].sum);
    bool mass = state->policies[0].mass;
    cli_print("\n| attention | ppl | vs dense | KL | top-1 | density | KV bytes per token | seconds |%s\n"
              "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |%s\n",
              mass ? " mass |" : "", mass ? " ---: |" : "");
    for (size_t i = 0; i < state->policy_count; i++) {
        const policy_run *policy = &state->policies[i];
        double value = fv_score_perplexity(&policy->sum);
        cli_print("| %s | %.4f | %+.2f %% | %.5f | %.2f %% | %.2f %% | %.0f | %.1f |", policy->text, value,
                  100 * (value / base - 1), fv_score_divergence(&policy->sum), 100 * fv_score_same_top(&policy->sum),
                  100 * fv_report_density(&policy->scored.report), fv_generate_token_bytes(&policy->scored),
                  (double)policy->scored.ns * 1e-9);
        if (mass) cli_print(" %.2f %% |", 100 * fv_mass_table_mean(policy->mass));
        cli_print("\n");
    }
}

/* The lines that scripts grep from llama-perplexity, byte for byte. */
static void print_final(const ppl_state *state) {
    const fv_score_sum *sum = &state->policies[0].sum;
    cli_print("Final estimate: PPL = %.4f +/- %.5f\n", fv_score_perplexity(sum), fv_score_error(sum));
    if (state->policy_count > 1 || state->base) print_table(state);
}

static json_t *policy_json(const ppl_state *state, const policy_run *policy) {
    json_t *object = json_object();
    cli_json_text(object, "attention", policy->text);
    cli_json_text(object, "model", state->options->model.model);
    cli_json_text(object, "pass", state->options->pass == PASS_DECODE ? "decode" : "prompt");
    cli_json_count(object, "tokens", (uint64_t)state->chunks_done * state->context);
    cli_json_count(object, "scored", policy->sum.count);
    cli_json_real(object, "ppl", fv_score_perplexity(&policy->sum));
    cli_json_real(object, "ppl_error", fv_score_error(&policy->sum));
    cli_json_real(object, "kl", fv_score_divergence(&policy->sum));
    cli_json_real(object, "top1", fv_score_same_top(&policy->sum));
    cli_json_real(object, "density", fv_report_density(&policy->scored.report));
    cli_json_real(object, "bytes_per_token", fv_generate_token_bytes(&policy->scored));
    cli_json_real(object, "mass", policy->mass ? fv_mass_table_mean(policy->mass) : (double)NAN);
    if (policy->scored.report.certified_rows > 0) {
        const fv_report *report = &policy->scored.report;
        double rows = (double)report->certified_rows;
        json_t *certificate = json_object();
        cli_json_real(certificate, "worst_estimate", (double)report->relative_estimate);
        cli_json_real(certificate, "worst_bound", (double)report->relative_bound);
        cli_json_real(certificate, "vacuous", (double)report->vacuous_rows / rows);
        cli_json_real(certificate, "read_all", (double)report->whole_rows / rows);
        cli_json_set(object, "certificate", certificate);
    }
    cli_json_real(object, "seconds", (double)policy->scored.ns * 1e-9);
    cli_json_count(object, "context", state->context);
    cli_json_text(object, "base", state->base ? state->options->base : "dense");
    return object;
}

static bool print_head(FILE *file, const policy_run *policy, uint32_t layer, uint32_t head) {
    double mass = fv_mass_table_head(policy->mass, layer, head);
    if (isnan(mass)) return true; /* a layer with a sliding window */
    return fprintf(file, "\"%s\",%u,%u,%.6f\n", policy->text, layer, head, mass) > 0;
}

/* One line for each policy, layer and query head, in a file that appears whole or not at all. */
static int write_by_head(const ppl_state *state) {
    const fv_model_config *shape = fv_llm_config(state->engine.llm);
    const char *path = state->options->by_head;
    char part[4096];
    if (snprintf(part, sizeof part, "%s.part", path) >= (int)sizeof part)
        return cli_fail("%s: the name is too long", path);
    FILE *file = fopen(part, "w");
    bool good = file && fprintf(file, "attention,layer,head,mass\n") > 0;
    for (size_t i = 0; i < state->policy_count && good; i++) {
        const policy_run *policy = &state->policies[i];
        for (uint32_t layer = 0; layer < shape->layers; layer++)
            for (uint32_t head = 0; head < shape->query_heads && good; head++)
                good = print_head(file, policy, layer, head);
    }
    if (file && fclose(file) != 0) good = false;
    if (good && rename(part, path) != 0) good = false;
    if (!good && file) remove(part);
    return good ? CLI_DONE : cli_fail("%s: can't be written", path);
}

static int print_results(const ppl_state *state) {
    if (state->options->by_head && write_by_head(state) != CLI_DONE) return CLI_FAILED;

    if (!state->options->json) {
        print_final(state);
        return cli_flush() ? CLI_DONE : CLI_FAILED;
    }
    json_t *array = json_array();
    for (size_t i = 0; i < state->policy_count; i++) cli_json_append(array, policy_json(state, &state->policies[i]));
    return cli_json_print(array);
}

/* llama-perplexity's estimate after the first chunk, for everyone who watches a log. */
static void print_estimate(const ppl_state *state, uint64_t start_ns) {
    double seconds = (double)(fv_machine_clock_ns() - start_ns) * 1e-9, left = seconds * (double)state->chunks;
    fprintf(stderr, "%.2f seconds per pass - ETA ", seconds);
    if (left >= 3600) fprintf(stderr, "%d hours ", (int)(left / 3600));
    fprintf(stderr, "%.2f minutes\n", (left - 3600 * (double)(int)(left / 3600)) / 60);
}

/* The figures of an interrupted chunk must not count: what was summed is put back. */
static fv_status measure_next(ppl_state *state) {
    fv_score_sum before[POLICIES_MOST];
    for (size_t i = 0; i < state->policy_count; i++) before[i] = state->policies[i].sum;
    fv_status status = measure_chunk(state, state->tokens.ids + state->chunks_done * state->context);
    if (status == FV_OK) state->chunks_done++;
    for (size_t i = 0; i < state->policy_count && status != FV_OK; i++) state->policies[i].sum = before[i];
    return status;
}

static int measure(ppl_state *state) {
    fv_status status = FV_OK;
    bool text = !state->options->json;
    cli_note("chunks: %zu of %u tokens, the last %u positions of each scored, %s pass", state->chunks, state->context,
             state->context - 1 - state->first, state->options->pass == PASS_DECODE ? "decode" : "prompt");
    cli_progress_start(&state->progress, "ppl", "tokens");
    while (state->chunks_done < state->chunks && status == FV_OK) {
        uint64_t start_ns = fv_machine_clock_ns();
        status = measure_next(state);
        cli_progress_end(&state->progress);
        if (status != FV_OK) break;
        if (state->chunks_done == 1) print_estimate(state, start_ns);
        /* on one terminal the bar would wipe the line that grows with each chunk; that line shows progress enough */
        if (text && isatty(STDOUT_FILENO)) state->progress.on = false;
        if (text &&
            !(cli_print("[%zu]%.4f,", state->chunks_done, fv_score_perplexity(&state->policies[0].sum)) && cli_flush()))
            return CLI_FAILED;
    }
    if (text && state->chunks_done > 0) cli_print("\n");
    if (status != FV_OK && status != FV_ERROR_INTERRUPTED) return cli_fail_status(status, NULL);
    if (state->chunks_done == 0) return CLI_INTERRUPTED;
    int result = print_results(state);
    return result == CLI_DONE && status == FV_ERROR_INTERRUPTED ? CLI_INTERRUPTED : result;
}

static void close_ppl(ppl_state *state) {
    for (size_t i = 0; i < state->policy_count; i++) {
        fv_mass_table_close(state->policies[i].mass);
        fv_session_close(state->policies[i].session);
    }
    free(state->base_logits);
    free(state->logits);
    free(state->scores);
    fv_text_free(&state->text);
    fv_tokens_free(&state->tokens);
    fv_kld_file_close(state->base);
    cli_engine_close(&state->engine);
}

int cmd_ppl(int argc, char **argv) {
    ppl_options options = {.model = cli_model_options_default(), .chunks = -1};
    ppl_state state = {.options = &options};
    const cli_option_group groups[] = {
        {"text and measure", ppl_flags, sizeof ppl_flags / sizeof ppl_flags[0], &options},
        {"model", cli_model_flags, cli_model_flag_count, &options.model},
        {"weights", cli_weight_flags, cli_weight_flag_count, &options.model},
        {"cache", cli_cache_flags, cli_cache_flag_count, &options.model},
        {"where threads run", cli_thread_flags, cli_thread_flag_count, &options.model.placement},
        {"llama.cpp's flags without effect here", cli_ignored_flags, cli_ignored_flag_count, &options.model},
    };
    const cli_syntax syntax = {
        "ppl",
        "-m FILE -f FILE [-c N] [--attention SPEC]... [flags]",
        "Perplexity of a text, as llama-perplexity measures it, with dense attention and with every\n"
        "policy that is named; and how far each policy's predictions are from the dense ones.",
        groups,
        sizeof groups / sizeof groups[0],
        NULL};
    int result = cli_options_parse(&syntax, argc, argv);
    if (result == CLI_GO_ON) result = check_options(&state);
    if (result != CLI_GO_ON) return result;
    result = cli_engine_open(&state.engine, "ppl", &options.model);
    if (result == CLI_GO_ON) result = prepare_text(&state);
    if (result == CLI_GO_ON) result = open_sessions(&state);
    if (result == CLI_GO_ON) result = measure(&state);
    close_ppl(&state);
    return result;
}
