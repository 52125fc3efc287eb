/* rank_group.h - ranks as threads of one process, whose exchange copies from memory to memory. */
#ifndef FV_TEST_RANK_GROUP_H
#define FV_TEST_RANK_GROUP_H

#include "fovea/exchange.h"
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

enum { RANK_GROUP_MOST = 4 };

typedef struct rank_group {
    uint32_t ranks, waiting, round;
    uint32_t calls, fail_at; /* of rank 0; the call that fails at all of them, counted from 1; 0: none */
    uint64_t moved_bytes;    /* that rank 0 got from others */
    bool differs;            /* some called with other lengths, or parts of odd sizes */
    pthread_mutex_t lock;
    pthread_cond_t turn;
    struct rank_end {
        struct rank_group *group;
        uint32_t rank;
        unsigned char *all;
        size_t bytes[RANK_GROUP_MOST];
    } ends[RANK_GROUP_MOST];
    fv_exchange exchange[RANK_GROUP_MOST];
} rank_group;

static inline void rank_group_wait(rank_group *group) {
    pthread_mutex_lock(&group->lock);
    uint32_t round = group->round;
    if (++group->waiting == group->ranks) {
        group->waiting = 0;
        group->round++;
        pthread_cond_broadcast(&group->turn);
    }
    while (round == group->round) pthread_cond_wait(&group->turn, &group->lock);
    pthread_mutex_unlock(&group->lock);
}

/* Of rank 0, between two waits: nobody else writes here. */
static inline void rank_group_note(rank_group *group, const size_t *bytes) {
    group->calls++;
    for (uint32_t r = 0; r < group->ranks; r++) {
        if (r) group->moved_bytes += bytes[r];
        group->differs |= bytes[r] % 4 != 0 || memcmp(group->ends[r].bytes, bytes, group->ranks * sizeof *bytes) != 0;
    }
}

static inline fv_status rank_group_gather(void *self, void *all, const size_t *bytes) {
    struct rank_end *end = self;
    rank_group *group = end->group;
    end->all = all;
    memcpy(end->bytes, bytes, group->ranks * sizeof *bytes);
    rank_group_wait(group);
    if (end->rank == 0) rank_group_note(group, bytes);
    for (size_t r = 0, at = 0; r < group->ranks; at += bytes[r++])
        if (r != end->rank && bytes[r]) memcpy(end->all + at, group->ends[r].all + at, bytes[r]);
    rank_group_wait(group);
    return group->fail_at && group->calls == group->fail_at ? FV_ERROR_FILE : FV_OK;
}

static inline void rank_group_make(rank_group *group, uint32_t ranks) {
    memset(group, 0, sizeof *group);
    group->ranks = ranks;
    pthread_mutex_init(&group->lock, NULL);
    pthread_cond_init(&group->turn, NULL);
    for (uint32_t r = 0; r < ranks; r++) {
        group->ends[r].group = group;
        group->ends[r].rank = r;
        group->exchange[r] =
            (fv_exchange){.all_gather = rank_group_gather, .self = &group->ends[r], .rank = r, .ranks = ranks};
    }
}

static inline void rank_group_close(rank_group *group) {
    pthread_mutex_destroy(&group->lock);
    pthread_cond_destroy(&group->turn);
}

/* Runs main(contexts + r * context_bytes) for each rank, each in a thread of its own. False: a thread did not start. */
static inline bool rank_group_run(const rank_group *group, void *(*main)(void *), void *contexts,
                                  size_t context_bytes) {
    pthread_t threads[RANK_GROUP_MOST];
    for (uint32_t r = 0; r < group->ranks; r++)
        if (pthread_create(&threads[r], NULL, main, (unsigned char *)contexts + r * context_bytes)) return false;
    for (uint32_t r = 0; r < group->ranks; r++) pthread_join(threads[r], NULL);
    return true;
}

#endif
