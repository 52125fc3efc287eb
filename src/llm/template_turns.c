/* template_turns.c - turns as the JSON that templates are rendered with. */
#include "llm/template_turns.h"
#include "fovea/conversation.h"
#include "platform/utf8.h"
#include "text/chat_style.h"
#include <stdio.h>
#include <string.h>

enum { PROBE_DAY = 19930 }; /* 2024-07-26, which Llama 3's family says, too */

static fv_status put(fv_text *json, const char *text) { return fv_text_append(json, text, strlen(text)); }

/* What is no UTF-8 is U+FFFD. */
static fv_status put_string(fv_text *json, const char *text) {
    size_t length = strlen(text);
    fv_status status = put(json, "\"");
    for (size_t i = 0, bytes; i < length && status == FV_OK; i += bytes) {
        char escape[8];
        unsigned char c = (unsigned char)text[i];
        bytes = fv_utf8_sequence((const unsigned char *)text + i, length - i);
        bool escaped = c < 0x20 || c == '"' || c == '\\';
        snprintf(escape, sizeof escape, "\\u%04x", c);
        if (bytes == 0)
            status = put(json, "\xEF\xBF\xBD");
        else
            status = escaped ? put(json, escape) : fv_text_append(json, text + i, bytes);
        if (bytes == 0) bytes = 1;
    }
    return status == FV_OK ? put(json, "\"") : status;
}

static fv_status put_turns(fv_text *json, const fv_chat_turn *turns, size_t count) {
    fv_status status = put(json, "{\"messages\":[");
    for (size_t i = 0; i < count && status == FV_OK; i++) {
        status = put(json, i > 0 ? ",{\"role\":" : "{\"role\":");
        if (status == FV_OK) status = put_string(json, turns[i].role);
        if (status == FV_OK) status = put(json, ",\"content\":");
        if (status == FV_OK) status = put_string(json, turns[i].content);
        if (status == FV_OK) status = put(json, "}");
    }
    return status == FV_OK ? put(json, "]") : status;
}

static void file_tokens(const fv_gguf *gguf, fv_chat_style *style) { fv_chat_style_read(style, FV_CHAT_CHATML, gguf); }

/* now_s: 0: now */
static fv_status render_at(const fv_template *made, const fv_gguf *gguf, const fv_chat_turn *turns, size_t count,
                           bool open_answer, fv_chat_reasoning reasoning, int64_t now_s, fv_text *text,
                           fv_text_spans *contents, fv_message *message) {
    fv_chat_style style;
    fv_text json = {0}, bos = {0}, eos = {0};
    if (reasoning == FV_CHAT_REASONING_OFF && !fv_template_names(made, "enable_thinking")) return FV_ERROR_UNSUPPORTED;
    file_tokens(gguf, &style);
    fv_status status = put_turns(&json, turns, count);
    if (status == FV_OK) status = put(&json, open_answer ? ",\"add_generation_prompt\":true" : "");
    if (status == FV_OK) status = put(&json, reasoning == FV_CHAT_REASONING_OFF ? ",\"enable_thinking\":false}" : "}");
    if (status == FV_OK) status = fv_text_append(&bos, style.bos.bytes, style.bos.length);
    if (status == FV_OK) status = fv_text_append(&eos, style.eos.bytes, style.eos.length);
    const fv_template_input input = {.struct_bytes = sizeof input,
                                     .bos = bos.bytes,
                                     .eos = eos.bytes,
                                     .json = json.bytes,
                                     .json_length = json.length,
                                     .now_s = now_s};
    if (status == FV_OK) status = fv_template_render(made, &input, text, contents, message);
    fv_text_free(&json);
    fv_text_free(&bos);
    fv_text_free(&eos);
    return status;
}

fv_status fv_template_turns_render(const fv_template *made, const fv_gguf *gguf, const fv_chat_turn *turns,
                                   size_t count, bool open_answer, fv_chat_reasoning reasoning, fv_text *text,
                                   fv_text_spans *contents, fv_message *message) {
    return render_at(made, gguf, turns, count, open_answer, reasoning, 0, text, contents, message);
}

bool fv_template_turns_begin(const fv_gguf *gguf, const fv_text *text) {
    fv_chat_style style;
    file_tokens(gguf, &style);
    return style.bos.length > 0 && text->length >= style.bos.length &&
           memcmp(text->bytes, style.bos.bytes, style.bos.length) == 0;
}

/* ---- families ---- */

static size_t after_bos(const fv_gguf *gguf, const fv_text *text) {
    fv_chat_style style;
    if (!fv_template_turns_begin(gguf, text)) return 0;
    file_tokens(gguf, &style);
    return style.bos.length;
}

static bool agrees(fv_chat_family family, const fv_gguf *gguf, const fv_template *made, const fv_chat_turn *turns,
                   size_t count) {
    const fv_chat_format format = {.gguf = gguf, .family = (uint32_t)family, .day = PROBE_DAY};
    fv_text cheap = {0}, run = {0};
    bool same = true;
    if (render_at(made, gguf, turns, count, true, FV_CHAT_REASONING_AUTO, PROBE_DAY * (int64_t)86400 + 43200, &run,
                  NULL, NULL) == FV_OK) {
        same = fv_chat_render_format(&format, turns, count, 0, true, &cheap, NULL) == FV_OK;
        size_t a = same ? after_bos(gguf, &cheap) : 0, b = after_bos(gguf, &run);
        same =
            same && cheap.length - a == run.length - b && memcmp(cheap.bytes + a, run.bytes + b, run.length - b) == 0;
    }
    fv_text_free(&cheap);
    fv_text_free(&run);
    return same;
}

bool fv_chat_family_agrees(fv_chat_family family, const fv_gguf *gguf, const fv_template *made) {
    static const fv_chat_turn turns[] = {
        {"system", "Be brief."}, {"user", "Why?"}, {"assistant", "Salt."}, {"user", "So?"}};
    return agrees(family, gguf, made, turns + 1, 1) && agrees(family, gguf, made, turns, 2) &&
           agrees(family, gguf, made, turns, 4);
}
