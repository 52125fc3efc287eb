/* graph_start.h - the neighbours that a graph begins with: near ones, but seldom the nearest. */
#ifndef FV_GRAPH_START_H
#define FV_GRAPH_START_H

#include "index/index_graph.h"

/* lists [rows][degree]: near rows of each, nearest first; the row itself where there are no more. order [rows]: all
 * rows, near ones together. The same for any number of threads. O(rows * dimension * (log rows + leaf)). False: no
 * memory. */
bool fv_graph_start(const fv_index *index, uint64_t seed, uint32_t degree, uint32_t *lists, uint32_t *order,
                    const fv_parallel *parallel);

#endif
