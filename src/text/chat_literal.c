#include "text/chat_literal.h"
#include <string.h>

#define LITERAL_BYTES ((size_t)16 << 10) /* a longer one is none */

static const fv_gguf_text none = {NULL, 0};

bool fv_chat_find(fv_gguf_text text, const char *wanted, size_t from, size_t *at) {
    size_t length = strlen(wanted);
    while (from <= text.length && length <= text.length - from) {
        const char *next = memchr(text.bytes + from, wanted[0], text.length - length + 1 - from);
        if (!next) return false;
        from = (size_t)(next - text.bytes);
        if (memcmp(next, wanted, length) == 0) {
            *at = from;
            return true;
        }
        from++;
    }
    return false;
}

bool fv_chat_has(fv_gguf_text text, const char *wanted) {
    size_t at;
    return fv_chat_find(text, wanted, 0, &at);
}

static bool is_quote(char byte) { return byte == '\'' || byte == '"'; }

/* Where the literal that `quote` opened ends; false: it does not, or not soon. */
static bool literal_end(fv_gguf_text text, size_t begin, char quote, size_t *end) {
    for (size_t i = begin; i < text.length && i - begin < LITERAL_BYTES; i++) {
        if (text.bytes[i] == '\\')
            i++; /* an escaped quote is part of it */
        else if (text.bytes[i] == quote) {
            *end = i;
            return true;
        }
    }
    return false;
}

bool fv_chat_read_literal(fv_gguf_text text, size_t *at, fv_gguf_text *literal) {
    size_t end = 0;
    if (*at >= text.length || !is_quote(text.bytes[*at]) || !literal_end(text, *at + 1, text.bytes[*at], &end))
        return false;
    *literal = (fv_gguf_text){text.bytes + *at + 1, end - *at - 1};
    *at = end + 1;
    return true;
}

/* Bytes of the template at `at` that spell `wanted`, a newline as itself or as its escape; 0: others do. */
static size_t spelled(fv_gguf_text text, size_t at, const char *wanted) {
    size_t begin = at;
    for (; *wanted; wanted++) {
        size_t left = text.length - at;
        if (left > 0 && text.bytes[at] == *wanted)
            at++;
        else if (*wanted == '\n' && left > 1 && text.bytes[at] == '\\' && text.bytes[at + 1] == 'n')
            at += 2;
        else
            return 0;
    }
    return at - begin;
}

/* --- system texts ------------------------------------------------------------------------------------------------ */

/* '<|im_start|>system\n ... <|im_end|>...' is one literal. A quote in between means that it is put together from
 * parts. */
static fv_gguf_text find_chatml_system(fv_gguf_text text) {
    static const char OPEN[] = "<|im_start|>system\n", SHORT[] = "<|im_start|>system";
    size_t at = 0, end = 0, last = 0;
    for (size_t from = 0; fv_chat_find(text, SHORT, from, &at); from = at + 1) {
        size_t length = spelled(text, at, OPEN);
        if (at == 0 || length == 0 || !is_quote(text.bytes[at - 1])) continue;
        if (!literal_end(text, at + length, text.bytes[at - 1], &end)) continue;
        fv_gguf_text whole = {text.bytes, end};
        if (fv_chat_find(whole, "<|im_end|>", at + length, &last))
            return (fv_gguf_text){text.bytes + at + length, last - at - length};
    }
    return none;
}

/* {% set system_message = '...' %}, alone: with "+" or "~" after it, it is put together from parts. */
static fv_gguf_text find_assigned_system(fv_gguf_text text, const char *name) {
    size_t at = 0, end = 0;
    for (size_t from = 0; fv_chat_find(text, name, from, &at); from = at + 1) {
        size_t i = at + strlen(name);
        while (i < text.length && (text.bytes[i] == ' ' || text.bytes[i] == '=')) i++;
        if (i >= text.length || !is_quote(text.bytes[i]) || text.bytes[i - 1] == '[') continue;
        if (!literal_end(text, i + 1, text.bytes[i], &end) || end == i + 1) continue;
        size_t after = end + 1;
        while (after < text.length && text.bytes[after] == ' ') after++;
        if (after + 1 < text.length && (text.bytes[after] == '%' || text.bytes[after] == '-'))
            return (fv_gguf_text){text.bytes + i + 1, end - i - 1};
    }
    return none;
}

fv_gguf_text fv_chat_find_system(fv_gguf_text text, fv_chat_family family) {
    if (family == FV_CHAT_CHATML) {
        fv_gguf_text found = find_chatml_system(text);
        if (found.bytes) return found;
    }
    /* Llama 2's stands in a branch that its files switch off. */
    if (family == FV_CHAT_LLAMA2 || family == FV_CHAT_LLAMA3 || family == FV_CHAT_GEMMA) return none;
    fv_gguf_text found = find_assigned_system(text, "default_system_message");
    return found.bytes ? found : find_assigned_system(text, "set system_message");
}

/* --- openings ---------------------------------------------------------------------------------------------------- */

fv_gguf_text fv_chat_find_thinking(fv_gguf_text text, const char *opening) {
    size_t from = 0, at = 0, end = 0;
    if (!opening[0]) return none;
    for (size_t next = 0; fv_chat_find(text, "add_generation_prompt", next, &at); next = at + 1) from = at;
    for (; from + 1 < text.length; from++) {
        size_t length = is_quote(text.bytes[from]) ? spelled(text, from + 1, opening) : 0;
        size_t begin = from + 1 + length;
        if (length == 0 || !literal_end(text, begin, text.bytes[from], &end)) continue;
        return end > begin ? (fv_gguf_text){text.bytes + begin, end - begin} : none;
    }
    return none;
}

fv_gguf_text fv_chat_find_no_thinking(fv_gguf_text text) {
    size_t at = 0, end = 0;
    if (!fv_chat_find(text, "enable_thinking", 0, &at)) return none;
    for (size_t from = 0; fv_chat_find(text, "<think>", from, &at); from = at + 1) {
        size_t close = at + strlen("<think>");
        while (close < text.length && (text.bytes[close] == '\n' || spelled(text, close, "\n")))
            close += text.bytes[close] == '\n' ? 1 : 2;
        if (at == 0 || !is_quote(text.bytes[at - 1]) || !spelled(text, close, "</think>")) continue;
        if (literal_end(text, at, text.bytes[at - 1], &end)) return (fv_gguf_text){text.bytes + at, end - at};
    }
    return none;
}
