/* state.h - attention over some keys before it is divided by its sum: what can be merged with attention over others. */
#ifndef FOVEA_STATE_H
#define FOVEA_STATE_H

#include "fovea/api.h"
#include "fovea/status.h"
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FV_STATE_LANES 16 /* partial sums of a row */

/**
 * The softmax over some keys, of `rows` query rows. With x = scale * query . key * log2(e) (after a soft cap, if any):
 *
 *   maximum[r]          a whole number, at most 8 below the largest x; -3e38 if row r has read nothing
 *   sum[r][t % 16]      sum of 2^(x - maximum) over the keys t: a lane for every 16th key, so that kernels of any width
 *                       add in the same order
 *   out[r][head_dim]    sum of 2^(x - maximum) * value[t]
 *
 * Attention is out / sum, its log-sum-exp is ln(2) * (maximum + log2(sum)), sum being that of all lanes.
 */
typedef struct fv_state {
    float *maximum; /* [rows] */
    float *sum;     /* [rows][FV_STATE_LANES] */
    float *out;     /* [rows][head_dim] */
} fv_state;

/** Bytes of such states in one block: out, then sum, then maximum, all f32 in the machine's byte order, nothing
 *  between. That is also how they travel: copy the block. FV_OK, FV_ERROR_OVERFLOW. */
FV_API fv_status fv_state_bytes(size_t rows, size_t head_dim, size_t *bytes);

/** The states in such a block, which is 4-byte aligned and stays the caller's. O(1). */
FV_API fv_state fv_state_at(float *memory, size_t rows, size_t head_dim);

/** Nothing read yet. */
FV_API void fv_state_clear(fv_state state, size_t rows, size_t head_dim);

/**
 * into <- into + from, for keys that are in one of the two only: that is not checked.
 *
 * A maximum is whole, so scaling is exact and only the sums round; a row of `from` that has read nothing changes no
 * bit. The result depends on the order of merging in its last bits: fovea merges the segments of FV_SEGMENT_TOKENS
 * tokens in rising order, then strided keys and landmarks, then the tail. The states are finite. Method: Milakov &
 * Gimelshein 2018; merging, Dao et al. 2022. O(rows * head_dim).
 */
FV_API void fv_state_merge(const fv_state *into, const fv_state *from, size_t rows, size_t head_dim);

/** out[rows][head_dim] <- attention; zeros in a row that has read nothing. `out` may be state->out. */
FV_API void fv_state_finish(const fv_state *state, size_t rows, size_t head_dim, float *out);

/** lse[rows] <- natural logarithm of the sum of e^(score) over the keys read, scores scaled and capped as in the
 *  softmax; -infinity in a row that has read nothing. Error: 2 ulp of the result or 1e-6, the larger. */
FV_API void fv_state_lse(const fv_state *state, size_t rows, float *lse);

#ifdef __cplusplus
}
#endif

#endif
