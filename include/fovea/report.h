/* report.h - what attention did, counted. How structs may change: docs/abi.md. */
#ifndef FOVEA_REPORT_H
#define FOVEA_REPORT_H

#include <stddef.h>
#include <stdint.h>

#define FV_REPORT_LEAST 88 /* bytes of the first release's fields: the least that struct_bytes may say */

/**
 * Counters that attention adds to. Plain data, fixed widths, no padding, no pointers: C, Python and log files share it.
 * New fields are appended; existing ones never move. Fields from sink_keys on are left alone where
 * struct_bytes says that the caller has no room for them. A struct_bytes below FV_REPORT_LEAST, such as a forgotten 0,
 * is FV_ERROR_ARGUMENT of every call that takes a report, before anything is computed or written.
 */
typedef struct fv_report {
    uint32_t struct_bytes; /* sizeof(fv_report), set by the caller before the call; at least FV_REPORT_LEAST */
    uint32_t isa;          /* fv_isa that ran */
    uint64_t keys_visible; /* keys that dense attention would read, counted per query row and KV head, all layers whose
                              mask is not a sliding window */
    uint64_t keys_read;    /* of those, keys read exactly; density = keys_read / keys_visible, 0..1 */
    uint64_t bytes_read;   /* cache lines of K, V and summaries touched x 64; a tile's bytes count once; all layers */
    uint64_t local_keys;   /* keys read in the model's own sliding-window layers */
    float error_bound; /* >= max |out - dense| of all rows and query heads certified, same unit as V; NaN if none was.
                          Dense is dense attention as fovea computes it, in f32 over the stored keys and values; from
                          exact arithmetic both are a rounding error apart, which the bound leaves out */
    uint32_t reserved; /* 0; keeps the size equal on all targets */
    uint64_t selected_keys;  /* of keys_read, those that were chosen by the queries, in rows that do not read all */
    float relative_bound;    /* >= max |out - dense| / rms(dense); infinity: nothing is known; NaN likewise */
    float relative_estimate; /* the same by estimate, which is no bound. It covers the error of at least 95 % of the
                                rows, measured for each layer of SmolLM2-135M (97.7 to 100 %) and for Gaussian keys
                                whose scores have a standard deviation of 1, 2, 4, 8, 16, 32 or 64: it grows with the
                                mass that the 2-bit keys see and with their own error. fv_policy.quality goes by it */
    uint64_t certified_rows; /* rows x query heads with a certificate */
    uint64_t vacuous_rows;   /* of those, how many have an infinite relative_bound */
    uint64_t whole_rows;     /* rows x query heads that had to read all for the quality that was asked for */
    /* of keys_read, by reason; with selected_keys they are all but a pattern's log-strides */
    uint64_t sink_keys;   /* first tokens; a pattern's globals */
    uint64_t window_keys; /* newest tokens, up to whole pages, the row's own included */
    uint64_t whole_keys; /* of rows that read all: dense, too short for a choice, or for a quality that was asked for */
    /* nanoseconds by the clock that was handed in (fv_attention_time(), fv_model_time()), 0 without one; summed over
     * workers: of a prompt their own, of a single row and of what follows the caller's time x workers */
    uint64_t choose_ns;  /* scoring, choosing and certifying by policies that choose */
    uint64_t read_ns;    /* reading keys and values, and merging; writing plans by position */
    uint64_t product_ns; /* fv_model: products with weights */
    uint64_t other_ns;   /* fv_model: all else, and waiting for the slowest worker of a prompt */
} fv_report;

#ifndef __cplusplus
_Static_assert(sizeof(fv_report) == 144 && offsetof(fv_report, error_bound) == 40 &&
                   offsetof(fv_report, sink_keys) == FV_REPORT_LEAST,
               "fv_report is part of the ABI");
#endif

#endif
