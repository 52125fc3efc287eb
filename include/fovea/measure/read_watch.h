/* read_watch.h - which passages rows of many sequences read, in the steps of one stepper. For one session: reads.h.
 * Hosted. */
#ifndef FOVEA_READ_WATCH_H
#define FOVEA_READ_WATCH_H

#include "fovea/measure/reads.h"
#include "fovea/step.h"

#ifdef __cplusplus
extern "C" {
#endif

#define FV_READ_ALL_LAYERS UINT32_MAX

/**
 * Rows to watch are named before each step; a step without any costs nothing. A row that is watched costs about
 * what its attention costs once more: O(layers * tokens read * query heads * head_dim). What the model computes has
 * the same bits. The same figures for any number of threads. One caller at a time, the one that runs the steps.
 */
typedef struct fv_read_watch fv_read_watch;

/**
 * stepper         must outlive the watch, and has no other observer meanwhile.
 * context_tokens  of the longest sequence.
 * workers         of the stepper's pool, >= 1.
 * returns         FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_MEMORY; *watch untouched on error. Memory is taken with the first
 *                 rows: for each layers * KV heads * pages floats; for each worker context_tokens * query heads / KV
 *                 heads.
 */
FV_API fv_status fv_read_watch_open(fv_read_watch **watch, fv_stepper *stepper, const fv_llm *llm,
                                    uint32_t context_tokens, uint32_t workers);
FV_API void fv_read_watch_close(fv_read_watch *watch); /* NULL is allowed */

/** Before a step: nothing is watched, and what the rows of the last one read is forgotten. */
FV_API void fv_read_watch_begin(fv_read_watch *watch);

/** Watches the token at `position` of `sequence` in the next step. *row: its number, from 0. FV_OK, FV_ERROR_ARGUMENT
 *  (beyond context_tokens), FV_ERROR_MEMORY: *row untouched, the others are watched. */
FV_API fv_status fv_read_watch_add(fv_read_watch *watch, const fv_sequence *sequence, uint32_t position, size_t *row);

/**
 * After the step: the pages that the row read most, largest share first, equal ones by position. As in reads.h the
 * first page and the newest FV_READS_LAST_TOKENS are left out, and so are pages of which nothing was read.
 *
 * layer     share: of all that the row read in this layer; FV_READ_ALL_LAYERS: in all layers, each of whose heads
 * counts the same. A layer with a sliding window of the model's own has no passages. passages  [most], out; those after
 * the last one are {0, 0}. returns   how many there are.
 */
FV_API size_t fv_read_watch_top(fv_read_watch *watch, size_t row, uint32_t layer, fv_reads_passage *passages,
                                size_t most);

/**
 * After the step: the share of every page up to the row's own, the first and the newest ones, too. They sum to 1; all
 * are 0 where nothing was noted (layers with a sliding window of the model's own).
 *
 * layer    as above.
 * shares   out [pages], f32; those beyond the row's page are 0; untouched on error.
 * returns  FV_OK, FV_ERROR_ARGUMENT (no such row or layer, or fewer pages than the row saw).
 */
FV_API fv_status fv_read_watch_pages(const fv_read_watch *watch, size_t row, uint32_t layer, float *shares,
                                     size_t pages);

#ifdef __cplusplus
}
#endif

#endif
