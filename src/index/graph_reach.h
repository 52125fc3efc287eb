/* graph_reach.h - the length that a graph gives all vectors of an inner product. */
#ifndef FV_GRAPH_REACH_H
#define FV_GRAPH_REACH_H

#include "index/index_graph.h"

/* Sets the channel that makes the length of a row that of all. */
void fv_graph_put_rest(fv_index *index, size_t row);

/* For who has the change: makes all vectors of the graph longer if one of `rows` that are to come needs it. FV_OK,
 * FV_ERROR_MEMORY. O(rows * dimension); where it has to, and at the first change of a file, all rows of the index. */
fv_status fv_graph_stretch(fv_index *index, size_t rows, const float *vectors, fv_message *message);

#endif
