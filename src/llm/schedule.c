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
    bool is_prompt;
    float *logits;
    fv_token_time time;
    fv_status status;
    fv_status became; /* the leader's: what becomes of it in the step at work */
    uint32_t rows;    /* in the step at work; 0: not in it */
    uint32_t last_row;
    uint64_t came; /* steps begun before it */
    struct ticket *next;
} ticket;

/* One step, its leader's until it is over. */
typedef struct lane {
    fv_stepper_lane *way;
    ticket **taken;
    fv_step_part *parts;
    fv_part_outcome *outcomes;
    uint32_t *first_rows, *rows;
    float *logits; /* [logit_room][the model's vocabulary] */
    size_t logit_room;
    uint32_t expected; /* single tokens of the step before: as many are likely to come */
    bool is_busy;
} lane;

struct fv_schedule {
    fv_stepper *stepper;
    uint32_t chunk_tokens;
    pthread_mutex_t lock;
    ticket *first, **end;            /* who waits or is in a step, in line */
    uint64_t step_ns;                /* that the last step took here */
    bool leads;                      /* somebody computes */
    pthread_cond_t arrived, changed; /* one more in line; a step, or its part here, is over */
    lane *lanes;                     /* steps that are on their way at the same time, where layers are elsewhere */
    uint32_t lane_count;
    size_t room; /* parts of a step */
    fv_schedule_counts counts;
};

/* ---- opening ---- */

static bool lane_open(lane *made, fv_stepper *stepper, size_t room) {
    made->taken = fv_array_new(room, sizeof *made->taken);
    made->parts = fv_array_new(room, sizeof *made->parts);
    made->outcomes = fv_array_new(room, sizeof *made->outcomes);
    made->first_rows = fv_array_new(room, sizeof *made->first_rows);
    made->rows = fv_array_new(room, sizeof *made->rows);
    return made->taken && made->parts && made->outcomes && made->first_rows && made->rows &&
           fv_stepper_lane_open(&made->way, stepper) == FV_OK;
}

static void lane_close(lane *made) {
    fv_stepper_lane_close(made->way);
    free(made->taken);
    free(made->parts);
    free(made->outcomes);
    free(made->first_rows);
    free(made->rows);
    free(made->logits);
}

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
                          .lanes = fv_array_new(fv_stepper_lanes(stepper), sizeof *made->lanes)};
    if (made->chunk_tokens > batch) made->chunk_tokens = (uint32_t)batch;
    made->end = &made->first;
    bool good = made->lanes != NULL;
    while (good && made->lane_count < fv_stepper_lanes(stepper))
        good = lane_open(&made->lanes[made->lane_count++], stepper, batch);
    if (!good) {
        fv_schedule_close(made);
        return fv_message_set(message, FV_ERROR_MEMORY, "no memory for a schedule of %zu tokens a step", batch);
    }
    *schedule = made;
    return FV_OK;
}

void fv_schedule_close(fv_schedule *schedule) {
    if (!schedule) return;
    for (uint32_t i = 0; i < schedule->lane_count; i++) lane_close(&schedule->lanes[i]);
    free(schedule->lanes);
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

/* As many rows of it as fit go into the step. */
static void take(lane *step, ticket *t, size_t most, size_t *parts, size_t *rows) {
    size_t count = left_of(t) < most ? left_of(t) : most;
    if (count > t->sequence->shape.batch_tokens) count = t->sequence->shape.batch_tokens;
    t->rows = (uint32_t)count;
    *rows += count;
    fv_step_part *part = &step->parts[*parts];
    *part = (fv_step_part){.sequence = t->sequence, .tokens = t->tokens + t->done, .count = (uint32_t)count};
    if (t->is_prompt) fv_step_part_ask(part, left_of(t));
    fv_token_time_attach(&t->time, part);
    step->taken[(*parts)++] = t;
}

/* Whether it is in no step, and can be in one with those that were taken. */
static bool suits(const lane *step, const ticket *t, size_t parts) {
    if (t->rows > 0) return false;
    for (size_t i = 0; i < parts; i++)
        if (!fv_token_times_suit(&t->time, &step->taken[i]->time)) return false;
    return true;
}

/* Single tokens of a step: all that there are, or where there are several lanes a fair share. */
static size_t singles_most(const fv_schedule *schedule) {
    size_t singles = 0, lanes = schedule->lane_count;
    for (const ticket *t = schedule->first; t && lanes > 1; t = t->next) singles += left_of(t) == 1;
    size_t most = lanes > 1 ? (singles + lanes - 1) / lanes : schedule->room;
    return most < schedule->room ? most : schedule->room;
}

static void counts_add(fv_schedule *schedule, size_t parts, size_t rows) {
    schedule->counts.rows += rows;
    schedule->counts.parts += parts;
    if (parts > schedule->counts.most_parts) schedule->counts.most_parts = parts;
    if (rows > schedule->counts.most_rows) schedule->counts.most_rows = rows;
}

/* Single tokens, then prompts; how many parts. */
static size_t step_fill(fv_schedule *schedule, lane *step) {
    size_t parts = 0, rows = 0, singles, most = singles_most(schedule);
    for (ticket *t = schedule->first; t && rows < most; t = t->next)
        if (left_of(t) == 1 && suits(step, t, parts)) take(step, t, 1, &parts, &rows);
    singles = rows;
    step->expected = (uint32_t)singles;
    schedule->counts.steps++;
    for (size_t i = 0; i < parts; i++) {
        uint64_t waited = schedule->counts.steps - step->taken[i]->came;
        if (waited > schedule->counts.most_waited) schedule->counts.most_waited = waited;
    }
    for (ticket *t = schedule->first; t && rows < schedule->room && rows - singles < schedule->chunk_tokens;
         t = t->next) {
        size_t chunk = schedule->chunk_tokens - (rows - singles), room = schedule->room - rows;
        if (left_of(t) > 1 && suits(step, t, parts)) take(step, t, chunk < room ? chunk : room, &parts, &rows);
    }
    counts_add(schedule, parts, rows);
    return parts;
}

/* ---- a step ---- */

static bool wants_logits(const ticket *t) { return t->became == FV_OK && t->logits && left_of(t) == t->rows; }

static fv_status logits_reserve(lane *step, size_t rows) {
    if (rows <= step->logit_room) return FV_OK;
    float *more = fv_array_new(rows, step->taken[0]->sequence->shape.vocabulary * sizeof *more);
    if (!more) return FV_ERROR_MEMORY;
    free(step->logits);
    step->logits = more;
    step->logit_room = rows;
    return FV_OK;
}

/* Of one part, where those of all together are not all sound. */
static fv_status logits_give_one(fv_schedule *schedule, lane *step, const ticket *t) {
    fv_status status = fv_stepper_lane_logits(step->way, &t->last_row, 1, step->logits);
    fv_model_fault fault = *fv_stepper_last_fault(schedule->stepper);
    fault.row = t->rows - 1;
    if (status != FV_OK) fv_sequence_blame(t->sequence, fv_sequence_tokens(t->sequence) - t->rows, status, &fault);
    return status;
}

/* To the first `count` parts, those that are done and want them. The step was made: what fails now fails for one. */
static void logits_give(fv_schedule *schedule, lane *step, size_t count) {
    size_t wanted = 0, vocabulary = step->taken[0]->sequence->shape.vocabulary, row = 0;
    for (size_t i = 0; i < count; i++)
        if (wants_logits(step->taken[i])) step->rows[wanted++] = step->taken[i]->last_row;
    if (wanted == 0) return;
    fv_status all = logits_reserve(step, wanted);
    bool is_asked = all == FV_OK;
    if (is_asked) all = fv_stepper_lane_logits(step->way, step->rows, wanted, step->logits);
    for (size_t i = 0; i < count; i++) {
        ticket *t = step->taken[i];
        if (!wants_logits(t)) continue;
        t->became = is_asked && all != FV_OK ? logits_give_one(schedule, step, t) : all;
        const float *made = step->logits + (all == FV_OK ? row : 0) * vocabulary;
        if (t->became == FV_OK) memcpy(t->logits, made, vocabulary * sizeof *made);
        row++;
    }
}

/* While other stages work, the next in line may lead. */
static fv_status step_await(fv_schedule *schedule, lane *step) {
    if (schedule->lane_count == 1) return fv_stepper_lane_end(step->way, step->outcomes);
    pthread_mutex_lock(&schedule->lock);
    schedule->leads = false;
    pthread_cond_broadcast(&schedule->changed);
    pthread_mutex_unlock(&schedule->lock);
    fv_status status = fv_stepper_lane_end(step->way, step->outcomes);
    pthread_mutex_lock(&schedule->lock);
    while (schedule->leads) pthread_cond_wait(&schedule->changed, &schedule->lock);
    schedule->leads = true;
    pthread_mutex_unlock(&schedule->lock);
    return status;
}

/* A part that is refused is taken out, and the rest evaluated together: only those fail that must. */
static void step_run(fv_schedule *schedule, lane *step, size_t count) {
    uint64_t begin_ns = fv_machine_clock_ns();
    fv_status status = fv_stepper_lane_begin(step->way, step->parts, count, step->outcomes, step->first_rows);
    schedule->step_ns = fv_machine_clock_ns() - begin_ns;
    if (status == FV_OK) status = step_await(schedule, step);
    begin_ns = fv_machine_clock_ns();
    for (size_t i = 0; i < count; i++) {
        ticket *t = step->taken[i];
        t->became = (fv_status)step->outcomes[i].status;
        t->last_row = step->first_rows[i] + t->rows - 1;
        fv_token_time_end(&t->time, t->sequence, t->became);
    }
    if (status == FV_OK) logits_give(schedule, step, count);
    schedule->step_ns += fv_machine_clock_ns() - begin_ns;
}

/* What the step did to those who were in it. Prompts that go on do so at the end of the line. */
static void step_settle(fv_schedule *schedule, const lane *step, size_t count) {
    for (size_t i = 0; i < count; i++) {
        ticket *t = step->taken[i];
        line_remove(schedule, t);
        t->status = t->became;
        if (t->status == FV_OK) t->done += t->rows;
        t->rows = 0;
        if (t->status == FV_OK && left_of(t) > 0) line_add(schedule, t);
    }
}

static uint32_t singles_waiting(const fv_schedule *schedule) {
    uint32_t count = 0;
    for (const ticket *t = schedule->first; t; t = t->next) count += left_of(t) == 1 && t->rows == 0;
    return count;
}

/* A quarter of a step's time for those who were in the last one. */
static void company_await(fv_schedule *schedule, uint32_t expected) {
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    uint64_t ns = (uint64_t)end.tv_nsec + schedule->step_ns / 4;
    end.tv_sec += (time_t)(ns / 1000000000u);
    end.tv_nsec = (long)(ns % 1000000000u);
    while (singles_waiting(schedule) < expected)
        if (pthread_cond_timedwait(&schedule->arrived, &schedule->lock, &end) != 0) return;
}

/* NULL: all are on their way. */
static lane *lane_find(fv_schedule *schedule) {
    for (uint32_t i = 0; i < schedule->lane_count; i++)
        if (!schedule->lanes[i].is_busy) return &schedule->lanes[i];
    return NULL;
}

/* With the lock, which is given up meanwhile. There is somebody in line: the leader itself. */
static void step_lead(fv_schedule *schedule, lane *step) {
    schedule->leads = step->is_busy = true;
    company_await(schedule, step->expected);
    size_t count = step_fill(schedule, step);
    pthread_mutex_unlock(&schedule->lock);
    step_run(schedule, step, count);
    pthread_mutex_lock(&schedule->lock);
    step_settle(schedule, step, count);
    schedule->leads = step->is_busy = false;
    pthread_cond_broadcast(&schedule->changed);
}

/* ---- feeding ---- */

/* Until it went on, by leading steps where nobody does. With the lock. */
static void ticket_advance(fv_schedule *schedule, const ticket *t, size_t before) {
    while (t->done == before && t->status == FV_OK) {
        lane *step = schedule->leads || t->rows > 0 ? NULL : lane_find(schedule);
        if (step)
            step_lead(schedule, step);
        else
            pthread_cond_wait(&schedule->changed, &schedule->lock);
    }
}

/* Out of the line; a step that it is in ends first. With the lock. */
static void ticket_withdraw(fv_schedule *schedule, ticket *t) {
    while (t->rows > 0) pthread_cond_wait(&schedule->changed, &schedule->lock);
    if (t->status != FV_OK || left_of(t) == 0) return; /* out already */
    line_remove(schedule, t);
    t->status = FV_ERROR_INTERRUPTED;
}

static fv_status feed(fv_schedule *schedule, fv_sequence *sequence, const int32_t *tokens, size_t count, bool is_prompt,
                      float *logits, fv_session_progress_fn *progress, void *context) {
    if (!schedule || !sequence || (count && !tokens)) return FV_ERROR_ARGUMENT;
    if (count == 0) return FV_OK;
    if (count > fv_sequence_context_tokens(sequence) - fv_sequence_tokens(sequence)) return FV_ERROR_FULL;
    ticket t = {.sequence = sequence, .tokens = tokens, .count = count, .is_prompt = is_prompt, .logits = logits};
    bool goes_on = true;
    fv_token_time_begin(&t.time, sequence, is_prompt ? 0 : count);
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

fv_status fv_schedule_feed(fv_schedule *schedule, fv_sequence *sequence, const int32_t *tokens, size_t count,
                           float *logits, fv_session_progress_fn *progress, void *context) {
    return feed(schedule, sequence, tokens, count, false, logits, progress, context);
}

fv_status fv_schedule_feed_prompt(fv_schedule *schedule, fv_sequence *sequence, const int32_t *tokens, size_t count,
                                  float *logits, fv_session_progress_fn *progress, void *context) {
    return feed(schedule, sequence, tokens, count, true, logits, progress, context);
}
