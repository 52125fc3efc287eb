/* tokenizer.c - the tokenizer as a whole: vocabulary and roles from the file, special tokens out of the text, and the
 * model's own method for what lies between them. */
#include "fovea/tokenizer.h"
#include "gguf/gguf_text.h"
#include "platform/array.h"
#include "text/remarks.h"
#include "text/special.h"
#include "text/special_split.h"
#include "text/tokenizer_bpe.h"
#include "text/tokenizer_spm.h"
#include <stdlib.h>
#include <string.h>

struct fv_tokenizer {
    fv_vocabulary vocabulary;
    fv_special special;
    fv_special_split split;
    bool is_bpe;       /* else SentencePiece */
    bool space_prefix; /* SentencePiece: text at the start and after a special token gets a leading space */
    fv_bpe bpe;
    fv_spm spm;
    fv_remarks remarks;
};

static fv_status read_model(fv_tokenizer *tokenizer, const fv_gguf *gguf, fv_message *message) {
    fv_gguf_text model = {"", 0};
    fv_status status = fv_gguf_take_string(gguf, "tokenizer.ggml.model", &model, message);
    if (status != FV_OK) return status;
    tokenizer->is_bpe = fv_gguf_text_is(model, "gpt2");
    if (tokenizer->is_bpe || fv_gguf_text_is(model, "llama")) return FV_OK;
    if (model.length == 0)
        return fv_message_set(message, FV_ERROR_CORRUPT, "%s: tokenizer.ggml.model is missing", fv_gguf_path(gguf));
    return fv_message_set(message, FV_ERROR_UNSUPPORTED,
                          "%s: tokenizer '%.*s' is not supported; supported are gpt2 (BPE) and llama (SentencePiece)",
                          fv_gguf_path(gguf), model.length > 64 ? 64 : (int)model.length, model.bytes);
}

/* What holds where the file is silent. */
static fv_special default_special(const fv_tokenizer *tokenizer) {
    if (!tokenizer->is_bpe) return (fv_special){.bos = 1, .eos = 2, .adds_bos = true};
    const fv_pretokenizer *pretokenizer = tokenizer->bpe.pretokenizer;
    return (fv_special){.bos = fv_pretokenizer_lacks_bos(pretokenizer) ? -1 : 11,
                        .eos = 11,
                        .adds_bos = fv_pretokenizer_adds_bos(pretokenizer)};
}

/* llama.cpp takes its default rules, too: they fit few models. */
static fv_status remark_pretokenizer(fv_tokenizer *tokenizer, const fv_gguf *gguf) {
    if (fv_gguf_entry_find(gguf, "tokenizer.ggml.pre")) return FV_OK;
    return fv_remarks_add(&tokenizer->remarks,
                          "%s: tokenizer.ggml.pre (the pre-tokenizer) is missing: text is cut by default rules, which "
                          "may not be the model's, and its answers suffer; convert the model again",
                          fv_gguf_path(gguf));
}

static fv_status remark_bos(fv_tokenizer *tokenizer, const fv_gguf *gguf) {
    if (!tokenizer->special.adds_bos || tokenizer->special.bos >= 0) return FV_OK;
    return fv_remarks_add(&tokenizer->remarks,
                          "%s: a beginning-of-text token is to be added, and the vocabulary has none: none is added",
                          fv_gguf_path(gguf));
}

static fv_status open_parts(fv_tokenizer *tokenizer, const fv_gguf *gguf, fv_message *message) {
    fv_status status = read_model(tokenizer, gguf, message);
    if (status != FV_OK) return status;
    status = fv_vocabulary_open(&tokenizer->vocabulary, gguf, message);
    if (status != FV_OK) return status;
    if (tokenizer->is_bpe) {
        status = fv_bpe_open(&tokenizer->bpe, &tokenizer->vocabulary, gguf, message);
        if (status == FV_OK) status = remark_pretokenizer(tokenizer, gguf);
        if (status != FV_OK) return status;
    } else {
        fv_spm_open(&tokenizer->spm, &tokenizer->vocabulary);
        tokenizer->space_prefix = true;
        status = fv_gguf_take_bool(gguf, "tokenizer.ggml.add_space_prefix", &tokenizer->space_prefix, message);
        if (status != FV_OK) return status;
    }
    tokenizer->special = default_special(tokenizer);
    fv_special_file file = {.gguf = gguf, .remarks = &tokenizer->remarks, .message = message};
    status = fv_special_read(&tokenizer->special, &tokenizer->vocabulary, &file);
    if (status == FV_OK) status = remark_bos(tokenizer, gguf);
    if (status != FV_OK) return status;
    return fv_special_split_open(&tokenizer->split, &tokenizer->vocabulary);
}

fv_status fv_tokenizer_open(fv_tokenizer **tokenizer, const fv_gguf *gguf, fv_message *message) {
    if (!tokenizer || !gguf) return fv_message_set(message, FV_ERROR_ARGUMENT, "tokenizer: a pointer is NULL");
    fv_tokenizer *made = fv_array_new(1, sizeof *made);
    fv_status status = made ? open_parts(made, gguf, message) : FV_ERROR_MEMORY;
    if (status == FV_ERROR_MEMORY)
        fv_message_set(message, status, "%s: no memory for the tokenizer", fv_gguf_path(gguf));
    if (status != FV_OK) {
        fv_tokenizer_close(made);
        return status;
    }
    *tokenizer = made;
    return FV_OK;
}

void fv_tokenizer_close(fv_tokenizer *tokenizer) {
    if (!tokenizer) return;
    fv_special_split_close(&tokenizer->split);
    fv_bpe_close(&tokenizer->bpe);
    fv_vocabulary_close(&tokenizer->vocabulary);
    fv_remarks_free(&tokenizer->remarks);
    free(tokenizer);
}

static fv_status encode_plain(const fv_tokenizer *tokenizer, const char *text, size_t length, bool behind_special,
                              fv_merge *merge, fv_tokens *tokens) {
    if (tokenizer->is_bpe) return fv_bpe_encode(&tokenizer->bpe, text, length, merge, tokens);
    return fv_spm_encode(&tokenizer->spm, text, length, tokenizer->space_prefix && behind_special, merge, tokens);
}

static size_t skip_mark(const int32_t *marks, size_t at, size_t length, int32_t mark) {
    while (at < length && marks[at] == mark) at++;
    return at;
}

/* Special tokens as they are marked, the text between them by the model's method. */
static fv_status encode_marked(const fv_tokenizer *tokenizer, const char *text, size_t length, const int32_t *marks,
                               fv_merge *merge, fv_tokens *tokens) {
    fv_status status = FV_OK;
    bool behind_special = true; /* the start of the text counts as such */
    for (size_t at = 0; at < length && status == FV_OK;) {
        if (marks[at] == FV_MARK_TEXT) {
            size_t end = skip_mark(marks, at, length, FV_MARK_TEXT);
            status = encode_plain(tokenizer, text + at, end - at, behind_special, merge, tokens);
            behind_special = false;
            at = end;
        } else {
            int32_t id = marks[at] - 1;
            status = fv_tokens_append(tokens, &id, 1);
            behind_special = true;
            at = skip_mark(marks, at + 1, length, FV_MARK_INSIDE);
        }
    }
    return status;
}

static fv_status encode_body(const fv_tokenizer *tokenizer, const char *text, size_t length, bool parse_special,
                             const fv_text_spans *plain, fv_tokens *tokens) {
    if (length == 0) return FV_OK;
    int32_t *marks = NULL;
    fv_merge merge = {0};
    fv_status status = fv_special_split_mark(&tokenizer->split, text, length, parse_special, plain, &marks);
    if (status == FV_OK && marks) status = encode_marked(tokenizer, text, length, marks, &merge, tokens);
    if (status == FV_OK && !marks) status = encode_plain(tokenizer, text, length, true, &merge, tokens);
    fv_merge_free(&merge);
    free(marks);
    return status;
}

/* Rising, apart, inside the text. */
static bool are_spans(const fv_text_spans *spans, size_t length) {
    size_t before = 0;
    for (size_t i = 0; i < spans->count; before = spans->spans[i++].end)
        if (spans->spans[i].begin < before || spans->spans[i].end < spans->spans[i].begin) return false;
    return before <= length;
}

fv_status fv_tokenizer_encode_spans(const fv_tokenizer *tokenizer, const char *text, size_t length,
                                    const fv_text_spans *plain, uint32_t flags, fv_tokens *tokens) {
    if (!tokenizer || !tokens || (!text && length > 0) || length > INT32_MAX) return FV_ERROR_ARGUMENT;
    if (plain && !are_spans(plain, length)) return FV_ERROR_ARGUMENT;
    const fv_special *special = &tokenizer->special;
    bool add_special = flags & FV_TOKENIZE_ADD_SPECIAL;
    size_t before = tokens->count;
    fv_status status = FV_OK;
    if (add_special && fv_tokenizer_adds_bos(tokenizer)) status = fv_tokens_append(tokens, &special->bos, 1);
    if (status == FV_OK)
        status = encode_body(tokenizer, text, length, flags & FV_TOKENIZE_PARSE_SPECIAL, plain, tokens);
    if (status == FV_OK && add_special && fv_tokenizer_adds_eos(tokenizer))
        status = fv_tokens_append(tokens, &special->eos, 1);
    if (status != FV_OK) tokens->count = before;
    return status;
}

fv_status fv_tokenizer_encode(const fv_tokenizer *tokenizer, const char *text, size_t length, uint32_t flags,
                              fv_tokens *tokens) {
    return fv_tokenizer_encode_spans(tokenizer, text, length, NULL, flags, tokens);
}

static bool is_token(const fv_tokenizer *tokenizer, int32_t id) {
    return id >= 0 && (uint32_t)id < tokenizer->vocabulary.count;
}

/* Parts of one token may be appended before memory runs out. */
static fv_status append_piece(const fv_tokenizer *tokenizer, int32_t id, bool special, fv_text *text) {
    const fv_token *token = tokenizer->vocabulary.tokens + id;
    const unsigned hidden = FV_TOKEN_CONTROL | FV_TOKEN_UNKNOWN;
    if (token->kinds & hidden && !special) return fv_text_append(text, "", 0);
    if (token->kinds & (hidden | FV_TOKEN_USER_DEFINED)) return fv_text_append(text, token->bytes, token->length);
    if (token->kinds & FV_TOKEN_BYTE) {
        const char byte = (char)fv_token_byte(token);
        return fv_text_append(text, &byte, 1);
    }
    if (!(token->kinds & FV_TOKEN_NORMAL)) return fv_text_append(text, "", 0);
    return tokenizer->is_bpe ? fv_bpe_piece(token, text) : fv_spm_piece(token, text);
}

/* Cuts what was appended after `length`, so that a failed call leaves no trace. */
static fv_status undo(fv_text *text, size_t length, fv_status status) {
    text->length = length;
    if (text->bytes) text->bytes[length] = 0;
    return status;
}

fv_status fv_tokenizer_piece(const fv_tokenizer *tokenizer, int32_t id, bool special, fv_text *text) {
    if (!tokenizer || !text || !is_token(tokenizer, id)) return FV_ERROR_ARGUMENT;
    size_t before = text->length;
    fv_status status = append_piece(tokenizer, id, special, text);
    return status == FV_OK ? FV_OK : undo(text, before, status);
}

static void drop_space(fv_text *text, size_t at) {
    if (at >= text->length || text->bytes[at] != ' ') return;
    memmove(text->bytes + at, text->bytes + at + 1, text->length - at);
    text->length--;
}

/* Index of the token that begins with the space that encode() put in front; `count` if there is none. */
static size_t find_prefixed(const fv_tokenizer *tokenizer, const int32_t *ids, size_t count) {
    const unsigned special = FV_TOKEN_CONTROL | FV_TOKEN_UNKNOWN | FV_TOKEN_USER_DEFINED;
    size_t first = count > 0 && ids[0] == tokenizer->special.bos;
    if (!tokenizer->space_prefix || first == count) return count;
    return tokenizer->vocabulary.tokens[ids[first]].kinds & special ? count : first;
}

fv_status fv_tokenizer_decode(const fv_tokenizer *tokenizer, const int32_t *ids, size_t count, bool special,
                              fv_text *text) {
    if (!tokenizer || !text || (!ids && count > 0)) return FV_ERROR_ARGUMENT;
    for (size_t i = 0; i < count; i++)
        if (!is_token(tokenizer, ids[i])) return FV_ERROR_ARGUMENT;
    size_t before = text->length, prefixed = find_prefixed(tokenizer, ids, count);
    fv_status status = fv_text_append(text, "", 0);
    for (size_t i = 0; i < count && status == FV_OK; i++) {
        size_t begin = text->length;
        status = append_piece(tokenizer, ids[i], special, text);
        if (status == FV_OK && i == prefixed) drop_space(text, begin);
    }
    return status == FV_OK ? FV_OK : undo(text, before, status);
}

const char *fv_tokenizer_remark(const fv_tokenizer *tokenizer, size_t index) {
    return index < tokenizer->remarks.count ? tokenizer->remarks.items[index].text : NULL;
}

int32_t fv_tokenizer_tokens(const fv_tokenizer *tokenizer) { return (int32_t)tokenizer->vocabulary.count; }
int32_t fv_tokenizer_bos(const fv_tokenizer *tokenizer) { return tokenizer->special.bos; }
int32_t fv_tokenizer_eos(const fv_tokenizer *tokenizer) { return tokenizer->special.eos; }

bool fv_tokenizer_adds_bos(const fv_tokenizer *tokenizer) {
    return tokenizer->special.adds_bos && tokenizer->special.bos >= 0;
}

bool fv_tokenizer_adds_eos(const fv_tokenizer *tokenizer) {
    return tokenizer->special.adds_eos && tokenizer->special.eos >= 0;
}

bool fv_tokenizer_doubles_bos(const fv_tokenizer *tokenizer, const int32_t *ids, size_t count) {
    int32_t bos = tokenizer->special.bos;
    return count > 1 && bos >= 0 && ids[0] == bos && ids[1] == bos;
}

bool fv_tokenizer_is_end(const fv_tokenizer *tokenizer, int32_t id) {
    return is_token(tokenizer, id) && tokenizer->vocabulary.tokens[id].kinds & FV_TOKEN_ENDS;
}
