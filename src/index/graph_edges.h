/* graph_edges.h - the edges of a graph's vector: which candidates become its neighbours, and how they are coded. */
#ifndef FV_GRAPH_EDGES_H
#define FV_GRAPH_EDGES_H

#include "index/index_graph.h"

/* How much nearer, in squares, what occludes a candidate is to it than the vector is (Subramanya et al. 2019). With 1
 * a few vectors near the middle of all occlude nearly all others where channels are many. Of 19,000 rows of Gemma's
 * embeddings 6 neighbours were kept so, and a walk of 117 visits found 0.883 of the 10 nearest; with 1.08 it is 11,
 * and 0.919 in 124 visits. 1.4 keeps 24, too few of them far ones: 0.825. */
#define FV_OCCLUDING 1.08f

/* `row` as a neighbour of `self`. Of vectors that are all the same each has neighbours of its own, or most would be out
 * of reach. */
fv_visit fv_graph_candidate(const fv_index *index, size_t self, uint32_t row);

/* The same of what a walk to `self` visited. */
fv_visit fv_graph_visited(const fv_index *index, size_t self, const fv_visit *visit);

/* Sorts, each row once, the vector itself not, and no more than are of use; how many. */
size_t fv_graph_order(fv_visit *candidates, size_t count, uint32_t self);

/* Of candidates in order keeps one unless one that was kept is nearer to it than the vector is (Toussaint 1980; Malkov
 * & Yashunin 2018). Kept ones, at most `degree`, are moved to the front; how many. */
size_t fv_graph_prune(const fv_index *index, fv_visit *candidates, size_t count, size_t degree);

/* Codes the neighbour at `place` of a vector into its blocks. self, other: their rotations less the centre. rest: of
 * the neighbour. scratch [rotated]. */
void fv_graph_code(const fv_index *index, uint8_t *blocks, size_t place, const float *self, const float *other,
                   float rest, float *scratch);

/* The rotation of a row less the centre. less, out [rotated]. */
void fv_graph_rotate(const fv_index *index, size_t row, float *less, float *out);

/* The same from rows: `tail` is what follows the head of a row, scratch [3][rotated] holds the rotation of that row in
 * its second part. */
void fv_graph_recode(const fv_index *index, uint8_t *tail, size_t place, uint32_t other, float *scratch);

/* Puts neighbours [count], at most as many as the degree and each once, into places of the row `self` that hold none
 * of them, or one for the second time; and codes what is new. scratch [3][rotated]. */
void fv_graph_rejoin(const fv_index *index, size_t self, const fv_visit *wanted, size_t count, uint8_t *tail,
                     float *scratch);

#endif
