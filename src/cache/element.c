/* How vectors of each element type are stored and read. */
#include "cache/element.h"
#include "kernels/kernels.h"
#include "kernels/q4_layout.h"
#include "numeric/half.h"
#include "numeric/magnitude.h"

size_t fv_element_bytes(uint32_t type) {
    static const unsigned char bytes[FV_ELEMENT_COUNT] = {
        [FV_ELEMENT_F32] = 4, [FV_ELEMENT_F16] = 2, [FV_ELEMENT_Q8_0] = 1, [FV_ELEMENT_BF16] = 2};
    return bytes[type];
}

bool fv_element_is_built(uint32_t type) {
#define FV_ELEMENT_BUILT(NAME, name) [FV_ELEMENT_##NAME] = FV_ELEMENT_BUILT_##NAME,
    static const bool built[FV_ELEMENT_COUNT] = {FV_ELEMENT_LIST(FV_ELEMENT_BUILT)};
#undef FV_ELEMENT_BUILT
    return built[type];
}

/* Bits of the largest magnitude that a type takes. F16: below 65,520, where it rounds to infinity. Q4_0: -8 times the
 * largest f16; the keys' transform makes nothing larger. */
uint32_t fv_element_largest_bits(uint32_t type) {
    if (FV_ELEMENT_IS(type, F16)) return 0x477FEFFF;
    return fv_bits_from_f32(FV_ELEMENT_IS(type, Q4_0) ? 8.0f * 65504.0f : FV_CACHE_LARGEST);
}

bool fv_element_all_below(const fv_kernels *kernels, size_t n, const float *x, uint32_t first) {
    return FV_BUILD_AVX2 && kernels->largest_f32 ? kernels->largest_f32(n, x) < first
                                                 : fv_none_within(n, x, first, 0x80000000);
}

bool fv_element_holds(const fv_kernels *kernels, uint32_t type, size_t n, const float *x) {
    uint32_t first = fv_element_largest_bits(type) + 1;
    return (FV_BUILD_AVX2 && kernels->largest_f32 && kernels->largest_f32(n, x) < first) ||
           fv_none_within(n, x, first, FV_BITS_INFINITE);
}

size_t fv_element_panel_bytes(uint32_t type, size_t head_dim) {
    if (FV_ELEMENT_IS(type, Q4_0)) return fv_q4_panel_bytes(head_dim);
    return FV_PAGE_TOKENS * head_dim * fv_element_bytes(type);
}

size_t fv_element_row_bytes(uint32_t type, size_t head_dim) {
    if (FV_ELEMENT_IS(type, Q4_0)) return fv_q4_row_bytes(head_dim);
    return head_dim * fv_element_bytes(type);
}

bool fv_element_has_scale(uint32_t type) { return FV_ELEMENT_IS(type, Q8_0); }

/* The element of largest magnitude, with its sign; 0 if there is none. */
static float farthest(const float *x, size_t n) {
    float best = 0.0f;
    for (size_t i = 0; i < n; i++) {
        float magnitude = x[i] < 0.0f ? -x[i] : x[i];
        if (magnitude > (best < 0.0f ? -best : best)) best = x[i];
    }
    return best;
}

/* Nearest even by the magic number; the clamp also takes a NaN to 0. */
static int32_t quant_of(float x, float inverse, float least, float most) {
    float q = x * inverse;
    q = q < least ? least : q > most ? most : q == q ? q : 0.0f;
    return (int32_t)((q + 12582912.0f) - 12582912.0f);
}

static float inverse_of(float step) {
    float inverse = step == 0.0f ? 0.0f : 1.0f / step;
    return inverse <= 3.402823466e38f && inverse >= -3.402823466e38f ? inverse : 0.0f;
}

/* Simple types, with `stride` elements between channels: 16 in a panel of keys, 1 in a row of values. */
static void vector_store(const fv_kernels *kernels, uint32_t type, size_t dim, const float *x, void *out, size_t stride,
                         float *scale) {
    if (type == FV_ELEMENT_F32) {
        float *element = (float *)out;
        for (size_t c = 0; stride == 1 && c < dim; c++) element[c] = x[c]; /* a copy in runs */
        for (size_t c = 0; stride != 1 && c < dim; c++) element[c * stride] = x[c];
    } else if (FV_ELEMENT_IS(type, Q8_0)) {
        int8_t *element = (int8_t *)out;
        float most = farthest(x, dim), step = (most < 0.0f ? -most : most) / 127.0f, inverse = inverse_of(step);
        for (size_t c = 0; c < dim; c++) element[c * stride] = (int8_t)quant_of(x[c], inverse, -127.0f, 127.0f);
        *scale = step;
    } else {
        uint16_t *element = (uint16_t *)out, half[64];
        fv_narrow_f16_fn *narrow = FV_ELEMENT_IS(type, F16) ? kernels->narrow_f16 : kernels->narrow_bf16;
        for (size_t first = 0; first < dim; first += 64) {
            size_t n = dim - first < 64 ? dim - first : 64;
            narrow(n, x + first, half);
            for (size_t c = 0; c < n; c++) element[(first + c) * stride] = half[c];
        }
    }
}

static uint16_t q4_scale_bits(const unsigned char *block) { return (uint16_t)(block[0] | block[1] << 8); }

/* The element of largest magnitude becomes -8, the end of the range that has no opposite. A scale that f16 cannot hold
 * is its largest: all stays finite. */
static void q4_block_make(const float *x, size_t count, unsigned char *block) {
    float step = farthest(x, count) / -8.0f;
    step = step > 65504.0f ? 65504.0f : step < -65504.0f ? -65504.0f : step;
    uint16_t bits = fv_f16_from_f32(step);
    float inverse = inverse_of(fv_f32_from_f16(bits));
    block[0] = (unsigned char)bits;
    block[1] = (unsigned char)(bits >> 8);
    for (size_t j = 0; j < 16; j++) {
        int32_t low = j < count ? quant_of(x[j], inverse, -8.0f, 7.0f) : 0;
        int32_t high = j + 16 < count ? quant_of(x[j + 16], inverse, -8.0f, 7.0f) : 0;
        block[2 + j] = (unsigned char)((low + 8) | (high + 8) << 4);
    }
}

static void q4_block_read(const unsigned char *block, size_t count, float *out) {
    float step = fv_f32_from_f16(q4_scale_bits(block));
    for (size_t c = 0; c < count; c++) out[c] = (float)((block[2 + c % 16] >> (c < 16 ? 0 : 4) & 15) - 8) * step;
}

/* The fast Walsh-Hadamard transform; the factor is a power of two and comes first, so that what is finite stays finite.
 */
void fv_element_hadamard(uint32_t type, size_t channels, float factor, float *x, size_t stride) {
    if (!FV_ELEMENT_IS(type, Q4_0)) return;
    for (size_t first = 0; first + FV_ELEMENT_RUN <= channels; first += FV_ELEMENT_RUN, x += FV_ELEMENT_RUN * stride) {
        float y[2][FV_ELEMENT_RUN];
        for (size_t c = 0; c < FV_ELEMENT_RUN; c++) y[0][c] = x[c * stride] * factor;
        for (size_t stage = 0; stage < 5; stage++) { /* the same neighbours each time: all five are vectors' work */
            const float *from = y[stage % 2];
            float *to = y[1 - stage % 2];
            for (size_t c = 0; c < FV_ELEMENT_RUN / 2; c++) {
                float a = from[c], b = from[c + FV_ELEMENT_RUN / 2];
                to[2 * c] = a + b, to[2 * c + 1] = a - b;
            }
        }
        for (size_t c = 0; c < FV_ELEMENT_RUN; c++) x[c * stride] = y[1][c];
    }
}

/* Byte of a panel that holds channel c of a column; even channels have its low nibble. */
static size_t q4_place(size_t head_dim, size_t c, size_t column) {
    return fv_q4_panel_quants(head_dim) + c / 2 * FV_PAGE_TOKENS + column;
}

void fv_element_q4_get(size_t head_dim, const void *panel, size_t column, size_t block, unsigned char *bytes) {
    const unsigned char *quants = (const unsigned char *)panel;
    uint16_t scale = ((const uint16_t *)panel)[block * FV_PAGE_TOKENS + column];
    size_t first = block * FV_ELEMENT_RUN;
    bytes[0] = (unsigned char)scale;
    bytes[1] = (unsigned char)(scale >> 8);
    for (size_t j = 0; j < 16; j++) bytes[2 + j] = 0x88; /* zeros after the last channel */
    for (size_t c = 0; c < FV_ELEMENT_RUN && first + c < head_dim; c++) {
        unsigned quant = quants[q4_place(head_dim, first + c, column)] >> (c % 2 * 4) & 15, shift = c < 16 ? 0 : 4;
        bytes[2 + c % 16] = (unsigned char)((bytes[2 + c % 16] & (0xF0u >> shift)) | quant << shift);
    }
}

void fv_element_q4_put(size_t head_dim, void *panel, size_t column, size_t block, const unsigned char *bytes) {
    unsigned char *quants = (unsigned char *)panel;
    size_t first = block * FV_ELEMENT_RUN;
    ((uint16_t *)panel)[block * FV_PAGE_TOKENS + column] = q4_scale_bits(bytes);
    for (size_t c = 0; c < FV_ELEMENT_RUN && first + c < head_dim; c += 2) {
        unsigned shift = c < 16 ? 0 : 4;
        unsigned low = (unsigned)bytes[2 + c % 16] >> shift & 15,
                 high = first + c + 1 < head_dim ? (unsigned)bytes[3 + c % 16] >> shift & 15 : 8;
        quants[q4_place(head_dim, first + c, column)] = (unsigned char)(low | high << 4);
    }
}

void fv_element_key_store(const fv_kernels *kernels, uint32_t type, size_t head_dim, const float *x, void *panel,
                          size_t column, float *scale) {
    if (!FV_ELEMENT_IS(type, Q4_0)) {
        unsigned char *first = (unsigned char *)panel + column * fv_element_bytes(type);
        vector_store(kernels, type, head_dim, x, first, FV_PAGE_TOKENS, scale);
        return;
    }
    for (size_t c = 0; c < head_dim; c += FV_ELEMENT_RUN) {
        unsigned char block[FV_Q4_BYTES];
        float turned[FV_ELEMENT_RUN];
        size_t n = head_dim - c < FV_ELEMENT_RUN ? head_dim - c : FV_ELEMENT_RUN;
        for (size_t i = 0; i < n; i++)
            turned[i] = x[c + i] == x[c + i] ? x[c + i] : 0.0f; /* a NaN would reach all 32 */
        fv_element_hadamard(type, n, FV_HADAMARD_KEY, turned, 1);
        q4_block_make(turned, n, block);
        fv_element_q4_put(head_dim, panel, column, c / FV_ELEMENT_RUN, block);
    }
}

/* Only AVX-512 has a transpose16_f32: elsewhere the stack need not have room for it. */
enum { TRANSPOSES = FV_BUILD_AVX512 };

bool fv_element_page_store(const fv_kernels *kernels, uint32_t type, size_t head_dim, const float *x, size_t stride,
                           void *panel) {
    enum { CHANNELS = 16 };
    bool half = FV_ELEMENT_IS(type, F16) || FV_ELEMENT_IS(type, BF16);
    if (!FV_BUILD_PROMPT || !TRANSPOSES || !kernels->transpose16_f32 || (type != FV_ELEMENT_F32 && !half)) return false;
    if (!half) {
        kernels->transpose16_f32(head_dim, x, stride, (float *)panel);
        return true;
    }
    fv_narrow_f16_fn *narrow = FV_ELEMENT_IS(type, F16) ? kernels->narrow_f16 : kernels->narrow_bf16;
    for (size_t c = 0; c < head_dim; c += CHANNELS) {
        float turned[CHANNELS * FV_PAGE_TOKENS];
        size_t n = head_dim - c < CHANNELS ? head_dim - c : CHANNELS;
        kernels->transpose16_f32(n, x + c, stride, turned);
        narrow(n * FV_PAGE_TOKENS, turned, (uint16_t *)panel + c * FV_PAGE_TOKENS);
    }
    return true;
}

void fv_element_row_store(const fv_kernels *kernels, uint32_t type, size_t head_dim, const float *x, void *row,
                          float *scale) {
    if (!FV_ELEMENT_IS(type, Q4_0)) {
        vector_store(kernels, type, head_dim, x, row, 1, scale);
        return;
    }
    unsigned char *block = (unsigned char *)row;
    for (size_t c = 0; c < head_dim; c += FV_ELEMENT_RUN, block += FV_Q4_BYTES)
        q4_block_make(x + c, head_dim - c < FV_ELEMENT_RUN ? head_dim - c : FV_ELEMENT_RUN, block);
}

static void run_read(uint32_t type, const void *first, size_t stride, const float *scale, size_t count, float *out) {
    const float *full = (const float *)first;
    const uint16_t *half = (const uint16_t *)first;
    const int8_t *quant = (const int8_t *)first;
    for (size_t c = 0; c < count; c++) {
        if (type == FV_ELEMENT_F32) out[c] = full[c * stride];
        if (FV_ELEMENT_IS(type, F16)) out[c] = fv_f32_from_f16(half[c * stride]);
        if (FV_ELEMENT_IS(type, BF16)) out[c] = fv_f32_from_bf16(half[c * stride]);
        if (FV_ELEMENT_IS(type, Q8_0)) out[c] = (float)quant[c * stride] * *scale;
    }
}

void fv_element_key_stored(uint32_t type, size_t head_dim, const void *panel, size_t column, const float *scale,
                           size_t channel, size_t count, float *out) {
    if (FV_ELEMENT_IS(type, Q4_0)) {
        unsigned char block[FV_Q4_BYTES];
        fv_element_q4_get(head_dim, panel, column, channel / FV_ELEMENT_RUN, block);
        q4_block_read(block, count, out);
        return;
    }
    const unsigned char *first = (const unsigned char *)panel;
    first += (channel * FV_PAGE_TOKENS + column) * fv_element_bytes(type);
    run_read(type, first, FV_PAGE_TOKENS, scale, count, out);
}

void fv_element_key_read(uint32_t type, size_t head_dim, const void *panel, size_t column, const float *scale,
                         size_t channel, size_t count, float *out) {
    fv_element_key_stored(type, head_dim, panel, column, scale, channel, count, out);
    fv_element_hadamard(type, count, 1.0f, out, 1);
}

void fv_element_row_read(uint32_t type, const void *row, const float *scale, size_t channel, size_t count, float *out) {
    const unsigned char *first = (const unsigned char *)row;
    if (FV_ELEMENT_IS(type, Q4_0))
        q4_block_read(first + channel / FV_ELEMENT_RUN * FV_Q4_BYTES, count, out);
    else
        run_read(type, first + channel * fv_element_bytes(type), 1, scale, count, out);
}

float fv_element_key_step(uint32_t type, const void *panel, size_t column, const float *scale, size_t channel) {
    const uint16_t *scales = (const uint16_t *)panel;
    if (FV_ELEMENT_IS(type, Q4_0)) return fv_f32_from_f16(scales[channel / FV_ELEMENT_RUN * FV_PAGE_TOKENS + column]);
    return fv_element_has_scale(type) ? *scale : 0.0f;
}

float fv_element_row_step(uint32_t type, const void *row, const float *scale, size_t channel) {
    const unsigned char *blocks = (const unsigned char *)row;
    if (FV_ELEMENT_IS(type, Q4_0))
        return fv_f32_from_f16(q4_scale_bits(blocks + channel / FV_ELEMENT_RUN * FV_Q4_BYTES));
    return fv_element_has_scale(type) ? *scale : 0.0f;
}

void fv_element_key_copy(uint32_t type, size_t head_dim, const void *from, size_t from_column, void *to,
                         size_t to_column) {
    size_t bytes = fv_element_bytes(type), step = FV_PAGE_TOKENS * bytes;
    if (FV_ELEMENT_IS(type, Q4_0)) {
        for (size_t block = 0; block < fv_q4_blocks(head_dim); block++) {
            unsigned char held[FV_Q4_BYTES];
            fv_element_q4_get(head_dim, from, from_column, block, held);
            fv_element_q4_put(head_dim, to, to_column, block, held);
        }
        return;
    }
    const unsigned char *out = (const unsigned char *)from + from_column * bytes;
    unsigned char *into = (unsigned char *)to + to_column * bytes;
    for (size_t c = 0; c < head_dim; c++, out += step, into += step)
        for (size_t i = 0; i < bytes; i++) into[i] = out[i];
}
