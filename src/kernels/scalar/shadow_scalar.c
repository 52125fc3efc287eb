/* Scores of coarse keys in plain C: the reference for every instruction set. */
#include "build.h"
#include "kernels/kernels.h"

#if FV_BUILD_CHOOSE

void fv_dot_panel_u8_scalar(size_t rows, size_t panels, size_t dim, const int8_t *query, const uint8_t *key, int32_t *out,
                            size_t out_stride) {
    for (size_t i = 0; i < rows * panels; i++) {
        size_t r = i / panels, p = i % panels;
        const int8_t *q = query + r * dim;
        for (size_t t = 0; t < 16; t++) {
            int32_t sum = 0;
            for (size_t c = 0; c < dim; c++) sum += q[c] * key[((p * (dim / 4) + c / 4) * 16 + t) * 4 + c % 4];
            out[r * out_stride + p * 16 + t] = sum;
        }
    }
}

/* Score of key t of a page. */
static int32_t key_score(const fv_shadow_rows *query, size_t r, size_t t, const uint8_t *codes, float step, float base) {
    const int8_t *q = query->query + r * query->dim;
    const float most = 0x1p28f, magic = 12582912.0f;
    int32_t dot = 0;
    for (size_t p = 0; p < 4; p++)
        for (size_t c = 0; c < query->dim / 4; c++)
            dot += q[p * (query->dim / 4) + c] * (codes[(c / 4 * 16 + t) * 4 + c % 4] >> (2 * p) & 3);
    float x = ((float)dot - query->half_sum[r]) * step;
    x = (x + base) * query->factor[r];
    x = x > -most ? x : -most;
    x = x < most ? x : most;
    if (x > -0x1p22f && x < 0x1p22f) return (int32_t)((x + magic) - magic); /* beyond, an f32 may have a half bit */
    int32_t whole = (int32_t)x;
    float rest = x - (float)whole;
    if (rest > 0.5f || (rest == 0.5f && whole & 1)) return whole + 1;
    if (rest < -0.5f || (rest == -0.5f && whole & 1)) return whole - 1;
    return whole;
}

static uint32_t power_of(int32_t e) {
    int32_t shift = -(e >> 8);
    return shift < 32 ? (uint32_t)(256 + (e & 255)) << 8 >> shift : 0;
}

void fv_shadow_mass_scalar(const fv_shadow_rows *query, size_t keys, const uint8_t *codes, const uint16_t *steps,
                           int32_t *best, size_t best_stride, uint32_t *mass, size_t mass_stride) {
    for (size_t r = 0; r < query->rows; r++)
        for (size_t first = 0; first < keys; first += 64) {
            size_t count = keys - first < 64 ? keys - first : 64, block = first / 64;
            int32_t score[64], most = -(1 << 28);
            for (size_t t = 0; t < count; t++) {
                union {
                    uint32_t bits;
                    float value;
                } step = {.bits = (uint32_t)steps[first + t] << 16};
                const uint8_t *page = codes + (first + t) / 16 * query->dim * 4;
                score[t] = key_score(query, r, t % 16, page, step.value, query->base[r * query->base_stride + block]);
                if (score[t] > most) most = score[t];
            }
            best[r * best_stride + block] = most;
            for (size_t page = 0; 16 * page < count; page++) {
                uint32_t sum = 0;
                for (size_t t = 16 * page; t < 16 * page + 16 && t < count; t++) sum += power_of(score[t] - most);
                mass[r * mass_stride + first / 16 + page] = sum;
            }
        }
}

static uint32_t page_own(uint32_t mass, int32_t below) { return (uint32_t)((uint64_t)(mass >> 5) * power_of(below) >> 8); }

void fv_page_share_scalar(size_t pages, const int32_t *best, const uint32_t *mass, uint32_t *share) {
    int32_t most = best[0];
    uint64_t total = 0;
    for (size_t b = 1; b < (pages + 3) / 4; b++) most = best[b] > most ? best[b] : most;
    for (size_t p = 0; p < pages; p++) total += page_own(mass[p], best[p / 4] - most);
    float inverse = fv_share_inverse(total);
    for (size_t p = 0; p < pages; p++) {
        uint32_t part = 1 + (uint32_t)((float)page_own(mass[p], best[p / 4] - most) * inverse);
        if (part > share[p]) share[p] = part;
    }
}

#endif
