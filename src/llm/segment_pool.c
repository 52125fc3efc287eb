/* segment_pool.c - segments lie side by side in groups, so that huge pages hold them; a group goes back to the system
 * when the last of its segments is free, and the memory of a single one when it is. */
#include "llm/segment_pool.h"
#include "platform/pages.h"
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

enum { PAGE = 4096, MOST_TOGETHER = 512 };

struct fv_segment_group {
    fv_segments *pool;
    fv_segment_group *next, *before;
    fv_segment *free;
    unsigned char *memory;
    size_t bytes, segment_bytes, stride;
    uint32_t count, used;
    bool huge;
    fv_segment segments[];
};

struct fv_segments {
    pthread_mutex_t lock;
    uint64_t limit_bytes;
    atomic_uint_least64_t bytes;
    uint64_t holders; /* whoever opened it, each sequence, and each segment in use */
    fv_segment_group *groups;
};

fv_status fv_segments_open(fv_segments **segments, uint64_t limit_bytes, fv_message *message) {
    if (!segments) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is missing");
    fv_segments *made = calloc(1, sizeof *made);
    if (!made || pthread_mutex_init(&made->lock, NULL) != 0) {
        free(made);
        return fv_message_set(message, FV_ERROR_MEMORY, "out of memory for a pool of segments");
    }
    made->limit_bytes = limit_bytes;
    made->holders = 1;
    atomic_init(&made->bytes, 0);
    *segments = made;
    return FV_OK;
}

void fv_segments_hold(fv_segments *pool) {
    pthread_mutex_lock(&pool->lock);
    pool->holders++;
    pthread_mutex_unlock(&pool->lock);
}

/* With the lock, which is given up. */
static void pool_release(fv_segments *pool) {
    bool last = --pool->holders == 0;
    pthread_mutex_unlock(&pool->lock);
    if (!last) return;
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

void fv_segments_close(fv_segments *segments) {
    if (!segments) return;
    pthread_mutex_lock(&segments->lock);
    pool_release(segments);
}

uint64_t fv_segments_bytes(const fv_segments *segments) { return atomic_load(&segments->bytes); }
uint64_t fv_segments_limit_bytes(const fv_segments *segments) { return segments->limit_bytes; }

fv_status fv_segments_charge(fv_segments *pool, uint64_t needed, uint64_t spared) {
    fv_status status = FV_OK;
    pthread_mutex_lock(&pool->lock);
    uint64_t used = atomic_load(&pool->bytes), left = used > spared ? used - spared : 0;
    if (pool->limit_bytes && (left > pool->limit_bytes || needed > pool->limit_bytes - left))
        status = FV_ERROR_FULL;
    else
        atomic_store(&pool->bytes, used + needed);
    pthread_mutex_unlock(&pool->lock);
    return status;
}

void fv_segments_refund(fv_segments *pool, uint64_t bytes) {
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_sub(&pool->bytes, bytes);
    pthread_mutex_unlock(&pool->lock);
}

static fv_segment_group *group_open(fv_segments *pool, size_t bytes, uint32_t together) {
    uint32_t count = together < 1 ? 1 : together < MOST_TOGETHER ? together : MOST_TOGETHER;
    size_t stride = (bytes + PAGE - 1) / PAGE * PAGE;
    if (stride < bytes || stride > SIZE_MAX / count) return NULL;
    fv_segment_group *group = calloc(1, sizeof *group + count * sizeof group->segments[0]);
    if (!group) return NULL;
    group->memory = fv_pages_reserve(count * stride);
    if (!group->memory) {
        free(group);
        return NULL;
    }
    group->pool = pool;
    group->bytes = count * stride;
    group->segment_bytes = bytes;
    group->stride = stride;
    group->count = count;
    for (uint32_t i = count; i-- > 0;) {
        group->segments[i] = (fv_segment){.memory = group->memory + i * stride, .group = group, .next = group->free};
        group->free = &group->segments[i];
    }
    group->next = pool->groups;
    if (pool->groups) pool->groups->before = group;
    pool->groups = group;
    return group;
}

static void group_close(fv_segment_group *group) {
    if (group->before) group->before->next = group->next;
    if (group->next) group->next->before = group->before;
    if (group->pool->groups == group) group->pool->groups = group->next;
    fv_pages_unmap(group->memory, group->bytes);
    free(group);
}

fv_status fv_segment_take(fv_segments *pool, size_t bytes, uint32_t together, fv_segment **segment) {
    pthread_mutex_lock(&pool->lock);
    fv_segment_group *group = pool->groups;
    while (group && (group->segment_bytes != bytes || !group->free)) group = group->next;
    if (!group) group = group_open(pool, bytes, together);
    if (group) {
        fv_segment *found = group->free;
        group->free = found->next;
        group->used++;
        pool->holders++;
        atomic_store(&found->holders, 1);
        *segment = found;
    }
    pthread_mutex_unlock(&pool->lock);
    return group ? FV_OK : FV_ERROR_MEMORY;
}

fv_status fv_segment_borrow(void *memory, void (*release)(void *context), void *context, fv_segment **segment) {
    fv_segment *made = calloc(1, sizeof *made);
    if (!made) return FV_ERROR_MEMORY;
    made->memory = memory;
    made->release = release;
    made->context = context;
    atomic_init(&made->holders, 1);
    *segment = made;
    return FV_OK;
}

void fv_segment_hold(fv_segment *segment) { atomic_fetch_add(&segment->holders, 1); }

void fv_segment_drop(fv_segment *segment) {
    if (!segment || atomic_fetch_sub(&segment->holders, 1) != 1) return;
    fv_segment_group *group = segment->group;
    if (!group) {
        if (segment->release) segment->release(segment->context);
        free(segment);
        return;
    }
    fv_segments *pool = group->pool;
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_sub(&pool->bytes, group->segment_bytes);
    segment->next = group->free;
    group->free = segment;
    if (--group->used == 0)
        group_close(group);
    else
        fv_pages_forget(segment->memory, group->stride);
    pool_release(pool);
}

void fv_segment_fills(fv_segment *segment) {
    fv_segment_group *group = segment->group;
    if (!group) return;
    pthread_mutex_lock(&group->pool->lock);
    bool make = !group->huge && group->used == group->count;
    if (make) group->huge = true;
    pthread_mutex_unlock(&group->pool->lock);
    if (make) fv_pages_huge(group->memory, group->bytes, group->bytes);
}
