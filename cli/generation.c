/* generation.c - the decode loop. A token that was chosen is evaluated only when its successor is wanted: the last one
 * of an answer stays pending. */
#include "generation.h"
#include "cli.h"
#include "fovea/machine.h"
#include "interrupt.h"
#include "progress.h"
#include <stdlib.h>

const char *cli_stop_name(cli_stop stop) {
#define STOP_NAME(NAME, name) #name,
    static const char *const names[] = {CLI_STOP_LIST(STOP_NAME)};
#undef STOP_NAME
    return names[stop];
}

double cli_phase_rate(const cli_phase *phase) {
    return phase->ns > 0 ? (double)phase->tokens * 1e9 / (double)phase->ns : 0;
}

double cli_report_density(const fv_report *report) {
    return report->keys_visible > 0 ? (double)report->keys_read / (double)report->keys_visible : 1;
}

/* The larger of two, of which NaN says that there is none. */
static float larger(float a, float b) { return a >= b || b != b ? a : b; }

void cli_report_add(fv_report *into, const fv_report *from) {
    bool first = into->certified_rows == 0;
    into->isa = from->isa;
    into->keys_visible += from->keys_visible;
    into->keys_read += from->keys_read;
    into->bytes_read += from->bytes_read;
    into->local_keys += from->local_keys;
    into->selected_keys += from->selected_keys;
    into->error_bound = first ? from->error_bound : larger(into->error_bound, from->error_bound);
    into->relative_bound = first ? from->relative_bound : larger(into->relative_bound, from->relative_bound);
    into->relative_estimate =
        first ? from->relative_estimate : larger(into->relative_estimate, from->relative_estimate);
    into->certified_rows += from->certified_rows;
    into->vacuous_rows += from->vacuous_rows;
    into->whole_rows += from->whole_rows;
    into->sink_keys += from->sink_keys;
    into->window_keys += from->window_keys;
    into->whole_keys += from->whole_keys;
    into->choose_ns += from->choose_ns;
    into->read_ns += from->read_ns;
    into->product_ns += from->product_ns;
    into->other_ns += from->other_ns;
}

double cli_phase_density(const cli_phase *phase) { return cli_report_density(&phase->report); }

double cli_phase_token_bytes(const cli_phase *phase) {
    return phase->tokens > 0 ? (double)phase->report.bytes_read / (double)phase->tokens : 0;
}

fv_status cli_generation_init(cli_generation *generation) {
    generation->pending = -1;
    generation->logits = calloc(generation->vocabulary, sizeof *generation->logits);
    return generation->logits ? FV_OK : FV_ERROR_MEMORY;
}

void cli_generation_free(cli_generation *generation) {
    free(generation->logits);
    fv_text_free(&generation->text);
    fv_tokens_free(&generation->tokens);
    generation->logits = NULL;
}

/* Books the work since the session's counters were reset. */
static void phase_add(cli_phase *phase, const fv_session *session, uint64_t tokens, uint64_t start_ns) {
    fv_report report = fv_session_report(session);
    phase->tokens += tokens;
    phase->ns += fv_machine_clock_ns() - start_ns;
    cli_report_add(&phase->report, &report);
}

static fv_status last_logits(cli_generation *generation) {
    size_t rows = fv_session_batch_rows(generation->session);
    if (rows == 0) return FV_ERROR_ARGUMENT;
    return fv_session_logits(generation->session, rows - 1, 1, generation->logits);
}

fv_status cli_generation_feed(cli_generation *generation, const int32_t *tokens, size_t count) {
    fv_session *session = generation->session;
    size_t before = fv_session_tokens(session);
    uint64_t start_ns = fv_machine_clock_ns();
    cli_progress progress;
    cli_progress_start(&progress, "reading", "tokens");
    fv_session_report_reset(session);
    fv_status status = generation->reads ? cli_reads_feed(generation->reads, tokens, count) : FV_OK;
    if (status == FV_OK) status = fv_session_feed(session, tokens, count, cli_progress_step, &progress);
    cli_progress_end(&progress);
    if (status == FV_OK) status = last_logits(generation);
    phase_add(&generation->prompt, session, fv_session_tokens(session) - before, start_ns);
    if (status != FV_OK) {
        fv_session_truncate(session, before); /* can't fail: there were at least as many */
        return status;
    }
    for (size_t i = 0; i < count; i++) fv_sampler_accept(generation->sampler, tokens[i]);
    return FV_OK;
}

/* Appends the token's text; writes what is complete. *written is how much of the answer is out. */
static fv_status emit(cli_generation *generation, int32_t token, size_t *written) {
    fv_text *text = &generation->text;
    fv_status status = fv_tokens_append(&generation->tokens, &token, 1);
    if (status == FV_OK) status = fv_tokenizer_piece(generation->tokenizer, token, false, text);
    if (status != FV_OK || !generation->stream) return status;
    size_t complete = text->length > *written ? fv_utf8_complete(text->bytes + *written, text->length - *written) : 0;
    if (complete == 0) return FV_OK;
    bool good = cli_write(text->bytes + *written, complete) && cli_flush();
    *written += complete;
    return good ? FV_OK : FV_ERROR_FILE;
}

static fv_status evaluate_pending(cli_generation *generation) {
    uint64_t start_ns = fv_machine_clock_ns();
    fv_session_report_reset(generation->session);
    fv_status status = generation->reads ? cli_reads_feed(generation->reads, &generation->pending, 1) : FV_OK;
    if (status == FV_OK) status = fv_session_feed(generation->session, &generation->pending, 1, NULL, NULL);
    if (status == FV_OK) status = last_logits(generation);
    phase_add(&generation->decode, generation->session, 1, start_ns);
    if (status == FV_OK) generation->pending = -1;
    return status;
}

/* One token; where *more is false, the result is why there is none. */
static cli_stop step(cli_generation *generation, size_t *written, bool *more, fv_status *status) {
    const fv_session *session = generation->session;
    *more = false;
    if (generation->limit >= 0 && generation->tokens.count >= (size_t)generation->limit) return CLI_STOP_LIMIT;
    if (cli_interrupted()) return CLI_STOP_INTERRUPTED;
    if (generation->pending >= 0) {
        if (fv_session_tokens(session) >= fv_session_context_tokens(session)) return CLI_STOP_CONTEXT;
        *status = evaluate_pending(generation);
        if (*status != FV_OK) return CLI_STOP_FAILED;
    }
    int32_t token = fv_sampler_next(generation->sampler, generation->logits);
    if (!generation->ignore_end && fv_tokenizer_is_end(generation->tokenizer, token)) return CLI_STOP_END;
    fv_sampler_accept(generation->sampler, token);
    generation->pending = token;
    *status = emit(generation, token, written);
    if (*status == FV_OK && generation->reads) *status = cli_reads_token(generation->reads, token);
    *more = *status == FV_OK;
    return *status == FV_ERROR_FILE ? CLI_STOP_OUTPUT : CLI_STOP_FAILED;
}

cli_stop cli_generation_answer(cli_generation *generation, fv_status *status) {
    size_t written = 0;
    bool more = true;
    cli_stop stop = CLI_STOP_END;
    generation->text.length = generation->tokens.count = 0;
    *status = FV_OK;
    while (more) stop = step(generation, &written, &more, status);
    if (generation->reads && cli_reads_finish(generation->reads) != FV_OK) *status = FV_ERROR_MEMORY;
    if (generation->stream && written < generation->text.length)
        cli_write(generation->text.bytes + written,
                  generation->text.length - written); /* a sequence that never ended */
    return stop;
}
