/* code_query.h - queries made ready to be scored against codes.h and means.h, by the kernels that take fv_shadow_rows.
 */
#ifndef FV_CODE_QUERY_H
#define FV_CODE_QUERY_H

#include "codes/codes.h"
#include "kernels/kernels.h"

/* Room for rows of queries; dim is that of codes, with padding. */
typedef struct fv_code_queries {
    int8_t *query;                 /* [rows][dim] */
    uint8_t *table;                /* [rows][4 * dim] */
    int32_t *sum, *coarse_sum;     /* [rows] */
    float *factor, *coarse_factor; /* [rows] */
} fv_code_queries;

/* Makes row `row` of query [dim], which may hold anything; a query that is not finite scores 0. scale: scores come out
 * as 256 * log2(e) * scale * product. rotated: scratch [dim]. */
void fv_code_query_make(const fv_kernels *kernels, size_t dim, float scale, const float *query, float *rotated,
                        const fv_code_queries *out, size_t row);

/* Rows first..first + rows - 1, as kernels take them; without a base. */
fv_shadow_rows fv_code_query_rows(size_t dim, const fv_code_queries *queries, size_t first, size_t rows);

/* Sum of the squares of a rounded query. */
static inline int32_t fv_query_squares(const int8_t *query, size_t dim) {
    int32_t squares = 0;
    for (size_t c = 0; c < dim; c++) squares += query[c] * query[c];
    return squares;
}

/* The way back of the rotation for rows [rows][stride] f32, up to 16: out [rows][dim] = factor * the vector whose
 * rotation the row is. lanes: scratch [dim][16]. */
void fv_code_rotate_back(const fv_kernels *kernels, size_t dim, float factor, size_t rows, const float *from,
                         size_t stride, float *lanes, float *out);

#endif
