/* graph_growth.h - rows get their places in a graph that readers walk over. */
#ifndef FV_GRAPH_GROWTH_H
#define FV_GRAPH_GROWTH_H

#include "index/index_graph.h"

typedef struct fv_graph_growth fv_graph_growth;

/* Made for `rows` rows beyond those of the index, whose vectors are there and which there is room for. removed [gone],
 * sorted: labels that go with the same change. All that may fail is done here, where nobody looks. FV_OK,
 * FV_ERROR_MEMORY. */
fv_status fv_graph_growth_make(fv_index *index, size_t rows, size_t gone, const uint64_t *removed,
                               const fv_parallel *parallel, fv_graph_growth **growth, fv_message *message);

/* Gives the rows edges, step by step, and publishes each: as dead ones, they have no label yet. */
void fv_graph_growth_run(fv_graph_growth *growth);
void fv_graph_growth_free(fv_graph_growth *growth); /* NULL is allowed */

#endif
