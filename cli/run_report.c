/* run_report.c - what a run did: rates, density, bytes, memory, and the limits that were in force. */
#include "run_report.h"
#include "fovea/machine.h"
#include "fovea/report_sum.h"
#include "json_out.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MIB (1024.0 * 1024.0)

static void print_phase(const char *name, const fv_generate_phase *phase) {
    if (phase->tokens == 0) return;
    fprintf(stderr, "%s: %" PRIu64 " tokens in %.2f s, %.2f tokens/s, density %.4f, %.3f MiB of KV read per token\n",
            name, phase->tokens, (double)phase->ns * 1e-9, fv_generate_rate(phase), fv_report_density(&phase->report),
            fv_generate_token_bytes(phase) / MIB);
}

static double percent(uint64_t part, uint64_t whole) { return whole > 0 ? 100 * (double)part / (double)whole : 0; }

/* Why keys were read, and where the threads' time went. */
static void print_shares(const char *name, const fv_generate_phase *phase) {
    const fv_report *report = &phase->report;
    uint64_t keys = report->keys_read,
             strided = keys - report->sink_keys - report->window_keys - report->selected_keys - report->whole_keys;
    uint64_t time_ns = report->choose_ns + report->read_ns + report->product_ns + report->other_ns;
    if (phase->tokens == 0) return;
    fprintf(stderr, "%s keys: %.1f %% sinks, %.1f %% window, %.1f %% chosen, %.1f %% in rows that read all", name,
            percent(report->sink_keys, keys), percent(report->window_keys, keys), percent(report->selected_keys, keys),
            percent(report->whole_keys, keys));
    if (strided) fprintf(stderr, ", %.1f %% log-strides", percent(strided, keys));
    fprintf(stderr, "; time: %.1f %% choosing, %.1f %% reading, %.1f %% products, %.1f %% other\n",
            percent(report->choose_ns, time_ns), percent(report->read_ns, time_ns),
            percent(report->product_ns, time_ns), percent(report->other_ns, time_ns));
}

/* Nothing where nothing was guessed. */
static void print_guesses(const fv_generator *generator) {
    const fv_generate_guesses *guesses = fv_generator_guesses(generator);
    if (guesses->guessed == 0) return;
    fprintf(stderr, "lookup: %" PRIu64 " of %" PRIu64 " guesses were right; %.2f tokens a step\n", guesses->right,
            guesses->guessed, (double)(guesses->steps + guesses->right) / (double)guesses->steps);
}

static const char *isa_name(const fv_generator *generator) {
    const fv_generate_phase *decode = fv_generator_decode(generator), *prompt = fv_generator_prompt(generator);
    const char *name = fv_isa_name((fv_isa)(decode->tokens > 0 ? decode : prompt)->report.isa);
    return name ? name : "unknown";
}

static const char *stop_text(fv_stop stop) {
    static const char *const texts[FV_STOP_COUNT] = {
        [FV_STOP_END] = "the model ended its text",
        [FV_STOP_LIMIT] = "-n tokens were generated",
        [FV_STOP_CONTEXT] = "the context is full (nothing is shifted out; -c makes it larger)",
        [FV_STOP_INTERRUPTED] = "interrupted",
        [FV_STOP_DEADLINE] =
            "a token was not through the layers in time (--on-deadline best takes what was read by then)"};
    return texts[stop] ? texts[stop] : "failed";
}

/* Prompt and decode together: the worst row counts. */
static void print_certificate(const fv_generator *generator) {
    fv_report sum = fv_generator_prompt(generator)->report, *report = &sum;
    fv_report_sum(&sum, &fv_generator_decode(generator)->report);
    double rows = (double)report->certified_rows;
    if (report->certified_rows == 0) return;
    fprintf(stderr, "certificate: |output - dense| / rms(dense) of the worst row and head: %.4f by estimate (95 %%), ",
            (double)report->relative_estimate);
    if (report->relative_bound <= 3e38f)
        fprintf(stderr, "%.4f for certain", (double)report->relative_bound);
    else
        fprintf(stderr, "no bound for certain in %.1f %% of the rows", 100 * (double)report->vacuous_rows / rows);
    fprintf(stderr, "; %.2f %% of the rows had to read all\n", 100 * (double)report->whole_rows / rows);
}

static const char *whose(const cli_run_report *report, int which) {
    if (report->sampling_taken & 1u << which) return "file";
    return report->sampling_given & 1u << which ? "flag" : "default";
}

static void print_sampling(const cli_run_report *report) {
    fprintf(stderr, "sampling: ");
    for (int i = 0; i < FV_SAMPLING_COUNT; i++)
        fprintf(stderr, "%s %g (%s), ", fv_sampling_name((fv_sampling)i),
                fv_sampling_value(report->sampler, (fv_sampling)i), whose(report, i));
    fprintf(stderr, "seed %" PRIu32 "\n", report->seed);
}

static json_t *sampling_json(const cli_run_report *report) {
    json_t *object = json_object();
    for (int i = 0; i < FV_SAMPLING_COUNT; i++) {
        json_t *one = json_object();
        CLI_ADD(one, {"value", cli_real(fv_sampling_value(report->sampler, (fv_sampling)i))},
                {"from", cli_text(whose(report, i))});
        cli_json_set(object, fv_sampling_name((fv_sampling)i), one);
    }
    return object;
}

void cli_run_report_print(const cli_run_report *report) {
    const fv_generator *generator = report->generator;
    fprintf(stderr, "\n");
    if (report->reused_tokens) fprintf(stderr, "reused %" PRIu32 " tokens\n", report->reused_tokens);
    print_phase("prompt", fv_generator_prompt(generator));
    print_phase("decode", fv_generator_decode(generator));
    print_guesses(generator);
    print_shares("prompt", fv_generator_prompt(generator));
    print_shares("decode", fv_generator_decode(generator));
    uint64_t local = fv_generator_decode(generator)->report.local_keys;
    if (local > 0)
        fprintf(stderr, "sliding-window layers: %.0f keys read per token of decode\n",
                (double)local / (double)fv_generator_decode(generator)->tokens);
    print_certificate(generator);
    cli_deadline_print(report->deadline, report->session);
    fv_session_config types = cli_session_config(report->options);
    fv_machine_limits limits;
    fv_machine_limits_read(&limits);
    fprintf(stderr, "attention: %s, %s, %" PRIu32 " thread%s", report->attention, isa_name(generator),
            fv_engine_threads(report->engine), fv_engine_threads(report->engine) == 1 ? "" : "s");
    if (limits.processors_by != FV_LIMIT_NONE)
        fprintf(stderr, "; %" PRIu32 " of %" PRIu32 " processors (%s)", limits.processors, limits.processors_online,
                fv_machine_limit_name(limits.processors_by));
    fprintf(stderr, "\n");
    fprintf(stderr, "context: %zu of %zu tokens (the model was trained on %" PRIu32 "), K %s, V %s\n",
            fv_session_tokens(report->session), fv_session_context_tokens(report->session),
            fv_llm_config(fv_engine_llm(report->engine))->cache.max_tokens, fv_element_name(types.key_type),
            fv_element_name(types.value_type));
    fprintf(stderr, "weights: %.1f MiB, %.1f MiB of them repacked into private pages in place of the file's\n",
            (double)fv_llm_weight_bytes(fv_engine_llm(report->engine)) / MIB,
            (double)fv_llm_packed_bytes(fv_engine_llm(report->engine)) / MIB);
    fprintf(stderr, "memory: peak %.1f MiB", (double)fv_machine_peak_bytes() / MIB);
    if (limits.memory_by != FV_LIMIT_NONE)
        fprintf(stderr, " of %.1f MiB (%s)", (double)limits.memory_bytes / MIB,
                fv_machine_limit_name(limits.memory_by));
    fprintf(stderr, "\n");
    print_sampling(report);
    fprintf(stderr, "stopped: %s\n", stop_text(report->stop));
}

static void set_phase(json_t *document, const char *name, const fv_generate_phase *phase) {
    json_t *object = json_object();
    CLI_ADD(object, {"tokens", cli_count(phase->tokens)}, {"seconds", cli_real((double)phase->ns * 1e-9)},
            {"tokens_per_second", cli_real(fv_generate_rate(phase))},
            {"density", cli_real(fv_report_density(&phase->report))},
            {"bytes_per_token", cli_real(fv_generate_token_bytes(phase))},
            {"keys_read", cli_count(phase->report.keys_read)}, {"keys_visible", cli_count(phase->report.keys_visible)},
            {"local_keys", cli_count(phase->report.local_keys)},
            {"selected_keys", cli_count(phase->report.selected_keys)},
            {"sink_keys", cli_count(phase->report.sink_keys)}, {"window_keys", cli_count(phase->report.window_keys)},
            {"whole_keys", cli_count(phase->report.whole_keys)});
    cli_json_set(object, "choose_ns", cli_count(phase->report.choose_ns)); /* these four: summed over threads */
    CLI_ADD(object, {"read_ns", cli_count(phase->report.read_ns)}, {"product_ns", cli_count(phase->report.product_ns)},
            {"other_ns", cli_count(phase->report.other_ns)});
    if (phase->report.certified_rows > 0) {
        CLI_ADD(object, {"certificate_estimate", cli_real((double)phase->report.relative_estimate)},
                {"certificate_bound", cli_real((double)phase->report.relative_bound)});
    }
    cli_json_set(document, name, object);
}

static void set_tokens(json_t *document, const fv_tokens *tokens) {
    json_t *array = json_array();
    for (size_t i = 0; i < tokens->count; i++) cli_json_append(array, json_integer(tokens->ids[i]));
    cli_json_set(document, "tokens", array);
}

static void set_phases(json_t *document, const fv_generator *generator) {
    const fv_generate_guesses *guesses = fv_generator_guesses(generator);
    CLI_ADD(document, {"guessed_tokens", cli_count(guesses->guessed)}, {"right_guesses", cli_count(guesses->right)});
    set_phase(document, "prompt", fv_generator_prompt(generator));
    set_phase(document, "decode", fv_generator_decode(generator));
}

static json_t *reads_json(const fv_reads *reads) {
    json_t *words = json_array();
    fv_text text = {0};
    for (size_t i = 0; i < fv_reads_count(reads); i++) {
        const fv_reads_word *word = fv_reads_word_at(reads, i);
        json_t *object = json_object(), *passages = json_array();
        cli_json_set(object, "word", cli_json_string(word->text.bytes ? word->text.bytes : "", word->text.length));
        for (int k = 0; k < FV_READS_PASSAGES && word->passages[k].share > 0; k++) {
            json_t *passage = json_object();
            if (fv_reads_passage_text(reads, word->passages[k].position, &text) != FV_OK) text.length = 0;
            CLI_ADD(passage, {"position", cli_count(word->passages[k].position)},
                    {"share", cli_real((double)word->passages[k].share)},
                    {"text", cli_json_string(text.bytes ? text.bytes : "", text.length)});
            cli_json_append(passages, passage);
        }
        cli_json_set(object, "passages", passages);
        cli_json_append(words, object);
    }
    fv_text_free(&text);
    return words;
}

int cli_run_report_json(const cli_run_report *report) {
    const fv_generator *generator = report->generator;
    /* what the answer cost; a run that generated one token or none has only its prompt to show */
    const fv_generate_phase *phase =
        fv_generator_decode(generator)->tokens > 0 ? fv_generator_decode(generator) : fv_generator_prompt(generator);
    const fv_text *text = fv_generator_text(generator);
    json_t *document = json_object();
    CLI_ADD(document, {"model", cli_text(report->options->model)},
            {"text", cli_json_string(text->bytes ? text->bytes : "", text->length)});
    set_tokens(document, fv_generator_tokens(generator));
    fv_session_config types = cli_session_config(report->options);
    CLI_ADD(document, {"stop", cli_text(fv_stop_name(report->stop))}, {"chat", json_boolean(report->chat)},
            {"prompt_tokens", cli_count(report->prompt_tokens)}, {"reused_tokens", cli_count(report->reused_tokens)},
            {"generated_tokens", cli_count(fv_generator_tokens(generator)->count)},
            {"prompt_tokens_per_second", cli_real(fv_generate_rate(fv_generator_prompt(generator)))},
            {"decode_tokens_per_second", cli_real(fv_generate_rate(fv_generator_decode(generator)))},
            {"attention", cli_text(report->attention)}, {"density", cli_real(fv_report_density(&phase->report))},
            {"bytes_per_token", cli_real(fv_generate_token_bytes(phase))},
            {"peak_memory_bytes", cli_count(fv_machine_peak_bytes())},
            {"weight_bytes", cli_count(fv_llm_weight_bytes(fv_engine_llm(report->engine)))},
            {"repacked_bytes", cli_count(fv_llm_packed_bytes(fv_engine_llm(report->engine)))},
            {"context_tokens", cli_count(fv_session_context_tokens(report->session))},
            {"used_tokens", cli_count(fv_session_tokens(report->session))},
            {"training_context_tokens", cli_count(fv_llm_config(fv_engine_llm(report->engine))->cache.max_tokens)},
            {"key_type", cli_text(fv_element_name(types.key_type))},
            {"value_type", cli_text(fv_element_name(types.value_type))}, {"isa", cli_text(isa_name(generator))},
            {"threads", cli_count(fv_engine_threads(report->engine))}, {"seed", cli_count(report->seed)},
            {"sampling", sampling_json(report)});
    fv_machine_limits limits;
    fv_machine_limits_read(&limits);
    CLI_ADD(document, {"processors", cli_count(limits.processors)},
            {"processors_online", cli_count(limits.processors_online)},
            {"processors_by", cli_text(fv_machine_limit_name(limits.processors_by))},
            {"memory_limit_bytes", cli_count(limits.memory_bytes)},
            {"memory_by", cli_text(fv_machine_limit_name(limits.memory_by))});
    cli_deadline_json(report->deadline, report->session, document);
    set_phases(document, generator);
    if (report->reads) cli_json_set(document, "reads", reads_json(report->reads));
    return cli_json_print(document);
}

/* ---- what each word read ---- */

/* In `buffer`, until its next use. */
static const char *printable(const char *bytes, size_t length, fv_text *buffer) {
    buffer->length = 0;
    return fv_utf8_printable(bytes, length, "", buffer) == FV_OK ? buffer->bytes : "?";
}

void cli_reads_print(const fv_reads *reads) {
    fv_text text = {0}, shown = {0};
    fprintf(stderr, "\nwhat each word read most, of what is neither the beginning nor the last %d tokens:\n",
            FV_READS_LAST_TOKENS);
    for (size_t i = 0; i < fv_reads_count(reads); i++) {
        const fv_reads_word *word = fv_reads_word_at(reads, i);
        const char *bytes = word->text.bytes ? word->text.bytes : "";
        size_t skip = strspn(bytes, " \t\r\n");
        fprintf(stderr, "%-16s", printable(bytes + skip, word->text.length - skip, &shown));
        for (int k = 0; k < FV_READS_PASSAGES && word->passages[k].share > 0; k++) {
            if (fv_reads_passage_text(reads, word->passages[k].position, &text) != FV_OK) break;
            fprintf(stderr, "%s%6.2f %% at %-6u %s\n", k ? "                " : "",
                    100 * (double)word->passages[k].share, word->passages[k].position,
                    printable(text.bytes, text.length, &shown));
        }
        if (word->passages[0].share <= 0) fprintf(stderr, "  nothing else\n");
    }
    fv_text_free(&text);
    fv_text_free(&shown);
}
