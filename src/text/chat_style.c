/* chat_style.c - what templates of the known families look like: which one it is, its spacing, the system text that it
 * has by itself, and how it opens an answer. */
#include "text/chat_style.h"
#include "gguf/gguf_text.h"
#include "text/chat_literal.h"
#include <string.h>

#define DEEPSEEK(ROLE) "<\xEF\xBD\x9C" ROLE "\xEF\xBD\x9C>" /* with full-width bars */
#define DEEPSEEK_END \
    DEEPSEEK("end\xE2\x96\x81" \
             "of\xE2\x96\x81" \
             "sentence")
#define TEMPLATE_BYTES ((size_t)256 << 10) /* a longer one is looked at only this far: searches are quadratic */

fv_gguf_text fv_chat_template(const fv_gguf *gguf) {
    fv_gguf_text text = {"", 0};
    if (gguf) (void)fv_gguf_string(gguf, "tokenizer.chat_template", &text);
    if (text.length > TEMPLATE_BYTES) text.length = TEMPLATE_BYTES;
    return text;
}

/* --- recognition ------------------------------------------------------------------------------------------------ */

/* Zephyr ends every turn with the end token, Falcon 3, OLMo 2 and Tulu only answers. */
static bool ends_every_turn(fv_gguf_text text) {
    size_t at;
    if (fv_chat_has(text, "'<|' +") || fv_chat_has(text, "\"<|\" +")) return fv_chat_has(text, "eos_token");
    if (!fv_chat_find(text, "<|user|>", 0, &at)) return false;
    fv_gguf_text near = {text.bytes + at, text.length - at < 72 ? text.length - at : 72};
    return fv_chat_has(near, "eos_token") || fv_chat_has(near, "</s>");
}

static fv_chat_family family_with_pipes(fv_gguf_text text) {
    if (fv_chat_has(text, "<|im_start|>")) /* SmolVLM only looks alike */
        return fv_chat_has(text, "<|im_sep|>")           ? FV_CHAT_PHI4
               : fv_chat_has(text, "<end_of_utterance>") ? FV_CHAT_NONE
                                                         : FV_CHAT_CHATML;
    if (fv_chat_has(text, "<|start_header_id|>") && fv_chat_has(text, "<|end_header_id|>")) return FV_CHAT_LLAMA3;
    if (fv_chat_has(text, "<|start_of_role|>") && fv_chat_has(text, "<|end_of_role|>")) return FV_CHAT_GRANITE;
    if (!fv_chat_has(text, "<|assistant|>")) return FV_CHAT_NONE;
    if (fv_chat_has(text, "<|end|>")) return FV_CHAT_PHI3;
    if (!fv_chat_has(text, "<|user|>") && !ends_every_turn(text)) return FV_CHAT_NONE;
    return ends_every_turn(text) ? FV_CHAT_ZEPHYR : FV_CHAT_FALCON3;
}

fv_chat_family fv_chat_family_of(fv_gguf_text text) {
    if (fv_chat_has(text, "[INST]")) return fv_chat_has(text, "<<SYS>>") ? FV_CHAT_LLAMA2 : FV_CHAT_MISTRAL;
    if (fv_chat_has(text, "<start_of_turn>")) return FV_CHAT_GEMMA;
    if (fv_chat_has(text, DEEPSEEK("Assistant")) && fv_chat_has(text, DEEPSEEK("User"))) return FV_CHAT_DEEPSEEK3;
    if (fv_chat_has(text, "GPT4 Correct ")) return FV_CHAT_OPENCHAT;
    if (fv_chat_has(text, "USER: ") && fv_chat_has(text, "ASSISTANT:")) return FV_CHAT_VICUNA;
    return family_with_pipes(text);
}

/* --- spacing ---------------------------------------------------------------------------------------------------- */

#define LLAMA3(ROLE) "<|start_header_id|>" ROLE "<|end_header_id|>\n\n"
#define GRANITE(ROLE) "<|start_of_role|>" ROLE "<|end_of_role|>"

/* The rows stand in the order of the families. */
static const fv_chat_marks family_marks[FV_CHAT_COUNT] = {
    [FV_CHAT_CHATML] = {.system_open = "<|im_start|>system\n",
                        .system_close = "<|im_end|>\n",
                        .user_open = "<|im_start|>user\n",
                        .user_close = "<|im_end|>\n",
                        .answer_open = "<|im_start|>assistant\n",
                        .answer_close = "<|im_end|>",
                        .answer_tail = "\n",
                        .opening = "<|im_start|>assistant\n"},
    [FV_CHAT_LLAMA3] = {.system_open = LLAMA3("system"),
                        .system_close = "<|eot_id|>",
                        .user_open = LLAMA3("user"),
                        .user_close = "<|eot_id|>",
                        .answer_open = LLAMA3("assistant"),
                        .answer_close = "<|eot_id|>",
                        .answer_tail = "",
                        .opening = LLAMA3("assistant"),
                        .trims_system = true,
                        .trims_user = true,
                        .trims_answer = true},
    [FV_CHAT_GEMMA] = {.shared_open = "",
                       .shared_close = "\n\n",
                       .user_open = "<start_of_turn>user\n",
                       .user_close = "<end_of_turn>\n",
                       .answer_open = "<start_of_turn>model\n",
                       .answer_close = "<end_of_turn>",
                       .answer_tail = "\n",
                       .opening = "<start_of_turn>model\n",
                       .trims_user = true,
                       .trims_answer = true,
                       .strict = true},
    [FV_CHAT_ZEPHYR] = {.system_open = "<|system|>\n",
                        .system_close = FV_CHAT_EOS "\n",
                        .user_open = "<|user|>\n",
                        .user_close = FV_CHAT_EOS "\n",
                        .answer_open = "<|assistant|>\n",
                        .answer_close = FV_CHAT_EOS,
                        .answer_tail = "\n",
                        .opening = "<|assistant|>\n"},
    [FV_CHAT_LLAMA2] = {.shared_open = "<<SYS>>\n",
                        .shared_close = "\n<</SYS>>\n\n",
                        .user_open = "[INST] ",
                        .user_close = " [/INST]",
                        .answer_open = " ",
                        .answer_close = " " FV_CHAT_EOS,
                        .answer_tail = FV_CHAT_BOS,
                        .opening = "",
                        .trims_user = true,
                        .trims_answer = true,
                        .strict = true},
    [FV_CHAT_DEEPSEEK3] = {.system_open = "",
                           .system_close = "",
                           .user_open = DEEPSEEK("User"),
                           .user_close = "",
                           .answer_open = DEEPSEEK("Assistant"),
                           .answer_close = FV_CHAT_EOS,
                           .answer_tail = "",
                           .opening = DEEPSEEK("Assistant")},
    [FV_CHAT_VICUNA] = {.system_open = "",
                        .system_close = "\n\n",
                        .user_open = "USER: ",
                        .user_close = "\n",
                        .answer_open = "ASSISTANT: ",
                        .answer_close = FV_CHAT_EOS,
                        .answer_tail = "\n",
                        .opening = "ASSISTANT:"},
    [FV_CHAT_PHI3] = {.system_open = "<|system|>\n",
                      .system_close = "<|end|>\n",
                      .user_open = "<|user|>\n",
                      .user_close = "<|end|>\n",
                      .answer_open = "<|assistant|>\n",
                      .answer_close = "<|end|>",
                      .answer_tail = "\n",
                      .opening = "<|assistant|>\n"},
    [FV_CHAT_PHI4] = {.system_open = "<|im_start|>system<|im_sep|>",
                      .system_close = "<|im_end|>",
                      .user_open = "<|im_start|>user<|im_sep|>",
                      .user_close = "<|im_end|>",
                      .answer_open = "<|im_start|>assistant<|im_sep|>",
                      .answer_close = "<|im_end|>",
                      .answer_tail = "",
                      .opening = "<|im_start|>assistant<|im_sep|>"},
    [FV_CHAT_GRANITE] = {.system_open = GRANITE("system"),
                         .system_close = "<|end_of_text|>\n",
                         .user_open = GRANITE("user"),
                         .user_close = "<|end_of_text|>\n",
                         .answer_open = GRANITE("assistant"),
                         .answer_close = "<|end_of_text|>",
                         .answer_tail = "\n",
                         .opening = GRANITE("assistant")},
    [FV_CHAT_FALCON3] = {.system_open = "<|system|>\n",
                         .system_close = "\n",
                         .user_open = "<|user|>\n",
                         .user_close = "\n",
                         .answer_open = "<|assistant|>\n",
                         .answer_close = FV_CHAT_EOS,
                         .answer_tail = "\n",
                         .opening = "<|assistant|>\n"},
    [FV_CHAT_OPENCHAT] = {.system_open = "",
                          .system_close = "<|end_of_turn|>",
                          .user_open = "GPT4 Correct User: ",
                          .user_close = "<|end_of_turn|>",
                          .answer_open = "GPT4 Correct Assistant: ",
                          .answer_close = "<|end_of_turn|>",
                          .answer_tail = "",
                          .opening = "GPT4 Correct Assistant:"},
};

/* Spacing of one Mistral generation; `gap` after a system text that shares the first question's brackets, else `system`
 * opens brackets of its own. */
static fv_chat_marks mistral(const char *open, const char *close, const char *gap, const char *system,
                             const char *answer_open, bool trims) {
    return (fv_chat_marks){.system_open = system,
                           .system_close = "[/SYSTEM_PROMPT]",
                           .shared_open = "",
                           .shared_close = gap,
                           .user_open = open,
                           .user_close = close,
                           .answer_open = answer_open,
                           .answer_close = "</s>",
                           .answer_tail = "",
                           .opening = "",
                           .trims_answer = trims,
                           .strict = true};
}

static fv_chat_marks mistral_marks(fv_gguf_text text, const fv_gguf *gguf) {
    const fv_chat_marks third = mistral("[INST] ", "[/INST]", "\n\n", NULL, " ", true);
    const fv_chat_marks third_tekken = mistral("[INST]", "[/INST]", "\n\n", NULL, "", false);
    if (fv_chat_has(text, "[SYSTEM_PROMPT]")) { /* v7 */
        bool spaced = fv_chat_has(text, "[SYSTEM_PROMPT] ") || fv_chat_has(text, "[INST] ");
        return spaced ? mistral("[INST] ", "[/INST]", NULL, "[SYSTEM_PROMPT] ", " ", false)
                      : mistral("[INST]", "[/INST]", NULL, "[SYSTEM_PROMPT]", "", false);
    }
    if (fv_chat_has(text, "[AVAILABLE_TOOLS]") || fv_chat_has(text, "' [INST] ' + system_message")) {
        if (fv_chat_has(text, " [INST]")) return mistral(" [INST] ", " [/INST]", "\n\n", NULL, " ", false); /* v1 */
        return fv_chat_has(text, "\"[INST]\"") ? third_tekken : third;
    }
    if (fv_chat_has(text, "[INST]")) { /* 7B-Instruct-v0.1 and 0.2 */
        fv_chat_marks marks = mistral("[INST] ", " [/INST]", "\n", NULL, "", false);
        if (fv_chat_has(text, "eos_token + ' '") || fv_chat_has(text, "eos_token + \" \"")) marks.answer_tail = " ";
        return marks;
    }
    fv_gguf_text tokenizer = {"", 0}; /* no template to go by: the newest spacing of that kind of vocabulary */
    if (gguf) (void)fv_gguf_string(gguf, "tokenizer.ggml.model", &tokenizer);
    return fv_gguf_text_is(tokenizer, "gpt2") ? third_tekken : third;
}

/* --- the rest --------------------------------------------------------------------------------------------------- */

/* The text of the token whose id stands under `key`; `standard` where the file does not say. */
static fv_gguf_text token_text(const fv_gguf *gguf, const char *key, const char *standard) {
    fv_gguf_text text = {standard, strlen(standard)}, token;
    const fv_gguf_entry *tokens = gguf ? fv_gguf_entry_find(gguf, "tokenizer.ggml.tokens") : NULL;
    uint32_t id;
    size_t cursor = 0;
    if (!tokens || !fv_gguf_u32(gguf, key, &id) || id >= tokens->count) return text;
    while (fv_gguf_array_next(tokens, &cursor, &token))
        if (id-- == 0) return token;
    return text;
}

/* Of the families whose templates say so by bos_token; where the tokenizer adds it, it must not come twice. */
static bool template_adds_bos(fv_chat_family family, fv_gguf_text text, const fv_gguf *gguf) {
    bool adds = true;
    if (family < FV_CHAT_ZEPHYR || !gguf || !fv_gguf_bool(gguf, "tokenizer.ggml.add_bos_token", &adds)) return false;
    return !adds && fv_chat_has(text, "bos_token") && fv_gguf_entry_find(gguf, "tokenizer.ggml.bos_token_id");
}

void fv_chat_style_read(fv_chat_style *style, fv_chat_family family, const fv_gguf *gguf) {
    static const char dates[] = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n";
    fv_gguf_text text = fv_chat_template(gguf);
    bool is_its_own = text.length > 0 && fv_chat_family_of(text) == family;
    *style = (fv_chat_style){.marks = family == FV_CHAT_MISTRAL ? mistral_marks(text, gguf) : family_marks[family]};
    style->eos = token_text(gguf, "tokenizer.ggml.eos_token_id", family == FV_CHAT_DEEPSEEK3 ? DEEPSEEK_END : "</s>");
    style->bos = token_text(gguf, "tokenizer.ggml.bos_token_id", "<s>");
    style->adds_bos = template_adds_bos(family, text, gguf);
    if (family == FV_CHAT_VICUNA && fv_chat_has(text, "SYSTEM: ")) {
        style->marks.system_open = "SYSTEM: ";
        style->marks.system_close = "\n";
    }
    /* The date of the day is not used: the same question is to give the same tokens tomorrow. This one is the
     * template's. */
    if (family == FV_CHAT_LLAMA3 && fv_chat_has(text, "Cutting Knowledge Date: December 2023"))
        style->dated_system = dates;
    if (!is_its_own) return;
    style->default_system = fv_chat_find_system(text, family);
    bool is_dated = !style->default_system.bytes && !style->dated_system &&
                    (fv_chat_has(text, "strftime_now") || fv_chat_has(text, "\"Reasoning Mode: \"")) &&
                    (family == FV_CHAT_MISTRAL || family == FV_CHAT_GRANITE || family == FV_CHAT_CHATML);
    if (is_dated) style->part_count = fv_chat_find_dated_system(text, style->parts);
    style->leaves_out_system = is_dated && style->part_count == 0;
    style->thinking = fv_chat_find_thinking(text, style->marks.opening);
    style->no_thinking = fv_chat_find_no_thinking(text);
}
