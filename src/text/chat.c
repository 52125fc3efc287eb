/* chat.c - renders conversations in the spacing that chat_style.c reads out of a template: a model file is no place to
 * run programs from, and a template in its metadata is one.
 *
 * How to go on in a conversation: evaluate render(done = 0, open_answer), let the model write, and evaluate the end
 * token with which it stops (that token closes its turn: "<|im_end|>", "<|eot_id|>", "</s>", "<end_of_turn>"). Then add
 * the answer and the next question to the turns and evaluate render(done = turns up to and with the answer): it begins
 * with what the family puts after the end token. This equals the rendering at once, except where the family trims
 * white space at the ends of an answer: what the model wrote stays as it wrote it. */
#include "fovea/chat.h"
#include "text/chat_style.h"
#include <string.h>

/* --- names and recognition -------------------------------------------------------------------------------------- */

#define CHAT_NAME(NAME, name) " " name
static const char FAMILY_NAMES[] = FV_CHAT_LIST(CHAT_NAME);
#undef CHAT_NAME

fv_status fv_chat_family_from_name(const char *name, fv_chat_family *family, fv_message *message) {
#define CHAT_CASE(NAME, text) \
    if (name && strcmp(name, text) == 0) { \
        *family = FV_CHAT_##NAME; \
        return FV_OK; \
    }
    FV_CHAT_LIST(CHAT_CASE)
#undef CHAT_CASE
    return fv_message_set(message, FV_ERROR_ARGUMENT, "chat template %.64s is unknown; known:%s", name ? name : "",
                          FAMILY_NAMES);
}

/* With FV_OK what a person wants to know all the same. */
static fv_status remark(const fv_gguf *gguf, fv_chat_family family, fv_message *message) {
    fv_chat_style style;
    fv_chat_style_read(&style, family, gguf);
    if (!style.leaves_out_system) return fv_message_set(message, FV_OK, "%s", "");
    return fv_message_set(
        message, FV_OK,
        "%s: the system text of its chat template has the date of the day in it and is left out; give "
        "a system text of your own if you want one",
        fv_gguf_path(gguf));
}

fv_status fv_chat_family_detect(const fv_gguf *gguf, fv_chat_family *family, fv_message *message) {
    if (!fv_gguf_entry_find(gguf, "tokenizer.chat_template")) {
        *family = FV_CHAT_NONE;
        return fv_message_set(message, FV_OK, "%s", "");
    }
    fv_gguf_text text;
    fv_status status = fv_gguf_take_string(gguf, "tokenizer.chat_template", &text, message);
    if (status != FV_OK) return status;
    fv_chat_family found = fv_chat_family_of(fv_chat_template(gguf));
    if (found == FV_CHAT_NONE)
        return fv_message_set(message, FV_ERROR_UNSUPPORTED,
                              "%s: its chat template is of no known family; name one of:%s", fv_gguf_path(gguf),
                              FAMILY_NAMES);
    *family = found;
    return remark(gguf, found, message);
}

/* --- output ----------------------------------------------------------------------------------------------------- */

/* Text that is dropped while it belongs to turns that were rendered before. The first failure sticks. */
typedef struct chat_out {
    const fv_chat_style *style;
    fv_text *text;
    fv_text_spans *contents; /* NULL: nobody asks */
    uint32_t day;
    bool muted;
    fv_status status;
} chat_out;

static void put(chat_out *out, const char *bytes, size_t length) {
    if (out->muted || out->status != FV_OK || length == 0) return;
    out->status = fv_text_append(out->text, bytes, length);
}

/* Marks of the family; the file's end and beginning tokens where they are named. */
static void put_marks(chat_out *out, const char *marks) {
    while (*marks) {
        size_t plain = strcspn(marks, FV_CHAT_EOS FV_CHAT_BOS);
        put(out, marks, plain);
        marks += plain;
        fv_gguf_text token = *marks == FV_CHAT_EOS[0] ? out->style->eos : out->style->bos;
        if (*marks) put(out, token.bytes, token.length), marks++;
    }
}

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* What somebody wrote. */
static void put_content(chat_out *out, const char *string, bool trimmed) {
    size_t length = strlen(string), before = out->text->length;
    while (trimmed && length && is_space(string[length - 1])) length--;
    while (trimmed && length && is_space(*string)) string++, length--;
    put(out, string, length);
    if (out->status == FV_OK && out->contents && out->text->length > before)
        out->status = fv_text_spans_append(out->contents, before, out->text->length);
}

/* A piece of a template's string literal; \n, \t and escaped characters are resolved. */
static void put_literal(chat_out *out, fv_gguf_text literal) {
    for (size_t i = 0; i < literal.length; i++) {
        char c = literal.bytes[i];
        if (c == '\\' && i + 1 < literal.length) {
            c = literal.bytes[++i];
            if (c == 'n') c = '\n';
            if (c == 't') c = '\t';
        }
        put(out, &c, 1);
    }
}

/* --- turns ------------------------------------------------------------------------------------------------------- */

typedef enum chat_role { ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT, ROLE_UNKNOWN } chat_role;

static chat_role role_of(const fv_chat_turn *turn) {
    if (!turn->role || !turn->content) return ROLE_UNKNOWN;
    if (strcmp(turn->role, "system") == 0) return ROLE_SYSTEM;
    if (strcmp(turn->role, "user") == 0) return ROLE_USER;
    return strcmp(turn->role, "assistant") == 0 ? ROLE_ASSISTANT : ROLE_UNKNOWN;
}

/* What the family can't express: with strict marks all but at most one system text, then question and answer in turn.
 */
static fv_status check_turns(const fv_chat_marks *marks, const fv_chat_turn *turns, size_t count, bool open_answer) {
    chat_role expected = ROLE_USER;
    for (size_t i = 0; i < count; i++) {
        chat_role role = role_of(&turns[i]);
        if (role == ROLE_UNKNOWN) return FV_ERROR_ARGUMENT;
        if (!marks->strict || (i == 0 && role == ROLE_SYSTEM)) continue;
        if (role != expected) return FV_ERROR_ARGUMENT;
        expected = role == ROLE_USER ? ROLE_ASSISTANT : ROLE_USER;
    }
    return marks->strict && open_answer && expected != ROLE_ASSISTANT ? FV_ERROR_ARGUMENT : FV_OK;
}

static bool has_default_system(const chat_out *out) {
    return out->style->default_system.bytes || (out->style->part_count && out->day);
}

static void put_dated_system(chat_out *out) {
    char date[FV_CHAT_DATE_BYTES];
    for (size_t i = 0; out->day && i < out->style->part_count; i++) {
        const fv_chat_part *part = &out->style->parts[i];
        if (part->is_date)
            put(out, date, fv_chat_date(part->text, out->day, date));
        else
            put_literal(out, part->text);
    }
}

/* A system text: what was given, or without it the template's own. */
static void put_system_text(chat_out *out, const char *content) {
    if (content)
        put_content(out, content, out->style->marks.trims_system);
    else if (out->style->default_system.bytes)
        put_literal(out, out->style->default_system);
    else
        put_dated_system(out);
}

/* Brackets of its own, before the first turn if that is none (content NULL), or in its place. */
static void put_system(chat_out *out, const char *content) {
    const fv_chat_style *style = out->style;
    bool any = content || has_default_system(out) || style->dated_system;
    if (!any || !style->marks.system_open) return;
    put_marks(out, style->marks.system_open);
    if (style->dated_system) put_marks(out, style->dated_system);
    put_system_text(out, content);
    put_marks(out, style->marks.system_close);
}

static void put_question(chat_out *out, const char *content, bool first, const char *system) {
    const fv_chat_marks *marks = &out->style->marks;
    put_marks(out, marks->user_open);
    if (first && !marks->system_open && (system || has_default_system(out))) {
        put_marks(out, marks->shared_open);
        put_system_text(out, system);
        put_marks(out, marks->shared_close);
    }
    put_content(out, content, marks->trims_user);
    put_marks(out, marks->user_close);
}

/* `system` is the conversation's leading system text, NULL if there is none. */
static void put_turn(chat_out *out, const fv_chat_turn *turn, size_t index, const char *system) {
    const fv_chat_marks *marks = &out->style->marks;
    chat_role role = role_of(turn);
    if (index == 0 && !system) put_system(out, NULL);
    if (role == ROLE_SYSTEM) put_system(out, turn->content);
    if (role == ROLE_USER) put_question(out, turn->content, index == (system ? 1u : 0u), system);
    if (role != ROLE_ASSISTANT) return;
    put_marks(out, marks->answer_open);
    put_content(out, turn->content, marks->trims_answer);
    put_marks(out, marks->answer_close);
}

/* A turn that was done is muted; only the tail of an answer is still to come, for nobody evaluated it. */
static void put_turns(chat_out *out, const fv_chat_turn *turns, size_t count, size_t done) {
    const char *system = count && role_of(&turns[0]) == ROLE_SYSTEM ? turns[0].content : NULL;
    out->muted = done > 0;
    if (out->style->adds_bos) put_marks(out, FV_CHAT_BOS);
    for (size_t i = done ? done - 1 : 0; i < count; i++) {
        out->muted = i < done;
        put_turn(out, &turns[i], i, system);
        out->muted = false;
        if (role_of(&turns[i]) == ROLE_ASSISTANT) put_marks(out, out->style->marks.answer_tail);
    }
    out->muted = false;
}

static void put_opening(chat_out *out, uint32_t reasoning) {
    put_marks(out, out->style->marks.opening);
    if (reasoning == FV_CHAT_REASONING_AUTO && out->style->thinking.bytes) put_literal(out, out->style->thinking);
    if (reasoning == FV_CHAT_REASONING_OFF) put_literal(out, out->style->no_thinking);
}

fv_status fv_chat_render_format(const fv_chat_format *format, const fv_chat_turn *turns, size_t count, size_t done,
                                bool open_answer, fv_text *text, fv_text_spans *contents) {
    if (!format || format->family <= FV_CHAT_NONE || format->family >= FV_CHAT_COUNT || !text || (count && !turns) ||
        done > count || format->reasoning >= FV_CHAT_REASONING_COUNT)
        return FV_ERROR_ARGUMENT;
    fv_chat_style style;
    fv_chat_style_read(&style, (fv_chat_family)format->family, format->gguf);
    fv_status status = check_turns(&style.marks, turns, count, open_answer);
    if (status != FV_OK) return status;
    if (format->reasoning == FV_CHAT_REASONING_OFF && !style.no_thinking.bytes) return FV_ERROR_UNSUPPORTED;
    size_t before = text->length, spans_before = contents ? contents->count : 0;
    chat_out out = {.style = &style, .text = text, .contents = contents, .day = format->day, .status = FV_OK};
    put_turns(&out, turns, count, done);
    if (open_answer) put_opening(&out, format->reasoning);
    if (out.status != FV_OK) {
        text->length = before;
        if (text->bytes) text->bytes[before] = 0;
        if (contents) contents->count = spans_before;
    }
    return out.status;
}

fv_status fv_chat_render(fv_chat_family family, const fv_gguf *gguf, const fv_chat_turn *turns, size_t count,
                         size_t done, bool open_answer, fv_text *text) {
    const fv_chat_format format = {.gguf = gguf, .family = (uint32_t)family};
    return fv_chat_render_format(&format, turns, count, done, open_answer, text, NULL);
}
