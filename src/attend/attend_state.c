/* States of the online softmax: clear, merge, finish. A maximum is a whole power of two, so merging rounds sums only.
 */
#include "attend/attend_state.h"
#include "kernels/kernels.h"
#include "numeric/half.h"

size_t fv_state_floats(size_t rows, size_t head_dim) { return rows * (head_dim + 1 + FV_SUM_LANES); }

fv_state fv_state_at(float *memory, size_t rows, size_t head_dim) {
    float *sum = memory + rows * head_dim;
    return (fv_state){.maximum = sum + rows * FV_SUM_LANES, .sum = sum, .out = memory};
}

void fv_state_clear(fv_state state, size_t rows, size_t head_dim) {
    for (size_t r = 0; r < rows; r++) state.maximum[r] = -FV_NO_MAXIMUM;
    for (size_t i = 0; i < rows * FV_SUM_LANES; i++) state.sum[i] = 0.0f;
    for (size_t i = 0; i < rows * head_dim; i++) state.out[i] = 0.0f;
}

static void add_scaled(size_t n, float keep, float *into, float add, const float *from) {
    for (size_t i = 0; i < n; i++) into[i] = into[i] * keep + from[i] * add;
}

/* Of a whole number, 0 at most. */
static float power_of_two(float whole) {
    return whole >= -126.0f ? fv_f32_from_bits((uint32_t)((int32_t)whole + 127) << 23) : 0.0f;
}

void fv_state_merge(const fv_state *into, const fv_state *from, size_t rows, size_t head_dim) {
    for (size_t r = 0; r < rows; r++) {
        if (from->maximum[r] == -FV_NO_MAXIMUM) continue; /* read nothing */
        float best = into->maximum[r] > from->maximum[r] ? into->maximum[r] : from->maximum[r];
        float keep = power_of_two(into->maximum[r] - best), add = power_of_two(from->maximum[r] - best);
        add_scaled(head_dim, keep, into->out + r * head_dim, add, from->out + r * head_dim);
        add_scaled(FV_SUM_LANES, keep, into->sum + r * FV_SUM_LANES, add, from->sum + r * FV_SUM_LANES);
        into->maximum[r] = best;
    }
}

static float total(const float *sum) {
    float all = 0.0f;
    for (size_t i = 0; i < FV_SUM_LANES; i++) all += sum[i];
    return all;
}

void fv_state_finish(const fv_attend_config *config, const fv_state *state, uint32_t rows, uint32_t kv_head, float *out,
                     size_t out_stride) {
    size_t group = config->query_heads / config->kv_heads, dim = config->head_dim;
    for (size_t i = 0; i < rows; i++)
        for (size_t g = 0; g < group; g++) {
            size_t r = i * group + g;
            float sum = total(state->sum + r * FV_SUM_LANES), factor = sum > 0.0f ? 1.0f / sum : 0.0f;
            float *row = out + i * out_stride + (kv_head * group + g) * dim;
            for (size_t c = 0; c < dim; c++) row[c] = state->out[r * dim + c] * factor;
        }
}
