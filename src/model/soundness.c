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

/* Whether a row has an element whose magnitude has bits from `first` on; the first such is the fault then. */
static bool blame(fv_model *model, uint32_t place, uint32_t row, const float *x, size_t n, uint32_t first) {
    if (fv_none_within(n, x, first, 0x80000000u)) return false;
    while (fv_none_within(1, x, first, 0x80000000u)) x++;
    model->fault.place = place;
    model->fault.row = row;
    model->fault.value = *x;
    return true;
}

void fv_sound_mark(const fv_forward_call *call, size_t token) {
    const fv_model *model = call->model;
    size_t queries = fv_query_width(&model->config), keys = fv_kv_width(&model->config);
    bool sound =
        (token < fv_call_muted(call) || row_is_sound(model->kernels, queries, model->query + token * queries)) &&
        row_is_sound(model->kernels, keys, model->key + token * keys) &&
        row_is_sound(model->kernels, keys, model->value + token * keys);
    model->mixed[token * queries] = sound ? 1.0f : 0.0f;
}

fv_status fv_sound_check(fv_forward_call *call, uint32_t layer) {
    fv_model *model = call->model;
    size_t queries = fv_query_width(&model->config), keys = fv_kv_width(&model->config), width = model->config.width;
    for (uint32_t t = 0; t < call->count; t++) {
        if (model->mixed[t * queries] > 0.0f) continue;
#if FV_BUILD_STEP
        uint32_t part = fv_model_part_at(call, t);
        if (fv_model_part_is_out(call, part)) continue;
#endif
        model->fault.layer = layer;
        (void)(blame(model, FV_PLACE_INPUT, t, model->stream + t * width, width, BITS_MOST + 1) ||
               (t >= fv_call_muted(call) &&
                blame(model, FV_PLACE_QUERY, t, model->query + t * queries, queries, BITS_MOST + 1)) ||
               blame(model, FV_PLACE_KEY, t, model->key + t * keys, keys, BITS_MOST + 1) ||
               blame(model, FV_PLACE_VALUE, t, model->value + t * keys, keys, BITS_MOST + 1));
#if FV_BUILD_STEP
        if (fv_model_part_drop(call, part, FV_ERROR_NOT_FINITE)) continue;
#endif
        return FV_ERROR_NOT_FINITE;
    }
    return FV_OK;
}

/* Not on a chip: whoever wrote its model into flash knows its range. */
fv_status fv_sound_range(const fv_forward_call *call, uint32_t index, const fv_cache *cache, fv_status status) {
    fv_model *model = call->model;
    const fv_cache_config *shape = fv_cache_shape(cache);
    size_t keys = fv_kv_width(&model->config);
    uint32_t first = model->places[index].first_row, end = first + call->parts[index].count;
    for (uint32_t t = first; FV_BUILD_STEP && status == FV_ERROR_RANGE && t < end; t++) {
        model->fault.layer = call->layer_index;
        if (blame(model, FV_PLACE_KEY, t, model->key + t * keys, keys, fv_element_largest_bits(shape->key_type) + 1) ||
            blame(model, FV_PLACE_VALUE, t, model->value + t * keys, keys,
                  fv_element_largest_bits(shape->value_type) + 1))
            break;
    }
    return status;
}

fv_status fv_sound_logits(fv_model *model, const float *hidden, uint32_t rows, const float *logits) {
    size_t vocabulary = model->config.vocabulary, width = model->config.width;
    for (uint32_t r = 0; r < rows; r++) {
        if (row_is_sound(model->kernels, vocabulary, logits + r * vocabulary)) continue;
        model->fault.layer = model->config.layers - 1;
        (void)(blame(model, FV_PLACE_OUTPUT, r, hidden + r * width, width, BITS_MOST + 1) ||
               blame(model, FV_PLACE_LOGITS, r, logits + r * vocabulary, vocabulary, BITS_MOST + 1));
        return FV_ERROR_NOT_FINITE;
    }
    return FV_OK;
}

#endif
