/* special.c - GGUF says little about roles, so texts decide; the rules are llama.cpp's, ids must agree with it. */
#include "text/special.h"
#include <string.h>

static int32_t find_text(const fv_vocabulary *vocabulary, const char *text) {
    return fv_vocabulary_find(vocabulary, text, strlen(text));
}

/* -1, and what it is as u32, is how some writers say "none". */
static bool says_none(const fv_gguf *gguf, const char *key) {
    const fv_gguf_entry *entry = fv_gguf_entry_find(gguf, key);
    fv_gguf_number number;
    if (!entry || entry->type == FV_GGUF_ARRAY || !fv_gguf_number_at(entry, 0, &number)) return false;
    return number.kind == FV_GGUF_INT64 && (number.whole == -1 || number.whole == UINT32_MAX);
}

static fv_status read_id(const fv_special_file *file, const char *key, const fv_vocabulary *vocabulary, int32_t *id) {
    uint32_t value = 0;
    if (*id >= 0 && (uint32_t)*id >= vocabulary->count) *id = -1;
    if (!fv_gguf_entry_find(file->gguf, key) || says_none(file->gguf, key)) return FV_OK;
    fv_status status = fv_gguf_take_u32(file->gguf, key, &value, file->message);
    if (status != FV_OK) return status;
    if (value < vocabulary->count) {
        *id = (int32_t)value;
        return FV_OK;
    }
    return fv_remarks_add(file->remarks,
                          "%s: %s is %lu, the vocabulary has %lu tokens: it is passed over; convert the model again",
                          fv_gguf_path(file->gguf), key, (unsigned long)value, (unsigned long)vocabulary->count);
}

/* A role that is known by its text when the metadata does not say. The first text that the vocabulary has takes it. */
typedef struct role {
    const char *keys[2];
    bool ends;
    const char *texts[12];
} role;

static const role eot_role = {{"tokenizer.ggml.eot_token_id"},
                              true,
                              {"<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>",
                               "<|end_of_text|>", "<EOT>", "_<EOT>", "[EOT]", "<｜end▁of▁sentence｜>",
                               "<end_of_utterance>"}};
static const role eom_role = {{"tokenizer.ggml.eom_token_id"}, true, {"<|eom_id|>"}};

/* Fill-in-the-middle: only the last three end a generation, but all become control tokens. */
static const role fim_roles[] = {
    {{"tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id"},
     false,
     {"<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>", "<|code_prefix|>",
      "<|prefix|>"}},
    {{"tokenizer.ggml.fim_suf_token_id", "tokenizer.ggml.suffix_token_id"},
     false,
     {"<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>", "<|code_suffix|>",
      "<|suffix|>"}},
    {{"tokenizer.ggml.fim_mid_token_id", "tokenizer.ggml.middle_token_id"},
     false,
     {"<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>", "<|code_middle|>",
      "<|middle|>"}},
    {{"tokenizer.ggml.fim_pad_token_id"}, true, {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"}},
    {{"tokenizer.ggml.fim_rep_token_id"},
     true,
     {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"}},
    {{"tokenizer.ggml.fim_sep_token_id"}, true, {"<|file_sep|>"}},
};

static const char *const end_texts[] = {"<|eot_id|>",
                                        "<|im_end|>",
                                        "<|end|>",
                                        "<|return|>",
                                        "<|call|>",
                                        "<|flush|>",
                                        "<|calls|>",
                                        "<end_of_turn>",
                                        "<|endoftext|>",
                                        "</s>",
                                        "<|eom_id|>",
                                        "<EOT>",
                                        "_<EOT>",
                                        "[EOT]",
                                        "[EOS]",
                                        "<|end_of_text|>",
                                        "<end_of_utterance>",
                                        "<eos>",
                                        "<turn|>",
                                        "<|tool_response>",
                                        "<｜end▁of▁sentence｜>",
                                        "[e~["};

/* Structure of a message, to be shown: gpt-oss. */
static const char *const shown_texts[] = {"<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"};

static void add_kinds(fv_vocabulary *vocabulary, int32_t id, uint8_t kinds) {
    if (id >= 0) vocabulary->tokens[id].kinds = (uint8_t)(vocabulary->tokens[id].kinds | kinds);
}

/* The new kind, whether or not the token ends a generation. */
static void set_kind(fv_vocabulary *vocabulary, int32_t id, uint8_t kind) {
    if (id < 0) return;
    fv_token *token = vocabulary->tokens + id;
    token->kinds = (uint8_t)((token->kinds & FV_TOKEN_ENDS) | kind);
}

static void clear_end(fv_vocabulary *vocabulary, int32_t id) {
    vocabulary->tokens[id].kinds = (uint8_t)(vocabulary->tokens[id].kinds & ~FV_TOKEN_ENDS);
}

static fv_status find_role(const role *wanted, fv_vocabulary *vocabulary, const fv_special_file *file, int32_t *found) {
    int32_t id = -1;
    fv_status status = FV_OK;
    for (size_t i = 0; i < 2 && wanted->keys[i] && status == FV_OK; i++)
        status = read_id(file, wanted->keys[i], vocabulary, &id);
    if (status != FV_OK) return status;
    for (size_t i = 0; id < 0 && wanted->texts[i]; i++) {
        id = find_text(vocabulary, wanted->texts[i]);
        add_kinds(vocabulary, id, FV_TOKEN_CONTROL);
    }
    if (wanted->ends) add_kinds(vocabulary, id, FV_TOKEN_ENDS);
    if (found) *found = id;
    return FV_OK;
}

static bool has_end(const fv_vocabulary *vocabulary, const char *text) {
    int32_t id = find_text(vocabulary, text);
    return id >= 0 && vocabulary->tokens[id].kinds & FV_TOKEN_ENDS;
}

/* With "<|return|>" and "<|call|>" (gpt-oss), or "<|calls|>" and "<|flush|>", an "<|end|>" ends one message only. */
static void keep_message_end(fv_vocabulary *vocabulary) {
    bool has_call = has_end(vocabulary, "<|call|>") || has_end(vocabulary, "<|calls|>");
    bool has_last = has_end(vocabulary, "<|return|>") || has_end(vocabulary, "<|flush|>");
    if (!has_call || !has_last || !has_end(vocabulary, "<|end|>")) return;
    int32_t id = find_text(vocabulary, "<|end|>");
    set_kind(vocabulary, id, FV_TOKEN_USER_DEFINED);
    clear_end(vocabulary, id);
}

/* Where another token has that role, "</s>" is a tag of HTML. */
static void keep_strike_tag(fv_vocabulary *vocabulary) {
    bool has_other = has_end(vocabulary, "<|tool_response>") || has_end(vocabulary, "<|plamo:eos|>");
    if (!has_other || !has_end(vocabulary, "</s>")) return;
    int32_t id = find_text(vocabulary, "</s>");
    set_kind(vocabulary, id, FV_TOKEN_NORMAL);
    clear_end(vocabulary, id);
}

static void mark_ends(const fv_special *special, fv_vocabulary *vocabulary) {
    for (size_t i = 0; i < sizeof end_texts / sizeof end_texts[0]; i++)
        add_kinds(vocabulary, find_text(vocabulary, end_texts[i]), FV_TOKEN_CONTROL | FV_TOKEN_ENDS);
    for (size_t i = 0; i < sizeof shown_texts / sizeof shown_texts[0]; i++)
        set_kind(vocabulary, find_text(vocabulary, shown_texts[i]), FV_TOKEN_USER_DEFINED);
    add_kinds(vocabulary, special->eos, FV_TOKEN_ENDS);
    keep_message_end(vocabulary);
    keep_strike_tag(vocabulary);
}

static bool starts_any_case(const char *bytes, const char *lower, size_t length) {
    for (size_t i = 0; i < length; i++) {
        char byte = bytes[i] >= 'A' && bytes[i] <= 'Z' ? (char)(bytes[i] + 32) : bytes[i];
        if (byte != lower[i]) return false;
    }
    return true;
}

static bool contains_any_case(fv_gguf_text text, const char *lower) {
    size_t length = strlen(lower);
    for (size_t at = 0; at + length <= text.length; at++)
        if (starts_any_case(text.bytes + at, lower, length)) return true;
    return false;
}

/* Phi-3's special tokens swallow the white space after them. The file does not say so: the model's name does. */
static void mark_stripping(fv_vocabulary *vocabulary, const fv_gguf *gguf) {
    static const char *const keeping[] = {"<unk>", "<s>", "<|endoftext|>"};
    const uint8_t special = FV_TOKEN_CONTROL | FV_TOKEN_USER_DEFINED | FV_TOKEN_UNKNOWN;
    fv_gguf_text name = {"", 0};
    fv_gguf_string(gguf, "general.name", &name);
    if (!contains_any_case(name, "phi-3") && !contains_any_case(name, "phi3")) return;
    for (uint32_t id = 0; id < vocabulary->count; id++)
        if (vocabulary->tokens[id].kinds & special) add_kinds(vocabulary, (int32_t)id, FV_TOKEN_STRIPS_RIGHT);
    for (size_t i = 0; i < sizeof keeping / sizeof keeping[0]; i++) {
        int32_t id = find_text(vocabulary, keeping[i]);
        if (id >= 0) vocabulary->tokens[id].kinds = (uint8_t)(vocabulary->tokens[id].kinds & ~FV_TOKEN_STRIPS_RIGHT);
    }
}

fv_status fv_special_read(fv_special *special, fv_vocabulary *vocabulary, const fv_special_file *file) {
    const fv_gguf *gguf = file->gguf;
    fv_status status = read_id(file, "tokenizer.ggml.bos_token_id", vocabulary, &special->bos);
    if (status == FV_OK) status = read_id(file, "tokenizer.ggml.eos_token_id", vocabulary, &special->eos);
    if (status == FV_OK)
        status = fv_gguf_take_bool(gguf, "tokenizer.ggml.add_bos_token", &special->adds_bos, file->message);
    if (status == FV_OK)
        status = fv_gguf_take_bool(gguf, "tokenizer.ggml.add_eos_token", &special->adds_eos, file->message);
    if (status == FV_OK) status = find_role(&eot_role, vocabulary, file, &special->eot);
    if (status == FV_OK) status = find_role(&eom_role, vocabulary, file, &special->eom);
    for (size_t i = 0; i < sizeof fim_roles / sizeof fim_roles[0] && status == FV_OK; i++)
        status = find_role(&fim_roles[i], vocabulary, file, NULL);
    if (status != FV_OK) return status;
    mark_ends(special, vocabulary);
    mark_stripping(vocabulary, gguf);
    return FV_OK;
}
