/* dither.h - stored elements and weights read stochastically: with noise of up to half a quantisation step, so that
 * what rounding lost is not lost the same way each time. Off unless asked for: fv_sequence_wake_dithered() alone
 * calls this. */
#ifndef FOVEA_DITHER_H
#define FOVEA_DITHER_H

#include "fovea/api.h"
#include "fovea/cache.h"
#include "fovea/status.h"
#include "fovea/weight.h"
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The noise u * step, u uniform in (-1/2, 1/2), is a function of seed, stream and position alone (splitmix64,
 *  counter-based, Steele et al. 2014): the same bits for any order, cutting or number of threads. Neighbouring seeds
 *  are as different as others. The mean over seeds is the stored value. */
typedef struct fv_dither {
    uint64_t seed;
    uint64_t stream; /* the caller's number of what is read, e.g. of the layer or tensor: equal positions of different
                        streams get different noise */
} fv_dither;

/**
 * fv_cache_read() with noise. Position: keys or values, head, token, element.
 *
 * Step: F16 and BF16 the distance to the next larger magnitude of the type (f16: 2^-24 at zero and below 2^-14), Q8_0
 * the token's scale, Q4_0 the scale of the 32 elements, F32 none: read as it is. Infinities and NaN stay. Landmarks
 * have no noise.
 * dither  NULL = off: the bits of fv_cache_read().
 * keys, values  out [count][head_dim] f32; either may be NULL.
 * returns FV_OK, FV_ERROR_ARGUMENT (as fv_cache_read(); outputs untouched). O(count * head_dim).
 */
FV_API fv_status fv_cache_read_dithered(const fv_cache *cache, uint32_t head, uint32_t first_token, uint32_t count,
                                        const fv_dither *dither, float *keys, float *values);

/**
 * One row of a weight as f32, with noise. Position: row, column; the same for packed rows and rows as in the file.
 *
 * Step: the scale of the value's block or group; value = scale * (quant + u) + offset. For Q4_0, Q4_1, Q5_0, Q5_1,
 * Q8_0, Q2_K, Q3_K, Q4_K, Q5_K and Q6_K.
 * dither  NULL = off: the stored values exactly, for every type.
 * out     [weight->columns].
 * returns FV_OK; FV_ERROR_ARGUMENT (NULL, row, type, columns that are not whole blocks), FV_ERROR_UNSUPPORTED (noise
 * for a
 *         type without even steps: F32, F16, BF16, IQ4_NL, those of a grid); outputs untouched on error. O(columns).
 */
FV_API fv_status fv_weight_read_dithered(const fv_weight *weight, uint32_t row, const fv_dither *dither, float *out);

#ifdef __cplusplus
}
#endif

#endif
