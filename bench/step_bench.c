/* step_bench.c - decode of many sequences in one step beside that of one, in one run:
 * step_bench MODEL.gguf [DEPTH [SEQUENCES...]]. One thread, dense, F16 cache; each sequence has a text of its own of
 * DEPTH tokens (512); a step evaluates a token of each, with logits; the best of interleaved runs. */
#include "fovea/engine.h"
#include "fovea/machine.h"
#include "fovea/step.h"
#include <stdio.h>
#include <stdlib.h>

enum { MOST = 64, STEPS = 16, ROUNDS = 5, BATCH = 256 };

static fv_message message;

static void must(fv_status status) {
    if (status == FV_OK) return;
    fprintf(stderr, "step_bench: %s\n", message.text[0] ? message.text : fv_status_text(status));
    exit(1);
}

/* What all sequences share. */
typedef struct world {
    fv_engine *engine;
    fv_session_config config;
    fv_segments *segments;
    fv_stepper *stepper;
    uint32_t vocabulary, depth;
    float *logits; /* [MOST][vocabulary] */
    fv_sequence *sequence[MOST];
} world;

static uint32_t seed = 1;

static int32_t token_make(const world *w) {
    seed = seed * 1664525 + 1013904223;
    return (int32_t)((seed >> 8) % w->vocabulary);
}

static void world_open(world *w, const char *model, uint32_t depth) {
    fv_engine_config config;
    fv_engine_config_default(&config);
    config.model = model;
    config.pool.threads = 1;
    must(fv_engine_open(&w->engine, &config, &message));
    const fv_llm *llm = fv_engine_llm(w->engine);
    w->vocabulary = fv_llm_config(llm)->vocabulary;
    w->depth = depth;
    fv_engine_session_config(w->engine, &w->config);
    w->config.context_tokens = depth + STEPS;
    w->config.batch_tokens = BATCH;
    must(fv_segments_open(&w->segments, 0, &message));
    must(fv_stepper_open(&w->stepper, llm, &w->config, fv_engine_pool(w->engine), &message));
    w->logits = malloc((size_t)MOST * w->vocabulary * sizeof *w->logits);
    if (!w->logits) must(FV_ERROR_MEMORY);
}

static void world_close(world *w) {
    for (size_t i = 0; i < MOST; i++) fv_sequence_close(w->sequence[i]);
    free(w->logits);
    fv_stepper_close(w->stepper);
    fv_segments_close(w->segments);
    fv_engine_close(w->engine);
}

static void sequences_read(world *w, size_t count) {
    int32_t *text = malloc((size_t)w->depth * sizeof *text);
    if (!text) must(FV_ERROR_MEMORY);
    for (size_t i = 0; i < count; i++) {
        for (uint32_t t = 0; t < w->depth; t++) text[t] = token_make(w);
        must(fv_sequence_open(&w->sequence[i], fv_engine_llm(w->engine), w->segments, &w->config, &message));
        must(fv_sequence_feed(w->sequence[i], w->stepper, text, w->depth, NULL, NULL));
    }
    free(text);
}

/* Seconds of STEPS steps of the first `count` sequences. */
static double steps_time(world *w, size_t count) {
    int32_t tokens[MOST];
    uint32_t rows[MOST];
    fv_step_part parts[MOST];
    for (size_t i = 0; i < count; i++) {
        must(fv_sequence_truncate(w->sequence[i], w->depth));
        rows[i] = (uint32_t)i;
        parts[i] = (fv_step_part){.sequence = w->sequence[i], .tokens = &tokens[i], .count = 1};
    }
    uint64_t begin = fv_machine_clock_ns();
    for (size_t s = 0; s < STEPS; s++) {
        for (size_t i = 0; i < count; i++) tokens[i] = token_make(w);
        must(fv_stepper_run(w->stepper, parts, count));
        must(fv_stepper_logits(w->stepper, rows, count, w->logits));
    }
    return (double)(fv_machine_clock_ns() - begin) * 1e-9;
}

int main(int argc, char **argv) {
    size_t counts[MOST] = {1, 2, 4, 8, 16}, n = argc > 3 ? (size_t)argc - 3 : 5, most = 0;
    unsigned long depth = argc > 2 ? strtoul(argv[2], NULL, 10) : 512;
    if (argc < 2 || n > MOST || depth < 1 || depth > 1000000) {
        fprintf(stderr, "usage: %s MODEL.gguf [DEPTH [SEQUENCES...]], at most %d sequences\n", argv[0], MOST);
        return 2;
    }
    for (size_t i = 0; i < n; i++) {
        if (argc > 3) counts[i] = strtoul(argv[3 + i], NULL, 10);
        if (counts[i] < 1 || counts[i] > MOST) {
            fprintf(stderr, "step_bench: %s sequences: 1 to %d\n", argv[3 + i], MOST);
            return 2;
        }
        if (counts[i] > most) most = counts[i];
    }
    world w = {0};
    world_open(&w, argv[1], (uint32_t)depth);
    sequences_read(&w, most);
    double best[MOST] = {0};
    for (size_t round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < n; i++) {
            double seconds = steps_time(&w, counts[i]);
            if (round == 0 || seconds < best[i]) best[i] = seconds;
        }
    printf("sequences  ms a step  tokens/s  of %zu\n", counts[0]);
    for (size_t i = 0; i < n; i++)
        printf("%9zu  %9.3f  %8.1f  %.2fx\n", counts[i], best[i] / STEPS * 1e3, (double)(counts[i] * STEPS) / best[i],
               (double)counts[i] * best[0] / (best[i] * (double)counts[0]));
    world_close(&w);
    return 0;
}
