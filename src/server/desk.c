/* desk.c - calls in the order in which they came. */
#include "desk.h"
#include <stdlib.h>

struct fv_desk {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    fv_call *first, **end;
    bool closing;
};

void fv_call_free(fv_call *call) {
    if (!call) return;
    fv_text_free(&call->body);
    fv_reply_drop(call->reply);
    free(call);
}

void fv_call_serve(fv_call *call) {
    if (!fv_reply_gone(call->reply)) call->route->serve(call);
    fv_call_free(call);
}

/* NULL: there is none, and there will be none. */
static fv_call *next_call(fv_desk *desk) {
    pthread_mutex_lock(&desk->lock);
    while (!desk->first && !desk->closing) pthread_cond_wait(&desk->changed, &desk->lock);
    fv_call *call = desk->first;
    if (call) desk->first = call->next;
    if (!desk->first) desk->end = &desk->first;
    pthread_mutex_unlock(&desk->lock);
    return call;
}

static void *work(void *context) {
    for (fv_call *call = next_call(context); call; call = next_call(context)) fv_call_serve(call);
    return NULL;
}

fv_status fv_desk_open(fv_desk **desk, fv_message *message) {
    fv_desk *made = calloc(1, sizeof *made);
    if (!made) return fv_message_set(message, FV_ERROR_MEMORY, "no memory for the thread that reads requests");
    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->changed, NULL);
    made->end = &made->first;
    if (pthread_create(&made->thread, NULL, work, made) != 0) {
        free(made);
        return fv_message_set(message, FV_ERROR_MEMORY, "the thread that reads requests can't be started");
    }
    *desk = made;
    return FV_OK;
}

void fv_desk_put(fv_desk *desk, fv_call *call) {
    pthread_mutex_lock(&desk->lock);
    bool closing = desk->closing;
    call->next = NULL;
    if (!closing) {
        *desk->end = call;
        desk->end = &call->next;
    }
    pthread_cond_signal(&desk->changed);
    pthread_mutex_unlock(&desk->lock);
    if (!closing) return;
    fv_reply_error(call->reply, 503, "the server is stopping");
    fv_call_free(call);
}

void fv_desk_stop(fv_desk *desk) {
    pthread_mutex_lock(&desk->lock);
    bool again = desk->closing;
    desk->closing = true;
    pthread_cond_signal(&desk->changed);
    pthread_mutex_unlock(&desk->lock);
    if (!again) pthread_join(desk->thread, NULL);
}

void fv_desk_close(fv_desk *desk) {
    if (!desk) return;
    fv_desk_stop(desk);
    pthread_mutex_destroy(&desk->lock);
    pthread_cond_destroy(&desk->changed);
    free(desk);
}
