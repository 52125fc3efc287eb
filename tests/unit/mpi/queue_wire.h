/* queue_wire.h - a wire whose ranks are threads of one process: messages lie in queues. A rank can be cut off, and a
 * test can put any bytes into a queue. */
#ifndef QUEUE_WIRE_H
#define QUEUE_WIRE_H

#include "mpi/wire.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { QUEUE_RANKS = 4 };

/* The net owns it, so that a rank which ends after a fault need not ask for those that are on their way. */
typedef struct queue_request {
    struct queue_request *next;
    bool done;
} queue_request;

typedef struct queued {
    struct queued *next;
    uint32_t from;
    size_t size;
    queue_request *request; /* its sender's; NULL: nobody asks */
    uint8_t bytes[];
} queued;

typedef struct queue_net {
    pthread_mutex_t lock;
    queued *first[QUEUE_RANKS][FV_WIRE_CHANNELS];
    queue_request *requests;     /* all that were made */
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

static inline queue_request *queue_request_new(queue_net *net, bool done) {
    queue_request *made = malloc(sizeof *made);
    if (!made) abort();
    pthread_mutex_lock(&net->lock);
    *made = (queue_request){net->requests, done};
    net->requests = made;
    pthread_mutex_unlock(&net->lock);
    return made;
}

static inline void queue_put(queue_net *net, uint32_t from, uint32_t to, int channel, const void *bytes, size_t size,
                             queue_request *request) {
    queued *made = malloc(sizeof *made + size);
    if (!made) abort();
    *made = (queued){.from = from, .size = size, .request = request};
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
    if (end->net->is_broken[end->rank]) return false;
    queue_request *made = queue_request_new(end->net, false);
    queue_put(end->net, end->rank, to, (int)channel, bytes, size, made);
    *request = made;
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
        if (this->request) this->request->done = true;
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
    memcpy(bytes, taken->bytes, size);
    free(taken);
    *request = queue_request_new(end->net, true);
    return true;
}

static inline bool queue_done(void *context, void *request, bool *done) {
    queue_end *end = context;
    pthread_mutex_lock(&end->net->lock);
    *done = ((const queue_request *)request)->done;
    pthread_mutex_unlock(&end->net->lock);
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

/* What still lies in the queues, and the requests: when no rank uses the net any more. */
static inline void queue_sweep(queue_net *net) {
    for (int to = 0; to < QUEUE_RANKS; to++)
        for (int channel = 0; channel < FV_WIRE_CHANNELS; channel++)
            for (queued *at; (at = net->first[to][channel]); free(at)) net->first[to][channel] = at->next;
    for (queue_request *at; (at = net->requests); free(at)) net->requests = at->next;
}

static const fv_wire_table queue_table = {FV_WIRE_VERSION, "queues",   queue_start, queue_send,    queue_arrived,
                                          queue_take,      queue_done, queue_error, queue_end_all, queue_finish};

#endif
