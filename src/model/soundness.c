/* A NaN or an infinity spreads: from a weight to the rows of its product, from a row to all that is made of it, through
 * int8 too, where the block's scale carries it (fv_quantize_q8). What is not finite in a layer thus reaches the keys
 * and queries of the next one, or the logits. */
#include "model/soundness.h"
#include "build.h"
#include "cache/element.h"
#include "numeric/magnitude.h"

#if FV_BUILD_MODEL

#define BITS_MOST 0x5D800000u /* 2^60: squares of a row still have a finite sum */
#define SQUARES_MOST 0x1p120f

static bool row_is_sound(const fv_kernels *kernels, size_t n, const float *x) {
#if (defined FV_BUILD_AVX2 && FV_BUILD_AVX2) || (defined FV_BUILD_NEON && FV_BUILD_NEON)
    if (kernels->dot_f32(n, x, x) <= SQUARES_MOST)
        return true; /* the least work where there are vectors; a NaN fails */
#else
    (void)kernels;
#endif
    return fv_none_within(n, x, BITS_MOST + 1, 0x80000000u);
}

/* The first element that is not sound, or whose magnitude has bits from `first` on. */
static float worst_of(size_t n, const float *x, uint32_t first) {
    size_t i = 0;
    while (i + 1 < n && fv_none_within(1, x + i, first, 0x80000000u)) i++;
    return x[i];
}

void fv_sound_mark(const fv_model *model, size_t token) {
    const fv_model_config *config = &model->config;
    size_t queries = fv_query_width(config), keys = fv_kv_width(config);
    bool sound = row_is_sound(model->kernels, queries, model->query + token * queries) &&
                 row_is_sound(model->kernels, keys, model->key + token * keys) &&
                 row_is_sound(model->kernels, keys, model->value + token * keys);
    model->mixed[token * queries] = sound ? 1.0f : 0.0f;
}

static fv_status blame(fv_model *model, uint32_t place, uint32_t layer, uint32_t row, float value) {
    model->fault = (fv_model_fault){.place = place, .layer = layer, .row = row, .value = value};
    return FV_ERROR_NOT_FINITE;
}

static fv_status row_blame(fv_model *model, uint32_t layer, uint32_t row) {
    size_t queries = fv_query_width(&model->config), keys = fv_kv_width(&model->config), width = model->config.width;
    const struct {
        uint32_t place;
        const float *x;
        size_t n;
    } rows[] = {
        {FV_PLACE_INPUT, model->stream + row * width, width},
        {FV_PLACE_QUERY, model->query + row * queries, queries},
        {FV_PLACE_KEY, model->key + row * keys, keys},
        {FV_PLACE_VALUE, model->value + row * keys, keys},
    };
    size_t i = 0;
    while (i < 3 && row_is_sound(model->kernels, rows[i].n, rows[i].x)) i++;
    return blame(model, rows[i].place, layer, row, worst_of(rows[i].n, rows[i].x, BITS_MOST + 1));
}

fv_status fv_sound_check(const fv_forward_call *call, uint32_t layer) {
    size_t queries = fv_query_width(&call->model->config);
    for (uint32_t t = 0; t < call->count; t++)
        if (call->model->mixed[t * queries] < 1.0f) return row_blame(call->model, layer, t);
    return FV_OK;
}

fv_status fv_sound_range(const fv_forward_call *call, uint32_t layer, fv_status status) {
    fv_model *model = call->model;
    const fv_cache_config *cache = &model->config.cache;
    size_t keys = fv_kv_width(&model->config);
    if (status != FV_ERROR_RANGE) return status;
    for (uint32_t i = 0; i < 2 * call->count; i++) {
        const float *x = (i % 2 ? model->value : model->key) + i / 2 * keys;
        uint32_t first = fv_element_largest_bits(i % 2 ? cache->value_type : cache->key_type) + 1;
        if (fv_none_within(keys, x, first, 0x80000000u)) continue;
        (void)blame(model, i % 2 ? FV_PLACE_VALUE : FV_PLACE_KEY, layer, i / 2, worst_of(keys, x, first));
        break;
    }
    return status;
}

fv_status fv_sound_logits(fv_model *model, const float *hidden, uint32_t rows, const float *logits) {
    size_t vocabulary = model->config.vocabulary, width = model->config.width;
    for (uint32_t r = 0; r < rows; r++) {
        const float *made = logits + r * vocabulary, *from = hidden + r * width;
        if (row_is_sound(model->kernels, vocabulary, made)) continue;
        if (row_is_sound(model->kernels, width, from))
            return blame(model, FV_PLACE_LOGITS, 0, r, worst_of(vocabulary, made, BITS_MOST + 1));
        return blame(model, FV_PLACE_OUTPUT, model->config.layers - 1, r, worst_of(width, from, BITS_MOST + 1));
    }
    return FV_OK;
}

#endif
