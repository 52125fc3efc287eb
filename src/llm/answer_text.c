/* answer_text.c - stop texts may begin and end anywhere in tokens, so the text is searched, not the tokens. */
#include "fovea/answer_text.h"
#include <stdlib.h>
#include <string.h>

struct fv_answer_text {
    char *stops[FV_ANSWER_STOPS]; /* owned */
    size_t stop_count;
    fv_text text;
    size_t shown; /* bytes of it */
};

static fv_status copy_stops(fv_answer_text *answer, const char *const *stops, size_t count, fv_message *message) {
    if (count > FV_ANSWER_STOPS)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "%zu stop texts; the most is %d", count, FV_ANSWER_STOPS);
    for (size_t i = 0; i < count; i++) {
        if (!stops[i] || !stops[i][0]) return fv_message_set(message, FV_ERROR_ARGUMENT, "stop text %zu is empty", i);
        answer->stops[i] = strdup(stops[i]);
        if (!answer->stops[i]) return fv_message_set(message, FV_ERROR_MEMORY, "no memory for stop texts");
        answer->stop_count++;
    }
    return FV_OK;
}

fv_status fv_answer_text_open(fv_answer_text **answer, const char *const *stops, size_t count, fv_message *message) {
    if (!answer || (count > 0 && !stops)) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is missing");
    fv_answer_text *made = calloc(1, sizeof *made);
    if (!made) return fv_message_set(message, FV_ERROR_MEMORY, "no memory for the text of an answer");
    fv_status status = copy_stops(made, stops, count, message);
    if (status == FV_OK)
        *answer = made;
    else
        fv_answer_text_close(made);
    return status;
}

void fv_answer_text_close(fv_answer_text *answer) {
    if (!answer) return;
    for (size_t i = 0; i < answer->stop_count; i++) free(answer->stops[i]);
    fv_text_free(&answer->text);
    free(answer);
}

void fv_answer_text_clear(fv_answer_text *answer) { answer->text.length = answer->shown = 0; }

const fv_text *fv_answer_text_all(const fv_answer_text *answer) { return &answer->text; }

/* Cuts the text before the first stop text that ends after its first `before` bytes; which one, or -1. */
static int cut_at_stop(fv_answer_text *answer, size_t before) {
    fv_text *text = &answer->text;
    size_t first = text->length;
    int met = -1;
    for (size_t i = 0; i < answer->stop_count; i++) {
        size_t length = strlen(answer->stops[i]);
        for (size_t at = before > length ? before - length : 0; at + length <= text->length && at < first; at++) {
            if (memcmp(text->bytes + at, answer->stops[i], length) != 0) continue;
            first = at;
            met = (int)i;
        }
    }
    if (met < 0) return met;
    text->length = first;
    text->bytes[first] = 0;
    return met;
}

fv_status fv_answer_text_add(fv_answer_text *answer, const fv_tokenizer *tokenizer, int32_t token, int *stop) {
    size_t before = answer->text.length;
    fv_status status = fv_tokenizer_piece(tokenizer, token, false, &answer->text);
    if (status == FV_OK) *stop = cut_at_stop(answer, before);
    return status;
}

/* Bytes at the end of the text that may become a stop text. */
static size_t held_back(const fv_answer_text *answer) {
    const fv_text *text = &answer->text;
    size_t most = 0;
    for (size_t i = 0; i < answer->stop_count; i++) {
        size_t length = strlen(answer->stops[i]) - 1;
        if (length > text->length) length = text->length;
        while (length > most && memcmp(text->bytes + text->length - length, answer->stops[i], length) != 0) length--;
        if (length > most) most = length;
    }
    return most;
}

size_t fv_answer_text_take(fv_answer_text *answer, bool last, const char **bytes) {
    const fv_text *text = &answer->text;
    size_t begin = answer->shown, end = text->length - (last ? 0 : held_back(answer));
    if (!last && end > begin) end = begin + fv_utf8_complete(text->bytes + begin, end - begin);
    if (end < begin) end = begin;
    answer->shown = end;
    if (bytes) *bytes = text->bytes ? text->bytes + begin : "";
    return end - begin;
}
