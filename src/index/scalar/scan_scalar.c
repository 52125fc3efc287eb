/* scan_scalar.c - what all others must equal. */
#include "index/scan_kernels.h"
#include "numeric/half.h"

void fv_scan_sums_scalar(size_t groups, const uint8_t *codes, const uint8_t *table, uint32_t *sum) {
    for (size_t t = 0; t < 32; t++) sum[t] = 0;
    for (size_t group = 0; group < groups; group++, codes += 16, table += 16)
        for (size_t i = 0; i < 8; i++) {
            sum[i] += table[codes[2 * i] & 15];
            sum[i + 8] += table[codes[2 * i + 1] & 15];
            sum[i + 16] += table[codes[2 * i] >> 4];
            sum[i + 24] += table[codes[2 * i + 1] >> 4];
        }
}

uint32_t fv_scan_bounds_scalar(const float *factors, const uint32_t *sum, const fv_scan_query *query, float limit,
                               float *low) {
    uint32_t under = 0;
    for (uint32_t t = 0; t < 32; t++) {
        float x = (float)((int32_t)sum[t] - query->zero) * query->step;
        float near = (factors[t] * query->weight + query->base) + factors[32 + t] * x;
        low[t] = near - factors[64 + t] * query->spread;
        under |= (uint32_t)(low[t] < limit) << t;
    }
    return under;
}

uint32_t fv_scan_estimates_scalar(const float *factors, const uint32_t *sum, const fv_scan_query *query, float limit,
                                  float *near) {
    uint32_t under = 0;
    for (uint32_t t = 0; t < 32; t++) {
        float x = (float)((int32_t)sum[t] - query->zero) * query->step;
        near[t] = (factors[t] + query->base) + factors[32 + t] * x;
        under |= (uint32_t)(near[t] < limit) << t;
    }
    return under;
}

void fv_scan_fetch_scalar(const void *bytes, size_t count) { (void)bytes, (void)count; }

static float lanes_total(float *lane) {
    for (size_t half = 16; half >= 1; half /= 2)
        for (size_t l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

void fv_scan_code_scalar(size_t n, const float *self, const float *other, uint8_t *bits, fv_scan_code *code) {
    float square[32] = {0}, size[32] = {0}, known[32] = {0};
    for (size_t i = 0; i < n; i++) {
        float r = other[i] - self[i];
        if (i % 8 == 0) bits[i / 8] = 0;
        bits[i / 8] = (uint8_t)(bits[i / 8] | (r > 0) << i % 8);
        square[i % 32] += r * r;
        size[i % 32] += r > 0 ? r : -r;
        known[i % 32] += r > 0 ? self[i] : -self[i];
    }
    *code = (fv_scan_code){lanes_total(square), lanes_total(size), lanes_total(known)};
}

float fv_scan_distance_scalar(size_t n, const float *x, const float *y) {
    float lane[32] = {0};
    for (size_t i = 0; i < n; i += 32)
        for (size_t l = 0; l < 32 && i + l < n; l++) {
            float d = x[i + l] - y[i + l];
            lane[l] += d * d;
        }
    return lanes_total(lane);
}

float fv_scan_product_scalar(size_t n, const float *x, const float *y) {
    float lane[32] = {0};
    for (size_t i = 0; i < n; i += 32)
        for (size_t l = 0; l < 32 && i + l < n; l++) lane[l] += x[i + l] * y[i + l];
    return lanes_total(lane);
}

static float distance_step(float x, float y) { return (x - y) * (x - y); }

static float product_step(float x, float y) { return x * y; }

/* What a half stands for, and what a pair adds. */
typedef float half_value(uint16_t half);
typedef float pair_step(float x, float y);

static inline float half_sum(size_t n, const float *x, const uint16_t *y, half_value *value, pair_step *step) {
    float lane[32] = {0};
    for (size_t i = 0; i < n; i += 32)
        for (size_t l = 0; l < 32 && i + l < n; l++) lane[l] += step(x[i + l], value(y[i + l]));
    return lanes_total(lane);
}

static inline float halves_distance(size_t n, const uint16_t *x, const uint16_t *y, half_value *value) {
    float lane[32] = {0};
    for (size_t i = 0; i < n; i += 32)
        for (size_t l = 0; l < 32 && i + l < n; l++) lane[l] += distance_step(value(x[i + l]), value(y[i + l]));
    return lanes_total(lane);
}

float fv_scan_distance_f16_scalar(size_t n, const float *x, const uint16_t *y) {
    return half_sum(n, x, y, fv_f32_from_f16, distance_step);
}

float fv_scan_product_f16_scalar(size_t n, const float *x, const uint16_t *y) {
    return half_sum(n, x, y, fv_f32_from_f16, product_step);
}

float fv_scan_distance_bf16_scalar(size_t n, const float *x, const uint16_t *y) {
    return half_sum(n, x, y, fv_f32_from_bf16, distance_step);
}

float fv_scan_product_bf16_scalar(size_t n, const float *x, const uint16_t *y) {
    return half_sum(n, x, y, fv_f32_from_bf16, product_step);
}

float fv_scan_distance_f16_f16_scalar(size_t n, const uint16_t *x, const uint16_t *y) {
    return halves_distance(n, x, y, fv_f32_from_f16);
}

float fv_scan_distance_bf16_bf16_scalar(size_t n, const uint16_t *x, const uint16_t *y) {
    return halves_distance(n, x, y, fv_f32_from_bf16);
}
