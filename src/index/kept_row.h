/* kept_row.h - vectors as an index keeps them: f32, f16 or bf16 as they came (cosine: of length 1), or a code of 2 to 8
 * bits a channel of the rotated vector less the centre (level_code.h). All else goes by what is kept: codes for scans,
 * edges, distances.
 *
 * A row of codes: the code, then f32: the scale of what it stands for, r, of which the rotation back, without the
 * channels that vectors have not, is as long as what came; the square of that length; and, if the metric is not L2, its
 * product with the centre. */
#ifndef FV_KEPT_ROW_H
#define FV_KEPT_ROW_H

#include "index/index_state.h"
#include "index/level_code.h"

static inline bool fv_row_type_is(uint32_t type) {
    return type == FV_INDEX_F32 || type == FV_INDEX_F16 || type == FV_INDEX_BF16 ||
           (type >= FV_LEVEL_LEAST_BITS && type <= FV_LEVEL_MOST_BITS);
}

/* Bits of a channel where rows are codes, else 0. */
static inline size_t fv_row_bits(const fv_index *index) {
    return index->config.row_type <= FV_LEVEL_MOST_BITS ? index->config.row_type : 0;
}

static inline bool fv_refine_bits_are(const fv_index_config *config) {
    uint32_t bits = config->refine_bits;
    bool is_coded = config->row_type >= FV_LEVEL_LEAST_BITS && config->row_type <= FV_LEVEL_MOST_BITS;
    return !bits || (!is_coded && bits >= FV_LEVEL_LEAST_BITS && bits <= FV_LEVEL_MOST_BITS);
}

/* Bytes of a code that scans refine by. */
size_t fv_fine_bytes(const fv_index *index);

/* Bytes of a vector. */
size_t fv_kept_bytes(const fv_index *index);

/* The largest magnitude of an element that may be kept. */
float fv_kept_largest(const fv_index *index);

/* Keeps vector [dimension] (cosine: of length 1) as a row; the centre is known. scratch [2][rotated]. */
void fv_kept_put(fv_index *index, size_t row, const float *vector, float *scratch);

/* What is kept: the vector [dimension]. scratch [2][rotated]. */
void fv_kept_get(const fv_index *index, size_t row, float *vector, float *scratch);

/* The rotation of the same less the centre, out [rotated]. less [rotated]: scratch, and what fv_kept_along() wants. */
void fv_kept_rotate(const fv_index *index, size_t row, float *less, float *out);

/* (What is kept less the centre) . centre, after fv_kept_rotate(); 0 for codes in an index by L2. */
double fv_kept_along(const fv_index *index, size_t row, const float *less);

/* Whether all numbers of a row are finite and may be there. */
bool fv_kept_is_sound(const fv_index *index, size_t row);

/* Square of the length, in f64. */
double fv_kept_square(const fv_index *index, size_t row);

/* What distances are computed from: a vector [dimension], and of d = vector - weight * centre the rotation in whole
 * numbers, which codes want. */
typedef struct fv_probe {
    const float *vector;
    fv_query_levels levels;
    float weight;
    float square; /* |vector - centre|^2 */
    float along;  /* vector . centre */
} fv_probe;

/* The probe of a vector. rotated: of d. level [rotated], to stay as long as the probe; not looked at, nor rotated,
 * unless rows are codes. */
fv_probe fv_probe_make(const fv_index *index, const float *vector, double weight, const float *rotated, int16_t *level);

/* The probe of a row, by L2 alone. vector [dimension], less, rotated [rotated] and level [rotated] are filled as far as
 * they are needed, and to stay. */
fv_probe fv_probe_of_row(const fv_index *index, size_t row, float *vector, float *less, float *rotated, int16_t *level);

/* L2, squared, from a row; and the product with it. */
float fv_kept_distance(const fv_index *index, const fv_probe *probe, size_t row);
float fv_kept_product(const fv_index *index, const fv_probe *probe, size_t row);

/* L2, squared, of two rows; of a row and the centre. */
float fv_kept_pair(const fv_index *index, size_t a, size_t b);
float fv_kept_from_centre(const fv_index *index, size_t row);

#endif
