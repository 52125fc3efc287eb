/* The softmax over all keys, and the part of it that a plan reads. */
#include "fovea/measure/mass.h"
#include "kernels/kernels.h"
#include "numeric/exp.h"

static void softmax(float *score, size_t count) {
    float best = score[0], total = 0.0f;
    for (size_t t = 1; t < count; t++)
        if (score[t] > best) best = score[t];
    for (size_t t = 0; t < count; t++) {
        score[t] = fv_exp_f32(score[t] - best);
        total += score[t];
    }
    for (size_t t = 0; t < count; t++) score[t] /= total;
}

fv_status fv_mass_tokens(const fv_attend_config *config, const fv_kernels *kernels, const fv_cache *cache,
                         uint32_t kv_head, uint32_t position, const float *query, float *mass, float *scratch) {
    if (!config || !kernels || !cache || !query || !mass || !scratch) return FV_ERROR_ARGUMENT;
    const fv_cache_config *shape = fv_cache_shape(cache);
    if (config->kv_heads != shape->kv_heads || config->head_dim != shape->head_dim ||
        config->query_heads < config->kv_heads || kv_head >= config->kv_heads || position >= fv_cache_tokens(cache))
        return FV_ERROR_ARGUMENT;
    size_t group = fv_attend_group(config), dim = config->head_dim, count = (size_t)position + 1;
    for (uint32_t first = 0; first < count; first += FV_PAGE_TOKENS) {
        uint32_t tokens = count - first < FV_PAGE_TOKENS ? (uint32_t)count - first : FV_PAGE_TOKENS;
        fv_status status = fv_cache_read(cache, kv_head, first, tokens, scratch, NULL);
        if (status != FV_OK) return status;
        for (size_t h = 0; h < group; h++)
            for (uint32_t t = 0; t < tokens; t++)
                mass[h * count + first + t] = config->scale * kernels->dot_f32(dim, query + h * dim, scratch + t * dim);
    }
    for (size_t h = 0; h < group; h++) {
        if (config->softcap > 0.0f) kernels->softcap_f32(count, 1.0f, config->softcap, mass + h * count);
        softmax(mass + h * count, count);
    }
    return FV_OK;
}

static void span_read(const fv_step *step, uint32_t position, uint32_t group, const float *mass, float *read) {
    uint32_t begin = fv_step_span_begin(step, position), end = fv_step_span_end(step, position);
    size_t count = (size_t)position + 1;
    if (end > position + 1) end = position + 1;
    for (uint32_t h = 0; h < group; h++)
        for (uint32_t t = begin; t < end; t++) read[h] += mass[h * count + t];
}

void fv_mass_read(const fv_plan *plan, uint32_t row, uint32_t group, const float *mass, float *read) {
    uint32_t position = plan->first_token + row;
    for (uint32_t h = 0; h < group; h++) read[h] = 0.0f;
    for (uint32_t s = 0; s < plan->count; s++) {
        const fv_step *step = &plan->steps[s];
        if (row < step->row_begin || row >= step->row_end) continue;
        if (step->kind == FV_STEP_SPAN) span_read(step, position, group, mass, read);
        if (step->kind != FV_STEP_DIAG || step->ahead || position < step->begin) continue;
        for (uint32_t h = 0; h < group; h++) read[h] += mass[h * ((size_t)position + 1) + position - step->begin];
    }
}
