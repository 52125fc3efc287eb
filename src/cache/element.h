/* element.h - how a vector of each element type lies in a panel of 16 keys and in a row of values: the one place that
 * knows. Channels pass by in runs of at most 32, so that nobody needs a buffer for a whole vector. */
#ifndef FV_ELEMENT_H
#define FV_ELEMENT_H

#include "build.h"
#include "fovea/cache.h"
#include "kernels/q4_layout.h"
#include <stdbool.h>

enum { FV_ELEMENT_RUN = FV_Q4_VALUES }; /* channels: a block of Q4_0 */

#define FV_ELEMENT_BUILT_F32 1
#define FV_ELEMENT_BUILT_F16 FV_BUILD_F16
#define FV_ELEMENT_BUILT_BF16 FV_BUILD_BF16
#define FV_ELEMENT_BUILT_Q8_0 FV_BUILD_Q8
#define FV_ELEMENT_BUILT_Q4_0 FV_BUILD_Q4

/* Whether `type` is FV_ELEMENT_<NAME>: a constant where it is not built, so that its code drops out. */
#define FV_ELEMENT_IS(type, NAME) (FV_ELEMENT_BUILT_##NAME && (type) == FV_ELEMENT_##NAME)

bool fv_element_is_built(uint32_t type);

uint32_t fv_element_largest_bits(uint32_t type); /* of the largest magnitude that it takes */

/* Whether the bits of each of n magnitudes are below `first`. */
bool fv_element_all_below(const fv_kernels *kernels, size_t n, const float *x, uint32_t first);

/* Whether each finite one of n numbers can be held, as fv_cache_append() says; what is not finite is not asked. */
bool fv_element_holds(const fv_kernels *kernels, uint32_t type, size_t n, const float *x);

size_t fv_element_panel_bytes(uint32_t type, size_t head_dim);
size_t fv_element_row_bytes(uint32_t type, size_t head_dim);
bool fv_element_has_scale(uint32_t type); /* one f32 a token and head, beside panel and row */

/* Bytes of one element of a type that stores them one by one, 0 for Q4_0. */
size_t fv_element_bytes(uint32_t type);

/* Keys of Q4_0 are stored turned, so that an outlier is spread over 32 channels and does not make the others' steps
 * coarse: whole blocks of 32 channels are multiplied by the Hadamard matrix / 32. A query is multiplied by the matrix:
 * its product with the turned key is that of the plain ones (Ashkboos et al. 2024, QuaRot). A shorter block at the end
 * is as it is. x: `stride` apart; a key's factor is FV_HADAMARD_KEY, a query's, and that of the way back, 1. Nothing
 * for other types. */
#define FV_HADAMARD_KEY (1.0f / 32.0f)
void fv_element_hadamard(uint32_t type, size_t channels, float factor, float *x, size_t stride);

/* One vector: into column `column` of a panel, or into a row. scale: out, unless the type has none. */
void fv_element_key_store(const fv_kernels *kernels, uint32_t type, size_t head_dim, const float *x, void *panel,
                          size_t column, float *scale);
void fv_element_row_store(const fv_kernels *kernels, uint32_t type, size_t head_dim, const float *x, void *row,
                          float *scale);

/* Sixteen keys, `stride` apart, into a whole panel, if there is a fast way; the bits of fv_element_key_store(). */
bool fv_element_page_store(const fv_kernels *kernels, uint32_t type, size_t head_dim, const float *x, size_t stride,
                           void *panel);

/* Channels channel..channel + count - 1 as f32; channel a multiple of 32, count 32 at most. */
void fv_element_key_read(uint32_t type, size_t head_dim, const void *panel, size_t column, const float *scale,
                         size_t channel, size_t count, float *out);
void fv_element_row_read(uint32_t type, const void *row, const float *scale, size_t channel, size_t count, float *out);

/* The step that channel `channel` was rounded to, for types with even steps; else 0. May be negative: a Q4_0 scale. */
float fv_element_key_step(uint32_t type, const void *panel, size_t column, const float *scale, size_t channel);
float fv_element_row_step(uint32_t type, const void *row, const float *scale, size_t channel);

/* Column `from_column` of one panel into column `to_column` of another, or the same. */
void fv_element_key_copy(uint32_t type, size_t head_dim, const void *from, size_t from_column, void *to,
                         size_t to_column);

/* The same as stored, not turned back. */
void fv_element_key_stored(uint32_t type, size_t head_dim, const void *panel, size_t column, const float *scale,
                           size_t channel, size_t count, float *out);

/* Block `block` of a Q4_0 key, as a row of values holds it. */
void fv_element_q4_get(size_t head_dim, const void *panel, size_t column, size_t block, unsigned char *bytes);
void fv_element_q4_put(size_t head_dim, void *panel, size_t column, size_t block, const unsigned char *bytes);

#endif
