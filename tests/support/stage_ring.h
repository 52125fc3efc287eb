/* stage_ring.h - several stages of one model in one process: an engine each, and a thread for each but the first. For
 * tests. */
#ifndef FV_TEST_STAGE_RING_H
#define FV_TEST_STAGE_RING_H

#include "fovea/stage.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RING_MOST = 8, RING_QUEUE = 64 };

struct stage_ring;

/* What goes to one stage: in order, each message in memory of its own. */
typedef struct ring_queue {
    fv_stage_message messages[RING_QUEUE];
    size_t first, count;
} ring_queue;

typedef struct ring_stage {
    struct stage_ring *ring;
    uint32_t index;
    fv_engine *engine;
    fv_stage_worker *worker;
    pthread_t thread;
    fv_status status; /* of fv_stage_serve() */
    fv_message fault;
    size_t bytes, messages; /* that it sent */
} ring_stage;

typedef struct stage_ring {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    ring_queue queues[RING_MOST]; /* to each stage */
    ring_stage stages[RING_MOST];
    uint32_t count;
    uint32_t cut;  /* messages that the first stage still gets before its link fails; 0: all */
    size_t flight; /* most on their way at once */
    bool gone;     /* the first stage, without a word */
} stage_ring;

static inline size_t ring_flight(const stage_ring *ring) {
    size_t count = 0;
    for (uint32_t i = 0; i < ring->count; i++) count += ring->queues[i].count;
    return count;
}

static inline fv_status ring_send(void *context, const fv_stage_message *message, fv_message *fault) {
    ring_stage *stage = context;
    stage_ring *ring = stage->ring;
    fv_stage_message copy = {0};
    if (fv_stage_message_reserve(&copy, message->count) != FV_OK)
        return fv_message_set(fault, FV_ERROR_MEMORY, "no memory for a message");
    memcpy(copy.bytes, message->bytes, message->count);
    copy.count = message->count;
    pthread_mutex_lock(&ring->lock);
    ring_queue *queue = &ring->queues[(stage->index + 1) % ring->count];
    assert_true(queue->count < RING_QUEUE);
    queue->messages[(queue->first + queue->count++) % RING_QUEUE] = copy;
    stage->bytes += message->count;
    stage->messages++;
    if (ring_flight(ring) > ring->flight) ring->flight = ring_flight(ring);
    pthread_cond_broadcast(&ring->changed);
    pthread_mutex_unlock(&ring->lock);
    return FV_OK;
}

static inline fv_status ring_receive(void *context, fv_stage_message *message, fv_message *fault) {
    ring_stage *stage = context;
    stage_ring *ring = stage->ring;
    pthread_mutex_lock(&ring->lock);
    ring_queue *queue = &ring->queues[stage->index];
    while (queue->count == 0 && !(ring->gone && stage->index > 0)) pthread_cond_wait(&ring->changed, &ring->lock);
    if (queue->count == 0) {
        pthread_mutex_unlock(&ring->lock);
        return fv_message_set(fault, FV_ERROR_FILE, "stage 0 is gone");
    }
    fv_stage_message_free(message);
    *message = queue->messages[queue->first];
    queue->first = (queue->first + 1) % RING_QUEUE;
    queue->count--;
    bool cut = stage->index == 0 && ring->cut > 0 && --ring->cut == 0;
    pthread_mutex_unlock(&ring->lock);
    return cut ? fv_message_set(fault, FV_ERROR_FILE, "stage 1 on host test is gone") : FV_OK;
}

static inline void *ring_thread(void *context) {
    ring_stage *stage = context;
    const fv_stage_link link = {stage, ring_send, ring_receive};
    stage->status = fv_stage_serve(stage->worker, &link, &stage->fault);
    return NULL;
}

/* One engine a stage, with so many layers each; exchanges [count]: with other rings, NULL: contexts are whole.
 * observer: of all later stages; NULL: nobody. */
static inline void ring_open_divided(stage_ring *ring, const char *path, const uint32_t *layers, uint32_t count,
                                     const fv_exchange *const *exchanges, fv_attention_observer_fn *observer,
                                     void *context) {
    fv_message message = {{0}};
    fv_engine_config config;
    fv_engine_config_default(&config);
    config.model = path;
    config.tune = "none";
    config.pool.threads = 1;
    memset(ring, 0, sizeof *ring);
    ring->count = count;
    pthread_mutex_init(&ring->lock, NULL);
    pthread_cond_init(&ring->changed, NULL);
    for (uint32_t i = 0; i < count; i++) {
        ring_stage *stage = &ring->stages[i];
        fv_layer_range range;
        fv_stage_layers(layers, i, &range);
        stage->ring = ring;
        stage->index = i;
        if (fv_engine_open_range(&stage->engine, &config, &range, &message) != FV_OK) fail_msg("%s", message.text);
        if (exchanges) assert_int_equal(fv_engine_divide(stage->engine, exchanges[i], &message), FV_OK);
        if (i == 0) continue;
        assert_int_equal(fv_stage_worker_open(&stage->worker, stage->engine, &message), FV_OK);
        fv_stage_worker_observe(stage->worker, observer, context);
        assert_int_equal(pthread_create(&stage->thread, NULL, ring_thread, stage), 0);
    }
}

static inline void ring_open(stage_ring *ring, const char *path, const uint32_t *layers, uint32_t count,
                             fv_attention_observer_fn *observer, void *context) {
    ring_open_divided(ring, path, layers, count, NULL, observer, context);
}

static inline fv_status ring_link(stage_ring *ring, fv_message *message) {
    const fv_stage_link link = {&ring->stages[0], ring_send, ring_receive};
    return fv_engine_link(ring->stages[0].engine, &link, ring->count, message);
}

/* Later stages end by themselves, where the link could not tell them. */
static inline void ring_leave(stage_ring *ring) {
    pthread_mutex_lock(&ring->lock);
    ring->gone = true;
    pthread_cond_broadcast(&ring->changed);
    pthread_mutex_unlock(&ring->lock);
}

/* All sessions are closed. */
static inline void ring_close(stage_ring *ring, fv_status want) {
    fv_engine_close(ring->stages[0].engine);
    for (uint32_t i = 1; i < ring->count; i++) {
        ring_stage *stage = &ring->stages[i];
        assert_int_equal(pthread_join(stage->thread, NULL), 0);
        assert_int_equal(stage->status, want);
        fv_stage_worker_close(stage->worker);
        fv_engine_close(stage->engine);
    }
    for (uint32_t i = 0; i < ring->count; i++)
        for (; ring->queues[i].count > 0; ring->queues[i].count--) {
            fv_stage_message_free(&ring->queues[i].messages[ring->queues[i].first]);
            ring->queues[i].first = (ring->queues[i].first + 1) % RING_QUEUE;
        }
    pthread_cond_destroy(&ring->changed);
    pthread_mutex_destroy(&ring->lock);
}

#endif
