/* near_list.h - the best of what was offered: by distance, of equal ones the smaller label. What is kept does not
 * depend on the order of offers. */
#ifndef FV_NEAR_LIST_H
#define FV_NEAR_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fv_near {
    float distance;
    uint64_t label;
} fv_near;

/* Room for `most` entries is the caller's, or the list's own and grows (most = SIZE_MAX; start from {0} but for most
 * and radius, free(entries) when done). */
typedef struct fv_near_list {
    fv_near *entries; /* a heap, the worst on top, once it is full; until then as they came */
    size_t count, capacity, most;
    float radius;    /* what is farther is not kept */
    bool has_failed; /* no memory to grow */
} fv_near_list;

/* What could still be kept is nearer than this: a bound to compare with `<`. */
float fv_near_limit(const fv_near_list *list);

/* Keeps it if it is good enough; a NaN is not. O(log most). */
void fv_near_offer(fv_near_list *list, float distance, uint64_t label);

/* Sorts, best first: the heap is gone. */
void fv_near_sort(fv_near_list *list);

#endif
