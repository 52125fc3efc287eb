/* choice.c - one answer: the next token from logits, its text and log-probabilities, and what of it goes out when. */
#include "fovea/machine.h"
#include "logprob.h"
#include "request.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const fv_tokenizer *tokenizer_of(const fv_choice *choice) {
    return fv_llm_tokenizer(choice->request->server->llm);
}

/* ---- beginning ---- */

static fv_status forbid_ends(fv_choice *choice) {
    fv_status status = FV_OK;
    for (int32_t id = 0; id < fv_tokenizer_tokens(tokenizer_of(choice)) && status == FV_OK; id++)
        if (fv_tokenizer_is_end(tokenizer_of(choice), id)) status = fv_sampler_forbid(choice->sampler, id);
    return status;
}

bool fv_choice_wants_rows(const fv_choice *choice) {
    const fv_settings *settings = &choice->request->settings;
    return settings->echo && settings->logprobs >= 0;
}

static fv_status add_entry(fv_choice *choice, int32_t token, const float *logits);

fv_status fv_choice_open(fv_choice *choice) {
    const fv_settings *settings = &choice->request->settings;
    const fv_text *prompt = &choice->prompt->text;
    fv_sampler_config sampler = settings->sampler;
    sampler.seed += choice->index % (uint32_t)settings->answers;
    choice->open_ns = fv_machine_clock_ns();
    fv_status status = fv_sampler_open(&choice->sampler, &sampler, NULL);
    if (status == FV_OK && settings->ignore_end) status = forbid_ends(choice);
    if (status == FV_OK)
        status = fv_answer_text_open(&choice->text, (const char *const *)settings->stops, settings->stop_count, NULL);
    for (size_t i = 0; i < choice->prompt->tokens.count && status == FV_OK; i++)
        fv_sampler_accept(choice->sampler, choice->prompt->tokens.ids[i]);
    if (status != FV_OK) return status;
    fv_guesses_open(&choice->guesses, &choice->prompt->tokens, choice->request->server->config->lookup);
    if (fv_choice_wants_rows(choice)) return add_entry(choice, choice->prompt->tokens.ids[0], NULL);
    choice->characters = fv_characters(prompt->bytes ? prompt->bytes : "", prompt->length);
    return FV_OK;
}

/* ---- log-probabilities ---- */

static bool reserve_entry(fv_choice *choice) {
    size_t tops = (size_t)choice->request->settings.logprobs, room = choice->entry_room;
    if (choice->entry_count < room) return true;
    room = room > 0 ? 2 * room : 64;
    fv_entry *entries = realloc(choice->entries, room * sizeof *entries);
    if (entries) choice->entries = entries;
    fv_alternative *more = realloc(choice->tops, room * (tops + 1) * sizeof *more);
    if (more) choice->tops = more;
    if (!entries || !more) return false;
    choice->entry_room = room;
    return true;
}

/* logits: those that the token was expected by; NULL: it is the first. */
static fv_status add_entry(fv_choice *choice, int32_t token, const float *logits) {
    const fv_settings *settings = &choice->request->settings;
    size_t tops = (size_t)settings->logprobs;
    fv_text piece = {0};
    if (!reserve_entry(choice)) return FV_ERROR_MEMORY;
    fv_entry *entry = &choice->entries[choice->entry_count];
    *entry = (fv_entry){.token = token,
                        .logprob = NAN,
                        .offset = choice->characters,
                        .begin = fv_answer_text_all(choice->text)->length};
    if (logits)
        entry->logprob = fv_logprob_find(logits, settings->sampler.vocabulary, token,
                                         choice->tops + choice->entry_count * tops, tops);
    fv_status status = fv_tokenizer_piece(tokenizer_of(choice), token, false, &piece);
    choice->characters += fv_characters(piece.bytes ? piece.bytes : "", piece.length);
    fv_text_free(&piece);
    if (status == FV_OK) choice->entry_count++;
    return status;
}

fv_status fv_choice_prompt_row(fv_choice *choice, size_t place, const float *logits) {
    const fv_tokens *tokens = &choice->prompt->tokens;
    return place + 1 < tokens->count ? add_entry(choice, tokens->ids[place + 1], logits) : FV_OK;
}

/* Those of a stop text are no part of the answer. */
static void drop_entries(fv_choice *choice) {
    size_t prompt = fv_choice_wants_rows(choice) ? choice->prompt->tokens.count : 0;
    size_t end = fv_answer_text_all(choice->text)->length;
    while (choice->entry_count > prompt && choice->entry_count > choice->shown_entries &&
           choice->entries[choice->entry_count - 1].begin >= end)
        choice->entry_count--;
}

/* ---- passages ---- */

fv_status fv_choice_read(fv_choice *choice, fv_read_watch *watch, size_t row) {
    return fv_passages_add(&choice->passages, watch, row, fv_answer_text_all(choice->text));
}

size_t fv_choice_passages(const fv_choice *choice) {
    const fv_passages *passages = &choice->passages;
    size_t count = passages->count < choice->tokens.count ? passages->count : choice->tokens.count;
    size_t end = fv_answer_text_all(choice->text)->length;
    while (choice->finish != FV_FINISH_NOT && count > 0 && passages->begins[count - 1] >= end) count--;
    return count;
}

/* ---- telling ---- */

static void tell_begin(fv_choice *choice) {
    const fv_request *request = choice->request;
    const fv_shape *shape = request->shape;
    fv_reply_stream(request->reply, shape->type);
    if (choice->told) return;
    choice->told = true;
    if (shape->begin) fv_reply_event(request->reply, shape->begin(choice));
    if (!request->settings.echo || !shape->piece) return;
    const fv_text *prompt = &choice->prompt->text;
    size_t all = choice->entry_count, own = fv_choice_wants_rows(choice) ? choice->prompt->tokens.count : 0;
    choice->entry_count = own < all ? own : all;
    choice->shown_tokens = choice->tokens.count; /* none of them are the prompt's */
    fv_reply_event(request->reply, shape->piece(choice, prompt->bytes ? prompt->bytes : "", prompt->length));
    choice->shown_entries = choice->entry_count;
    choice->entry_count = all;
    choice->shown_tokens = 0;
}

/* What can be shown goes out; nothing where there is nothing. */
static void tell(fv_choice *choice, bool last) {
    const fv_request *request = choice->request;
    const char *bytes;
    if (!request->settings.stream) return;
    size_t length = fv_answer_text_take(choice->text, last, &bytes);
    tell_begin(choice);
    bool rest =
        last && (choice->shown_entries < choice->entry_count || choice->shown_tokens < fv_choice_passages(choice));
    if (length == 0 && !rest) return;
    fv_reply_event(request->reply, request->shape->piece(choice, bytes, length));
    choice->shown_entries = choice->entry_count;
    choice->shown_tokens = choice->tokens.count;
}

/* ---- going on ---- */

static const float *biased(const fv_settings *settings, const float *logits, float *scratch) {
    if (settings->bias_count == 0) return logits;
    memcpy(scratch, logits, settings->sampler.vocabulary * sizeof *scratch);
    for (size_t i = 0; i < settings->bias_count; i++) scratch[settings->bias[i].token] += settings->bias[i].value;
    return scratch;
}

/* Whether the answer is over without a further token. */
static fv_finish limit_of(const fv_choice *choice, size_t room) {
    const fv_settings *settings = &choice->request->settings;
    if (settings->max_tokens >= 0 && choice->tokens.count >= (uint64_t)settings->max_tokens) return FV_FINISH_LIMIT;
    return choice->tokens.count > 0 && room == 0 ? FV_FINISH_CONTEXT : FV_FINISH_NOT;
}

fv_status fv_choice_next(fv_choice *choice, const float *logits, float *scratch, size_t room) {
    const fv_settings *settings = &choice->request->settings;
    choice->finish = limit_of(choice, SIZE_MAX);
    if (choice->finish != FV_FINISH_NOT) return FV_OK;
    int32_t token = fv_sampler_next(choice->sampler, biased(settings, logits, scratch));
    choice->finish = FV_FINISH_END;
    if (!settings->ignore_end && fv_tokenizer_is_end(tokenizer_of(choice), token)) return FV_OK;
    fv_sampler_accept(choice->sampler, token);
    fv_guesses_add(&choice->guesses, token);
    choice->pending = token;
    fv_status status = fv_tokens_append(&choice->tokens, &token, 1);
    if (status == FV_OK && settings->logprobs >= 0) status = add_entry(choice, token, logits);
    if (status == FV_OK) status = fv_answer_text_add(choice->text, tokenizer_of(choice), token, &choice->stop);
    if (status != FV_OK) return status;
    choice->finish = choice->stop >= 0 ? FV_FINISH_TEXT : limit_of(choice, room);
    if (choice->finish == FV_FINISH_NOT) tell(choice, false);
    return FV_OK;
}

/* ---- ending ---- */

/* The whole request is answered. */
static void finish_request(fv_request *request) {
    size_t prompt = 0, answer = 0, cached = 0;
    for (size_t i = 0; i < request->choice_count; i++) answer += request->choices[i].tokens.count;
    for (size_t i = 0; i < request->choice_count; i += (size_t)request->settings.answers) {
        prompt += request->choices[i].prompt->tokens.count;
        cached += request->choices[i].cached;
    }
    fv_reply_used(request->reply, prompt, cached, answer);
    if (!request->settings.stream) {
        fv_reply_json(request->reply, 200, request->shape->whole(request));
        return;
    }
    if (request->shape->usage && request->settings.include_usage)
        fv_reply_event(request->reply, request->shape->usage(request));
    if (request->shape->last_word)
        fv_reply_write(request->reply, request->shape->last_word, strlen(request->shape->last_word));
    fv_reply_end(request->reply);
}

void fv_choice_end(fv_choice *choice, fv_finish finish) {
    fv_request *request = choice->request;
    choice->finish = finish;
    choice->end_ns = fv_machine_clock_ns();
    request->open_count--;
    if (finish == FV_FINISH_DROPPED) {
        request->failed = true;
        return;
    }
    if (finish == FV_FINISH_TEXT) drop_entries(choice);
    tell(choice, true);
    if (request->settings.stream && request->shape->end) fv_reply_event(request->reply, request->shape->end(choice));
    if (request->open_count == 0 && !request->failed) finish_request(request);
}
