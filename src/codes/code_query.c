/* Queries: rotated, rounded, with a table for each four channels. */
#include "codes/code_query.h"
#include "build.h"

#if FV_BUILD_CHOOSE

void fv_code_query_make(const fv_kernels *kernels, size_t dim, float scale, const float *query, float *rotated,
                        const fv_code_queries *out, size_t row) {
    size_t padded = fv_codes_dim(dim);
    int8_t *rounded = out->query + row * padded;
    int32_t sum = 0;
    for (size_t c = 0; c < dim; c++) rotated[c] = query[c];
    float most =
        kernels->shadow_query(dim, padded, rotated, rounded, out->table + row * 4 * padded, &out->coarse_sum[row]);
    for (size_t c = 0; c < padded; c++) sum += rounded[c];
    out->sum[row] = sum;
    float unit = most * (scale * 369.32993f); /* 256 / ln 2 */
    unit = unit < 0x1p100f ? unit : 0x1p100f;
    out->factor[row] = unit / 127.0f;
    out->coarse_factor[row] = unit / (float)FV_COARSE_MOST;
}

fv_shadow_rows fv_code_query_rows(size_t dim, const fv_code_queries *queries, size_t first, size_t rows) {
    size_t padded = fv_codes_dim(dim);
    return (fv_shadow_rows){.rows = rows,
                            .dim = padded,
                            .query = queries->query + first * padded,
                            .sum = queries->sum + first,
                            .factor = queries->factor + first,
                            .table = queries->table + first * 4 * padded,
                            .coarse_sum = queries->coarse_sum + first,
                            .coarse_factor = queries->coarse_factor + first};
}

#endif

#if FV_BUILD_TAIL

/* x = D H y for the rotation y = H D x: the signs around another rotation, the rows side by side. */
void fv_code_rotate_back(const fv_kernels *kernels, size_t dim, float factor, size_t rows, const float *from,
                         size_t stride, float *lanes, float *out) {
    enum { LANES = FV_CODES_LANES };
    for (size_t c = 0; c < dim; c++) {
        float sign = fv_rotate_signs[c / 32] >> c % 32 & 1 ? -1.0f : 1.0f;
        for (size_t r = 0; r < LANES; r++) lanes[c * LANES + r] = r < rows ? sign * from[r * stride + c] : 0.0f;
    }
    kernels->rotate_page(dim, 0, LANES, lanes);
    for (size_t c = 0; c < dim; c++) {
        float signed_factor = fv_rotate_signs[c / 32] >> c % 32 & 1 ? -factor : factor;
        for (size_t r = 0; r < rows; r++) out[r * dim + c] = lanes[c * LANES + r] * signed_factor;
    }
}

#endif
