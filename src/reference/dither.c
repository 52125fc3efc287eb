/* Noise for what is read back. A vector's key is hashed from seed, stream and place; element i takes number i of the
 * key's splitmix64 stream. */
#include "fovea/reference/dither.h"
#include "build.h"
#include "cache/cache_pages.h"
#include "cache/element.h"
#include "kernels/blocks.h"
#include "kernels/dequant.h"
#include "kernels/unpack.h"
#include "model/packing.h"
#include "numeric/splitmix.h"

#if FV_BUILD_DITHER

/* Places of vectors: apart for keys, values and weight rows. */
enum { PLACE_KEY = 0, PLACE_VALUE = 1, PLACE_WEIGHT = 2 };

static uint64_t vector_key(const fv_dither *dither, uint32_t kind, uint32_t major, uint32_t minor) {
    uint64_t key = fv_splitmix(fv_splitmix(dither->seed, 0), dither->stream);
    return fv_splitmix(key, (uint64_t)kind << 62 | (uint64_t)major << 32 | minor); /* major: a head, < 2^30 */
}

static float noise(uint64_t key, size_t element) { return fv_centred_f32(fv_splitmix(key, element)); }

/* Distance to the next larger magnitude: 2^(exponent - 25), 2^-24 for subnormals. Infinities and NaN: 0. */
static float step_of_f16(uint16_t half) {
    uint32_t exponent = half >> 10 & 31;
    if (exponent == 31) return 0.0f;
    return fv_f32_from_bits(((exponent ? exponent : 1) + 102) << 23);
}

/* Distance to the next larger magnitude: 2^(exponent - 134), 2^-133 for subnormals. Infinities and NaN: 0. */
static float step_of_bf16(float x) {
    uint32_t exponent = fv_bits_from_f32(x) >> 23 & 255;
    if (exponent == 255) return 0.0f;
    return exponent > 7 ? fv_f32_from_bits((exponent - 7) << 23)
                        : fv_f32_from_bits(1u << (16 + (exponent ? exponent - 1 : 0)));
}

/* Noise for `count` channels from `first` on, as they were read; Q8_0 as integers. */
static void run_dither(uint32_t type, uint64_t key, size_t first, size_t count, float step, float *x) {
    for (size_t c = 0; c < count && type != FV_ELEMENT_F32; c++) {
        float u = noise(key, first + c);
        if (FV_ELEMENT_IS(type, F16)) x[c] += u * step_of_f16(fv_f16_from_f32(x[c]));
        if (FV_ELEMENT_IS(type, BF16)) x[c] += u * step_of_bf16(x[c]);
        if (FV_ELEMENT_IS(type, Q4_0)) x[c] += u * step;
        if (FV_ELEMENT_IS(type, Q8_0)) x[c] = (x[c] + u) * step;
    }
}

static void token_read(const fv_cache *cache, uint32_t head, uint32_t token, const fv_dither *dither, float *key,
                       float *value) {
    const fv_cache_config *config = fv_cache_shape(cache);
    const float one = 1.0f, *key_scale = fv_cache_key_scale(cache, head, token),
                *value_scale = fv_cache_value_scale(cache, head, token);
    const void *panel = fv_cache_key_page(cache, head, token / FV_PAGE_TOKENS),
               *row = fv_cache_value_row(cache, head, token);
    size_t column = token % FV_PAGE_TOKENS, dim = config->head_dim;
    for (size_t c = 0; c < dim; c += FV_ELEMENT_RUN) {
        size_t n = dim - c < FV_ELEMENT_RUN ? dim - c : FV_ELEMENT_RUN;
        if (key) {
            float step = fv_element_key_step(config->key_type, panel, column, key_scale, c);
            fv_element_key_stored(config->key_type, dim, panel, column, &one, c, n, key + c);
            run_dither(config->key_type, vector_key(dither, PLACE_KEY, head, token), c, n, step, key + c);
            fv_element_hadamard(config->key_type, n, 1.0f, key + c, 1);
        }
        if (value) {
            float step = fv_element_row_step(config->value_type, row, value_scale, c);
            fv_element_row_read(config->value_type, row, &one, c, n, value + c);
            run_dither(config->value_type, vector_key(dither, PLACE_VALUE, head, token), c, n, step, value + c);
        }
    }
}

fv_status fv_cache_read_dithered(const fv_cache *cache, uint32_t head, uint32_t first_token, uint32_t count,
                                 const fv_dither *dither, float *keys, float *values) {
    if (!dither) return fv_cache_read(cache, head, first_token, count, keys, values);
    fv_status status = fv_cache_read(cache, head, first_token, count, NULL, NULL); /* checks the arguments */
    if (status != FV_OK) return status;
    size_t dim = fv_cache_shape(cache)->head_dim;
    for (uint32_t i = 0; i < count; i++)
        token_read(cache, head, first_token + i, dither, keys ? keys + i * dim : NULL,
                   values ? values + i * dim : NULL);
    return FV_OK;
}

/* How a type is read; unpack is NULL where the steps are not even. */
typedef struct weight_reader {
    size_t values, bytes, group; /* of a block; values that share a scale */
    fv_dequant_fn *dequant;
    fv_unpack_fn *unpack;
} weight_reader;

static weight_reader reader_of(uint32_t type) {
    weight_reader reader = {0};
    switch (type) {
#define READER_CASE(NAME, name, number, block_values, block_bytes) \
    case number: \
        reader = (weight_reader){.values = block_values, .bytes = block_bytes, .dequant = fv_dequant_##name##_scalar}; \
        break;
        FV_WEIGHT_BUILT_LIST(READER_CASE)
#undef READER_CASE
    default:
        break;
    }
    switch (type) {
#define READER_CASE(NAME, name, group_values, largest) \
    case FV_WEIGHT_##NAME: \
        reader.group = group_values; \
        reader.unpack = fv_unpack_##name##_scalar; \
        break;
        FV_UNPACK_LIST(READER_CASE)
#undef READER_CASE
    default:
        break;
    }
    bool of_grid = FV_BUILD_GRIDS && type > FV_WEIGHT_Q6_K; /* IQ4_NL and these have steps that are not even */
    if (of_grid || type == FV_WEIGHT_IQ4_NL) reader.unpack = NULL;
    return reader;
}

/* One block: value[i] = scale * (quant[i] + noise) + offset. */
static void block_read(const weight_reader *reader, const void *block, uint64_t key, size_t first, float *out) {
    uint8_t quants[FV_SUPER_VALUES];
    float scale[FV_SUPER_VALUES / 16], offset[FV_SUPER_VALUES / 16];
    reader->unpack(reader->values, block, quants, scale, offset);
    for (size_t i = 0; i < reader->values; i++) {
        size_t g = i / reader->group;
        out[i] = scale[g] * ((float)quants[i] + noise(key, first + i)) + offset[g];
    }
}

fv_status fv_weight_read_dithered(const fv_weight *weight, uint32_t row, const fv_dither *dither, float *out) {
    if (!weight || !weight->data || row >= weight->rows || !out) return FV_ERROR_ARGUMENT;
    size_t row_bytes = fv_weight_row_bytes(weight->type, weight->columns);
    weight_reader reader = reader_of(weight->type);
    if (row_bytes == 0) return FV_ERROR_ARGUMENT;
    if (dither && !reader.unpack) return FV_ERROR_UNSUPPORTED;
    uint64_t key = dither ? vector_key(dither, PLACE_WEIGHT, 0, row) : 0;
    const unsigned char *data = (const unsigned char *)weight->data + row * row_bytes;
    for (size_t first = 0; first < weight->columns; first += reader.values, data += reader.bytes) {
        unsigned char unpacked[64];
        const void *block = data;
        if (row < weight->packed) {
            fv_weight_unpack_block(weight, row, first / reader.values, unpacked);
            block = unpacked;
        }
        if (dither)
            block_read(&reader, block, key, first, out + first);
        else
            reader.dequant(reader.values, block, out + first);
    }
    return FV_OK;
}

#endif
