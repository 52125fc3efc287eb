/* lead.c - see lead.h. */
#include "llm/lead.h"
#include "llm/sequence_state.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct fv_lead {
    const fv_exchange *exchange;
    pthread_mutex_t lock; /* recursive */
    uint32_t numbers;
    fv_call_room room;
    fv_stage_message message;
};

/* --- over the exchange ------------------------------------------------------------------------------------------- */

static bool room_reserve(fv_call_room *room, size_t bytes) {
    if (bytes <= room->bytes) return true;
    free(room->memory);
    room->memory = aligned_alloc(FV_CACHE_ALIGN, bytes);
    room->bytes = room->memory ? bytes : 0;
    return room->memory != NULL;
}

static size_t padded(uint64_t bytes) { return (size_t)(bytes + FV_CACHE_ALIGN - 1) / FV_CACHE_ALIGN * FV_CACHE_ALIGN; }

fv_status fv_call_pass(const fv_exchange *exchange, fv_call_room *room, fv_stage_message *message) {
    _Alignas(FV_CACHE_ALIGN) uint64_t length[FV_CACHE_ALIGN / 8] = {message->count};
    size_t bytes[FV_EXCHANGE_RANKS] = {sizeof *length};
    bool tells = exchange->rank == 0;
    if (tells && !room_reserve(room, padded(message->count))) return FV_ERROR_MEMORY;
    fv_status status = exchange->all_gather(exchange->self, length, bytes);
    if (status != FV_OK) return status;
    if (*length > FV_STAGE_MESSAGE_MOST) return FV_ERROR_CORRUPT;
    bytes[0] = padded(*length);
    if (!room_reserve(room, bytes[0])) return FV_ERROR_MEMORY;
    if (tells) {
        memset(room->memory, 0, bytes[0]);
        memcpy(room->memory, message->bytes, message->count);
    }
    status = exchange->all_gather(exchange->self, room->memory, bytes);
    if (status != FV_OK || tells) return status;
    status = fv_stage_message_reserve(message, (size_t)*length);
    if (status != FV_OK) return status;
    message->count = (size_t)*length;
    memcpy(message->bytes, room->memory, message->count);
    return FV_OK;
}

/* --- rank 0 ------------------------------------------------------------------------------------------------------ */

void fv_lead_begin(const fv_llm *llm) {
    if (llm->lead) pthread_mutex_lock(&llm->lead->lock);
}

void fv_lead_end(const fv_llm *llm) {
    if (llm->lead) pthread_mutex_unlock(&llm->lead->lock);
}

static fv_status pass(fv_lead *lead) { return fv_call_pass(lead->exchange, &lead->room, &lead->message); }

fv_status fv_lead_open(const fv_llm *llm, fv_stage_kind kind, uint32_t parts, const fv_session_config *config,
                       uint32_t *number) {
    if (!llm->lead) return FV_OK;
    uint32_t made = ++llm->lead->numbers;
    fv_status status = fv_stage_opening_put(&llm->lead->message, kind, made, parts, config);
    if (status == FV_OK) status = pass(llm->lead);
    if (status == FV_OK) *number = made;
    return status;
}

fv_status fv_lead_policy(const fv_llm *llm, uint32_t number, const fv_session_config *config) {
    if (!llm->lead) return FV_OK;
    fv_status status = fv_stage_opening_put(&llm->lead->message, FV_STAGE_SEQUENCE_POLICY, number, 1, config);
    return status == FV_OK ? pass(llm->lead) : status;
}

fv_status fv_lead_tell(const fv_llm *llm, fv_stage_kind kind, uint32_t number, uint32_t count) {
    if (!llm->lead) return FV_OK;
    fv_status status = fv_stage_begin(&llm->lead->message, kind, number, count, 0);
    return status == FV_OK ? pass(llm->lead) : status;
}

fv_status fv_lead_step(const fv_llm *llm, fv_stage_kind kind, uint32_t number, const fv_step_part *parts,
                       size_t count) {
    if (!llm->lead) return FV_OK;
    fv_stage_message *message = &llm->lead->message;
    size_t ids = 0;
    for (size_t i = 0; i < count; i++) ids += parts[i].count;
    fv_status status =
        fv_stage_begin(message, kind, number, (uint32_t)count, count * sizeof(fv_stage_part) + ids * sizeof(int32_t));
    if (status != FV_OK) return status;
    fv_stage_part *wire = fv_stage_body(message);
    int32_t *to = (int32_t *)(void *)(wire + count);
    for (size_t i = 0; i < count; to += parts[i++].count) {
        wire[i] = (fv_stage_part){.sequence = parts[i].sequence->led,
                                  .count = parts[i].count,
                                  .dense_rows = parts[i].dense_rows,
                                  .output_rows = parts[i].output_rows};
        memcpy(to, parts[i].tokens, parts[i].count * sizeof *to);
    }
    return pass(llm->lead);
}

fv_status fv_lead_make(fv_llm *llm, fv_message *message) {
    if (!llm->exchange || llm->exchange->rank > 0 || llm->lead)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "the first of the ranks that hold contexts leads them, once");
    if (atomic_load(&llm->holders) != 1)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "ranks are led before a session is opened");
    fv_lead *lead = calloc(1, sizeof *lead);
    if (!lead) return fv_message_set(message, FV_ERROR_MEMORY, "no memory for what ranks are told");
    lead->exchange = llm->exchange;
    pthread_mutexattr_t nests;
    pthread_mutexattr_init(&nests);
    pthread_mutexattr_settype(&nests, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&lead->lock, &nests);
    pthread_mutexattr_destroy(&nests);
    llm->lead = lead;
    return FV_OK;
}

void fv_lead_close(fv_lead *lead) {
    if (!lead) return;
    if (fv_stage_begin(&lead->message, FV_STAGE_END, 0, 0, 0) == FV_OK) (void)pass(lead);
    fv_stage_message_free(&lead->message);
    pthread_mutex_destroy(&lead->lock);
    free(lead->room.memory);
    free(lead);
}
