/* States of the online softmax: clear, merge, finish. A maximum is a whole power of two, so merging rounds sums only.
 */
#include "fovea/state.h"
#include "attend/attend_state.h"
#include "build.h"
#include "kernels/kernels.h"
#include "numeric/half.h"
#include "numeric/log.h"
#include "numeric/size.h"

_Static_assert(FV_STATE_LANES == FV_SUM_LANES, "states are what kernels add to");

fv_state fv_state_at(float *memory, size_t rows, size_t head_dim) {
    float *sum = memory + rows * head_dim;
    return (fv_state){.maximum = sum + rows * FV_SUM_LANES, .sum = sum, .out = memory};
}

void fv_state_clear(fv_state state, size_t rows, size_t head_dim) {
    for (size_t r = 0; r < rows; r++) state.maximum[r] = -FV_NO_MAXIMUM;
    for (size_t i = 0; i < rows * FV_SUM_LANES; i++) state.sum[i] = 0.0f;
    for (size_t i = 0; i < rows * head_dim; i++) state.out[i] = 0.0f;
}

static void mix(const fv_kernels *kernels, size_t n, float keep, float *into, float add, const float *from) {
    if (FV_BUILD_AVX2 && kernels && kernels->mix_f32)
        kernels->mix_f32(n, keep, into, add, from);
    else
        for (size_t i = 0; i < n; i++) into[i] = into[i] * keep + from[i] * add;
}

/* Of a whole number, 0 at most. */
static float power_of_two(float whole) {
    return whole >= -126.0f ? fv_f32_from_bits((uint32_t)((int32_t)whole + 127) << 23) : 0.0f;
}

void fv_state_merge_by(const fv_kernels *kernels, const fv_state *into, const fv_state *from, size_t rows,
                       size_t head_dim) {
    for (size_t r = 0; r < rows; r++) {
        if (from->maximum[r] == -FV_NO_MAXIMUM) continue; /* read nothing */
        float best = into->maximum[r] > from->maximum[r] ? into->maximum[r] : from->maximum[r];
        float keep = power_of_two(into->maximum[r] - best), add = power_of_two(from->maximum[r] - best);
        mix(kernels, head_dim, keep, into->out + r * head_dim, add, from->out + r * head_dim);
        mix(kernels, FV_SUM_LANES, keep, into->sum + r * FV_SUM_LANES, add, from->sum + r * FV_SUM_LANES);
        into->maximum[r] = best;
    }
}

void fv_state_merge(const fv_state *into, const fv_state *from, size_t rows, size_t head_dim) {
    fv_state_merge_by(NULL, into, from, rows, head_dim);
}

static float total(const float *sum) {
    float all = 0.0f;
    for (size_t i = 0; i < FV_SUM_LANES; i++) all += sum[i];
    return all;
}

static void row_finish(const fv_state *state, size_t row, size_t head_dim, float *out) {
    float sum = total(state->sum + row * FV_SUM_LANES), factor = sum > 0.0f ? 1.0f / sum : 0.0f;
    const float *from = state->out + row * head_dim;
    for (size_t c = 0; c < head_dim; c++) out[c] = from[c] * factor;
}

void fv_state_write(const fv_attend_config *config, const fv_kernels *kernels, const fv_state *state, uint32_t rows,
                    uint32_t kv_head, float *out, size_t out_stride) {
    enum { TOGETHER = 16 };
    size_t group = fv_attend_group(config), dim = config->head_dim, i = 0;
    out += kv_head * group * dim;
    for (; FV_BUILD_AVX2 && kernels->finish16_f32 && i + TOGETHER <= rows; i += TOGETHER)
        for (size_t g = 0; g < group; g++) {
            fv_state at = fv_state_row(state, i * group + g, dim);
            kernels->finish16_f32(group, dim, at.sum, at.out, out + i * out_stride + g * dim, out_stride);
        }
    for (; i < rows; i++)
        for (size_t g = 0; g < group; g++) row_finish(state, i * group + g, dim, out + i * out_stride + g * dim);
}

#if FV_BUILD_STATE
fv_status fv_state_bytes(size_t rows, size_t head_dim, size_t *bytes) {
    size_t size = 0;
    if (head_dim > SIZE_MAX / sizeof(float) - 1 - FV_STATE_LANES ||
        !fv_size_add(&size, rows, fv_state_floats(1, head_dim) * sizeof(float), 1))
        return FV_ERROR_OVERFLOW;
    *bytes = size;
    return FV_OK;
}

void fv_state_finish(const fv_state *state, size_t rows, size_t head_dim, float *out) {
    for (size_t r = 0; r < rows; r++) row_finish(state, r, head_dim, out + r * head_dim);
}

/* The power of two in the sum goes to the maximum first: which maximum a row came to depends on how its keys were cut,
 * their product does not. */
void fv_state_lse(const fv_state *state, size_t rows, float *lse) {
    const float ln2_high = 0x1.62e4p-1f, ln2_low = 0x1.7f7d1cp-20f;
    for (size_t r = 0; r < rows; r++) {
        float whole = state->maximum[r], sum = total(state->sum + r * FV_SUM_LANES);
        lse[r] = fv_f32_from_bits(0xFF800000); /* -infinity */
        if (!(sum > 0.0f)) continue;
        int32_t power = (int32_t)(fv_bits_from_f32(sum) >> 23) - 127;
        whole += (float)power;
        sum = fv_f32_from_bits(fv_bits_from_f32(sum) - ((uint32_t)power << 23)); /* 1..2 */
        lse[r] = whole * ln2_high + (fv_log_f32(sum) + whole * ln2_low);
    }
}

void fv_state_write_lse(const fv_attend_config *config, const fv_state *state, uint32_t rows, uint32_t kv_head,
                        float *lse, size_t lse_stride) {
    size_t group = fv_attend_group(config);
    for (size_t i = 0; i < rows; i++) {
        fv_state row = fv_state_row(state, i * group, config->head_dim);
        fv_state_lse(&row, group, lse + i * lse_stride + kv_head * group);
    }
}
#endif
