/* conversation.c - keeps the turns and cuts a step's text out of the rendering of the whole conversation.
 * Templates trim what people and models write; the tokens in the cache are untrimmed. So the cut is made in a rendering
 * where the last answer is one letter that no template touches. */
#include "fovea/conversation.h"
#include <stdlib.h>
#include <string.h>

static const char *const roles[] = {"system", "user", "assistant"};

struct fv_conversation {
    fv_chat_family family;
    const fv_gguf *gguf;
    fv_chat_turn *turns; /* roles are ours and static */
    char **contents;     /* of the turns; owned */
    size_t count, capacity;
};

fv_status fv_conversation_open(fv_conversation **conversation, fv_chat_family family, const fv_gguf *gguf) {
    if (!conversation || !gguf || family <= FV_CHAT_NONE || family >= FV_CHAT_COUNT) return FV_ERROR_ARGUMENT;
    fv_conversation *made = calloc(1, sizeof *made);
    if (!made) return FV_ERROR_MEMORY;
    made->family = family;
    made->gguf = gguf;
    *conversation = made;
    return FV_OK;
}

void fv_conversation_close(fv_conversation *conversation) {
    if (!conversation) return;
    while (conversation->count > 0) fv_conversation_drop(conversation);
    free(conversation->turns);
    free(conversation->contents);
    free(conversation);
}

static fv_status grow(fv_conversation *conversation) {
    if (conversation->count < conversation->capacity) return FV_OK;
    size_t capacity = conversation->capacity ? 2 * conversation->capacity : 8;
    fv_chat_turn *turns = realloc(conversation->turns, capacity * sizeof *turns);
    if (!turns) return FV_ERROR_MEMORY;
    conversation->turns = turns;
    char **contents = realloc(conversation->contents, capacity * sizeof *contents);
    if (!contents) return FV_ERROR_MEMORY;
    conversation->contents = contents;
    conversation->capacity = capacity;
    return FV_OK;
}

fv_status fv_conversation_add(fv_conversation *conversation, const char *role, const char *content) {
    const char *known = NULL;
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
        if (strcmp(role, roles[i]) == 0) known = roles[i];
    if (!known) return FV_ERROR_ARGUMENT;
    if (grow(conversation) != FV_OK) return FV_ERROR_MEMORY;
    char *copy = strdup(content);
    if (!copy) return FV_ERROR_MEMORY;
    conversation->contents[conversation->count] = copy;
    conversation->turns[conversation->count++] = (fv_chat_turn){known, copy};
    return FV_OK;
}

void fv_conversation_drop(fv_conversation *conversation) {
    if (conversation->count > 0) free(conversation->contents[--conversation->count]);
}

/* Index of the last answer; count if there is none. */
static size_t last_answer(const fv_conversation *conversation) {
    for (size_t i = conversation->count; i > 0; i--)
        if (strcmp(conversation->turns[i - 1].role, "assistant") == 0) return i - 1;
    return conversation->count;
}

bool fv_conversation_is_new(const fv_conversation *conversation) {
    return last_answer(conversation) == conversation->count;
}

fv_status fv_conversation_render(const fv_conversation *conversation, fv_text *text) {
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
