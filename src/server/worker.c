/* worker.c - a step takes one token of every answer and, in turn, chunks of prompts. Sequences are this thread's alone,
 * so any of them can be forked while no step is on its way. */
#include "worker.h"
#include "batch.h"
#include "fovea/report_sum.h"
#include "slot_table.h"
#include <stdlib.h>
#include <string.h>

struct fv_worker {
    const fv_server *server;
    pthread_t thread;
    bool started;
    fv_slots slots;
    fv_batch batch;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* with the lock: */
    fv_choice *first, **end; /* in line */
    fv_slot_action *actions; /* the newest first */
    bool closing;
    fv_worker_counts counts;
    fv_worker_slot *views; /* [slots] */
};

/* ---- the line ---- */

/* Takes the choice at *place out of the line. With the lock. */
static fv_choice *take_out(fv_worker *worker, fv_choice **place) {
    fv_choice *choice = *place;
    *place = choice->next;
    if (worker->end == &choice->next) worker->end = place;
    worker->counts.waiting--;
    return choice;
}

void fv_worker_put(fv_worker *worker, fv_request *request) {
    pthread_mutex_lock(&worker->lock);
    bool full = worker->counts.waiting >= worker->server->config->queue, closing = worker->closing;
    for (size_t i = 0; i < request->choice_count && !full && !closing; i++) {
        fv_choice *choice = &request->choices[i];
        *worker->end = choice;
        worker->end = &choice->next;
        worker->counts.waiting++;
    }
    pthread_cond_signal(&worker->changed);
    pthread_mutex_unlock(&worker->lock);
    if (!full && !closing) return;
    if (closing)
        fv_request_fail(request, 503, "the server is stopping");
    else
        fv_request_fail(request, 429, "too many requests wait already: come again");
    fv_request_free(request);
}

/* The last of a request's choices frees it. */
static void end_choice(fv_choice *choice, fv_finish finish) {
    fv_request *request = choice->request;
    fv_choice_end(choice, finish);
    if (request->open_count == 0) fv_request_free(request);
}

/* ---- slots ---- */

static void count_choice(fv_worker *worker, const fv_choice *choice) {
    fv_worker_counts *counts = &worker->counts;
    pthread_mutex_lock(&worker->lock);
    counts->prompt_tokens += choice->read - choice->cached;
    counts->cached_tokens += choice->cached;
    counts->answer_tokens += choice->tokens.count;
    if (choice->read_ns) counts->prompt_ns += choice->read_ns - choice->open_ns;
    if (choice->read_ns) counts->answer_ns += choice->end_ns - choice->read_ns;
    counts->keys_visible += choice->report.keys_visible;
    counts->keys_read += choice->report.keys_read;
    counts->bytes_read += choice->report.bytes_read;
    counts->requests++;
    pthread_mutex_unlock(&worker->lock);
}

static void release(fv_worker *worker, fv_slot *slot, fv_finish finish, bool keep) {
    fv_choice *choice = slot->choice;
    fv_request *request = choice->request;
    fv_report_sum(&choice->report, fv_sequence_report(slot->sequence));
    fv_slots_return(&worker->slots, slot, keep);
    fv_choice_end(choice, finish);
    count_choice(worker, choice);
    if (request->open_count == 0) fv_request_free(request);
}

static void fail(fv_worker *worker, fv_slot *slot, fv_status status, const char *why) {
    fv_request_fail(slot->choice->request, status == FV_ERROR_MEMORY || status == FV_ERROR_FULL ? 503 : 500, why);
    release(worker, slot, FV_FINISH_DROPPED, false);
}

/* Whose clients are gone, their slots are free. */
static void drop_gone(fv_worker *worker) {
    for (uint32_t i = 0; i < worker->slots.count; i++) {
        fv_slot *slot = &worker->slots.items[i];
        if (slot->choice && fv_request_gone(slot->choice->request))
            release(worker, slot, FV_FINISH_DROPPED, slot->choice->cut == 0);
    }
}

/* The next one in line that is to be begun or dropped; NULL: none can be. *slot: NULL where it is to be dropped. */
static fv_choice *next_choice(fv_worker *worker, fv_slot **slot) {
    fv_choice *found = NULL;
    pthread_mutex_lock(&worker->lock);
    for (fv_choice **place = &worker->first; *place && !found;) {
        fv_choice *choice = *place;
        fv_message message = {""};
        *slot = NULL;
        bool gone = fv_request_gone(choice->request);
        fv_status status = gone ? FV_OK : fv_slots_give(&worker->slots, choice, slot, &message);
        if (status != FV_OK)
            fv_request_fail(choice->request, status == FV_ERROR_MEMORY ? 503 : 400,
                            message.text[0] ? message.text : fv_status_text(status));
        if (gone || *slot || status != FV_OK)
            found = take_out(worker, place);
        else
            place = &choice->next;
    }
    pthread_mutex_unlock(&worker->lock);
    return found;
}

static void begin_choices(fv_worker *worker) {
    fv_slot *slot = NULL;
    for (fv_choice *choice = next_choice(worker, &slot); choice; choice = next_choice(worker, &slot)) {
        fv_status status = slot ? fv_choice_open(choice) : FV_OK;
        if (!slot)
            end_choice(choice, FV_FINISH_DROPPED);
        else if (status != FV_OK)
            fail(worker, slot, status, "no memory for the answer");
    }
}

/* ---- actions ---- */

void fv_worker_act(fv_worker *worker, fv_slot_action *action) {
    pthread_mutex_lock(&worker->lock);
    bool closing = worker->closing;
    if (!closing) {
        action->next = worker->actions;
        worker->actions = action;
    }
    pthread_cond_signal(&worker->changed);
    pthread_mutex_unlock(&worker->lock);
    if (!closing) return;
    fv_reply_error(action->reply, 503, "the server is stopping");
    fv_slot_action_free(action);
}

/* In the order in which they came. */
static void do_actions(fv_worker *worker, bool closing) {
    fv_slot_action *first = NULL;
    pthread_mutex_lock(&worker->lock);
    for (fv_slot_action *action = worker->actions, *next; action; action = next) {
        next = action->next;
        action->next = first;
        first = action;
    }
    worker->actions = NULL;
    pthread_mutex_unlock(&worker->lock);
    for (fv_slot_action *action = first, *next; action; action = next) {
        next = action->next;
        if (!closing) {
            fv_slot_act(&worker->slots, action);
            continue;
        }
        fv_reply_error(action->reply, 503, "the server is stopping");
        fv_slot_action_free(action);
    }
}

/* ---- the loop ---- */

/* A context that is full ends its answer before this. */
static const char no_room[] = "the memory for contexts is full: ask again when other answers have ended";

static void settle(fv_worker *worker) {
    for (uint32_t i = 0; i < worker->slots.count; i++) {
        fv_slot *slot = &worker->slots.items[i];
        const fv_choice *choice = slot->choice;
        fv_status status = worker->batch.statuses[i];
        fv_message why = {""};
        if (worker->batch.flies[i]) continue;
        if (choice && status != FV_OK) (void)fv_sequence_explain(slot->sequence, status, &why);
        if (choice && status == FV_ERROR_FULL) (void)fv_message_set(&why, status, "%s", no_room);
        if (choice && status != FV_OK)
            fail(worker, slot, status, why.text[0] ? why.text : fv_status_text(status));
        else if (choice && choice->finish != FV_FINISH_NOT)
            release(worker, slot, (fv_finish)choice->finish, choice->cut == 0);
    }
}

static void view(fv_worker *worker) {
    pthread_mutex_lock(&worker->lock);
    worker->counts.working = 0;
    worker->counts.cache_tokens = 0;
    for (uint32_t i = 0; i < worker->slots.count; i++) {
        const fv_slot *slot = &worker->slots.items[i];
        const fv_choice *choice = slot->choice;
        fv_worker_slot *seen = &worker->views[i];
        *seen = (fv_worker_slot){.works = choice != NULL,
                                 .tokens = slot->sequence ? fv_sequence_tokens(slot->sequence) : 0};
        worker->counts.cache_tokens += seen->tokens;
        if (!choice) continue;
        worker->counts.working++;
        memcpy(seen->id, choice->request->id, sizeof seen->id);
        seen->prompt_tokens = choice->prompt->tokens.count;
        seen->read_tokens = choice->read;
        seen->answer_tokens = choice->tokens.count;
    }
    worker->counts.cache_bytes = fv_segments_bytes(worker->slots.segments);
    worker->counts.steps = worker->batch.steps;
    worker->counts.rows = worker->batch.rows_run;
    worker->counts.guessed = worker->batch.guessed;
    worker->counts.right = worker->batch.right;
    pthread_mutex_unlock(&worker->lock);
}

static bool is_working(const fv_worker *worker) {
    for (uint32_t i = 0; i < worker->slots.count; i++)
        if (worker->slots.items[i].choice) return true;
    return false;
}

/* Until there is something to do. false: the server ends. */
static bool await(fv_worker *worker) {
    bool working = is_working(worker);
    pthread_mutex_lock(&worker->lock);
    while (!working && !worker->first && !worker->actions && !worker->closing)
        pthread_cond_wait(&worker->changed, &worker->lock);
    bool closing = worker->closing;
    pthread_mutex_unlock(&worker->lock);
    return !closing;
}

/* All that is still asked for. */
static void cut(fv_worker *worker) {
    for (uint32_t i = 0; i < worker->slots.count; i++) {
        fv_slot *slot = &worker->slots.items[i];
        if (!slot->choice) continue;
        fv_request_fail(slot->choice->request, 503, "the server is stopping: the answer is not whole");
        release(worker, slot, FV_FINISH_DROPPED, slot->choice->cut == 0);
    }
    pthread_mutex_lock(&worker->lock);
    while (worker->first) {
        fv_choice *choice = take_out(worker, &worker->first);
        fv_request_fail(choice->request, 503, "the server is stopping");
        end_choice(choice, FV_FINISH_DROPPED);
    }
    pthread_mutex_unlock(&worker->lock);
}

/* Whether sequences are to be given, taken or forked, which no step may hold then. */
static bool changes_slots(fv_worker *worker) {
    bool has_free = false, has_gone = false;
    for (uint32_t i = 0; i < worker->slots.count; i++) {
        const fv_choice *choice = worker->slots.items[i].choice;
        has_free = has_free || !choice;
        has_gone = has_gone || (choice && fv_request_gone(choice->request));
    }
    pthread_mutex_lock(&worker->lock);
    bool asked = worker->actions || (worker->first && has_free);
    pthread_mutex_unlock(&worker->lock);
    return asked || has_gone;
}

static bool is_wanted(void *context) {
    fv_worker *worker = context;
    pthread_mutex_lock(&worker->lock);
    bool closing = worker->closing;
    pthread_mutex_unlock(&worker->lock);
    return closing || changes_slots(worker);
}

static void end_steps(fv_worker *worker) {
    while (fv_batch_end(&worker->batch, &worker->slots)) settle(worker);
}

static void *work(void *context) {
    fv_worker *worker = context;
    while (await(worker)) {
        if (changes_slots(worker)) end_steps(worker);
        if (worker->batch.flying == 0) {
            drop_gone(worker);
            do_actions(worker, false);
            begin_choices(worker);
        }
        fv_batch_step(&worker->batch, &worker->slots);
        settle(worker);
        view(worker);
    }
    end_steps(worker);
    do_actions(worker, true);
    cut(worker);
    return NULL;
}

/* ---- opening ---- */

static fv_status worker_start(fv_worker *worker, fv_message *message) {
    fv_status status = fv_slots_open(&worker->slots, worker->server, message);
    if (status == FV_OK) status = fv_batch_open(&worker->batch, worker->server, message);
    if (status != FV_OK) return status;
    worker->batch.is_wanted = is_wanted;
    worker->batch.context = worker;
    worker->views = calloc(worker->slots.count, sizeof *worker->views);
    if (!worker->views) return fv_message_set(message, FV_ERROR_MEMORY, "no memory for slots");
    worker->started = pthread_create(&worker->thread, NULL, work, worker) == 0;
    return worker->started ? FV_OK : fv_message_set(message, FV_ERROR_MEMORY, "the model's thread can't be started");
}

fv_status fv_worker_open(fv_worker **worker, const fv_server *server, fv_message *message) {
    fv_worker *made = calloc(1, sizeof *made);
    if (!made) return fv_message_set(message, FV_ERROR_MEMORY, "no memory for the model's thread");
    made->server = server;
    made->end = &made->first;
    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->changed, NULL);
    fv_status status = worker_start(made, message);
    if (status == FV_OK)
        *worker = made;
    else
        fv_worker_close(made);
    return status;
}

fv_status fv_worker_stop(fv_worker *worker, fv_message *message) {
    pthread_mutex_lock(&worker->lock);
    worker->closing = true;
    pthread_cond_signal(&worker->changed);
    pthread_mutex_unlock(&worker->lock);
    bool was_started = worker->started;
    if (was_started) pthread_join(worker->thread, NULL);
    worker->started = false;
    return was_started ? fv_slots_keep(&worker->slots, message) : FV_OK;
}

void fv_worker_close(fv_worker *worker) {
    if (!worker) return;
    (void)fv_worker_stop(worker, NULL);
    fv_batch_close(&worker->batch);
    fv_slots_close(&worker->slots);
    free(worker->views);
    pthread_mutex_destroy(&worker->lock);
    pthread_cond_destroy(&worker->changed);
    free(worker);
}

void fv_worker_look(fv_worker *worker, fv_worker_counts *counts, fv_worker_slot *slots) {
    pthread_mutex_lock(&worker->lock);
    *counts = worker->counts;
    if (slots) memcpy(slots, worker->views, worker->slots.count * sizeof *slots);
    pthread_mutex_unlock(&worker->lock);
}
