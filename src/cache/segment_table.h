/* segment_table.h - where the pages of a cache lie: all in one block, or in segments of 1,024 tokens that come and go
 * one by one. Inside a segment they lie as in one block; the offsets are the same in all of them. */
#ifndef FV_SEGMENT_TABLE_H
#define FV_SEGMENT_TABLE_H

#include "build.h"
#include "fovea/plan.h"
#include <stdint.h>

#define FV_SEGMENT_PAGES (FV_SEGMENT_TOKENS / FV_PAGE_TOKENS)

/* A block is the only segment of its table, however many pages it has. */
typedef struct fv_segment_table {
#if FV_BUILD_SEGMENTS
    unsigned char **segments; /* of pages n << shift and on; NULL: such a segment is not there */
    uint32_t shift, mask;
#else
    unsigned char *block;
#endif
} fv_segment_table;

/* The memory that a page is in. */
static inline unsigned char *fv_segment_of(const fv_segment_table *table, uint32_t page) {
#if FV_BUILD_SEGMENTS
    return table->segments[page >> table->shift];
#else
    (void)page;
    return table->block;
#endif
}

/* Which of that segment's pages it is. */
static inline uint32_t fv_segment_page(const fv_segment_table *table, uint32_t page) {
#if FV_BUILD_SEGMENTS
    return page & table->mask;
#else
    (void)table;
    return page;
#endif
}

/* The first page beyond the segment of `page`. */
static inline uint32_t fv_segment_end(const fv_segment_table *table, uint32_t page) {
#if FV_BUILD_SEGMENTS
    return (page | table->mask) + 1;
#else
    (void)table, (void)page;
    return UINT32_MAX;
#endif
}

#endif
