#include "rank_link.h"
#include <string.h>

static fv_status ring_send(void *context, const fv_stage_message *message, fv_message *fault) {
    const fv_rank_link *link = context;
    const fv_piece piece = {message->bytes, message->count};
    return fv_job_send(link->job, link->after, FV_FRAME_STAGE, &piece, 1, fault);
}

static fv_status ring_receive(void *context, fv_stage_message *message, fv_message *fault) {
    const fv_rank_link *link = context;
    fv_letter *letter = NULL;
    fv_status status = fv_job_take(link->job, link->before, FV_KIND_BIT(FV_FRAME_STAGE), &letter, NULL, fault);
    if (status != FV_OK) return status;
    message->count = 0;
    status = fv_stage_message_reserve(message, letter->length);
    if (status == FV_OK) {
        memcpy(message->bytes, letter->bytes, letter->length);
        message->count = letter->length;
    } else {
        (void)fv_message_set(fault, status, "no memory for a message of %zu bytes", letter->length);
    }
    fv_letter_free(letter);
    return status;
}

void fv_rank_link_init(fv_rank_link *link, fv_job *job, uint32_t per_stage) {
    uint32_t rank = fv_job_rank(job), ranks = fv_job_ranks(job);
    link->job = job;
    link->before = (rank + ranks - per_stage) % ranks;
    link->after = (rank + per_stage) % ranks;
    link->link = (fv_stage_link){link, ring_send, ring_receive};
}
