/* kept_row.c - rows written, read and compared, by what they are kept as. */
#include "index/kept_row.h"
#include "index/kac_rotation.h"
#include "numeric/half.h"
#include <math.h>
#include <string.h>

static const uint16_t *halves(const fv_index *index, size_t row) {
    return (const uint16_t *)(const void *)fv_index_row(index, row);
}

static const uint8_t *code_of(const fv_index *index, size_t row) {
    return (const uint8_t *)(const void *)fv_index_row(index, row);
}

/* After the code. */
enum { SCALE, SQUARE, ALONG };

static float *numbers_of(const fv_index *index, size_t row) {
    uint8_t *code = (uint8_t *)(uintptr_t)code_of(index, row);
    return (float *)(void *)(code + fv_level_code_bytes(index->rotated, fv_row_bits(index)));
}

static bool has_along(const fv_index *index) { return index->config.metric != FV_INDEX_L2; }

size_t fv_kept_bytes(const fv_index *index) {
    size_t bits = fv_row_bits(index), dimension = index->config.dimension;
    if (bits) return fv_level_code_bytes(index->rotated, bits) + (has_along(index) ? 3 : 2) * sizeof(float);
    return dimension * (index->config.row_type == FV_INDEX_F32 ? sizeof(float) : sizeof(uint16_t));
}

size_t fv_fine_bytes(const fv_index *index) {
    size_t bits = index->config.refine_bits;
    return bits ? fv_level_code_bytes(index->rotated, bits) + 3 * sizeof(float) : 0;
}

float fv_kept_largest(const fv_index *index) {
    bool is_f16 = index->config.row_type == FV_INDEX_F16 && index->config.metric != FV_INDEX_COSINE;
    return is_f16 ? 65504.0f : FV_INDEX_LARGEST;
}

/* ---- written and read ---- */

static void less_centre(const fv_index *index, const float *vector, float *less) {
    for (size_t i = 0; i < index->config.dimension; i++) less[i] = vector[i] - index->centre[i];
}

/* What is kept has the length of what came, so that codes of all vectors err alike. */
static void code_put(fv_index *index, size_t row, const float *vector, float *less, float *rotated) {
    size_t bits = fv_row_bits(index), dimension = index->config.dimension;
    uint8_t *code = (uint8_t *)(uintptr_t)code_of(index, row);
    float *number = numbers_of(index, row);
    less_centre(index, vector, less);
    fv_kac_rotate(index->config.seed, dimension, less, rotated);
    fv_level_code made = fv_level_code_put(index->rotated, bits, rotated, code);
    fv_level_code_get(index->rotated, bits, code, 1, rotated);
    fv_kac_rotate_back(index->config.seed, dimension, rotated, less);
    double size = fv_index_product(dimension, less, less);
    number[SCALE] = made.square > 0 ? (float)sqrt((double)made.square / size) : 0;
    number[SQUARE] = made.square;
    if (has_along(index))
        number[ALONG] = (float)((double)number[SCALE] * fv_index_product(dimension, less, index->centre));
}

void fv_kept_put(fv_index *index, size_t row, const float *vector, float *scratch) {
    size_t dimension = index->config.dimension;
    float *wide = (float *)(uintptr_t)fv_index_row(index, row);
    uint16_t *half = (uint16_t *)(void *)wide;
    switch (index->config.row_type) {
    case FV_INDEX_F32:
        memcpy(wide, vector, dimension * sizeof *wide);
        break;
    case FV_INDEX_F16:
        for (size_t i = 0; i < dimension; i++) half[i] = fv_f16_from_f32(vector[i]);
        break;
    case FV_INDEX_BF16:
        for (size_t i = 0; i < dimension; i++) half[i] = fv_bf16_from_f32(vector[i]);
        break;
    default:
        code_put(index, row, vector, scratch, scratch + index->rotated);
    }
}

static void wide_get(const fv_index *index, size_t row, float *vector) {
    size_t dimension = index->config.dimension;
    const uint16_t *half = halves(index, row);
    if (index->config.row_type == FV_INDEX_F32) memcpy(vector, fv_index_row(index, row), dimension * sizeof *vector);
    for (size_t i = 0; i < dimension && index->config.row_type != FV_INDEX_F32; i++)
        vector[i] = index->config.row_type == FV_INDEX_F16 ? fv_f32_from_f16(half[i]) : fv_f32_from_bf16(half[i]);
}

void fv_kept_get(const fv_index *index, size_t row, float *vector, float *scratch) {
    if (!fv_row_bits(index)) {
        wide_get(index, row, vector);
        return;
    }
    fv_kept_rotate(index, row, scratch, scratch + index->rotated);
    fv_kac_rotate_back(index->config.seed, index->config.dimension, scratch + index->rotated, scratch);
    for (size_t i = 0; i < index->config.dimension; i++) vector[i] = scratch[i] + index->centre[i];
}

void fv_kept_rotate(const fv_index *index, size_t row, float *less, float *out) {
    size_t dimension = index->config.dimension;
    if (fv_row_bits(index)) {
        fv_level_code_get(index->rotated, fv_row_bits(index), code_of(index, row), numbers_of(index, row)[SCALE], out);
        if (index->rotated == dimension) return;
        fv_kac_rotate_back(index->config.seed, dimension, out, less); /* without the channels that vectors have not */
        fv_kac_rotate(index->config.seed, dimension, less, out);
        return;
    }
    wide_get(index, row, less);
    less_centre(index, less, less);
    fv_kac_rotate(index->config.seed, dimension, less, out);
}

double fv_kept_along(const fv_index *index, size_t row, const float *less) {
    if (fv_row_bits(index)) return has_along(index) ? (double)numbers_of(index, row)[ALONG] : 0;
    return fv_index_product(index->config.dimension, less, index->centre);
}

bool fv_kept_is_sound(const fv_index *index, size_t row) {
    const float *wide = fv_index_row(index, row), *number = numbers_of(index, row);
    const uint16_t *half = halves(index, row);
    bool is_sound = true;
    if (fv_row_bits(index)) {
        float most = 8 * FV_INDEX_LARGEST * FV_INDEX_LARGEST * (float)index->rotated;
        is_sound = number[SCALE] >= 0 && number[SCALE] * number[SCALE] <= most && number[SQUARE] >= 0 &&
                   number[SQUARE] <= most;
        return is_sound && (!has_along(index) || fabsf(number[ALONG]) <= most);
    }
    for (size_t i = 0; i < index->config.dimension; i++) {
        float x = index->config.row_type == FV_INDEX_F32   ? wide[i]
                  : index->config.row_type == FV_INDEX_F16 ? fv_f32_from_f16(half[i])
                                                           : fv_f32_from_bf16(half[i]);
        is_sound &= fabsf(x) <= FV_INDEX_LARGEST * (1 + 0x1p-8f); /* bf16 rounds up */
    }
    return is_sound;
}

double fv_kept_square(const fv_index *index, size_t row) {
    size_t dimension = index->config.dimension;
    const uint16_t *half = halves(index, row);
    double sum = 0;
    if (index->config.row_type == FV_INDEX_F32)
        return fv_index_product(dimension, fv_index_row(index, row), fv_index_row(index, row));
    if (fv_row_bits(index)) {
        double centre = fv_index_product(dimension, index->centre, index->centre);
        const float *number = numbers_of(index, row);
        double along = has_along(index) ? (double)number[ALONG] : 0;
        return fmax(centre + 2 * along + (double)number[SQUARE], 0);
    }
    for (size_t i = 0; i < dimension; i++) {
        double x = index->config.row_type == FV_INDEX_F16 ? (double)fv_f32_from_f16(half[i])
                                                          : (double)fv_f32_from_bf16(half[i]);
        sum += x * x;
    }
    return sum;
}

/* ---- compared ---- */

fv_probe fv_probe_make(const fv_index *index, const float *vector, double weight, const float *rotated,
                       int16_t *level) {
    size_t dimension = index->config.dimension;
    fv_probe probe = {.vector = vector, .weight = (float)weight};
    double square = 0;
    if (!fv_row_bits(index) && !index->fine_bytes) return probe;
    for (size_t i = 0; i < dimension; i++) {
        double less = (double)vector[i] - (double)index->centre[i];
        square += less * less;
    }
    probe.square = (float)square;
    probe.along = (float)fv_index_product(dimension, vector, index->centre);
    probe.levels = fv_query_levels_make(index->rotated, rotated, level);
    return probe;
}

fv_probe fv_probe_of_row(const fv_index *index, size_t row, float *vector, float *less, float *rotated,
                         int16_t *level) {
    if (index->config.row_type == FV_INDEX_F32) return (fv_probe){.vector = fv_index_row(index, row), .weight = 1};
    if (!fv_row_bits(index)) {
        wide_get(index, row, vector);
        return (fv_probe){.vector = vector, .weight = 1};
    }
    fv_kept_rotate(index, row, less, rotated);
    return (fv_probe){.vector = vector,
                      .weight = 1,
                      .square = numbers_of(index, row)[SQUARE],
                      .levels = fv_query_levels_make(index->rotated, rotated, level)};
}

/* r . P(vector - centre) = r . P(d) + (weight - 1) * r . P(centre). */
static float product_less(const fv_index *index, const fv_probe *probe, size_t row) {
    size_t bits = fv_row_bits(index);
    const float *number = numbers_of(index, row);
    int32_t sum = index->kernels->scan_levels(index->rotated, bits, code_of(index, row), probe->levels.level);
    float product = number[SCALE] * fv_level_product(&probe->levels, bits, sum);
    return has_along(index) ? product + (probe->weight - 1) * number[ALONG] : product;
}

/* A vector and a row that is no code. */
static float compare_wide(const fv_index *index, const float *vector, size_t row, bool by_product) {
    const fv_scan_kernels *k = index->kernels;
    size_t n = index->config.dimension;
    if (index->config.row_type == FV_INDEX_F32)
        return (by_product ? k->scan_product : k->scan_distance)(n, vector, fv_index_row(index, row));
    if (index->config.row_type == FV_INDEX_F16)
        return (by_product ? k->scan_product_f16 : k->scan_distance_f16)(n, vector, halves(index, row));
    return (by_product ? k->scan_product_bf16 : k->scan_distance_bf16)(n, vector, halves(index, row));
}

float fv_kept_distance(const fv_index *index, const fv_probe *probe, size_t row) {
    if (!fv_row_bits(index)) return compare_wide(index, probe->vector, row, false);
    float sum = numbers_of(index, row)[SQUARE] + probe->square;
    float distance = sum - 2 * product_less(index, probe, row);
    return distance < 0 ? 0 : distance;
}

float fv_kept_product(const fv_index *index, const fv_probe *probe, size_t row) {
    if (!fv_row_bits(index)) return compare_wide(index, probe->vector, row, true);
    return probe->along + (product_less(index, probe, row) + numbers_of(index, row)[ALONG]);
}

static float code_pair(const fv_index *index, size_t a, size_t b) {
    size_t bits = fv_row_bits(index), n = index->rotated;
    const uint8_t *x = code_of(index, a), *y = code_of(index, b);
    const float *of_x = numbers_of(index, a), *of_y = numbers_of(index, b);
    double sum = 0;
    for (size_t from = 0; from < n; from += FV_SCAN_CODES_MOST) {
        size_t part = n - from < FV_SCAN_CODES_MOST ? n - from : FV_SCAN_CODES_MOST, at = from / 8 * bits;
        sum += (double)index->kernels->scan_codes(part, bits, x + at, y + at);
    }
    double product = (double)of_x[SCALE] * (double)of_y[SCALE] * 0.25 * sum;
    double distance = (double)of_x[SQUARE] + (double)of_y[SQUARE] - 2 * product;
    return distance > 0 ? (float)distance : 0;
}

float fv_kept_pair(const fv_index *index, size_t a, size_t b) {
    const fv_scan_kernels *kernels = index->kernels;
    size_t dimension = index->config.dimension;
    switch (index->config.row_type) {
    case FV_INDEX_F32:
        return kernels->scan_distance(dimension, fv_index_row(index, a), fv_index_row(index, b));
    case FV_INDEX_F16:
        return kernels->scan_distance_f16_f16(dimension, halves(index, a), halves(index, b));
    case FV_INDEX_BF16:
        return kernels->scan_distance_bf16_bf16(dimension, halves(index, a), halves(index, b));
    default:
        return code_pair(index, a, b);
    }
}

float fv_kept_from_centre(const fv_index *index, size_t row) {
    fv_probe centre = {.vector = index->centre};
    return fv_row_bits(index) ? numbers_of(index, row)[SQUARE] : fv_kept_distance(index, &centre, row);
}
