/* level_code.c - one code at a time; sums with queries are kernels (scan_kernels.h). */
#include "index/level_code.h"
#include <math.h>
#include <string.h>

enum { TRIES = 24 }; /* steps of the grid that are tried for each vector */

#define MOST_LEVEL 32767
#define MOST_SUM 8421504.0 /* of |levels| of a query: times 255 under 2^31 */
#define SUM_SHARE 0x1p-20  /* of |r| |q|: rounding of a query's levels and of sums */

/* ---- a channel ---- */

/* Where the level of a channel lies: the parts of its group, the widest first. */
static void channel_put(size_t bits, uint8_t *group, size_t channel, uint32_t level) {
    if (bits == 8) {
        group[channel] = (uint8_t)level;
        return;
    }
    for (size_t width = 4; width; width /= 2) {
        if (!(bits & width)) continue;
        size_t bytes = 8 * width;
        group[channel % bytes] |= (uint8_t)((level & ((1u << width) - 1)) << channel / bytes * width);
        group += bytes;
        level >>= width;
    }
}

static uint32_t channel_get(size_t bits, const uint8_t *group, size_t channel) {
    uint32_t level = 0, place = 0;
    if (bits == 8) return group[channel];
    for (size_t width = 4; width; width /= 2) {
        if (!(bits & width)) continue;
        size_t bytes = 8 * width;
        level |= ((uint32_t)group[channel % bytes] >> channel / bytes * width & ((1u << width) - 1)) << place;
        group += bytes;
        place += (uint32_t)width;
    }
    return level;
}

/* ---- a vector ---- */

/* The level nearest to x in steps of the grid. */
static double level_of(double x, double half) {
    double level = floor(x + half + 0.5), most = 2 * half;
    return level < 0 ? 0 : level > most ? most : level;
}

typedef struct grid_sums {
    double product, size; /* r . u, |u|^2 */
} grid_sums;

static grid_sums sums_of(size_t n, const float *r, double per_step, double half) {
    grid_sums sums = {0, 0};
    for (size_t i = 0; i < n; i++) {
        double u = level_of((double)r[i] * per_step, half) - half;
        sums.product += (double)r[i] * u;
        sums.size += u * u;
    }
    return sums;
}

/* Steps of the grid for one of r that point most nearly along it. The outermost level stands for the largest channel,
 * or for as little as a third of it. */
static double best_step(size_t n, const float *r, double half) {
    float most = 0; /* no fmax(): gcc 12 for Arm fails to vectorise it */
    double best = 0, cosine = -1;
    for (size_t i = 0; i < n; i++) most = fabsf(r[i]) > most ? fabsf(r[i]) : most;
    if (!(most > 0)) return 0;
    for (int i = 0; i < TRIES; i++) {
        double per_step = (half + 0.5) / (double)most * (0.9 + 2.1 * i / (TRIES - 1));
        grid_sums sums = sums_of(n, r, per_step, half);
        double along = sums.product / sqrt(sums.size);
        if (along > cosine) best = per_step;
        cosine = fmax(cosine, along);
    }
    return best;
}

fv_level_code fv_level_code_put(size_t n, size_t bits, const float *r, uint8_t *code) {
    double half = (double)((1u << bits) - 1) / 2, per_step = best_step(n, r, half), square = 0;
    grid_sums sums = sums_of(n, r, per_step, half);
    memset(code, 0, fv_level_code_bytes(n, bits));
    for (size_t i = 0; i < n; i++) {
        square += (double)r[i] * (double)r[i];
        channel_put(bits, code + i / 64 * 8 * bits, i % 64, (uint32_t)level_of((double)r[i] * per_step, half));
    }
    if (!(square > 0)) return (fv_level_code){.size = (float)sums.size};
    double product = square / sums.product, rest = (product * product * sums.size - square) / ((double)n - 1);
    double spread = (rest > 0 ? sqrt(rest) : 0) + sqrt(square) * SUM_SHARE;
    return (fv_level_code){(float)square, (float)sums.size, (float)product, (float)spread};
}

void fv_level_code_get(size_t n, size_t bits, const uint8_t *code, float scale, float *out) {
    float half = (float)((1u << bits) - 1) / 2;
    for (size_t i = 0; i < n; i++) out[i] = ((float)channel_get(bits, code + i / 64 * 8 * bits, i % 64) - half) * scale;
}

/* ---- a query ---- */

fv_query_levels fv_query_levels_make(size_t n, const float *q, int16_t *level) {
    double most = 0, sum = 0;
    for (size_t i = 0; i < n; i++) {
        most = fmax(most, fabs((double)q[i]));
        sum += fabs((double)q[i]);
    }
    double per_step = 0;
    if (most > 0) per_step = fmin(MOST_LEVEL / most, (MOST_SUM - (double)n) / sum); /* each rounds up by less than 1 */
    fv_query_levels made = {.level = level, .half_step = per_step > 0 ? (float)(0.5 / per_step) : 0};
    for (size_t i = 0; i < n; i++) {
        level[i] = (int16_t)floor((double)q[i] * per_step + 0.5);
        made.sum += level[i];
    }
    return made;
}
