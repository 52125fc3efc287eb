/* Rounding a vector to 7 bits a channel. */
#include "codes/means.h"
#include "build.h"
#include "kernels/kernels.h"
#include <float.h>

#if FV_BUILD_CHOOSE

float fv_mean_put(size_t dim, const float *x, uint32_t n, uint8_t *codes) {
    size_t padded = fv_codes_dim(dim);
    float most = 0.0f;
    for (size_t c = 0; c < dim; c++) {
        float magnitude = x[c] < 0.0f ? -x[c] : x[c];
        if (!(magnitude <= most)) most = magnitude;
    }
    bool fit = most > 0.0f && most <= FLT_MAX;
    float inverse = fit ? 63.0f / most : 0.0f;
    for (size_t c = 0; c < padded; c++)
        codes[fv_mean_place(padded, n, c)] =
            (uint8_t)(64 + (fit && c < dim ? fv_round_held(x[c] * inverse, 63.0f) : 0));
    return fit ? most / 63.0f : 0.0f;
}

void fv_mean_read(size_t dim, const uint8_t *codes, const float *steps, uint32_t n, float *out) {
    size_t padded = fv_codes_dim(dim);
    for (size_t c = 0; c < dim; c++) out[c] = fv_mean_value(padded, codes, steps, n, c);
}

#endif
