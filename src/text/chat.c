/* chat.c - chat templates of the known families, by hand: a model file is no place to run programs from, and a template
 * in its metadata is one. What a template looks like picks the family and the spacing.
 *
 * How to go on in a conversation: evaluate render(done = 0, open_answer), let the model write, and evaluate the end
 * token with which it stops (that token closes its turn: "<|im_end|>", "<|eot_id|>", "</s>", "<end_of_turn>"). Then add
 * the answer and the next question to the turns and evaluate render(done = turns up to and with the answer): it begins
 * with what the family puts behind the end token. This equals the rendering at once, except where the family trims
 * white space at the ends of an answer: what the model wrote stays as it wrote it. */
#include "fovea/chat.h"
#include "gguf/gguf_text.h"
#include <string.h>

#define TEMPLATE_BYTES \
    ((size_t)256 << 10) /* a longer one is looked at only this far: the search below is quadratic \
                         */
#define LITERAL_BYTES ((size_t)16 << 10)

/* Spacing of one Mistral generation. An answer is: answer_open, content, "</s>", answer_close. */
typedef struct mistral_style {
    const char *open, *close; /* around a question */
    const char *system_gap;   /* behind a system text that shares the first question's brackets; NULL: own brackets */
    const char *system_open;  /* those */
    const char *answer_open, *answer_close;
    bool trim_answer;
} mistral_style;

/* The template in the file, as far as rendering depends on it. */
typedef struct chat_style {
    fv_chat_family family;
    mistral_style mistral;
    fv_gguf_text default_system; /* as it stands in the template: escapes not resolved; bytes NULL: none */
    bool dated_system;           /* Llama 3.1 and later open every conversation with two lines of dates */
} chat_style;

static bool find(fv_gguf_text text, const char *wanted, size_t from, size_t *at) {
    size_t length = strlen(wanted);
    for (size_t i = from; length <= text.length && i <= text.length - length; i++)
        if (memcmp(text.bytes + i, wanted, length) == 0) {
            *at = i;
            return true;
        }
    return false;
}

static bool has(fv_gguf_text text, const char *wanted) {
    size_t at;
    return find(text, wanted, 0, &at);
}

static fv_gguf_text template_of(const fv_gguf *gguf) {
    fv_gguf_text text = {"", 0};
    if (gguf) (void)fv_gguf_string(gguf, "tokenizer.chat_template", &text);
    if (text.length > TEMPLATE_BYTES) text.length = TEMPLATE_BYTES;
    return text;
}

/* --- recognition ------------------------------------------------------------------------------------------------ */

static fv_chat_family family_of(fv_gguf_text text) {
    if (has(text, "<|im_start|>")) /* the other two: Phi 4 and SmolVLM, which only look alike */
        return has(text, "<|im_sep|>") || has(text, "<end_of_utterance>") ? FV_CHAT_NONE : FV_CHAT_CHATML;
    if (has(text, "[INST]")) return has(text, "<<SYS>>") ? FV_CHAT_NONE : FV_CHAT_MISTRAL; /* Llama 2 has <<SYS>> */
    if (has(text, "<start_of_turn>")) return FV_CHAT_GEMMA;
    if (has(text, "<|start_header_id|>") && has(text, "<|end_header_id|>")) return FV_CHAT_LLAMA3;
    return FV_CHAT_NONE;
}

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

fv_status fv_chat_family_detect(const fv_gguf *gguf, fv_chat_family *family, fv_message *message) {
    if (!fv_gguf_entry_find(gguf, "tokenizer.chat_template")) {
        *family = FV_CHAT_NONE;
        return FV_OK;
    }
    fv_gguf_text text;
    fv_status status = fv_gguf_take_string(gguf, "tokenizer.chat_template", &text, message);
    if (status != FV_OK) return status;
    fv_chat_family found = family_of(template_of(gguf));
    if (found == FV_CHAT_NONE)
        return fv_message_set(message, FV_ERROR_UNSUPPORTED,
                              "%s: its chat template is of no known family; name one of:%s", fv_gguf_path(gguf),
                              FAMILY_NAMES);
    *family = found;
    return FV_OK;
}

/* Whether a string literal ends within text[begin..end). */
static bool has_quote(fv_gguf_text text, size_t begin, size_t end, char quote) {
    for (size_t i = begin; i < end; i++) {
        if (text.bytes[i] == quote) return true;
        if (text.bytes[i] == '\\') i++; /* an escaped one is part of it */
    }
    return false;
}

/* The turn that ChatML templates insert when no system turn is given stands in them as one string literal:
 * '<|im_start|>system\n ... <|im_end|>...'. A quote in between means that it is put together from parts. */
static fv_gguf_text find_default_system(fv_gguf_text text) {
    static const char OPEN[] = "<|im_start|>system";
    size_t at = 0, end = 0;
    for (size_t from = 0; find(text, OPEN, from, &at); from = at + 1) {
        size_t begin = at + sizeof OPEN - 1;
        fv_gguf_text near = {text.bytes, text.length - begin < LITERAL_BYTES ? text.length : begin + LITERAL_BYTES};
        if (at == 0 || begin == text.length || !find(near, "<|im_end|>", begin, &end)) continue;
        char quote = text.bytes[at - 1];
        if ((quote != '\'' && quote != '"') || has_quote(text, begin, end, quote)) continue;
        if (text.bytes[begin] == '\n')
            begin++;
        else if (end - begin >= 2 && memcmp(text.bytes + begin, "\\n", 2) == 0)
            begin += 2;
        else
            continue;
        return (fv_gguf_text){text.bytes + begin, end - begin};
    }
    return (fv_gguf_text){NULL, 0};
}

static mistral_style mistral_style_of(fv_gguf_text text, const fv_gguf *gguf) {
    static const mistral_style first = {" [INST] ", " [/INST]", "\n\n", NULL, " ", "", false}; /* v1 */
    static const mistral_style third = {"[INST] ", "[/INST]", "\n\n", NULL, " ", "", true};    /* v3 */
    static const mistral_style third_tekken = {"[INST]", "[/INST]", "\n\n", NULL, "", "", false};
    static const mistral_style seventh = {"[INST] ", "[/INST]", NULL, "[SYSTEM_PROMPT] ", " ", "", false};
    static const mistral_style seventh_tekken = {"[INST]", "[/INST]", NULL, "[SYSTEM_PROMPT]", "", "", false};
    static const mistral_style before_v1 = {"[INST] ", " [/INST]", "\n", NULL,
                                            "",        "",         false}; /* 7B-Instruct-v0.1/0.2 */
    if (has(text, "[SYSTEM_PROMPT]"))
        return has(text, "[SYSTEM_PROMPT] ") || has(text, "[INST] ") ? seventh : seventh_tekken;
    if (has(text, "[AVAILABLE_TOOLS]") || has(text, "' [INST] ' + system_message"))
        return has(text, " [INST]") ? first : has(text, "\"[INST]\"") ? third_tekken : third;
    if (has(text, "[INST]")) {
        mistral_style style = before_v1;
        if (has(text, "eos_token + ' '") || has(text, "eos_token + \" \"")) style.answer_close = " ";
        return style;
    }
    fv_gguf_text tokenizer = {"", 0}; /* no template to go by: the newest spacing of that kind of vocabulary */
    if (gguf) (void)fv_gguf_string(gguf, "tokenizer.ggml.model", &tokenizer);
    return fv_gguf_text_is(tokenizer, "gpt2") ? third_tekken : third;
}

static chat_style style_of(fv_chat_family family, const fv_gguf *gguf) {
    fv_gguf_text text = template_of(gguf);
    chat_style style = {.family = family};
    if (family == FV_CHAT_MISTRAL) style.mistral = mistral_style_of(text, gguf);
    if (family == FV_CHAT_CHATML) style.default_system = find_default_system(text);
    if (family == FV_CHAT_LLAMA3) style.dated_system = has(text, "Cutting Knowledge Date: December 2023");
    return style;
}

/* --- output ----------------------------------------------------------------------------------------------------- */

/* Text that is dropped while it belongs to turns that were rendered before. The first failure sticks. */
typedef struct chat_out {
    fv_text *text;
    bool muted;
    fv_status status;
} chat_out;

static void put(chat_out *out, const char *bytes, size_t length) {
    if (out->muted || out->status != FV_OK || length == 0) return;
    out->status = fv_text_append(out->text, bytes, length);
}

static void put_string(chat_out *out, const char *string) { put(out, string, strlen(string)); }

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static void put_trimmed(chat_out *out, const char *string) {
    size_t length = strlen(string);
    while (length && is_space(string[length - 1])) length--;
    while (length && is_space(*string)) string++, length--;
    put(out, string, length);
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

/* --- the families ------------------------------------------------------------------------------------------------ */

typedef enum chat_role { ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT, ROLE_UNKNOWN } chat_role;

static chat_role role_of(const fv_chat_turn *turn) {
    if (!turn->role || !turn->content) return ROLE_UNKNOWN;
    if (strcmp(turn->role, "system") == 0) return ROLE_SYSTEM;
    if (strcmp(turn->role, "user") == 0) return ROLE_USER;
    return strcmp(turn->role, "assistant") == 0 ? ROLE_ASSISTANT : ROLE_UNKNOWN;
}

/* All but ChatML and Llama 3 can only say: at most one system text, then question and answer in turn. */
static fv_status check_turns(fv_chat_family family, const fv_chat_turn *turns, size_t count, bool open_answer) {
    bool strict = family == FV_CHAT_MISTRAL || family == FV_CHAT_GEMMA;
    chat_role expected = ROLE_USER;
    for (size_t i = 0; i < count; i++) {
        chat_role role = role_of(&turns[i]);
        if (role == ROLE_UNKNOWN) return FV_ERROR_ARGUMENT;
        if (!strict || (i == 0 && role == ROLE_SYSTEM)) continue;
        if (role != expected) return FV_ERROR_ARGUMENT;
        expected = role == ROLE_USER ? ROLE_ASSISTANT : ROLE_USER;
    }
    return strict && open_answer && expected != ROLE_ASSISTANT ? FV_ERROR_ARGUMENT : FV_OK;
}

/* One turn. `first_system` is the conversation's leading system text, NULL if there is none. */
typedef struct chat_turn_view {
    const fv_chat_turn *turn;
    size_t index;
    const char *first_system;
} chat_turn_view;

static void chatml_turn(chat_out *out, const chat_style *style, const chat_turn_view *view) {
    if (view->index == 0 && !view->first_system && style->default_system.bytes) {
        put_string(out, "<|im_start|>system\n");
        put_literal(out, style->default_system);
        put_string(out, "<|im_end|>\n");
    }
    put_string(out, "<|im_start|>");
    put_string(out, view->turn->role);
    put_string(out, "\n");
    put_string(out, view->turn->content);
    put_string(out, "<|im_end|>");
}

/* The date of the day is not used: the same question is to give the same tokens tomorrow. This one is the template's.
 */
static void llama3_system(chat_out *out, const chat_style *style, const char *content) {
    put_string(out, "<|start_header_id|>system<|end_header_id|>\n\n");
    if (style->dated_system) put_string(out, "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n");
    put_trimmed(out, content);
    put_string(out, "<|eot_id|>");
}

static void llama3_turn(chat_out *out, const chat_style *style, const chat_turn_view *view) {
    if (view->index == 0 && view->first_system) {
        llama3_system(out, style, view->first_system);
        return;
    }
    if (view->index == 0 && style->dated_system) llama3_system(out, style, "");
    put_string(out, "<|start_header_id|>");
    put_string(out, view->turn->role);
    put_string(out, "<|end_header_id|>\n\n");
    put_trimmed(out, view->turn->content);
    put_string(out, "<|eot_id|>");
}

static void mistral_turn(chat_out *out, const chat_style *style, const chat_turn_view *view) {
    const mistral_style *m = &style->mistral;
    chat_role role = role_of(view->turn);
    if (role == ROLE_SYSTEM && m->system_open) {
        put_string(out, m->system_open);
        put_string(out, view->turn->content);
        put_string(out, "[/SYSTEM_PROMPT]");
    } else if (role == ROLE_USER) {
        put_string(out, m->open);
        if (view->index == 1 && view->first_system && m->system_gap) {
            put_string(out, view->first_system);
            put_string(out, m->system_gap);
        }
        put_string(out, view->turn->content);
        put_string(out, m->close);
    } else if (role == ROLE_ASSISTANT) {
        put_string(out, m->answer_open);
        if (m->trim_answer)
            put_trimmed(out, view->turn->content);
        else
            put_string(out, view->turn->content);
        put_string(out, "</s>");
    }
}

static void gemma_turn(chat_out *out, const chat_turn_view *view) {
    chat_role role = role_of(view->turn);
    if (role == ROLE_SYSTEM) return; /* it goes in front of the first question */
    put_string(out, role == ROLE_USER ? "<start_of_turn>user\n" : "<start_of_turn>model\n");
    if (view->index == 1 && view->first_system) {
        put_string(out, view->first_system);
        put_string(out, "\n\n");
    }
    put_trimmed(out, view->turn->content);
    put_string(out, "<end_of_turn>");
}

static void put_turn(chat_out *out, const chat_style *style, const chat_turn_view *view) {
    switch (style->family) {
    case FV_CHAT_CHATML:
        chatml_turn(out, style, view);
        break;
    case FV_CHAT_LLAMA3:
        llama3_turn(out, style, view);
        break;
    case FV_CHAT_MISTRAL:
        mistral_turn(out, style, view);
        break;
    case FV_CHAT_GEMMA:
        gemma_turn(out, view);
        break;
    case FV_CHAT_NONE:
    case FV_CHAT_COUNT:
        break;
    }
}

/* What stands behind the end token of a turn. */
static void put_turn_tail(chat_out *out, const chat_style *style, const fv_chat_turn *turn) {
    chat_role role = role_of(turn);
    if (style->family == FV_CHAT_CHATML || (style->family == FV_CHAT_GEMMA && role != ROLE_SYSTEM))
        put_string(out, "\n");
    if (style->family == FV_CHAT_MISTRAL && role == ROLE_ASSISTANT) put_string(out, style->mistral.answer_close);
}

static void put_answer_opening(chat_out *out, fv_chat_family family) {
    if (family == FV_CHAT_CHATML) put_string(out, "<|im_start|>assistant\n");
    if (family == FV_CHAT_LLAMA3) put_string(out, "<|start_header_id|>assistant<|end_header_id|>\n\n");
    if (family == FV_CHAT_GEMMA) put_string(out, "<start_of_turn>model\n");
}

/* A turn that was done is muted; only the tail of an answer is still to come, for nobody evaluated it. */
static void put_turns(chat_out *out, const chat_style *style, const fv_chat_turn *turns, size_t count, size_t done) {
    const char *first_system = count && role_of(&turns[0]) == ROLE_SYSTEM ? turns[0].content : NULL;
    for (size_t i = done ? done - 1 : 0; i < count; i++) {
        chat_turn_view view = {&turns[i], i, first_system};
        out->muted = i < done;
        put_turn(out, style, &view);
        out->muted = i < done && role_of(&turns[i]) != ROLE_ASSISTANT;
        put_turn_tail(out, style, &turns[i]);
    }
    out->muted = false;
}

fv_status fv_chat_render(fv_chat_family family, const fv_gguf *gguf, const fv_chat_turn *turns, size_t count,
                         size_t done, bool open_answer, fv_text *text) {
    if (family <= FV_CHAT_NONE || family >= FV_CHAT_COUNT || !text || (count && !turns) || done > count)
        return FV_ERROR_ARGUMENT;
    fv_status status = check_turns(family, turns, count, open_answer);
    if (status != FV_OK) return status;
    chat_style style = style_of(family, gguf);
    size_t before = text->length;
    chat_out out = {.text = text, .status = FV_OK};
    put_turns(&out, &style, turns, count, done);
    if (open_answer) put_answer_opening(&out, family);
    if (out.status != FV_OK) {
        text->length = before;
        if (text->bytes) text->bytes[before] = 0;
    }
    return out.status;
}
