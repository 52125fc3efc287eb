/* report.h - what attention did, counted. */
#ifndef FOVEA_REPORT_H
#define FOVEA_REPORT_H

#include <stddef.h>
#include <stdint.h>

/**
 * Counters that attention adds to. Plain data, fixed widths, no padding, no pointers: C, Python and log files share it.
 * New fields are appended; existing ones never move.
 */
typedef struct fv_report {
    uint32_t struct_bytes; /* sizeof(fv_report), set by the caller before the call */
    uint32_t isa;          /* fv_isa that ran */
    uint64_t keys_visible; /* keys that dense attention would read, counted per query row and KV head, all layers whose
                              mask is not a sliding window */
    uint64_t keys_read;    /* of those, keys read exactly; density = keys_read / keys_visible, 0..1 */
    uint64_t bytes_read;   /* cache lines of K, V and summaries touched x 64; a tile's bytes count once; all layers */
    uint64_t local_keys;   /* keys read in the model's own sliding-window layers */
    float error_bound;     /* >= max |out - dense| of all rows and query heads certified, same unit as V; NaN if none was */
    uint32_t reserved;     /* 0; keeps the size equal on all targets */
    uint64_t selected_keys; /* of keys_read, those that were chosen by the queries; the others are sinks and window */
    float relative_bound;  /* >= max |out - dense| / rms(dense); infinity: nothing is known; NaN likewise */
    float relative_estimate; /* the same by estimate: each row's holds with a probability of 95 % */
    uint64_t certified_rows; /* rows x query heads with a certificate */
    uint64_t vacuous_rows;   /* of those, how many have an infinite relative_bound */
    uint64_t whole_rows;     /* rows x query heads that had to read all for the quality that was asked for */
} fv_report;

#ifndef __cplusplus
_Static_assert(sizeof(fv_report) == 88 && offsetof(fv_report, error_bound) == 40, "fv_report is part of the ABI");
#endif

#endif
