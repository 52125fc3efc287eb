/* chat_fuzz.c - any text as a chat template, any text as what a user says: recognised or refused with a message; what
 * is rendered holds the turn's words, and rendering leaves what stood before. Input: a byte of switches, the template
 * up to a zero, the words. */
#include "fovea/chat.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) \
    do \
        if (!(condition)) abort(); \
    while (0)

static void put(fv_text *file, const void *bytes, size_t count) {
    REQUIRE(fv_text_append(file, bytes, count) == FV_OK);
}

static void put_u64(fv_text *file, uint64_t value) {
    char bytes[8];
    for (int i = 0; i < 8; i++) bytes[i] = (char)(value >> (8 * i));
    put(file, bytes, 8);
}

static void put_string_entry(fv_text *file, const char *key, const void *value, size_t length) {
    put_u64(file, strlen(key));
    put(file, key, strlen(key));
    put(file, "\x08\0\0\0", 4); /* FV_GGUF_STRING */
    put_u64(file, length);
    put(file, value, length);
}

static fv_gguf *open_template(fv_text *file, const void *bytes, size_t length, bool bpe) {
    fv_gguf *gguf = NULL;
    put(file, "GGUF\x03\0\0\0", 8);
    put_u64(file, 0);
    put_u64(file, 2);
    put_string_entry(file, "tokenizer.ggml.model", bpe ? "gpt2" : "llama", bpe ? 4 : 5);
    put_string_entry(file, "tokenizer.chat_template", bytes, length);
    REQUIRE(fv_gguf_open_memory(&gguf, file->bytes, file->length, "fuzz", NULL) == FV_OK);
    return gguf;
}

/* In one piece, and turn by turn after what stands there. */
static void render(fv_chat_family family, const fv_gguf *gguf, const char *words, bool with_system) {
    const fv_chat_turn all[] = {{"system", words}, {"user", words}, {"assistant", "ok"}, {"user", words}};
    const fv_chat_turn *turns = with_system ? all : all + 1;
    size_t count = with_system ? 4 : 3;
    fv_text whole = {0}, steps = {0};
    put(&steps, "before", 6);
    fv_status status = fv_chat_render(family, gguf, turns, count, 0, true, &whole);
    REQUIRE(status == FV_OK || status == FV_ERROR_ARGUMENT);
    if (status == FV_OK) {
        REQUIRE(whole.length > 0 && whole.bytes[whole.length] == 0 && strlen(whole.bytes) == whole.length);
        REQUIRE(words[0] == 0 || strpbrk(words, " \t\r\n\v\f") || strstr(whole.bytes, words)); /* some trim */
    } else {
        REQUIRE(whole.length == 0);
    }
    fv_text_spans contents = {0};
    const fv_chat_format format = {gguf, (uint32_t)family, FV_CHAT_REASONING_NONE, 20786};
    fv_status same = fv_chat_render_format(&format, turns, count, 0, false, &steps, &contents);
    REQUIRE(same == status && (same == FV_OK || contents.count == 0));
    for (size_t i = 0, before = 6; i < contents.count; before = contents.spans[i++].end)
        REQUIRE(before <= contents.spans[i].begin && contents.spans[i].begin < contents.spans[i].end &&
                contents.spans[i].end <= steps.length);
    fv_text_spans_free(&contents);
    for (size_t done = 0; done < count; done++) {
        size_t length = steps.length;
        status = fv_chat_render(family, gguf, turns, done + 1, done, false, &steps);
        REQUIRE(memcmp(steps.bytes, "before", 6) == 0 && steps.length >= length);
        if (status != FV_OK) REQUIRE(steps.length == length);
    }
    fv_text_free(&whole);
    fv_text_free(&steps);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) return 0;
    const uint8_t *text = data + 1, *zero = memchr(text, 0, size - 1);
    size_t length = zero ? (size_t)(zero - text) : size - 1, rest = size - 1 - length - (zero ? 1 : 0);
    char *words = calloc(rest + 1, 1);
    REQUIRE(words);
    if (rest) memcpy(words, zero + 1, rest);
    fv_text file = {0};
    fv_gguf *gguf = open_template(&file, text, length, data[0] & 1);
    fv_message message = {{0}};
    fv_chat_family family = FV_CHAT_COUNT;
    fv_status status = fv_chat_family_detect(gguf, &family, &message);
    REQUIRE(status == FV_OK || status == FV_ERROR_UNSUPPORTED);
    if (status == FV_OK) REQUIRE(family < FV_CHAT_COUNT);
    if (status != FV_OK) REQUIRE(message.text[0] && family == FV_CHAT_COUNT);
    for (int f = FV_CHAT_NONE + 1; f < FV_CHAT_COUNT; f++) /* --chat-template may name another family */
        if (data[0] & 2 || (status == FV_OK && f == (int)family))
            render((fv_chat_family)f, gguf, words, (data[0] & 4) != 0);
    fv_gguf_close(gguf);
    fv_text_free(&file);
    free(words);
    return 0;
}
