/* best.h - the best of a list of weights, those of fv_page_weight_fn: FV_WEIGHT_WHOLE at most, but for those that were
 * chosen. */
#ifndef FV_BEST_H
#define FV_BEST_H

#include "kernels/kernels.h"

#define FV_CHOSEN UINT32_MAX /* the weight of what was chosen before */

/* The largest number that `goal` weights reach, or 1 if fewer do; goal <= count. First down from a page that has all
 * mass in steps that double, then by turns where it would be if weights were spread evenly, and by halves. A number
 * that exactly `goal` reach will do as well. */
uint32_t fv_list_threshold(const fv_kernels *kernels, const uint32_t *weight, uint32_t count, size_t goal);

/* Of the `count` weights the best that are not FV_CHOSEN yet, `most` of them if there are as many; of equal ones at the
 * edge the older. Lists the places of these and of those that were chosen before, in rising order: place has room for
 * `count`. How many are listed. */
uint32_t fv_list_best(const fv_kernels *kernels, const uint32_t *weight, uint32_t count, uint32_t most,
                      uint32_t *place);

#endif
