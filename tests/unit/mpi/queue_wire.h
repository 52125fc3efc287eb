/* queue_wire.h - a wire whose ranks are threads of one process: messages lie in queues. A rank can be cut off, and a
 * test can put any bytes into a queue. */
#ifndef QUEUE_WIRE_H
#define QUEUE_WIRE_H

#include "mpi/wire.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { QUEUE_RANKS = 4 };

typedef struct queued {
    struct queued *next;
    uint32_t from;
    size_t size;
    bool *taken; /* of its sender's request; NULL: nobody asks */
    uint8_t bytes[];
} queued;

typedef struct queue_net {
    pthread_mutex_t lock;
    queued *first[QUEUE_RANKS][FV_WIRE_CHANNELS];
    bool is_cut[QUEUE_RANKS];    /* nothing goes from it or to it */
    bool is_broken[QUEUE_RANKS]; /* its calls fail */
    int ended_with[QUEUE_RANKS]; /* code of end_all() */
    int finished;
    int left; /* messages to ranks that had finished, or from them: nobody takes them any more */
} queue_net;

typedef struct queue_end {
    queue_net *net;
    uint32_t rank;
    queued *told; /* by arrived(), and not taken yet */
} queue_end;

static inline void queue_put(queue_net *net, uint32_t from, uint32_t to, int channel, const void *bytes, size_t size,
                             bool *taken) {
    queued *made = malloc(sizeof *made + size);
    if (!made) abort();
    *made = (queued){.from = from, .size = size, .taken = taken};
    if (size) memcpy(made->bytes, bytes, size);
    pthread_mutex_lock(&net->lock);
    queued **at = &net->first[to][channel];
    while (*at) at = &(*at)->next;
    *at = made;
    pthread_mutex_unlock(&net->lock);
}

static inline bool queue_start(void **context, fv_wire_self *self) {
    (void)context;
    (void)self;
    return false;
}

static inline bool queue_send(void *context, uint32_t to, fv_wire_channel channel, const void *bytes, size_t size,
                              void **request) {
    queue_end *end = context;
    bool *taken = calloc(1, sizeof *taken);
    if (!taken || end->net->is_broken[end->rank]) {
        free(taken);
        return false;
    }
    *request = taken;
    queue_put(end->net, end->rank, to, (int)channel, bytes, size, taken);
    return true;
}

static inline bool queue_arrived(void *context, fv_wire_channel channel, uint32_t *from, size_t *size, void **message) {
    queue_end *end = context;
    queue_net *net = end->net;
    *message = NULL;
    pthread_mutex_lock(&net->lock);
    for (queued **at = &net->first[end->rank][channel]; *at && !net->is_cut[end->rank]; at = &(*at)->next) {
        queued *this = *at;
        if (net->is_cut[this->from]) continue;
        *at = this->next;
        if (this->taken) *this->taken = true;
        *from = this->from;
        *size = this->size;
        *message = end->told = this;
        break;
    }
    pthread_mutex_unlock(&net->lock);
    return true;
}

static inline bool queue_take(void *context, void *message, void *bytes, size_t size, void **request) {
    queued *taken = message;
    queue_end *end = context;
    end->told = NULL;
    bool *done = malloc(sizeof *done);
    if (!done) abort();
    *done = true;
    memcpy(bytes, taken->bytes, size);
    free(taken);
    *request = done;
    return true;
}

static inline bool queue_done(void *context, void *request, bool *done) {
    queue_end *end = context;
    pthread_mutex_lock(&end->net->lock);
    *done = *(bool *)request;
    pthread_mutex_unlock(&end->net->lock);
    if (*done) free(request);
    return true;
}

static inline const char *queue_error(void *context) {
    (void)context;
    return "the cable is out";
}

static inline void queue_end_all(void *context, int code) {
    queue_end *end = context;
    pthread_mutex_lock(&end->net->lock);
    end->net->ended_with[end->rank] = code;
    pthread_mutex_unlock(&end->net->lock);
}

static inline void queue_finish(void *context) {
    queue_end *end = context;
    pthread_mutex_lock(&end->net->lock);
    end->net->finished++;
    for (int to = 0; to < QUEUE_RANKS; to++)
        for (int channel = 0; channel < FV_WIRE_CHANNELS; channel++)
            for (const queued *at = end->net->first[to][channel]; at; at = at->next)
                end->net->left += at->from == end->rank || to == (int)end->rank;
    pthread_mutex_unlock(&end->net->lock);
}

static const fv_wire_table queue_table = {FV_WIRE_VERSION, "queues",   queue_start, queue_send,    queue_arrived,
                                          queue_take,      queue_done, queue_error, queue_end_all, queue_finish};

#endif
