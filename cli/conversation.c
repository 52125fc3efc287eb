/* conversation.c - keeps the turns and cuts a step's text out of the rendering of the whole conversation.
 * Templates trim what people and models write; the tokens in the cache are untrimmed. So the cut is made in a rendering
 * where the last answer is one letter that no template touches. */
#include "conversation.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

fv_status cli_conversation_add(cli_conversation *conversation, const char *role, const char *content) {
    size_t length = strlen(content);
    char *copy = malloc(length + 1);
    if (!copy) return FV_ERROR_MEMORY;
    if (conversation->count == conversation->capacity) {
        size_t capacity = conversation->capacity ? 2 * conversation->capacity : 8;
        fv_chat_turn *turns = realloc(conversation->turns, capacity * sizeof *turns);
        if (!turns) {
            free(copy);
            return FV_ERROR_MEMORY;
        }
        conversation->turns = turns;
        conversation->capacity = capacity;
    }
    memcpy(copy, content, length + 1);
    conversation->turns[conversation->count++] = (fv_chat_turn){role, copy};
    return FV_OK;
}

void cli_conversation_drop(cli_conversation *conversation) {
    if (conversation->count > 0) free((char *)(uintptr_t)conversation->turns[--conversation->count].content);
}

void cli_conversation_free(cli_conversation *conversation) {
    while (conversation->count > 0) cli_conversation_drop(conversation);
    free(conversation->turns);
    conversation->turns = NULL;
    conversation->capacity = 0;
}

/* Index of the last answer; count if there is none. */
static size_t last_answer(const cli_conversation *conversation) {
    for (size_t i = conversation->count; i > 0; i--)
        if (strcmp(conversation->turns[i - 1].role, "assistant") == 0) return i - 1;
    return conversation->count;
}

bool cli_conversation_is_new(const cli_conversation *conversation) {
    return last_answer(conversation) == conversation->count;
}

fv_status cli_conversation_render(const cli_conversation *conversation, fv_text *text) {
    size_t answer = last_answer(conversation);
    if (answer == conversation->count)
        return fv_chat_render(conversation->family, conversation->gguf, conversation->turns, conversation->count, 0,
                              true, text);
    fv_text before = {0}, whole = {0};
    const char *content = conversation->turns[answer].content;
    fv_status status =
        fv_chat_render(conversation->family, conversation->gguf, conversation->turns, answer, 0, true, &before);
    conversation->turns[answer].content = "X";
    if (status == FV_OK)
        status = fv_chat_render(conversation->family, conversation->gguf, conversation->turns, conversation->count, 0,
                                true, &whole);
    conversation->turns[answer].content = content;
    const char *letter = NULL; /* only white space can stand in front of it: some families open an answer so */
    if (status == FV_OK && whole.length > before.length && memcmp(whole.bytes, before.bytes, before.length) == 0)
        letter = memchr(whole.bytes + before.length, 'X', whole.length - before.length);
    if (status == FV_OK && !letter) status = FV_ERROR_UNSUPPORTED; /* a template that rewrites what was said */
    if (status == FV_OK) status = fv_text_append(text, letter + 1, whole.length - (size_t)(letter + 1 - whole.bytes));
    fv_text_free(&before);
    fv_text_free(&whole);
    return status;
}
