/* divided_bench.c - a context over ranks, which are threads of one core each that copy from memory to memory, beside
 * the same context in one rank: divided_bench MODEL.gguf [CONTEXT [RANKS [POLICY]]]. A prompt of CONTEXT tokens
 * (4,096), then single ones; bytes that come from other ranks, segments of a rank, and time, of which exchanging is a
 * part. */
#include "fovea/engine.h"
#include "fovea/machine.h"
#include "fovea/policy_text.h"
#include "fovea/step.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 16, STEPS = 16, BATCH = 256 };

/* Ranks that wait for each other. */
typedef struct group {
    pthread_mutex_t lock;
    pthread_cond_t turn;
    uint32_t ranks, waiting, round;
    unsigned char *all[MOST];
    uint64_t calls; /* of rank 0 */
} group;

typedef struct rank {
    group *group;
    const char *model, *policy;
    uint32_t context, index;
    fv_exchange exchange;
    double prompt_s, step_s;
    uint64_t prompt_bytes, step_bytes, prompt_calls, step_calls, held_bytes;
    fv_message message;
} rank;

static void must(fv_status status, const fv_message *message) {
    if (status == FV_OK) return;
    fprintf(stderr, "divided_bench: %s\n", message->text[0] ? message->text : fv_status_text(status));
    exit(1);
}

static void group_wait(group *g) {
    pthread_mutex_lock(&g->lock);
    uint32_t round = g->round;
    if (++g->waiting == g->ranks) {
        g->waiting = 0;
        g->round++;
        pthread_cond_broadcast(&g->turn);
    }
    while (round == g->round) pthread_cond_wait(&g->turn, &g->lock);
    pthread_mutex_unlock(&g->lock);
}

static fv_status gather(void *self, void *all, const size_t *bytes) {
    rank *own = self;
    group *g = own->group;
    g->all[own->index] = all;
    group_wait(g);
    if (own->index == 0) g->calls++;
    for (size_t r = 0, at = 0; r < g->ranks; at += bytes[r++])
        if (r != own->index) memcpy((unsigned char *)all + at, g->all[r] + at, bytes[r]);
    group_wait(g);
    return FV_OK;
}

static double now(void) { return (double)fv_machine_clock_ns() * 1e-9; }

static void feed(rank *r, fv_sequence *sequence, fv_stepper *stepper, const int32_t *text, size_t count) {
    must(fv_sequence_feed(sequence, stepper, text, count, NULL, NULL), &r->message);
}

static void rank_measure(rank *r, fv_sequence *sequence, fv_stepper *stepper, const int32_t *text) {
    double begin = now();
    feed(r, sequence, stepper, text, r->context);
    r->prompt_s = now() - begin;
    r->prompt_bytes = fv_stepper_exchanged_bytes(stepper);
    r->prompt_calls = r->group->calls;
    r->held_bytes = fv_sequence_bytes(sequence);
    begin = now();
    for (uint32_t i = 0; i < STEPS; i++) feed(r, sequence, stepper, text + r->context + i, 1);
    r->step_s = (now() - begin) / STEPS;
    r->step_bytes = (fv_stepper_exchanged_bytes(stepper) - r->prompt_bytes) / STEPS;
    r->step_calls = (r->group->calls - r->prompt_calls) / STEPS;
}

static void *rank_main(void *context) {
    rank *r = context;
    fv_engine *engine;
    fv_engine_config config;
    fv_engine_config_default(&config);
    config.model = r->model;
    config.tune = "none";
    config.pool.threads = 1;
    must(fv_engine_open(&engine, &config, &r->message), &r->message);
    if (r->group->ranks > 1) must(fv_engine_divide(engine, &r->exchange, &r->message), &r->message);
    fv_session_config session;
    fv_engine_session_config(engine, &session);
    session.context_tokens = r->context + STEPS;
    session.batch_tokens = BATCH;
    must(fv_policy_parse(&session.policy, r->policy, &r->message), &r->message);
    fv_segments *segments;
    fv_sequence *sequence;
    fv_stepper *stepper;
    const fv_llm *llm = fv_engine_llm(engine);
    must(fv_segments_open(&segments, 0, &r->message), &r->message);
    must(fv_sequence_open(&sequence, llm, segments, &session, &r->message), &r->message);
    must(fv_stepper_open(&stepper, llm, &session, fv_engine_pool(engine), &r->message), &r->message);
    int32_t *text = malloc((r->context + STEPS) * sizeof *text);
    if (!text) must(FV_ERROR_MEMORY, &r->message);
    uint32_t seed = 1, vocabulary = fv_llm_config(llm)->vocabulary;
    for (uint32_t i = 0; i < r->context + STEPS; i++) {
        seed = seed * 1664525 + 1013904223;
        text[i] = (int32_t)((seed >> 8) % vocabulary);
    }
    rank_measure(r, sequence, stepper, text);
    r->prompt_bytes /= (uint64_t)r->context * fv_llm_config(llm)->layers;
    r->step_bytes /= fv_llm_config(llm)->layers;
    free(text);
    fv_stepper_close(stepper);
    fv_sequence_close(sequence);
    fv_segments_close(segments);
    fv_engine_close(engine);
    return NULL;
}

static void run(const char *model, uint32_t context, uint32_t ranks, const char *policy) {
    group g = {.ranks = ranks};
    rank all[MOST];
    pthread_t threads[MOST];
    pthread_mutex_init(&g.lock, NULL);
    pthread_cond_init(&g.turn, NULL);
    for (uint32_t i = 0; i < ranks; i++) {
        all[i] = (rank){.group = &g, .model = model, .policy = policy, .context = context, .index = i};
        all[i].exchange = (fv_exchange){.all_gather = gather, .self = &all[i], .rank = i, .ranks = ranks};
        if (pthread_create(&threads[i], NULL, rank_main, &all[i])) must(FV_ERROR_MEMORY, &all[i].message);
    }
    uint64_t held = 0;
    for (uint32_t i = 0; i < ranks; i++) {
        pthread_join(threads[i], NULL);
        if (all[i].held_bytes > held) held = all[i].held_bytes;
    }
    printf("%u ranks, %s: prompt %.2f s, %llu bytes a token and layer; a token %.2f ms, %llu bytes a layer, %llu "
           "exchanges; %.1f MiB of segments\n",
           ranks, policy, all[0].prompt_s, (unsigned long long)all[0].prompt_bytes, all[0].step_s * 1e3,
           (unsigned long long)all[0].step_bytes, (unsigned long long)all[0].step_calls, (double)held / 0x1p20);
}

int main(int count, char **words) {
    uint32_t context = count > 2 ? (uint32_t)atoi(words[2]) : 4096, ranks = count > 3 ? (uint32_t)atoi(words[3]) : 2;
    const char *policy = count > 4 ? words[4] : "dense";
    if (count < 2 || context < 1 || ranks < 1 || ranks > MOST) {
        fprintf(stderr, "divided_bench MODEL.gguf [CONTEXT [RANKS, at most %d [POLICY]]]\n", MOST);
        return 2;
    }
    run(words[1], context, 1, policy);
    run(words[1], context, ranks, policy);
    return 0;
}
