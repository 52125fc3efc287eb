/* cmd_ppl.c - `fovea ppl`: perplexity of a text in the manner of llama-perplexity, for several attention policies side
 * by side. */
#include "attention_option.h"
#include "fovea/machine.h"
#include "fovea/measure/perplexity.h"
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

typedef struct ppl_options {
    cli_model_options model;
    const char *file, *prompt, *base, *by_head;
    cli_texts attention;
    int64_t chunks, skip, score;
    int pass; /* index of CLI_PASS_WORDS */
    bool json, escape, mass;
} ppl_options;

#define CLI_TARGET ppl_options
static const cli_option ppl_flags[] = {
    CLI_FLAG(TEXT, "-f --file", file, .value = "FILE",
             .help = "the text (- is standard input); one newline at its end is dropped"),
    CLI_FLAG(TEXT, "-p --prompt", prompt, .value = "TEXT", .help = "the text itself"),
    CLI_FLAG(INTEGER, "-c --ctx-size", model.context, .env = "LLAMA_ARG_CTX_SIZE", .high = CLI_CONTEXT_MAX,
             .standard = "512", .help = "tokens of a chunk; 0: as many as the model was trained on"),
    CLI_FLAG(INTEGER, "--chunks", chunks, .low = -1, .high = CLI_COUNT_MAX, .note = "all", .help = "most chunks"),
    CLI_FLAG(INTEGER, "--skip", skip, .high = CLI_COUNT_MAX, .help = "tokens dropped from the beginning of the text"),
    CLI_FLAG(INTEGER, "--score", score, .low = 1, .high = CLI_CONTEXT_MAX, .standard = "",
             .help = "score the last N positions of each chunk (default: the second half, which is\n(chunk - 1 - "
                     "chunk/2) positions)"),
    CLI_FLAG(CHOICE, "--pass", pass, .value = "prompt|decode", .choices = CLI_PASS_WORDS,
             .help = "prompt: everything is read in batches with the policy;\ndecode: what is before the "
                     "scored positions is read densely in batches, the\nscored ones one at a time with the policy"),
    CLI_FLAG(TEXT, "--kl-divergence-base --save-all-logits", base, .value = "FILE",
             .help = "what KL and top-1 are measured against, in place of our dense attention: a file\nof "
                     "llama-perplexity's flag of this name; text and chunks come from it"),
    CLI_FLAG(TEXTS, "--attention", attention, .value = "SPEC", .help = cli_attention_help),
    CLI_FLAG(SWITCH, "--mass", mass, .help = "also the share of dense attention's mass that is read (slow)"),
    CLI_FLAG(TEXT, "--by-head", by_head, .value = "FILE",
             .help = "that share for each policy, layer and query head, as CSV in a file"),
    CLI_FLAG(SWITCH, "--json", json, .help = "a JSON array, one object a policy, dense first"),
    CLI_FLAG(SWITCH, "-e --escape", escape, .negated = "--no-escape",
             .help = "process \\n \\t \\xHH ... in -p (default: off; never in files)"),
};

typedef struct ppl_state {
    const ppl_options *options;
    fv_engine *engine;
    fv_kld_file *base;            /* NULL where dense attention is the base */
    cli_attention_list attention; /* the first is dense */
    fv_perplexity *perplexity;
    fv_text text;
    fv_tokens tokens;
    uint32_t context;
    size_t chunks, chunks_done;
    cli_progress progress;
} ppl_state;

/* ---- options and text ---- */

static int check_options(ppl_state *state) {
    const ppl_options *options = state->options;
    int result = cli_attention_read("ppl", &options->attention, CLI_ATTENTION_MOST, &state->attention);
    if (result == CLI_GO_ON && options->base &&
        (options->score > 0 || options->skip > 0 || options->model.context >= 0))
        result =
            cli_usage_error("ppl", "--kl-divergence-base says which tokens are scored: drop -c, --skip and --score");
    if (result == CLI_GO_ON && (options->prompt != NULL) + (options->file != NULL) + (options->base != NULL) != 1)
        result = cli_usage_error("ppl", "give the text by one of -f, -p and --kl-divergence-base");
    return result == CLI_GO_ON ? cli_need_model("ppl", options->model.model) : result;
}

/* The chunk's size and what of it is scored. */
static int choose_positions(ppl_state *state) {
    const ppl_options *options = state->options;
    uint32_t trained = fv_llm_config(fv_engine_llm(state->engine))->cache.max_tokens;
    int64_t context = options->model.context < 0 ? 512 : options->model.context;
    state->context = context == 0 ? trained : (uint32_t)context;
    if (state->context < 4) return cli_usage_error("ppl", "-c takes at least 4 tokens");
    if (options->score > (int64_t)state->context - 1)
        return cli_usage_error("ppl", "--score %lld: a chunk of %u tokens has %u positions that a token follows",
                               (long long)options->score, state->context, state->context - 1);
    return CLI_GO_ON;
}

/* state->tokens without the skipped ones, and how many chunks they are. */
static int encode_text(ppl_state *state) {
    fv_tokens *tokens = &state->tokens;
    fv_status status = fv_perplexity_encode(fv_engine_llm(state->engine), state->text.bytes ? state->text.bytes : "",
                                            state->text.length, (size_t)state->options->skip, tokens);
    if (status != FV_OK) return cli_outcome(status, NULL);
    cli_warn_of_bos(fv_llm_tokenizer(fv_engine_llm(state->engine)), tokens);
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
    if (status != FV_OK) return cli_outcome(status, &message);
    uint32_t theirs = fv_kld_file_vocabulary(state->base),
             ours = fv_llm_config(fv_engine_llm(state->engine))->vocabulary;
    if (theirs != ours)
        return cli_fail("%s was made with a vocabulary of %u tokens, the model has %u", state->options->base, theirs,
                        ours);
    state->context = fv_kld_file_context(state->base);
    state->chunks = fv_kld_file_chunks(state->base);
    if (state->options->chunks > 0 && (size_t)state->options->chunks < state->chunks)
        state->chunks = (size_t)state->options->chunks;
    status = fv_tokens_append(&state->tokens, fv_kld_file_tokens(state->base), state->chunks * state->context);
    return cli_outcome(status, NULL);
}

static int prepare_text(ppl_state *state) {
    if (state->options->base) return open_base(state);
    int result =
        cli_read_text(state->options->file, state->options->prompt, state->options->escape, "the text", &state->text);
    if (result == CLI_GO_ON) result = choose_positions(state);
    return result == CLI_GO_ON ? encode_text(state) : result;
}

static bool show(void *context, size_t done, size_t total) {
    ppl_state *state = context;
    cli_progress_show(&state->progress, state->chunks_done * total + done, state->chunks * total);
    return !cli_interrupted();
}

static int open_policies(ppl_state *state) {
    const ppl_options *options = state->options;
    fv_message message = {""};
    fv_perplexity_config config;
    fv_perplexity_config_default(&config);
    int result = cli_attach_tune(state->engine, state->attention.policies, state->attention.count);
    for (size_t i = 0; i < state->attention.count && result == CLI_GO_ON; i++)
        result = cli_memory_check(state->engine, &options->model, &state->attention.policies[i], state->context,
                                  state->context);
    if (result != CLI_GO_ON) return result;
    config.llm = fv_engine_llm(state->engine);
    config.pool = fv_engine_pool(state->engine);
    config.session = cli_session_config(&options->model);
    config.policies = state->attention.policies;
    config.policy_count = state->attention.count;
    config.context = state->context;
    config.scored = options->score > 0 ? (uint32_t)options->score : 0;
    config.decode = (uint32_t)options->pass;
    config.mass = options->mass || options->by_head;
    config.base = state->base;
    config.progress = show;
    config.progress_context = state;
    return cli_outcome(fv_perplexity_open(&state->perplexity, &config, &message), &message);
}

/* ---- results ---- */

static void print_table(const ppl_state *state) {
    double base = fv_score_perplexity(&fv_perplexity_of(state->perplexity, 0)->sum);
    bool mass = fv_perplexity_mass(state->perplexity, 0) != NULL;
    cli_print("\n| attention | ppl | vs dense | KL | top-1 | density | KV bytes per token | seconds |%s\n"
              "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |%s\n",
              mass ? " mass |" : "", mass ? " ---: |" : "");
    for (size_t i = 0; i < state->attention.count; i++) {
        const fv_perplexity_figures *figures = fv_perplexity_of(state->perplexity, i);
        double value = fv_score_perplexity(&figures->sum);
        cli_print("| %s | %.4f | %+.2f %% | %.5f | %.2f %% | %.2f %% | %.0f | %.1f |", state->attention.texts[i], value,
                  100 * (value / base - 1), fv_score_divergence(&figures->sum), 100 * fv_score_same_top(&figures->sum),
                  100 * fv_report_density(&figures->scored.report), fv_generate_token_bytes(&figures->scored),
                  (double)figures->scored.ns * 1e-9);
        if (mass) cli_print(" %.2f %% |", 100 * fv_mass_table_mean(fv_perplexity_mass(state->perplexity, i)));
        cli_print("\n");
    }
}

/* The lines that scripts grep from llama-perplexity, byte for byte. */
static void print_final(const ppl_state *state) {
    const fv_score_sum *sum = &fv_perplexity_of(state->perplexity, 0)->sum;
    cli_print("Final estimate: PPL = %.4f +/- %.5f\n", fv_score_perplexity(sum), fv_score_error(sum));
    if (state->attention.count > 1 || state->base) print_table(state);
}

static json_t *certificate_json(const fv_report *report) {
    double rows = (double)report->certified_rows;
    json_t *certificate = json_object();
    CLI_ADD(certificate, {"worst_estimate", cli_real((double)report->relative_estimate)},
            {"worst_bound", cli_real((double)report->relative_bound)},
            {"vacuous", cli_real((double)report->vacuous_rows / rows)},
            {"read_all", cli_real((double)report->whole_rows / rows)});
    return certificate;
}

static json_t *policy_json(const ppl_state *state, size_t policy) {
    const fv_perplexity_figures *figures = fv_perplexity_of(state->perplexity, policy);
    const fv_mass_table *mass = fv_perplexity_mass(state->perplexity, policy);
    const fv_report *report = &figures->scored.report;
    fv_session_config types = cli_session_config(&state->options->model);
    json_t *object = json_object();
    CLI_ADD(object, {"attention", cli_text(state->attention.texts[policy])},
            {"model", cli_text(state->options->model.model)},
            {"pass", cli_text(state->options->pass ? "decode" : "prompt")},
            {"tokens", cli_count((uint64_t)state->chunks_done * state->context)},
            {"scored", cli_count(figures->sum.count)}, {"ppl", cli_real(fv_score_perplexity(&figures->sum))},
            {"ppl_error", cli_real(fv_score_error(&figures->sum))},
            {"kl", cli_real(fv_score_divergence(&figures->sum))}, {"top1", cli_real(fv_score_same_top(&figures->sum))},
            {"density", cli_real(fv_report_density(report))},
            {"bytes_per_token", cli_real(fv_generate_token_bytes(&figures->scored))},
            {"mass", cli_real(mass ? fv_mass_table_mean(mass) : (double)NAN)});
    if (report->certified_rows > 0) cli_json_set(object, "certificate", certificate_json(report));
    CLI_ADD(object, {"seconds", cli_real((double)figures->scored.ns * 1e-9)}, {"context", cli_count(state->context)},
            {"key_type", cli_text(fv_element_name(types.key_type))},
            {"value_type", cli_text(fv_element_name(types.value_type))},
            {"base", cli_text(state->base ? state->options->base : "dense")});
    return object;
}

static int write_by_head(const ppl_state *state) {
    const fv_mass_table *tables[CLI_ATTENTION_MOST];
    fv_message message = {""};
    for (size_t i = 0; i < state->attention.count; i++) tables[i] = fv_perplexity_mass(state->perplexity, i);
    fv_status status =
        fv_mass_tables_write(tables, state->attention.texts, state->attention.count, state->options->by_head, &message);
    return status == FV_OK ? CLI_DONE : cli_outcome(status, &message);
}

static int print_results(const ppl_state *state) {
    if (state->options->by_head && write_by_head(state) != CLI_DONE) return CLI_FAILED;
    if (!state->options->json) {
        print_final(state);
        return cli_flush() ? CLI_DONE : CLI_FAILED;
    }
    json_t *array = json_array();
    for (size_t i = 0; i < state->attention.count; i++) cli_json_append(array, policy_json(state, i));
    return cli_json_print(array);
}

/* llama-perplexity's estimate after the first chunk, for everyone who watches a log. */
static void print_estimate(const ppl_state *state, uint64_t start_ns) {
    double seconds = (double)(fv_machine_clock_ns() - start_ns) * 1e-9, left = seconds * (double)state->chunks;
    fprintf(stderr, "%.2f seconds per pass - ETA ", seconds);
    if (left >= 3600) fprintf(stderr, "%d hours ", (int)(left / 3600));
    fprintf(stderr, "%.2f minutes\n", (left - 3600 * (double)(int)(left / 3600)) / 60);
}

/* Of a model that is wrong about everything the perplexity is beyond any number, although its logits are not. */
static int check_figures(const ppl_state *state) {
    for (size_t i = 0; i < state->attention.count; i++) {
        const fv_score_sum *sum = &fv_perplexity_of(state->perplexity, i)->sum;
        if (isfinite(fv_score_perplexity(sum)) && isfinite(fv_score_divergence(sum))) continue;
        return cli_fail("%s: the mean loss is %g nats, its perplexity is beyond any number: nothing is measured so",
                        state->attention.texts[i], sum->loss / (double)sum->count);
    }
    return CLI_GO_ON;
}

static int measure(ppl_state *state) {
    fv_status status = FV_OK;
    fv_message message = {""};
    bool text = !state->options->json;
    fv_session_config types = cli_session_config(&state->options->model);
    cli_note("chunks: %zu of %u tokens, the last %u positions of each scored, %s pass, K %s, V %s", state->chunks,
             state->context, fv_perplexity_scored(state->perplexity), state->options->pass ? "decode" : "prompt",
             fv_element_name(types.key_type), fv_element_name(types.value_type));
    cli_progress_start(&state->progress, "ppl", "tokens");
    while (state->chunks_done < state->chunks && status == FV_OK) {
        uint64_t start_ns = fv_machine_clock_ns();
        status = fv_perplexity_chunk(state->perplexity, state->tokens.ids + state->chunks_done * state->context,
                                     state->chunks_done, &message);
        cli_progress_end(&state->progress);
        if (status != FV_OK) break;
        state->chunks_done++;
        if (check_figures(state) != CLI_GO_ON) return CLI_FAILED;
        if (state->chunks_done == 1) print_estimate(state, start_ns);
        /* on one terminal the bar would wipe the line that grows with each chunk; that line shows progress enough */
        if (text && isatty(STDOUT_FILENO)) state->progress.on = false;
        if (text && !(cli_print("[%zu]%.4f,", state->chunks_done,
                                fv_score_perplexity(&fv_perplexity_of(state->perplexity, 0)->sum)) &&
                      cli_flush()))
            return CLI_FAILED;
    }
    if (text && state->chunks_done > 0) cli_print("\n");
    if (status != FV_OK && status != FV_ERROR_INTERRUPTED)
        return cli_fault(status, &message, state->options->model.model);
    if (state->chunks_done == 0) return CLI_INTERRUPTED;
    int result = print_results(state);
    return result == CLI_DONE && status == FV_ERROR_INTERRUPTED ? CLI_INTERRUPTED : result;
}

static void close_ppl(ppl_state *state) {
    fv_perplexity_close(state->perplexity);
    fv_text_free(&state->text);
    fv_tokens_free(&state->tokens);
    fv_kld_file_close(state->base);
    fv_engine_close(state->engine);
}

int cmd_ppl(int argc, char **argv) {
    ppl_options options = {.model = cli_model_options_default(), .chunks = -1};
    ppl_state state = {.options = &options};
    const cli_option_group groups[] = {
        CLI_GROUP("text and measure", ppl_flags, &options),
        CLI_MODEL_GROUPS(&options.model),
    };
    const cli_syntax syntax = {
        "ppl", "-m FILE -f FILE [-c N] [--attention SPEC]... [flags]",
        "Perplexity of a text, as llama-perplexity measures it, with dense attention and with every\n"
        "policy that is named; and how far each policy's predictions are from the dense ones.",
        CLI_GROUPS(groups)};
    int result = cli_options_parse(&syntax, argc, argv);
    if (result == CLI_GO_ON) result = check_options(&state);
    if (result != CLI_GO_ON) return result;
    result = cli_engine_open(&state.engine, "ppl", &options.model);
    if (result == CLI_GO_ON) result = prepare_text(&state);
    if (result == CLI_GO_ON) result = open_policies(&state);
    if (result == CLI_GO_ON) result = cli_check_file(state.engine, measure(&state));
    close_ppl(&state);
    return result;
}
