/* stage_bench.c - a model's layers over stages, which are threads of one core each that copy messages from memory to
 * memory, beside the same model in one: stage_bench MODEL.gguf [PROMPT [STAGES [SEQUENCES [ANSWER [SPLIT]]]]]. A prompt
 * of PROMPT tokens (8,128), then SEQUENCES (8) answers of ANSWER (64) tokens at the same time: time, bytes over a
 * border, what each stage holds and computes, and the time that cores of their own would take, whatever else the
 * machine does. SPLIT: as fovea's --split. */
#include "fovea/machine.h"
#include "fovea/schedule.h"
#include "fovea/stage.h"
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 16, QUEUE = 32, BATCH = 512, SHORT = 64 };

struct ring;

typedef struct stage {
    struct ring *ring;
    uint32_t index;
    fv_engine *engine;
    fv_stage_worker *worker;
    fv_stage_message queue[QUEUE]; /* to it */
    double sent_at[QUEUE];         /* by the sender's clock */
    double waited;
    uint32_t first, count;
    uint64_t sent_bytes;
    pthread_t thread;
} stage;

typedef struct ring {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    stage stages[MOST];
    uint32_t count;
} ring;

typedef struct answer {
    fv_schedule *schedule;
    fv_sequence *sequence;
    uint32_t tokens, vocabulary;
    float *logits;
    pthread_t thread;
} answer;

static void must(fv_status status, const fv_message *message) {
    if (status == FV_OK) return;
    fprintf(stderr, "stage_bench: %s\n", message->text[0] ? message->text : fv_status_text(status));
    exit(1);
}

/* Seconds that all threads, or one, have computed: what a core of its own would take, whatever else the machine does.
 */
static double cpu_seconds(const stage *one) {
    clockid_t clock = CLOCK_PROCESS_CPUTIME_ID;
    struct timespec time = {0};
    if (one && pthread_getcpuclockid(one->thread, &clock) != 0) return 0;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Of each stage so far; the first has the threads that the others have not. */
static void cpu_read(const ring *r, double *seconds) {
    seconds[0] = cpu_seconds(NULL);
    for (uint32_t i = 1; i < r->count; i++) {
        seconds[i] = cpu_seconds(&r->stages[i]);
        seconds[0] -= seconds[i];
    }
}

/* A stage's clock on a core of its own: what it computed, and waited for messages by the clocks of those who sent them.
 * A first stage that computes one step while the answer to another comes counts that as waiting, too. */
static double stage_clock(const ring *r, uint32_t index) {
    double seconds[MOST];
    cpu_read(r, seconds);
    return seconds[index] + r->stages[index].waited;
}

static fv_status ring_send(void *context, const fv_stage_message *message, fv_message *fault) {
    stage *from = context;
    ring *r = from->ring;
    stage *to = &r->stages[(from->index + 1) % r->count];
    fv_stage_message copy = {0};
    fv_status status = fv_stage_message_reserve(&copy, message->count);
    if (status != FV_OK) return fv_message_set(fault, status, "no memory for a message");
    memcpy(copy.bytes, message->bytes, message->count);
    copy.count = message->count;
    double now = stage_clock(r, from->index);
    pthread_mutex_lock(&r->lock);
    while (to->count == QUEUE) pthread_cond_wait(&r->changed, &r->lock);
    to->sent_at[(to->first + to->count) % QUEUE] = now;
    to->queue[(to->first + to->count++) % QUEUE] = copy;
    from->sent_bytes += message->count;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    return FV_OK;
}

static fv_status ring_receive(void *context, fv_stage_message *message, fv_message *fault) {
    stage *to = context;
    ring *r = to->ring;
    (void)fault;
    pthread_mutex_lock(&r->lock);
    while (to->count == 0) pthread_cond_wait(&r->changed, &r->lock);
    fv_stage_message_free(message);
    *message = to->queue[to->first];
    double early = to->sent_at[to->first] - stage_clock(r, to->index);
    if (early > 0) to->waited += early;
    to->first = (to->first + 1) % QUEUE;
    to->count--;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    return FV_OK;
}

static void *stage_run(void *context) {
    stage *own = context;
    const fv_stage_link link = {own, ring_send, ring_receive};
    fv_message message = {{0}};
    must(fv_stage_serve(own->worker, &link, &message), &message);
    return NULL;
}

static void ring_open(ring *r, const fv_engine_config *config, uint32_t count, const char *split) {
    fv_message message = {{0}};
    uint32_t layers[MOST];
    fv_llm *llm = NULL;
    *r = (ring){.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .count = count};
    must(fv_llm_open(&llm, config->model, &message), &message);
    bool is_word = split && strcmp(split, "answers") == 0;
    if (split && !is_word && count > 1)
        must(fv_stage_split_parse(split, fv_llm_config(llm)->layers, count, layers, &message), &message);
    else
        must(fv_stage_split(llm, &config->session, count, is_word ? FV_STAGE_ANSWERS : FV_STAGE_PROMPTS, layers,
                            &message),
             &message);
    for (uint32_t i = 0; i < count; i++) {
        stage *made = &r->stages[i];
        fv_layer_range range;
        fv_stage_bytes bytes;
        fv_stage_layers(layers, i, &range);
        made->ring = r;
        made->index = i;
        must(fv_stage_bytes_plan(llm, &config->session, &range, &bytes, &message), &message);
        printf("stage %" PRIu32 ": %" PRIu32 " layers, weights and cache %.1f MiB (of %.1f)\n", i, range.count,
               (double)(bytes.weights + bytes.cache) / 1048576.0, (double)bytes.all / 1048576.0);
        must(fv_engine_open_range(&made->engine, config, &range, &message), &message);
        if (i == 0) continue;
        must(fv_stage_worker_open(&made->worker, made->engine, &message), &message);
        pthread_create(&made->thread, NULL, stage_run, made);
    }
    fv_llm_close(llm);
    const fv_stage_link link = {&r->stages[0], ring_send, ring_receive};
    if (count > 1) must(fv_engine_link(r->stages[0].engine, &link, count, &message), &message);
}

static void ring_close(ring *r) {
    fv_engine_close(r->stages[0].engine);
    for (uint32_t i = 1; i < r->count; i++) {
        pthread_join(r->stages[i].thread, NULL);
        fv_stage_worker_close(r->stages[i].worker);
        fv_engine_close(r->stages[i].engine);
    }
}

static double seconds_since(uint64_t begin_ns) { return (double)(fv_machine_clock_ns() - begin_ns) / 1e9; }

static void *answer_run(void *context) {
    answer *own = context;
    fv_message message = {{0}};
    for (uint32_t i = 0; i < own->tokens; i++) {
        int32_t next = 0;
        float best = own->logits[0];
        for (uint32_t v = 1; v < own->vocabulary; v++) {
            if (own->logits[v] <= best) continue;
            next = (int32_t)v;
            best = own->logits[v];
        }
        must(fv_schedule_feed(own->schedule, own->sequence, &next, 1, own->logits, NULL, NULL), &message);
    }
    return NULL;
}

/* Answers at the same time after short prompts; tokens a second. */
static double answers_run(const ring *r, const fv_engine_config *config, uint32_t count, uint32_t tokens,
                          const int32_t *text, double *cpu, double *clock_s) {
    const fv_engine *engine = r->stages[0].engine;
    const fv_llm *llm = fv_engine_llm(engine);
    double before[MOST];
    fv_message message = {{0}};
    fv_segments *segments = NULL;
    fv_stepper *stepper = NULL;
    fv_schedule *schedule = NULL;
    answer *answers = calloc(count, sizeof *answers);
    uint32_t vocabulary = fv_llm_config(llm)->vocabulary;
    must(fv_segments_open(&segments, 0, &message), &message);
    must(fv_stepper_open(&stepper, llm, &config->session, fv_engine_pool(engine), &message), &message);
    must(fv_schedule_open(&schedule, stepper, 0, &message), &message);
    for (uint32_t i = 0; i < count; i++) {
        answers[i] = (answer){schedule, NULL, tokens, vocabulary, malloc(vocabulary * sizeof(float)), 0};
        must(fv_sequence_open(&answers[i].sequence, llm, segments, &config->session, &message), &message);
        must(fv_schedule_feed(schedule, answers[i].sequence, text + i, SHORT, answers[i].logits, NULL, NULL), &message);
    }
    cpu_read(r, before);
    double begin = stage_clock(r, 0);
    uint64_t begin_ns = fv_machine_clock_ns();
    for (uint32_t i = 0; i < count; i++) pthread_create(&answers[i].thread, NULL, answer_run, &answers[i]);
    for (uint32_t i = 0; i < count; i++) pthread_join(answers[i].thread, NULL);
    double rate = (double)count * tokens / seconds_since(begin_ns);
    cpu_read(r, cpu);
    *clock_s = (stage_clock(r, 0) - begin) / ((double)count * tokens);
    for (uint32_t i = 0; i < r->count; i++) cpu[i] = (cpu[i] - before[i]) / ((double)count * tokens);
    fv_schedule_counts counts;
    fv_schedule_counts_read(schedule, &counts);
    printf("%.2f answers a step\n", (double)count * tokens / (double)(counts.steps - count));
    for (uint32_t i = 0; i < count; i++) {
        fv_sequence_close(answers[i].sequence);
        free(answers[i].logits);
    }
    fv_schedule_close(schedule);
    fv_stepper_close(stepper);
    fv_segments_close(segments);
    free(answers);
    return rate;
}

typedef struct wanted {
    const char *model, *split;
    uint32_t prompt, stages, sequences, answer;
} wanted;

typedef struct measured {
    double prompt_s, rate;
    double prompt_cpu[MOST], answer_cpu[MOST]; /* of each stage, seconds a token */
    double prompt_most, answer_most;           /* of the slowest */
    double prompt_clock, answer_clock;         /* by the first stage's clock */
} measured;

/* Of the stage that computes longest. */
static double slowest(const ring *r, const double *cpu) {
    double most = 0;
    for (uint32_t i = 0; i < r->count; i++)
        if (cpu[i] > most) most = cpu[i];
    return most;
}

static void cpu_print(const ring *r, const char *what, const double *cpu) {
    printf("%s, ms of each stage's core a token:", what);
    for (uint32_t i = 0; i < r->count; i++) printf(" %.3f", cpu[i] * 1e3);
    printf("\n");
}

static measured measure(const wanted *w, uint32_t stages) {
    static ring r;
    fv_engine_config config;
    fv_session *session = NULL;
    fv_message message = {{0}};
    fv_engine_config_default(&config);
    config.model = w->model, config.tune = "none", config.pool.threads = 1;
    config.session.context_tokens = w->prompt + w->answer + 1, config.session.batch_tokens = BATCH;
    ring_open(&r, &config, stages, w->split);
    const fv_engine *engine = r.stages[0].engine;
    uint32_t vocabulary = fv_llm_config(fv_engine_llm(engine))->vocabulary;
    int32_t *text = malloc(w->prompt * sizeof *text);
    for (uint32_t i = 0; i < w->prompt; i++) text[i] = (int32_t)(100 + i * 7919u % (vocabulary - 200));
    must(fv_engine_session_open(engine, NULL, &session, &message), &message);
    double begin_cpu[MOST];
    cpu_read(&r, begin_cpu);
    double begin = stage_clock(&r, 0);
    uint64_t before = r.stages[0].sent_bytes, begin_ns = fv_machine_clock_ns();
    must(fv_session_feed(session, text, w->prompt, NULL, NULL), &message);
    measured made = {.prompt_s = seconds_since(begin_ns)};
    made.prompt_clock = (stage_clock(&r, 0) - begin) / w->prompt;
    cpu_read(&r, made.prompt_cpu);
    for (uint32_t i = 0; i < r.count; i++) made.prompt_cpu[i] = (made.prompt_cpu[i] - begin_cpu[i]) / w->prompt;
    double bytes = (double)(r.stages[0].sent_bytes - before) / w->prompt;
    fv_session_close(session);
    made.rate = answers_run(&r, &config, w->sequences, w->answer, text, made.answer_cpu, &made.answer_clock);
    printf("%" PRIu32 " stages: prompt %.1f tokens/s, %" PRIu32 " answers %.1f tokens/s", r.count,
           w->prompt / made.prompt_s, w->sequences, made.rate);
    if (stages > 1) printf("; over a border %.1f bytes a token of the prompt", bytes);
    printf("\n");
    cpu_print(&r, "prompt", made.prompt_cpu);
    cpu_print(&r, "answers", made.answer_cpu);
    made.prompt_most = slowest(&r, made.prompt_cpu);
    made.answer_most = slowest(&r, made.answer_cpu);
    free(text);
    ring_close(&r);
    return made;
}

static uint32_t number_at(int argc, char **argv, int place, uint32_t otherwise) {
    return argc > place ? (uint32_t)strtoul(argv[place], NULL, 10) : otherwise;
}

int main(int argc, char **argv) {
    const wanted w = {argc > 1 ? argv[1] : NULL,   argc > 6 ? argv[6] : NULL,   number_at(argc, argv, 2, 8128),
                      number_at(argc, argv, 3, 2), number_at(argc, argv, 4, 8), number_at(argc, argv, 5, 64)};
    if (argc < 2 || w.stages < 2 || w.stages > MOST || w.sequences < 1 || w.prompt < SHORT + w.sequences) {
        fprintf(stderr, "stage_bench MODEL.gguf [PROMPT [STAGES, 2 to %d [SEQUENCES [ANSWER [SPLIT]]]]]\n", MOST);
        return 2;
    }
    measured one = measure(&w, 1), several = measure(&w, w.stages);
    printf("%" PRIu32 " stages / 1: prompt %.2fx, answers %.2fx\n", w.stages, one.prompt_s / several.prompt_s,
           several.rate / one.rate);
    printf("on cores of their own: prompt %.2fx, answers %.2fx\n", one.prompt_clock / several.prompt_clock,
           one.answer_clock / several.answer_clock);
    printf("no faster than, where stages wait for nothing: prompt %.2fx, answers %.2fx\n",
           one.prompt_most / several.prompt_most, one.answer_most / several.answer_most);
    return 0;
}
