/* Choosing by coarse keys in plain C: the reference for every instruction set. */
#include "build.h"
#include "kernels/kernels.h"
#include "numeric/half.h"
#include <float.h>
#include <stdbool.h>

#if FV_BUILD_CHOOSE

enum { LANES = 16, MOST_DIM = 1024 };

/* The top bit of splitmix64 of the seed 0x666F766561 at place c. */
const uint32_t fv_rotate_signs[MOST_DIM / 32] = {
    0x93B87FD3, 0xEC2D2843, 0x076A4996, 0x934F8738, 0xABF355B6, 0x69CACE4C, 0xF21BA21B, 0x1AD0B74C,
    0x3F8D6083, 0x0973AB2F, 0x6371EC4D, 0x7A291344, 0xD092B731, 0x1C988980, 0x9FAE0149, 0xEB2C1E9D,
    0x73AF6AE1, 0x2851A34B, 0xE8EBD6A0, 0xBEBAF3AF, 0x4B230095, 0xDE220F1E, 0x222E6D7E, 0x987B4AA3,
    0xF659E15B, 0xCD26460B, 0xFC4B0A55, 0x74A684AE, 0x5064E360, 0x7320A88C, 0x807DBC89, 0xC5BA7F4E,
};

const float fv_rotate_norms[11] = {1.0f,   0.70710678f, 0.5f,    0.35355339f,  0.25f,   0.17677670f,
                                   0.125f, 0.08838835f, 0.0625f, 0.044194174f, 0.03125f};

static void butterflies(size_t piece, size_t half, size_t stride, size_t first, size_t end, float *x) {
    for (size_t i = 0; i < piece; i += 2 * half)
        for (size_t c = i; c < i + half; c++) {
            float *low = x + c * stride, *high = x + (c + half) * stride;
            for (size_t t = first; t < end; t++) {
                float a = low[t], b = high[t];
                low[t] = a + b;
                high[t] = a - b;
            }
        }
}

/* Lanes first..end-1; channels lie `stride` apart. */
static void rotate(size_t dim, size_t stride, size_t first, size_t end, float *x) {
    for (size_t c = 0; c < dim; c++)
        for (size_t t = first; t < end && fv_rotate_signs[c / 32] >> c % 32 & 1; t++)
            x[c * stride + t] = -x[c * stride + t];
    for (size_t done = 0, piece = MOST_DIM, log = 10; done < dim; piece /= 2, log--) {
        if (piece > dim - done) continue;
        float *part = x + done * stride;
        for (size_t half = 1; half < piece; half *= 2) butterflies(piece, half, stride, first, end, part);
        for (size_t c = 0; c < piece; c++)
            for (size_t t = first; t < end; t++) part[c * stride + t] *= fv_rotate_norms[log];
        done += piece;
    }
}

void fv_rotate_page_scalar(size_t dim, size_t first, size_t end, float *x) { rotate(dim, LANES, first, end, x); }

/* The table of four channels; their sum. */
static int32_t group_table(const float *x, size_t channels, float inverse, uint8_t *table) {
    int32_t coarse[4] = {0};
    for (size_t i = 0; i < channels; i++) coarse[i] = fv_round_held(x[i] * inverse, (float)FV_COARSE_MOST);
    for (size_t e = 0; e < 16; e++) {
        int32_t sum = 4 * FV_COARSE_MOST;
        for (size_t i = 0; i < 4; i++) sum += e >> i & 1 ? coarse[i] : 0;
        table[e] = (uint8_t)sum;
    }
    return coarse[0] + coarse[1] + coarse[2] + coarse[3];
}

float fv_shadow_query_scalar(size_t dim, size_t padded, float *x, int8_t *query, uint8_t *table, int32_t *coarse_sum) {
    uint32_t top = 0;
    rotate(dim, 1, 0, 1, x);
    for (size_t c = 0; c < dim; c++) { /* as integers, so that a NaN is larger than all */
        uint32_t magnitude = fv_bits_from_f32(x[c]) & 0x7FFFFFFF;
        if (magnitude > top) top = magnitude;
    }
    float most = fv_f32_from_bits(top);
    bool fit = most > 0.0f && most <= FLT_MAX;
    float inverse = fit ? 127.0f / most : 0.0f, coarse = fit ? (float)FV_COARSE_MOST / most : 0.0f;
    for (size_t c = 0; c < padded; c++) query[c] = (int8_t)(fit && c < dim ? fv_round_held(x[c] * inverse, 127.0f) : 0);
    *coarse_sum = 0;
    for (size_t c = 0; c < padded; c += 4) {
        size_t channels = !fit || c >= dim ? 0 : dim - c < 4 ? dim - c : 4;
        *coarse_sum += group_table(x + c, channels, coarse, table + c * 4);
    }
    return fit ? most : 0.0f;
}

void fv_mean_score_scalar(const fv_shadow_rows *query, size_t panels, const uint8_t *mean, const float *step,
                          int32_t *out, size_t out_stride) {
    size_t dim = query->dim;
    for (size_t i = 0; i < query->rows * panels * LANES; i++) {
        size_t r = i / (panels * LANES), p = i % (panels * LANES);
        const uint8_t *panel = mean + p / LANES * dim * LANES + p % LANES * 4;
        int32_t dot = -64 * query->sum[r];
        for (size_t c = 0; c < dim; c++) dot += query->query[r * dim + c] * panel[c / 4 * LANES * 4 + c % 4];
        float x = (float)dot * step[p];
        out[r * out_stride + p] = fv_round_held(x * query->factor[r], 0x1p28f);
    }
}

/* Sum of the coarse query over the channels whose bit of key t is set. */
static int32_t plane_sum(size_t dim, const uint8_t *table, const uint8_t *plane, size_t t) {
    int32_t sum = -FV_COARSE_MOST * (int32_t)dim;
    for (size_t i = 0; i < dim / 16; i++, plane += 2 * LANES, table += 64)
        sum += table[plane[t] & 15] + table[16 + (plane[LANES + t] & 15)] + table[32 + (plane[t] >> 4)] +
               table[48 + (plane[LANES + t] >> 4)];
    return sum;
}

void fv_sign_score_scalar(const fv_shadow_rows *query, size_t pages, const uint8_t *signs, const uint16_t *steps,
                          int32_t *out, size_t out_stride) {
    size_t dim = query->dim;
    for (size_t r = 0; r < query->rows; r++)
        for (size_t p = 0; p < pages; p++) {
            float best = 0.0f;
            for (size_t t = 0; t < LANES; t++) {
                int32_t dot =
                    2 * plane_sum(dim, query->table + r * 4 * dim, signs + p * 2 * dim, t) - query->coarse_sum[r];
                float x = (float)dot * fv_f32_from_bf16(steps[p * LANES + t]);
                if (t == 0 || x > best) best = x;
            }
            out[r * out_stride + p] = fv_round_held(best * (0.82f * query->coarse_factor[r]), 0x1p28f) +
                                      query->base[r * query->base_stride + p / 4];
        }
}

/* Sum of neighbours, of neighbours of these, and so on. */
static float pair_sum(float *x) {
    for (size_t left = LANES; left > 1; left /= 2)
        for (size_t i = 0; i < left / 2; i++) x[i] = x[2 * i] + x[2 * i + 1];
    return x[0];
}

void fv_shadow_score_scalar(const fv_shadow_rows *query, size_t count, const uint32_t *pages, const uint8_t *signs,
                            const uint8_t *sizes, const uint16_t *steps, int32_t *out, size_t out_stride) {
    size_t dim = query->dim;
    for (size_t r = 0; r < query->rows; r++)
        for (size_t n = 0; n < count; n++) {
            size_t page = pages[n];
            const uint8_t *table = query->table + r * 4 * dim, *sign = signs + page * 2 * dim,
                          *size = sizes + page * 2 * dim;
            float power[LANES];
            for (size_t t = 0; t < LANES; t++) {
                int32_t dot =
                    4 * plane_sum(dim, table, sign, t) + 2 * plane_sum(dim, table, size, t) - 3 * query->coarse_sum[r];
                float x = (float)dot * fv_f32_from_bf16(steps[page * LANES + t]);
                power[t] = fv_score_power(fv_round_held(x * (0.5f * query->coarse_factor[r]), FV_SCORE_MOST));
            }
            out[r * out_stride + n] = fv_power_score(pair_sum(power)) + query->base[r * query->base_stride + page / 4];
        }
}

#if FV_BUILD_TAIL
void fv_key_score_scalar(const fv_shadow_rows *query, size_t count, const uint32_t *pages, const uint8_t *signs,
                         const uint8_t *sizes, const uint16_t *steps, const float *noise, int32_t *out,
                         size_t out_stride) {
    size_t dim = query->dim;
    for (size_t r = 0; r < query->rows; r++)
        for (size_t i = 0; i < count * LANES; i++) {
            size_t page = pages[i / LANES], t = i % LANES;
            const uint8_t *table = query->table + r * 4 * dim;
            float step = fv_f32_from_bf16(steps[page * LANES + t]);
            int32_t dot = 4 * plane_sum(dim, table, signs + page * 2 * dim, t) +
                          2 * plane_sum(dim, table, sizes + page * 2 * dim, t) - 3 * query->coarse_sum[r];
            out[r * out_stride + i] =
                fv_round_held((float)dot * step * (0.5f * query->coarse_factor[r]), FV_SCORE_MOST) +
                query->base[r * query->base_stride + page / 4] + fv_round_held(noise[r] * step * step, FV_KEY_NOISE);
        }
}
#endif

void fv_page_weight_scalar(size_t pages, const int32_t *score, uint32_t *weight) {
    int32_t best = INT32_MIN;
    uint64_t total = 0;
    for (size_t p = 0; p < pages; p++)
        if (score[p] > best) best = score[p];
    for (size_t p = 0; p < pages; p++) total += fv_power_of(score[p] - best);
    int32_t level = best + fv_log2_of(total) - 16 * 256;
    for (size_t p = 0; p < pages; p++) {
        uint32_t x = FV_WEIGHT_WHOLE + (uint32_t)(score[p] - level);
        if (x > weight[p]) weight[p] = x;
    }
}

size_t fv_count_least_scalar(size_t n, const uint32_t *x, uint32_t least) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += x[i] >= least;
    return count;
}

size_t fv_list_least_scalar(size_t n, const uint32_t *x, uint32_t least, uint32_t *place) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        if (x[i] >= least) place[count++] = (uint32_t)i;
    return count;
}

#endif
