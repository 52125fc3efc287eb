/* tokenizer_fuzz.c - a file that begins with "GGUF" is a hostile vocabulary: refused, or safe to use. Anything else is
 * a text for two small vocabularies, from whose ids it must come back. */
#include "fovea/tokenizer.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) \
    if (!(condition)) abort()

static void put(fv_text *file, const void *bytes, size_t count) {
    REQUIRE(fv_text_append(file, bytes, count) == FV_OK);
}

static void put_number(fv_text *file, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) put(file, &(char){(char)(value >> (8 * i))}, 1);
}

static void put_text(fv_text *file, const char *text) {
    put_number(file, strlen(text), 8);
    put(file, text, strlen(text));
}

static void put_entry(fv_text *file, const char *key, const char *value) {
    put_text(file, key);
    put_number(file, FV_GGUF_STRING, 4);
    put_text(file, value);
}

static void put_array(fv_text *file, const char *key, uint32_t type, uint64_t count) {
    put_text(file, key);
    put_number(file, FV_GGUF_ARRAY, 4);
    put_number(file, type, 4);
    put_number(file, count, 8);
}

/* GPT-2's stand-in for a byte, as UTF-8. */
static void stand_in(unsigned byte, char *text) {
    unsigned plain = (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD);
    unsigned code = plain ? byte : byte <= 0x20 ? 0x100 + byte : byte == 0xAD ? 0x143 : byte + 0xA2;
    memset(text, 0, 3);
    text[0] = code < 0x80 ? (char)code : (char)(0xC0 | code >> 6);
    if (code >= 0x80) text[1] = (char)(0x80 | (code & 0x3F));
}

/* Every byte is a token; a few pairs merge. */
static void make_bpe(fv_text *file) {
    static const char *const pairs[] = {"a a", "aa aa", "\xC4\xA0 \xC4\xA0", "\xC4\x8A \xC4\x8A", "\xC3\xA2 \xC2\xA9"};
    static const char *const joined[] = {"aa", "aaaa", "\xC4\xA0\xC4\xA0", "\xC4\x8A\xC4\x8A", "\xC3\xA2\xC2\xA9"};
    put(file, "GGUF", 4);
    put_number(file, 3, 4), put_number(file, 0, 8), put_number(file, 4, 8);
    put_entry(file, "tokenizer.ggml.model", "gpt2");
    put_entry(file, "tokenizer.ggml.pre", "llama-bpe");
    put_array(file, "tokenizer.ggml.tokens", FV_GGUF_STRING, 256 + 5);
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[3];
        stand_in(byte, text);
        put_text(file, text);
    }
    for (int i = 0; i < 5; i++) put_text(file, joined[i]);
    put_array(file, "tokenizer.ggml.merges", FV_GGUF_STRING, 5);
    for (int i = 0; i < 5; i++) put_text(file, pairs[i]);
}

/* Byte tokens and a few pieces, the later the better. */
static void make_spm(fv_text *file) {
    static const char *const pieces[] = {"▁", "a", "aa", "aaa", "▁a", "\xC3\xA9", "\n", "\n\n"};
    static const char digits[] = "0123456789ABCDEF";
    put(file, "GGUF", 4);
    put_number(file, 3, 4), put_number(file, 0, 8), put_number(file, 4, 8);
    put_entry(file, "tokenizer.ggml.model", "llama");
    put_array(file, "tokenizer.ggml.tokens", FV_GGUF_STRING, 256 + 8);
    for (unsigned byte = 0; byte < 256; byte++)
        put_text(file, (char[]){'<', '0', 'x', digits[byte >> 4], digits[byte & 15], '>', 0});
    for (int i = 0; i < 8; i++) put_text(file, pieces[i]);
    put_array(file, "tokenizer.ggml.scores", FV_GGUF_INT32, 256 + 8);
    for (unsigned i = 0; i < 256 + 8; i++) put_number(file, i, 4);
    put_array(file, "tokenizer.ggml.token_type", FV_GGUF_INT32, 256 + 8);
    for (unsigned i = 0; i < 256 + 8; i++) put_number(file, i < 256 ? 6 : 1, 4);
}

static fv_tokenizer *open_bytes(fv_gguf **gguf, const void *bytes, size_t count) {
    fv_tokenizer *tokenizer = NULL;
    fv_message message = {{0}};
    if (fv_gguf_open_memory(gguf, bytes, count, "fuzz", &message) != FV_OK) return NULL;
    fv_status status = fv_tokenizer_open(&tokenizer, *gguf, &message);
    REQUIRE((status == FV_OK) == (tokenizer != NULL) && (status == FV_OK) == (message.text[0] == 0));
    return tokenizer;
}

/* What holds for any vocabulary: ids are in range and can be decoded. */
static void use(const fv_tokenizer *tokenizer, const char *text, size_t length, fv_text *back) {
    for (uint32_t flags = 4; flags-- > 0;) {
        fv_tokens tokens = {0};
        REQUIRE(fv_tokenizer_encode(tokenizer, text, length, flags, &tokens) == FV_OK);
        for (size_t i = 0; i < tokens.count; i++)
            REQUIRE(tokens.ids[i] >= 0 && tokens.ids[i] < fv_tokenizer_tokens(tokenizer));
        back->length = 0;
        REQUIRE(fv_tokenizer_decode(tokenizer, tokens.ids, tokens.count, true, back) == FV_OK);
        fv_tokens_free(&tokens);
    }
}

static bool is_utf8(const uint8_t *data, size_t size) {
    for (size_t i = 0; i < size;) {
        size_t bytes = data[i] < 0x80   ? 1
                       : data[i] < 0xC2 ? 0
                       : data[i] < 0xE0 ? 2
                       : data[i] < 0xF0 ? 3
                       : data[i] < 0xF5 ? 4
                                        : 0;
        if (bytes == 0 || bytes > size - i) return false;
        for (size_t j = 1; j < bytes; j++)
            if ((data[i + j] & 0xC0) != 0x80) return false;
        if (bytes == 3 && ((data[i] == 0xE0 && data[i + 1] < 0xA0) || (data[i] == 0xED && data[i + 1] > 0x9F)))
            return false;
        if (bytes == 4 && ((data[i] == 0xF0 && data[i + 1] < 0x90) || (data[i] == 0xF4 && data[i + 1] > 0x8F)))
            return false;
        i += bytes;
    }
    return true;
}

static bool has_space_mark(const uint8_t *data, size_t size) {
    for (size_t i = 0; i + 3 <= size; i++)
        if (memcmp(data + i, "▁", 3) == 0) return true;
    return false;
}

static void check_text(void (*make)(fv_text *), const uint8_t *data, size_t size, bool comes_back) {
    fv_text file = {0}, back = {0};
    fv_gguf *gguf = NULL;
    make(&file);
    fv_tokenizer *tokenizer = open_bytes(&gguf, file.bytes, file.length);
    REQUIRE(tokenizer);
    use(tokenizer, (const char *)data, size, &back);
    if (comes_back) REQUIRE(back.length == size && (size == 0 || memcmp(back.bytes, data, size) == 0));
    fv_text_free(&back);
    fv_tokenizer_close(tokenizer);
    fv_gguf_close(gguf);
    fv_text_free(&file);
}

static void check_file(const uint8_t *data, size_t size) {
    static const char text[] = "a b  c\n\n<|im_start|>x<s></s>12345 it's \xC3\xA9\xF0\x9F\x99\x82\xFF caf\xCC\x81";
    fv_text back = {0};
    fv_gguf *gguf = NULL;
    fv_tokenizer *tokenizer = open_bytes(&gguf, data, size);
    if (tokenizer) {
        use(tokenizer, text, sizeof text, &back);
        use(tokenizer, (const char *)data, size < 4096 ? size : 4096, &back);
        for (int32_t id = -1; id <= fv_tokenizer_tokens(tokenizer); id++) {
            bool known = id >= 0 && id < fv_tokenizer_tokens(tokenizer);
            back.length = 0;
            REQUIRE((fv_tokenizer_piece(tokenizer, id, true, &back) == FV_OK) == known);
            REQUIRE(known || !fv_tokenizer_is_end(tokenizer, id));
        }
    }
    fv_text_free(&back);
    fv_tokenizer_close(tokenizer);
    fv_gguf_close(gguf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    REQUIRE(fv_utf8_complete((const char *)data, size) <= size);
    if (size >= 4 && memcmp(data, "GGUF", 4) == 0) {
        check_file(data, size);
        return 0;
    }
    bool valid = is_utf8(data, size);
    check_text(make_bpe, data, size, valid);
    check_text(make_spm, data, size, valid && !has_space_mark(data, size));
    return 0;
}
