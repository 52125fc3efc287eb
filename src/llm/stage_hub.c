/* stage_hub.c - see stage_hub.h. Whoever waits receives, for all who do. */
#include "llm/stage_hub.h"
#include "platform/array.h"
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Sent, and not answered. */
typedef struct pending {
    uint64_t ticket;
    fv_stage_kind kind;
    uint32_t subject, count;
    bool together;
    fv_stage_slot *slot;
} pending;

typedef struct entry {
    uint32_t number;
    void *holder;
} entry;

struct fv_stage_hub {
    fv_stage_link link;
    uint32_t stages, flight;
    size_t width;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* an answer came */
    pending *sent;          /* [flight], a ring: those of tickets answered + 1 .. tickets */
    uint64_t tickets, answered;
    bool receives; /* somebody does */
    fv_stage_message inbox;
    fv_status broken;
    fv_message fault; /* then */
    entry *entries;
    size_t entry_count, entry_room;
    uint32_t numbers;
    fv_stage_failure *failures;
    size_t failure_count, failure_room;
};

fv_status fv_stage_hub_open(fv_stage_hub **hub, const fv_stage_link *link, uint32_t stages, size_t width,
                            fv_message *message) {
    fv_stage_hub *made = calloc(1, sizeof *made);
    if (!made) return fv_message_set(message, FV_ERROR_MEMORY, "no memory for a link between stages");
    made->link = *link;
    made->stages = stages;
    made->flight = FV_STAGE_FLIGHT(stages);
    made->width = width;
    made->sent = fv_array_new(made->flight, sizeof *made->sent);
    if (!made->sent) {
        free(made);
        return fv_message_set(message, FV_ERROR_MEMORY, "no memory for a link between stages");
    }
    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->changed, NULL);
    *hub = made;
    return FV_OK;
}

void fv_stage_hub_close(fv_stage_hub *hub, bool tell) {
    if (!hub) return;
    fv_stage_message end = {0};
    if (tell && fv_stage_begin(&end, FV_STAGE_END, 0, 0, 0) == FV_OK) (void)fv_stage_hub_ask(hub, &end);
    fv_stage_message_free(&end);
    fv_stage_message_free(&hub->inbox);
    pthread_cond_destroy(&hub->changed);
    pthread_mutex_destroy(&hub->lock);
    free(hub->sent);
    free(hub->entries);
    free(hub->failures);
    free(hub);
}

uint32_t fv_stage_hub_stages(const fv_stage_hub *hub) { return hub->stages; }

/* --- numbers ---------------------------------------------------------------------------------------------------- */

fv_status fv_stage_hub_enter(fv_stage_hub *hub, void *holder, uint32_t *number) {
    pthread_mutex_lock(&hub->lock);
    entry *entries = fv_array_reserve(hub->entries, &hub->entry_room, hub->entry_count, 1, sizeof *entries);
    if (entries) {
        *number = ++hub->numbers;
        hub->entries = entries;
        entries[hub->entry_count++] = (entry){*number, holder};
    }
    pthread_mutex_unlock(&hub->lock);
    return entries ? FV_OK : FV_ERROR_MEMORY;
}

/* With the lock. NULL: there is none. */
static entry *entry_of(const fv_stage_hub *hub, uint32_t number) {
    for (size_t i = 0; i < hub->entry_count; i++)
        if (hub->entries[i].number == number) return &hub->entries[i];
    return NULL;
}

void fv_stage_hub_leave(fv_stage_hub *hub, uint32_t number) {
    pthread_mutex_lock(&hub->lock);
    entry *gone = entry_of(hub, number);
    if (gone) *gone = hub->entries[--hub->entry_count];
    for (size_t i = 0; i < hub->failure_count;) {
        const fv_stage_failure *failure = &hub->failures[i];
        if (failure->sequence == number || failure->stepper == number)
            hub->failures[i] = hub->failures[--hub->failure_count];
        else
            i++;
    }
    pthread_mutex_unlock(&hub->lock);
}

void fv_stage_hub_move(fv_stage_hub *hub, uint32_t number, void *holder) {
    pthread_mutex_lock(&hub->lock);
    entry *moved = entry_of(hub, number);
    if (moved) moved->holder = holder;
    pthread_mutex_unlock(&hub->lock);
}

void *fv_stage_hub_holder(fv_stage_hub *hub, uint32_t number) {
    pthread_mutex_lock(&hub->lock);
    const entry *found = entry_of(hub, number);
    void *holder = found ? found->holder : NULL;
    pthread_mutex_unlock(&hub->lock);
    return holder;
}

/* --- answers ---------------------------------------------------------------------------------------------------- */

static void break_off(fv_stage_hub *hub, fv_status status, const char *text) {
    if (hub->broken != FV_OK) return;
    hub->broken = status;
    (void)fv_message_set(&hub->fault, status, "%s", text);
}

/* A sequence goes back to the first of its failures. */
static void failure_add(fv_stage_hub *hub, const fv_stage_failure *failure) {
    for (size_t i = 0; i < hub->failure_count; i++) {
        fv_stage_failure *known = &hub->failures[i];
        if (known->sequence != failure->sequence) continue;
        if (failure->position < known->position) *known = *failure;
        return;
    }
    fv_stage_failure *more = fv_array_reserve(hub->failures, &hub->failure_room, hub->failure_count, 1, sizeof *more);
    if (!more) break_off(hub, FV_ERROR_MEMORY, "no memory to note what failed in another stage");
    if (!more) return;
    hub->failures = more;
    more[hub->failure_count++] = *failure;
}

static void failures_note(fv_stage_hub *hub, const pending *of, const fv_stage_message *answer) {
    const fv_stage_part *parts = fv_stage_body(answer);
    fv_status together = FV_OK;
    for (uint32_t i = 0; i < of->count && together == FV_OK; i++) together = (fv_status)parts[i].status;
    if (together == FV_OK) return;
    for (uint32_t i = 0; i < of->count; i++) {
        const fv_stage_part *part = &parts[i];
        fv_stage_failure failure = {
            of->subject, part->sequence, part->position, {.status = part->status, .fault = part->fault}};
        if (part->status == FV_OK && !of->together) continue;
        if (part->status == FV_OK) failure.outcome = (fv_part_outcome){.status = (int32_t)together};
        failure_add(hub, &failure);
    }
}

/* The answer in the inbox, with the lock. */
static void answer_take(fv_stage_hub *hub) {
    const pending *of = &hub->sent[(hub->answered + 1) % hub->flight];
    const fv_stage_head *head = fv_stage_head_of(&hub->inbox);
    if (!fv_stage_is_whole(&hub->inbox, hub->width, true) || fv_stage_kind_of(&hub->inbox) != of->kind ||
        head->ticket != of->ticket || head->subject != of->subject || head->count != of->count) {
        break_off(hub, FV_ERROR_CORRUPT, "what came back from the last stage is no answer to what was sent");
        return;
    }
    if (of->kind == FV_STAGE_STEP) failures_note(hub, of, &hub->inbox);
    hub->answered++;
    if (!of->slot || of->slot->ticket != of->ticket) return;
    fv_stage_message held = of->slot->answer;
    of->slot->answer = hub->inbox;
    hub->inbox = held;
}

/* One answer more, or somebody else's; with the lock, which is given up meanwhile. */
static void answer_await(fv_stage_hub *hub) {
    if (hub->receives) {
        pthread_cond_wait(&hub->changed, &hub->lock);
        return;
    }
    fv_message fault = {{0}};
    hub->receives = true;
    pthread_mutex_unlock(&hub->lock);
    fv_status status = hub->link.receive(hub->link.context, &hub->inbox, &fault);
    pthread_mutex_lock(&hub->lock);
    hub->receives = false;
    if (status != FV_OK)
        break_off(hub, status, fault.text);
    else
        answer_take(hub);
    pthread_cond_broadcast(&hub->changed);
}

/* --- sending and waiting ---------------------------------------------------------------------------------------- */

fv_status fv_stage_hub_send(fv_stage_hub *hub, fv_stage_message *message, fv_stage_slot *slot, bool together,
                            uint64_t *ticket) {
    fv_message fault = {{0}};
    fv_stage_head *head = fv_stage_head_of(message);
    pthread_mutex_lock(&hub->lock);
    while (hub->broken == FV_OK && hub->tickets - hub->answered >= hub->flight) answer_await(hub);
    if (hub->broken == FV_OK) {
        head->ticket = ++hub->tickets;
        hub->sent[head->ticket % hub->flight] = (pending){.ticket = head->ticket,
                                                          .kind = fv_stage_kind_of(message),
                                                          .subject = head->subject,
                                                          .count = head->count,
                                                          .together = together,
                                                          .slot = slot};
        if (slot) slot->ticket = head->ticket;
        if (ticket) *ticket = head->ticket;
        fv_status status = hub->link.send(hub->link.context, message, &fault);
        if (status != FV_OK) break_off(hub, status, fault.text);
    }
    fv_status status = hub->broken;
    pthread_mutex_unlock(&hub->lock);
    return status;
}

fv_status fv_stage_hub_wait(fv_stage_hub *hub, uint64_t ticket) {
    pthread_mutex_lock(&hub->lock);
    while (hub->answered < ticket && hub->broken == FV_OK) answer_await(hub);
    fv_status status = hub->answered < ticket ? hub->broken : FV_OK;
    pthread_mutex_unlock(&hub->lock);
    return status;
}

fv_status fv_stage_hub_ask(fv_stage_hub *hub, fv_stage_message *message) {
    fv_stage_slot slot = {0};
    fv_status status = fv_stage_hub_send(hub, message, &slot, false, NULL);
    if (status == FV_OK) status = fv_stage_hub_wait(hub, slot.ticket);
    if (status == FV_OK) {
        fv_stage_message sent = *message;
        *message = slot.answer;
        slot.answer = sent;
        status = (fv_status)fv_stage_head_of(message)->status;
    }
    fv_stage_hub_forget(hub, &slot);
    return status;
}

void fv_stage_hub_forget(fv_stage_hub *hub, fv_stage_slot *slot) {
    pthread_mutex_lock(&hub->lock);
    for (uint32_t i = 0; i < hub->flight; i++)
        if (hub->sent[i].slot == slot) hub->sent[i].slot = NULL;
    fv_stage_message_free(&slot->answer);
    pthread_mutex_unlock(&hub->lock);
}

/* --- failures --------------------------------------------------------------------------------------------------- */

/* With the lock. NULL: there is none. */
static fv_stage_failure *failure_of(fv_stage_hub *hub, uint32_t stepper, uint32_t sequence) {
    for (size_t i = 0; i < hub->failure_count; i++)
        if (hub->failures[i].stepper == stepper || hub->failures[i].sequence == sequence) return &hub->failures[i];
    return NULL;
}

bool fv_stage_hub_failed(fv_stage_hub *hub, uint32_t stepper, uint32_t sequence, fv_stage_failure *failure) {
    pthread_mutex_lock(&hub->lock);
    fv_stage_failure *found = failure_of(hub, stepper, sequence);
    if (found) {
        *failure = *found;
        *found = hub->failures[--hub->failure_count];
    }
    pthread_mutex_unlock(&hub->lock);
    return found != NULL;
}

bool fv_stage_hub_has_failed(fv_stage_hub *hub, uint32_t stepper, uint32_t sequence) {
    pthread_mutex_lock(&hub->lock);
    bool has = failure_of(hub, stepper, sequence) != NULL;
    pthread_mutex_unlock(&hub->lock);
    return has;
}

fv_status fv_stage_hub_explain(fv_stage_hub *hub, fv_status status, fv_message *message) {
    pthread_mutex_lock(&hub->lock);
    if (hub->broken != FV_OK && status == hub->broken) (void)fv_message_set(message, status, "%s", hub->fault.text);
    pthread_mutex_unlock(&hub->lock);
    return status;
}
