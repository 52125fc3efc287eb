/* reply.c - the queue between who answers and who reads. Memory that cannot be had ends the answer, where it was. */
#include "reply.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

fv_reply *fv_reply_new(void) {
    fv_reply *made = calloc(1, sizeof *made);
    if (!made) return NULL;
    pthread_mutex_init(&made->lock, NULL);
    atomic_init(&made->holders, 1);
    return made;
}

void fv_reply_hold(fv_reply *reply) { atomic_fetch_add(&reply->holders, 1); }

void fv_reply_drop(fv_reply *reply) {
    if (!reply || atomic_fetch_sub(&reply->holders, 1) != 1) return;
    pthread_mutex_destroy(&reply->lock);
    fv_text_free(&reply->bytes);
    free(reply);
}

/* With the lock. */
static void wake(fv_reply *reply) {
    if (!reply->waiting) return;
    reply->waiting = false;
    reply->peer.wake(reply->peer.context);
}

/* ---- who answers ---- */

void fv_reply_text(fv_reply *reply, unsigned status, const char *type, const char *bytes, size_t length) {
    pthread_mutex_lock(&reply->lock);
    if (reply->status == 0) {
        reply->status = status;
        reply->type = type;
        if (fv_text_append(&reply->bytes, bytes, length) != FV_OK) reply->status = 500;
        reply->ended = true;
        wake(reply);
    }
    pthread_mutex_unlock(&reply->lock);
}

void fv_reply_json(fv_reply *reply, unsigned status, json_t *document) {
    fv_text text = {0};
    if (fv_json_write(document, &text) == FV_OK)
        fv_reply_text(reply, status, FV_REPLY_JSON, text.bytes, text.length);
    else
        fv_reply_text(reply, 500, FV_REPLY_JSON, "", 0);
    fv_text_free(&text);
}

static const char *error_type(unsigned status) {
    static const struct {
        unsigned status;
        const char *type;
    } types[] = {{400, "invalid_request_error"}, {401, "authentication_error"},  {404, "not_found_error"},
                 {405, "invalid_request_error"}, {413, "invalid_request_error"}, {429, "rate_limit_error"},
                 {501, "not_supported_error"},   {503, "unavailable_error"}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].status == status) return types[i].type;
    return "server_error";
}

static json_t *error_json(const fv_reply *reply, unsigned status, const char *text) {
    if (reply->plain_error) return json_pack("{s:o}", "error", fv_json_string(text, strlen(text)));
    return json_pack("{s:{s:i, s:o, s:s}}", "error", "code", (int)status, "message", fv_json_string(text, strlen(text)),
                     "type", error_type(status));
}

void fv_reply_error(fv_reply *reply, unsigned status, const char *format, ...) {
    char text[FV_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (!fv_reply_began(reply)) {
        fv_reply_json(reply, status, error_json(reply, status, text));
        return;
    }
    fv_reply_event(reply, error_json(reply, status, text));
    fv_reply_end(reply);
}

void fv_reply_stream(fv_reply *reply, const char *type) {
    pthread_mutex_lock(&reply->lock);
    if (reply->status == 0) {
        reply->status = 200;
        reply->type = type;
        reply->streamed = true;
        wake(reply);
    }
    pthread_mutex_unlock(&reply->lock);
}

void fv_reply_write(fv_reply *reply, const char *bytes, size_t length) {
    pthread_mutex_lock(&reply->lock);
    if (reply->taken > 0 && reply->taken == reply->bytes.length) reply->taken = reply->bytes.length = 0;
    if (!reply->ended && !reply->gone && fv_text_append(&reply->bytes, bytes, length) != FV_OK) reply->ended = true;
    wake(reply);
    pthread_mutex_unlock(&reply->lock);
}

static void write_event(fv_reply *reply, json_t *document, bool named) {
    fv_text text = {0};
    bool lines = reply->type == NULL || strcmp(reply->type, FV_REPLY_NDJSON) == 0;
    const char *type = named && !lines ? json_string_value(json_object_get(document, "type")) : NULL;
    fv_status status = FV_OK;
    if (type) status = fv_text_append(&text, "event: ", 7);
    if (type && status == FV_OK) status = fv_text_append(&text, type, strlen(type));
    if (type && status == FV_OK) status = fv_text_append(&text, "\n", 1);
    if (status == FV_OK && !lines) status = fv_text_append(&text, "data: ", 6);
    fv_status written = fv_json_write(document, &text);
    if (status == FV_OK) status = written;
    if (status == FV_OK) status = fv_text_append(&text, "\n\n", lines ? 1 : 2);
    if (status == FV_OK)
        fv_reply_write(reply, text.bytes, text.length);
    else
        fv_reply_end(reply);
    fv_text_free(&text);
}

void fv_reply_event(fv_reply *reply, json_t *document) {
    if (!json_is_array(document)) {
        write_event(reply, document, false);
        return;
    }
    for (size_t i = 0; i < json_array_size(document); i++)
        write_event(reply, json_incref(json_array_get(document, i)), true);
    json_decref(document);
}

void fv_reply_end(fv_reply *reply) {
    pthread_mutex_lock(&reply->lock);
    reply->ended = true;
    wake(reply);
    pthread_mutex_unlock(&reply->lock);
}

bool fv_reply_began(fv_reply *reply) {
    pthread_mutex_lock(&reply->lock);
    bool began = reply->status != 0;
    pthread_mutex_unlock(&reply->lock);
    return began;
}

bool fv_reply_gone(fv_reply *reply) {
    pthread_mutex_lock(&reply->lock);
    if (reply->waiting && !reply->gone) reply->gone = !reply->peer.is_there(reply->peer.context);
    bool gone = reply->gone;
    if (gone) wake(reply);
    pthread_mutex_unlock(&reply->lock);
    return gone;
}

void fv_reply_used(fv_reply *reply, uint64_t prompt, uint64_t cached, uint64_t answer) {
    pthread_mutex_lock(&reply->lock);
    reply->prompt_tokens = prompt;
    reply->cached_tokens = cached;
    reply->answer_tokens = answer;
    pthread_mutex_unlock(&reply->lock);
}

/* ---- who reads ---- */

bool fv_reply_await(fv_reply *reply, bool reading, void (*wait)(void *context)) {
    pthread_mutex_lock(&reply->lock);
    bool ready = reply->ended || reply->gone || (reply->streamed && !reading) ||
                 (reply->streamed && reply->taken < reply->bytes.length);
    if (!ready) {
        reply->waiting = true;
        wait(reply->peer.context);
    }
    pthread_mutex_unlock(&reply->lock);
    return ready;
}

size_t fv_reply_read(fv_reply *reply, char *bytes, size_t most, bool *ended) {
    pthread_mutex_lock(&reply->lock);
    size_t left = reply->bytes.length - reply->taken, count = left < most ? left : most;
    if (count > 0) memcpy(bytes, reply->bytes.bytes + reply->taken, count);
    reply->taken += count;
    reply->sent += count;
    *ended = count == 0 && (reply->ended || reply->gone);
    pthread_mutex_unlock(&reply->lock);
    return count;
}

void fv_reply_leave(fv_reply *reply) {
    pthread_mutex_lock(&reply->lock);
    reply->gone = true;
    reply->waiting = false;
    pthread_mutex_unlock(&reply->lock);
}
