/* graph_degree.h - how many neighbours vectors are given where nobody says: 32, or 64 of many vectors that spread in
 * many directions. */
#ifndef FV_GRAPH_DEGREE_H
#define FV_GRAPH_DEGREE_H

#include "index/index_state.h"

#define FV_GRAPH_DEGREE_LEAST 32
#define FV_GRAPH_DEGREE_WIDE 64

/* By a sample of the rows that there are and the index's seed: the same on every processor and for any number of
 * threads. O(2^20 * dimension), and about a hundredth of what making the graph takes at most. */
uint32_t fv_graph_degree_for(const fv_index *index, bool is_lean, const fv_parallel *parallel);

#endif
