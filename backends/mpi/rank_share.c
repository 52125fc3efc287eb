#include "rank_share.h"
#include <stdio.h>
#include <string.h>

static fv_status part_send(const fv_rank_share_group *group, const uint8_t *part, size_t bytes) {
    const fv_piece piece = {part, bytes};
    fv_status status = FV_OK;
    for (uint32_t i = 0; i < group->exchange.ranks && status == FV_OK; i++)
        if (i != group->exchange.rank)
            status = fv_job_send(group->job, group->first + i, FV_FRAME_SHARE, &piece, 1, NULL);
    return status;
}

static fv_status part_take(const fv_rank_share_group *group, uint32_t from, uint8_t *part, size_t bytes) {
    fv_letter *letter = NULL;
    fv_status status = fv_job_take(group->job, group->first + from, FV_KIND_BIT(FV_FRAME_SHARE), &letter, NULL, NULL);
    if (status != FV_OK) return status;
    bool fits = letter->length == bytes;
    if (fits && bytes) memcpy(part, letter->bytes, bytes);
    size_t length = letter->length;
    fv_letter_free(letter);
    if (fits) return FV_OK;
    char text[160];
    snprintf(text, sizeof text, "rank %u, of the same context, sends %zu bytes where %zu are due: they are out of step",
             group->first + from, length, bytes);
    fv_job_fail(group->job, text);
    return FV_ERROR_CORRUPT;
}

static fv_status gather(void *self, void *all, const size_t *bytes) {
    const fv_rank_share_group *group = self;
    size_t own = 0, at = 0;
    for (uint32_t i = 0; i < group->exchange.rank; i++) own += bytes[i];
    fv_status status = part_send(group, (const uint8_t *)all + own, bytes[group->exchange.rank]);
    for (uint32_t i = 0; i < group->exchange.ranks && status == FV_OK; i++) {
        if (i != group->exchange.rank) status = part_take(group, i, (uint8_t *)all + at, bytes[i]);
        at += bytes[i];
    }
    return status;
}

void fv_rank_share_init(fv_rank_share_group *group, fv_job *job, uint32_t first, uint32_t count) {
    group->job = job;
    group->first = first;
    group->exchange =
        (fv_exchange){.all_gather = gather, .self = group, .rank = fv_job_rank(job) - first, .ranks = count};
}
