/* conversation.c - keeps the turns and cuts a step's text out of the rendering of the whole conversation.
 * Templates trim what people and models write; the tokens in the cache are untrimmed. So the cut is made in a rendering
 * where the last answer is one letter that no template touches. */
#include "fovea/conversation.h"
#include "fovea/session_file.h"
#include "llm/template_turns.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const roles[] = {"system", "user", "assistant"};

struct fv_conversation {
    fv_chat_format format;
    fv_template *made;   /* run in place of a family's spacing; NULL: it is not */
    fv_message *fault;   /* of it */
    fv_chat_turn *turns; /* roles are ours and static */
    char **contents;     /* of the turns; owned */
    size_t count, capacity;
    bool resumed; /* the context has begun already */
    bool in_turn; /* within a turn of the user, which the next one completes */
};

fv_status fv_conversation_open(fv_conversation **conversation, fv_chat_family family, const fv_gguf *gguf) {
    if (!conversation || !gguf || family <= FV_CHAT_NONE || family >= FV_CHAT_COUNT) return FV_ERROR_ARGUMENT;
    fv_conversation *made = calloc(1, sizeof *made);
    if (!made) return FV_ERROR_MEMORY;
    made->format = (fv_chat_format){.gguf = gguf, .family = (uint32_t)family, .day = fv_chat_today()};
    *conversation = made;
    return FV_OK;
}

fv_status fv_conversation_open_template(fv_conversation **conversation, const fv_gguf *gguf, const char *text,
                                        fv_message *message) {
    fv_gguf_text own = {text, text ? strlen(text) : 0};
    fv_conversation *opened = NULL;
    if (!conversation || !gguf || (!text && !fv_gguf_string(gguf, "tokenizer.chat_template", &own)))
        return fv_message_set(message, FV_ERROR_ARGUMENT, "there is no chat template");
    fv_status status = fv_conversation_open(&opened, FV_CHAT_CHATML, gguf); /* a family of no account */
    if (status != FV_OK) return fv_message_set(message, status, "no memory for the conversation");
    opened->fault = calloc(1, sizeof *opened->fault);
    if (opened->fault)
        status = fv_template_open(&opened->made, own.bytes, own.length, message);
    else
        status = fv_message_set(message, FV_ERROR_MEMORY, "no memory for the conversation");
    if (status == FV_OK)
        *conversation = opened;
    else
        fv_conversation_close(opened);
    return status;
}

const char *fv_conversation_explain(const fv_conversation *conversation) {
    return conversation->fault ? conversation->fault->text : "";
}

void fv_conversation_close(fv_conversation *conversation) {
    if (!conversation) return;
    while (conversation->count > 0) fv_conversation_drop(conversation);
    free(conversation->turns);
    free(conversation->contents);
    free(conversation->fault);
    fv_template_close(conversation->made);
    free(conversation);
}

static fv_status grow(fv_conversation *conversation) {
    if (conversation->count < conversation->capacity) return FV_OK;
    size_t capacity = conversation->capacity ? 2 * conversation->capacity : 8;
    fv_chat_turn *turns = realloc(conversation->turns, capacity * sizeof *turns);
    if (!turns) return FV_ERROR_MEMORY;
    conversation->turns = turns;
    char **contents = realloc(conversation->contents, capacity * sizeof *contents);
    if (!contents) return FV_ERROR_MEMORY;
    conversation->contents = contents;
    conversation->capacity = capacity;
    return FV_OK;
}

fv_status fv_conversation_add(fv_conversation *conversation, const char *role, const char *content) {
    const char *known = NULL;
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
        if (strcmp(role, roles[i]) == 0) known = roles[i];
    if (!known) return FV_ERROR_ARGUMENT;
    if (grow(conversation) != FV_OK) return FV_ERROR_MEMORY;
    char *copy = strdup(content);
    if (!copy) return FV_ERROR_MEMORY;
    conversation->contents[conversation->count] = copy;
    conversation->turns[conversation->count++] = (fv_chat_turn){known, copy};
    return FV_OK;
}

void fv_conversation_drop(fv_conversation *conversation) {
    if (conversation->count > 0) free(conversation->contents[--conversation->count]);
}

/* Index of the last answer; count if there is none. */
static size_t last_answer(const fv_conversation *conversation) {
    for (size_t i = conversation->count; i > 0; i--)
        if (strcmp(conversation->turns[i - 1].role, "assistant") == 0) return i - 1;
    return conversation->count;
}

bool fv_conversation_is_new(const fv_conversation *conversation) {
    return last_answer(conversation) == conversation->count;
}

fv_status fv_conversation_set_reasoning(fv_conversation *conversation, fv_chat_reasoning reasoning) {
    const fv_chat_turn question = {"user", ""};
    fv_chat_format format = conversation->format;
    fv_text text = {0};
    format.reasoning = (uint32_t)reasoning;
    if (conversation->made && reasoning < FV_CHAT_REASONING_COUNT) {
        bool has_switch = fv_template_names(conversation->made, "enable_thinking");
        if (reasoning == FV_CHAT_REASONING_OFF && !has_switch) return FV_ERROR_UNSUPPORTED;
        conversation->format = format;
        return FV_OK;
    }
    fv_status status = fv_chat_render_format(&format, &question, 1, 0, true, &text, NULL);
    if (status == FV_OK) conversation->format = format;
    fv_text_free(&text);
    return status;
}

static fv_status render(const fv_conversation *conversation, size_t count, uint32_t reasoning, fv_text *text,
                        fv_text_spans *contents) {
    fv_chat_format format = conversation->format;
    format.reasoning = reasoning;
    if (conversation->made) /* without a thought: without anything that opens the answer */
        return fv_template_turns_render(conversation->made, format.gguf, conversation->turns, count,
                                        reasoning != FV_CHAT_REASONING_NONE, (fv_chat_reasoning)reasoning, text,
                                        contents, conversation->fault);
    return fv_chat_render_format(&format, conversation->turns, count, 0, true, text, contents);
}

/* Where the answer's letter stands in `whole`, which begins as what was evaluated when the answer began: only white
 * space can stand before it, some families open an answer so. NULL: a template that rewrites what was said. */
static const char *find_letter(const fv_conversation *conversation, const fv_text *before, const fv_text *whole,
                               const fv_text_spans *spans) {
    bool begins = whole->length > before->length && memcmp(whole->bytes, before->bytes, before->length) == 0;
    for (size_t i = 0; begins && conversation->made && i < spans->count; i++) {
        const fv_text_span *span = &spans->spans[i]; /* a template's own marks may have the letter, too */
        if (span->begin < before->length) continue;
        return span->end == span->begin + 1 && whole->bytes[span->begin] == 'X' ? whole->bytes + span->begin : NULL;
    }
    return begins && !conversation->made ? memchr(whole->bytes + before->length, 'X', whole->length - before->length)
                                         : NULL;
}

/* The part of `whole` from `cut` on, with what of `spans` lies in it. */
static fv_status append_rest(const fv_text *whole, const fv_text_spans *spans, size_t cut, fv_text *text,
                             fv_text_spans *contents) {
    size_t place = text->length;
    fv_status status = fv_text_append(text, whole->bytes + cut, whole->length - cut);
    for (size_t i = 0; contents && i < spans->count && status == FV_OK; i++)
        if (spans->spans[i].begin >= cut)
            status =
                fv_text_spans_append(contents, spans->spans[i].begin - cut + place, spans->spans[i].end - cut + place);
    return status;
}

/* After an answer: what closes it, and what came since. */
static fv_status render_rest(const fv_conversation *conversation, size_t answer, fv_text *text,
                             fv_text_spans *contents) {
    fv_text before = {0}, whole = {0};
    fv_text_spans spans = {0};
    const char *content = conversation->turns[answer].content, *letter = NULL;
    fv_status status = render(conversation, answer, FV_CHAT_REASONING_NONE, &before, NULL);
    conversation->turns[answer].content = "X";
    if (status == FV_OK)
        status = render(conversation, conversation->count, conversation->format.reasoning, &whole, &spans);
    conversation->turns[answer].content = content;
    if (status == FV_OK) letter = find_letter(conversation, &before, &whole, &spans);
    if (status == FV_OK && !letter) status = FV_ERROR_UNSUPPORTED;
    if (status == FV_OK) status = append_rest(&whole, &spans, (size_t)(letter + 1 - whole.bytes), text, contents);
    fv_text_free(&before);
    fv_text_free(&whole);
    fv_text_spans_free(&spans);
    return status;
}

/* A content that ends, without white space, at an X, or begins with one and an empty line; to be freed. So it is cut
 * between a letter and white space, where no tokenizer sees another text for what comes after. */
static char *content_marked(const char *content, bool at_end) {
    size_t length = strlen(content);
    char *marked = malloc(length + 4);
    while (at_end && length > 0 && strchr(" \t\r\n", content[length - 1])) length--;
    if (marked)
        snprintf(marked, length + 4, "%s%.*s%s", at_end ? "" : "X\n\n", (int)length, content, at_end ? "X" : "");
    return marked;
}

/* The whole with the last turn's content marked, and where the mark stands. */
static fv_status render_marked(const fv_conversation *conversation, bool at_end, fv_text *whole, fv_text_spans *spans,
                               size_t *mark) {
    if (conversation->count == 0) return FV_ERROR_ARGUMENT;
    fv_chat_turn *turn = &conversation->turns[conversation->count - 1];
    const char *content = turn->content;
    char *marked = content_marked(content, at_end);
    if (!marked) return FV_ERROR_MEMORY;
    turn->content = marked;
    fv_status status = render(conversation, conversation->count, conversation->format.reasoning, whole, spans);
    turn->content = content;
    free(marked);
    if (status != FV_OK) return status;
    if (spans->count == 0) return FV_ERROR_UNSUPPORTED;
    const fv_text_span *span = &spans->spans[spans->count - 1];
    if (span->end <= span->begin) return FV_ERROR_UNSUPPORTED;
    *mark = at_end ? span->end - 1 : span->begin;
    return whole->bytes[*mark] == 'X' ? FV_OK : FV_ERROR_UNSUPPORTED; /* a template that rewrites what was said */
}

/* The turn that completes one that has begun, and the opening of its answer. */
static fv_status render_turn_end(const fv_conversation *conversation, fv_text *text, fv_text_spans *contents) {
    fv_text whole = {0};
    fv_text_spans spans = {0};
    size_t mark = 0;
    fv_status status = render_marked(conversation, false, &whole, &spans, &mark);
    if (status == FV_OK) spans.spans[spans.count - 1].begin = mark + 1;
    if (status == FV_OK) status = append_rest(&whole, &spans, mark + 1, text, contents);
    fv_text_free(&whole);
    fv_text_spans_free(&spans);
    return status;
}

fv_status fv_conversation_encode_document(const fv_conversation *conversation, const fv_tokenizer *tokenizer,
                                          fv_tokens *tokens) {
    fv_text whole = {0};
    fv_text_spans spans = {0};
    size_t mark = 0;
    fv_status status = render_marked(conversation, true, &whole, &spans, &mark);
    if (status == FV_OK) spans.spans[spans.count - 1].end = mark;
    bool begun = conversation->made && fv_template_turns_begin(conversation->format.gguf, &whole);
    if (status == FV_OK)
        status = fv_tokenizer_encode_spans(tokenizer, whole.bytes, mark, &spans,
                                           FV_TOKENIZE_PARSE_SPECIAL | (begun ? 0u : FV_TOKENIZE_ADD_SPECIAL), tokens);
    fv_text_free(&whole);
    fv_text_spans_free(&spans);
    return status;
}

fv_status fv_conversation_resume(fv_conversation *conversation, uint32_t end) {
    if (!conversation || conversation->count > 0 || end > FV_SESSION_END_ANSWER) return FV_ERROR_ARGUMENT;
    fv_status status = FV_OK;
    if (end == FV_SESSION_END_ANSWER) status = fv_conversation_add(conversation, "user", "X");
    if (status == FV_OK && end == FV_SESSION_END_ANSWER) status = fv_conversation_add(conversation, "assistant", "X");
    conversation->resumed = true;
    conversation->in_turn = end == FV_SESSION_END_TURN;
    return status;
}

static fv_status render_next(const fv_conversation *conversation, fv_text *text, fv_text_spans *contents) {
    size_t answer = last_answer(conversation);
    if (answer == conversation->count && conversation->in_turn) return render_turn_end(conversation, text, contents);
    if (answer == conversation->count)
        return render(conversation, conversation->count, conversation->format.reasoning, text, contents);
    return render_rest(conversation, answer, text, contents);
}

fv_status fv_conversation_render(const fv_conversation *conversation, fv_text *text) {
    return render_next(conversation, text, NULL);
}

fv_status fv_conversation_encode(const fv_conversation *conversation, const fv_tokenizer *tokenizer,
                                 bool parse_contents, fv_tokens *tokens) {
    fv_text text = {0};
    fv_text_spans contents = {0};
    uint32_t flags = FV_TOKENIZE_PARSE_SPECIAL;
    if (fv_conversation_is_new(conversation) && !conversation->resumed) flags |= FV_TOKENIZE_ADD_SPECIAL;
    fv_status status = render_next(conversation, &text, &contents);
    if (conversation->made && fv_template_turns_begin(conversation->format.gguf, &text))
        flags &= ~(uint32_t)FV_TOKENIZE_ADD_SPECIAL; /* the template wrote the beginning token */
    if (status == FV_OK)
        status = fv_tokenizer_encode_spans(tokenizer, text.bytes ? text.bytes : "", text.length,
                                           parse_contents ? NULL : &contents, flags, tokens);
    fv_text_free(&text);
    fv_text_spans_free(&contents);
    return status;
}
