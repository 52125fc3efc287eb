/* index_choice.h - how a search is answered: by a scan of all codes, by a walk over the graph, or by looking at the
 * vectors alone that a filter lets pass; whichever does the least work, as calibration (calibration.h) foretells it.
 *
 * Work is counted, never timed, in bytes: those of codes, which are read in a row, and JUMP times those of vectors and
 * rows of the graph, which are jumped to. */
#ifndef FV_INDEX_CHOICE_H
#define FV_INDEX_CHOICE_H

#include "index/index_search.h"

/* Work of a scan that computes `rows` exactly, and of a walk. */
double fv_scan_work(const fv_index *index, double codes, double rows);
double fv_walk_work(const fv_index *index, double visits);

/* Answers a search with a recall; lists as for fv_index_flat(). FV_OK, FV_ERROR_MEMORY. */
fv_status fv_index_choose(const fv_index *index, const fv_index_search *search, fv_near_list *lists,
                          fv_search_counts *counts, fv_message *message);

/* The beam of a walk for the k nearest; 0: a scan has to do. */
uint32_t fv_chosen_beam(const fv_index *index, double k, double recall);

/* Whether searches for 10 at a recall of 0.95 are less work by walks than by scans, by the calibration; and whether
 * they could be, by a graph of that degree. */
bool fv_walks_are_less(const fv_index *index);
bool fv_walks_may_be_less(const fv_index *index, uint32_t degree);

/* Calibrates: `count` queries that were looked at, or 0 for own ones. FV_OK, FV_ERROR_MEMORY: as before then. */
fv_status fv_calibration_measure(fv_index *index, size_t count, const float *queries, const fv_parallel *parallel,
                                 fv_message *message);

/* Measures again with own vectors, if a graph has grown by half since. For who has the change. */
void fv_calibration_follow(fv_index *index, const fv_parallel *parallel);

#endif
