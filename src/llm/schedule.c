/* schedule.c - who waits runs the steps: the first in line leads, takes what fits of all that wait, and hands on. An
 * answer that was in the last step is likely to come back at once with its next token: the leader waits for it a
 * little, or two answers would take turns with steps of their own. */
#include "fovea/schedule.h"
#include "fovea/machine.h"
#include "llm/llm.h"
#include "llm/sequence_state.h"
#include "platform/array.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CHUNK_TOKENS = 256 };

/* One call of fv_schedule_feed(), on its stack. */
typedef struct ticket {
    fv_sequence *sequence;
    const int32_t *tokens;
    size_t count, done;
    float *logits;
    fv_token_time time;
    fv_status status;
    fv_status became; /* the leader's: what becomes of it in the step at work */
    uint32_t rows;    /* in the step at work; 0: not in it */
    uint32_t last_row;
    uint64_t came; /* steps begun before it */
    struct ticket *next;
} ticket;

struct fv_schedule {
    fv_stepper *stepper;
    uint32_t chunk_tokens;
    pthread_mutex_t lock;
    ticket *first, **end;            /* who waits, in line */
    uint32_t expected;               /* single tokens of the last step: as many are likely to come */
    uint64_t step_ns;                /* that it took */
    bool leads;                      /* somebody does */
    pthread_cond_t arrived, changed; /* one more in line; a step is over */
    /* Of the step at work; the leader's. */
    ticket **taken;
    fv_step_part *parts;
    fv_part_outcome *outcomes;
    uint32_t *first_rows, *rows;
    size_t room;
    float *logits; /* [logit_room][the model's vocabulary] */
    size_t logit_room;
    fv_schedule_counts counts;
};

/* ---- opening ---- */

fv_status fv_schedule_open(fv_schedule **schedule, fv_stepper *stepper, uint32_t chunk_tokens, fv_message *message) {
    if (!schedule || !stepper) return fv_message_set(message, FV_ERROR_ARGUMENT, "a schedule needs a stepper");
    size_t batch = fv_stepper_batch_tokens(stepper);
    fv_schedule *made = calloc(1, sizeof *made);
    if (!made) return fv_message_set(message, FV_ERROR_MEMORY, "no memory for a schedule");
    *made = (fv_schedule){.stepper = stepper,
                          .chunk_tokens = chunk_tokens ? chunk_tokens : CHUNK_TOKENS,
                          .room = batch,
                          .lock = PTHREAD_MUTEX_INITIALIZER,
                          .arrived = PTHREAD_COND_INITIALIZER,
                          .changed = PTHREAD_COND_INITIALIZER,
                          .taken = fv_array_new(batch, sizeof *made->taken),
                          .parts = fv_array_new(batch, sizeof *made->parts),
                          .outcomes = fv_array_new(batch, sizeof *made->outcomes),
                          .first_rows = fv_array_new(batch, sizeof *made->first_rows),
                          .rows = fv_array_new(batch, sizeof *made->rows)};
    if (made->chunk_tokens > batch) made->chunk_tokens = (uint32_t)batch;
    made->end = &made->first;
    if (!made->taken || !made->parts || !made->outcomes || !made->first_rows || !made->rows) {
        fv_schedule_close(made);
        return fv_message_set(message, FV_ERROR_MEMORY, "no memory for a schedule of %zu tokens a step", batch);
    }
    *schedule = made;
    return FV_OK;
}

void fv_schedule_close(fv_schedule *schedule) {
    if (!schedule) return;
    free(schedule->taken);
    free(schedule->parts);
    free(schedule->outcomes);
    free(schedule->first_rows);
    free(schedule->rows);
    free(schedule->logits);
    free(schedule);
}

void fv_schedule_counts_read(fv_schedule *schedule, fv_schedule_counts *counts) {
    pthread_mutex_lock(&schedule->lock);
    *counts = schedule->counts;
    pthread_mutex_unlock(&schedule->lock);
}

/* ---- the line ---- */

static void line_add(fv_schedule *schedule, ticket *made) {
    made->next = NULL;
    made->came = schedule->counts.steps;
    *schedule->end = made;
    schedule->end = &made->next;
}

static void line_remove(fv_schedule *schedule, ticket *gone) {
    ticket **place = &schedule->first;
    while (*place != gone) place = &(*place)->next;
    *place = gone->next;
    if (schedule->end == &gone->next) schedule->end = place;
}

static size_t left_of(const ticket *t) { return t->count - t->done; }

/* As many rows of it as fit go into the step at work. */
static void take(fv_schedule *schedule, ticket *t, size_t most, size_t *parts, size_t *rows) {
    size_t count = left_of(t) < most ? left_of(t) : most;
    if (count > t->sequence->shape.batch_tokens) count = t->sequence->shape.batch_tokens;
    t->rows = (uint32_t)count;
    *rows += count;
    fv_step_part *part = &schedule->parts[*parts];
    *part = (fv_step_part){.sequence = t->sequence, .tokens = t->tokens + t->done, .count = (uint32_t)count};
    fv_token_time_attach(&t->time, part);
    schedule->taken[(*parts)++] = t;
}

/* Whether it can be in a step with those that were taken. */
static bool suits(const fv_schedule *schedule, const ticket *t, size_t parts) {
    for (size_t i = 0; i < parts; i++)
        if (!fv_token_times_suit(&t->time, &schedule->taken[i]->time)) return false;
    return true;
}

/* Single tokens, then prompts; how many parts. */
static size_t step_fill(fv_schedule *schedule) {
    size_t parts = 0, rows = 0, singles;
    for (ticket *t = schedule->first; t && rows < schedule->room; t = t->next)
        if (left_of(t) == 1 && suits(schedule, t, parts)) take(schedule, t, 1, &parts, &rows);
    singles = rows;
    schedule->expected = (uint32_t)singles;
    schedule->counts.steps++;
    for (size_t i = 0; i < parts; i++) {
        uint64_t waited = schedule->counts.steps - schedule->taken[i]->came;
        if (waited > schedule->counts.most_waited) schedule->counts.most_waited = waited;
    }
    for (ticket *t = schedule->first; t && rows < schedule->room && rows - singles < schedule->chunk_tokens;
         t = t->next) {
        size_t chunk = schedule->chunk_tokens - (rows - singles), room = schedule->room - rows;
        if (t->rows == 0 && suits(schedule, t, parts)) take(schedule, t, chunk < room ? chunk : room, &parts, &rows);
    }
    schedule->counts.rows += rows;
    schedule->counts.parts += parts;
    if (parts > schedule->counts.most_parts) schedule->counts.most_parts = parts;
    if (rows > schedule->counts.most_rows) schedule->counts.most_rows = rows;
    return parts;
}

/* ---- a step ---- */

static bool wants_logits(const ticket *t) { return t->became == FV_OK && t->logits && left_of(t) == t->rows; }

static fv_status logits_reserve(fv_schedule *schedule, size_t rows) {
    if (rows <= schedule->logit_room) return FV_OK;
    float *more = fv_array_new(rows, schedule->taken[0]->sequence->shape.vocabulary * sizeof *more);
    if (!more) return FV_ERROR_MEMORY;
    free(schedule->logits);
    schedule->logits = more;
    schedule->logit_room = rows;
    return FV_OK;
}

/* Of one part, where those of all together are not all sound. */
static fv_status logits_give_one(fv_schedule *schedule, const ticket *t) {
    fv_status status = fv_stepper_logits(schedule->stepper, &t->last_row, 1, schedule->logits);
    fv_model_fault fault = *fv_stepper_last_fault(schedule->stepper);
    fault.row = t->rows - 1;
    if (status != FV_OK) fv_sequence_blame(t->sequence, fv_sequence_tokens(t->sequence) - t->rows, status, &fault);
    return status;
}

/* To the first `count` parts, those that are done and want them. The step was made: what fails now fails for one. */
static void logits_give(fv_schedule *schedule, size_t count) {
    size_t wanted = 0, vocabulary = schedule->taken[0]->sequence->shape.vocabulary, row = 0;
    for (size_t i = 0; i < count; i++)
        if (wants_logits(schedule->taken[i])) schedule->rows[wanted++] = schedule->taken[i]->last_row;
    if (wanted == 0) return;
    fv_status all = logits_reserve(schedule, wanted);
    bool is_asked = all == FV_OK;
    if (is_asked) all = fv_stepper_logits(schedule->stepper, schedule->rows, wanted, schedule->logits);
    for (size_t i = 0; i < count; i++) {
        ticket *t = schedule->taken[i];
        if (!wants_logits(t)) continue;
        t->became = is_asked && all != FV_OK ? logits_give_one(schedule, t) : all;
        const float *made = schedule->logits + (all == FV_OK ? row : 0) * vocabulary;
        if (t->became == FV_OK) memcpy(t->logits, made, vocabulary * sizeof *made);
        row++;
    }
}

/* A part that is refused is taken out, and the rest evaluated together: only those fail that must. */
static void step_run(fv_schedule *schedule, size_t count) {
    uint64_t begin_ns = fv_machine_clock_ns();
    fv_status status =
        fv_stepper_run_rest(schedule->stepper, schedule->parts, count, schedule->outcomes, schedule->first_rows);
    for (size_t i = 0; i < count; i++) {
        ticket *t = schedule->taken[i];
        t->became = (fv_status)schedule->outcomes[i].status;
        t->last_row = schedule->first_rows[i] + t->rows - 1;
        fv_token_time_end(&t->time, t->sequence, t->became);
    }
    if (status == FV_OK) logits_give(schedule, count);
    schedule->step_ns = fv_machine_clock_ns() - begin_ns;
}

/* What the step did to those who were in it. Prompts that go on do so at the end of the line. */
static void step_settle(fv_schedule *schedule, size_t count) {
    for (size_t i = 0; i < count; i++) {
        ticket *t = schedule->taken[i];
        line_remove(schedule, t);
        t->status = t->became;
        if (t->status == FV_OK) t->done += t->rows;
        t->rows = 0;
        if (t->status == FV_OK && left_of(t) > 0) line_add(schedule, t);
    }
}

static uint32_t singles_waiting(const fv_schedule *schedule) {
    uint32_t count = 0;
    for (const ticket *t = schedule->first; t; t = t->next) count += left_of(t) == 1;
    return count;
}

/* A quarter of a step's time for those who were in the last one. */
static void company_await(fv_schedule *schedule) {
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    uint64_t ns = (uint64_t)end.tv_nsec + schedule->step_ns / 4;
    end.tv_sec += (time_t)(ns / 1000000000u);
    end.tv_nsec = (long)(ns % 1000000000u);
    while (singles_waiting(schedule) < schedule->expected)
        if (pthread_cond_timedwait(&schedule->arrived, &schedule->lock, &end) != 0) return;
}

/* With the lock, which is given up meanwhile. There is somebody in line: the leader itself. */
static void step_lead(fv_schedule *schedule) {
    schedule->leads = true;
    company_await(schedule);
    size_t count = step_fill(schedule);
    pthread_mutex_unlock(&schedule->lock);
    step_run(schedule, count);
    pthread_mutex_lock(&schedule->lock);
    step_settle(schedule, count);
    schedule->leads = false;
    pthread_cond_broadcast(&schedule->changed);
}

/* ---- feeding ---- */

/* Until it went on, by leading steps where nobody does. With the lock. */
static void ticket_advance(fv_schedule *schedule, const ticket *t, size_t before) {
    while (t->done == before && t->status == FV_OK) {
        if (schedule->leads)
            pthread_cond_wait(&schedule->changed, &schedule->lock);
        else
            step_lead(schedule);
    }
}

/* Out of the line; a step that it is in ends first. With the lock. */
static void ticket_withdraw(fv_schedule *schedule, ticket *t) {
    while (t->rows > 0) pthread_cond_wait(&schedule->changed, &schedule->lock);
    if (t->status != FV_OK || left_of(t) == 0) return; /* out already */
    line_remove(schedule, t);
    t->status = FV_ERROR_INTERRUPTED;
}

fv_status fv_schedule_feed(fv_schedule *schedule, fv_sequence *sequence, const int32_t *tokens, size_t count,
                           float *logits, fv_session_progress_fn *progress, void *context) {
    if (!schedule || !sequence || (count && !tokens)) return FV_ERROR_ARGUMENT;
    if (count == 0) return FV_OK;
    if (count > fv_sequence_context_tokens(sequence) - fv_sequence_tokens(sequence)) return FV_ERROR_FULL;
    ticket t = {.sequence = sequence, .tokens = tokens, .count = count, .logits = logits};
    bool goes_on = true;
    fv_token_time_begin(&t.time, sequence, count);
    pthread_mutex_lock(&schedule->lock);
    line_add(schedule, &t);
    pthread_cond_signal(&schedule->arrived);
    for (size_t seen = 0; goes_on && seen < count && t.status == FV_OK; seen = t.done) {
        ticket_advance(schedule, &t, seen);
        if (!progress || t.status != FV_OK) continue;
        size_t done = t.done;
        pthread_mutex_unlock(&schedule->lock);
        goes_on = progress(context, done, count);
        pthread_mutex_lock(&schedule->lock);
    }
    if (!goes_on) ticket_withdraw(schedule, &t);
    pthread_mutex_unlock(&schedule->lock);
    return t.status;
}
