/* ask_many.c - a text is read once and saved. Then it wakes and is forked, and several questions are answered at a
 * time: a step reads the weights once for all of them, and the text's memory is there once.
 *
 *   ask_many MODEL.gguf SESSION_FILE TEXT QUESTION... */
#include <fovea/engine.h>
#include <fovea/session_file.h>
#include <fovea/step.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 8, ANSWER = 16 };

/* What all answers share. */
typedef struct world {
    fv_engine *engine;
    const fv_llm *llm;
    fv_session_config config;
    fv_segments *segments;
    fv_stepper *stepper;
    uint32_t vocabulary;
} world;

static fv_message message;

static void must(fv_status status) {
    if (status == FV_OK) return;
    fprintf(stderr, "%s\n", message.text[0] ? message.text : fv_status_text(status));
    exit(1);
}

static world world_open(const char *model) {
    world w = {0};
    fv_engine_config config;
    fv_engine_config_default(&config);
    config.model = model;
    must(fv_engine_open(&w.engine, &config, &message));
    w.llm = fv_engine_llm(w.engine);
    w.vocabulary = fv_llm_config(w.llm)->vocabulary;
    fv_engine_session_config(w.engine, &w.config);
    must(fv_segments_open(&w.segments, 0, &message)); /* 0: as much memory as there is */
    must(fv_stepper_open(&w.stepper, w.llm, &w.config, fv_engine_pool(w.engine), &message));
    return w;
}

static void world_close(world *w) {
    fv_stepper_close(w->stepper);
    fv_segments_close(w->segments);
    fv_engine_close(w->engine);
}

static fv_tokens tokens_of(const world *w, const char *text, uint32_t flags) {
    fv_tokens tokens = {0};
    must(fv_tokenizer_encode(fv_llm_tokenizer(w->llm), text, strlen(text), flags, &tokens));
    return tokens;
}

/* The last tokens of a prompt read everything, if the policy says so; those of a text read what it says. */
static void ask(const world *w, fv_sequence *sequence, const char *question) {
    fv_tokens tokens = tokens_of(w, question, 0);
    must(fv_sequence_feed_prompt(sequence, w->stepper, tokens.ids, tokens.count, 0, NULL, NULL));
    fv_tokens_free(&tokens);
}

/* Could be yesterday, and another process. */
static void read_once(const world *w, const char *text, const char *path) {
    fv_sequence *sequence;
    must(fv_sequence_open(&sequence, w->llm, w->segments, &w->config, &message));
    fv_tokens tokens = tokens_of(w, text, FV_TOKENIZE_ADD_SPECIAL);
    must(fv_sequence_feed(sequence, w->stepper, tokens.ids, tokens.count, NULL, NULL));
    fv_tokens_free(&tokens);
    must(fv_sequence_save(sequence, path, FV_SESSION_END_PLAIN, &message));
    printf("read %zu tokens\n", fv_sequence_tokens(sequence));
    fv_sequence_close(sequence);
}

static fv_sequence *wake(const world *w, const char *path) {
    fv_session_file *file;
    fv_sequence *sequence;
    must(fv_session_file_open(&file, path, &message));
    must(fv_sequence_open(&sequence, w->llm, w->segments, &w->config, &message));
    must(fv_sequence_wake(sequence, file, fv_session_file_info(file)->tokens, &message));
    fv_session_file_close(file); /* the sequence keeps what it needs of it */
    printf("woke with %zu tokens\n", fv_sequence_tokens(sequence));
    return sequence;
}

/* The likeliest token after row `row` of the last step. */
static int32_t next_token(const world *w, uint32_t row, float *logits) {
    uint32_t best = 0;
    must(fv_stepper_logits(w->stepper, &row, 1, logits));
    for (uint32_t i = 1; i < w->vocabulary; i++)
        if (logits[i] > logits[best]) best = i;
    return (int32_t)best;
}

/* A token of each answer a step. */
static void answer_all(const world *w, fv_sequence *const *asked, size_t count, fv_tokens *answers) {
    fv_step_part parts[MOST];
    int32_t last[MOST];
    float *logits = malloc(w->vocabulary * sizeof *logits);
    if (!logits) must(FV_ERROR_MEMORY);
    for (size_t n = 1; n < ANSWER; n++) {
        for (size_t i = 0; i < count; i++) {
            last[i] = answers[i].ids[answers[i].count - 1];
            parts[i] = (fv_step_part){.sequence = asked[i], .tokens = &last[i], .count = 1};
        }
        must(fv_stepper_run(w->stepper, parts, count));
        for (size_t i = 0; i < count; i++) {
            int32_t token = next_token(w, (uint32_t)i, logits);
            must(fv_tokens_append(&answers[i], &token, 1));
        }
    }
    free(logits);
}

int main(int argc, char **argv) {
    size_t count = argc > 4 ? (size_t)argc - 4 : 0;
    if (count < 1 || count > MOST) {
        fprintf(stderr, "usage: %s MODEL.gguf SESSION_FILE TEXT QUESTION...\n", argv[0]);
        return 2;
    }
    world w = world_open(argv[1]);
    read_once(&w, argv[3], argv[2]);
    fv_sequence *text = wake(&w, argv[2]), *asked[MOST];
    fv_tokens answers[MOST] = {{0}};
    float *logits = malloc(w.vocabulary * sizeof *logits);
    if (!logits) must(FV_ERROR_MEMORY);
    for (size_t i = 0; i < count; i++) {
        must(fv_sequence_fork(&asked[i], text, &message));
        ask(&w, asked[i], argv[4 + i]);
        int32_t token = next_token(&w, (uint32_t)fv_stepper_rows(w.stepper) - 1, logits);
        must(fv_tokens_append(&answers[i], &token, 1));
    }
    free(logits);
    answer_all(&w, asked, count, answers);
    for (size_t i = 0; i < count; i++) {
        fv_text said = {0};
        must(fv_tokenizer_decode(fv_llm_tokenizer(w.llm), answers[i].ids, answers[i].count, false, &said));
        printf("%s%s\n", argv[4 + i], said.bytes);
        printf("  %" PRIu64 " KiB of its own\n", fv_sequence_own_bytes(asked[i]) / 1024);
        fv_text_free(&said);
        fv_tokens_free(&answers[i]);
        fv_sequence_close(asked[i]);
    }
    fv_sequence_close(text);
    world_close(&w);
    return 0;
}
