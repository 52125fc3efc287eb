/* rope.c - rotation frequencies: plain, linearly interpolated, yarn. */
#include "llm/rope.h"
#include <math.h>

#define TWO_PI 6.283185307179586476925

fv_rope_scaling fv_rope_scaling_default(void) {
    return (fv_rope_scaling){.type = FV_ROPE_SCALING_LINEAR,
                             .factor = 1,
                             .magnitude = 1,
                             .extrapolation = 1,
                             .beta_fast = 32,
                             .beta_slow = 1,
                             .original_tokens = 1};
}

/* Index (not rounded) of the frequency that turns `rotations` times within the original context. */
static double yarn_index(uint32_t dims, double base, const fv_rope_scaling *scaling, double rotations) {
    return (double)dims * log((double)scaling->original_tokens / (rotations * TWO_PI)) / (2 * log(base));
}

typedef struct ramp {
    double low, high; /* below low a frequency stays, above high it is divided */
} ramp;

static ramp yarn_ramp(uint32_t dims, double base, const fv_rope_scaling *scaling) {
    ramp ends = {0, (double)dims - 1};
    if (!(base > 1)) return ends; /* all frequencies alike: the index means nothing */
    ends.low = fmax(0, floor(yarn_index(dims, base, scaling, (double)scaling->beta_fast)));
    ends.high = fmin((double)dims - 1, ceil(yarn_index(dims, base, scaling, (double)scaling->beta_slow)));
    return ends;
}

/* Share of the unscaled frequency. */
static double ramp_share(ramp ends, uint32_t index, double strength) {
    double position = ((double)index - ends.low) / fmax(0.001, ends.high - ends.low);
    return strength * (1 - fmin(1, fmax(0, position)));
}

/* A file may state the magnitude itself (transformers' attention_factor). */
static double yarn_magnitude(const fv_rope_scaling *scaling) {
    if (scaling->yarn_magnitude > 0) return (double)scaling->yarn_magnitude;
    double log_factor = scaling->factor > 1 ? log((double)scaling->factor) : 0;
    return (0.1 * log_factor + 1) / (0.1 * (double)scaling->log_multiplier * log_factor + 1);
}

void fv_rope_frequencies(uint32_t dims, double base, const fv_rope_scaling *scaling, float *frequencies,
                         float *magnitude) {
    double shrink = scaling->type == FV_ROPE_SCALING_NONE ? 1 : 1 / (double)scaling->factor;
    int is_yarn = scaling->type == FV_ROPE_SCALING_YARN && scaling->extrapolation > 0;
    ramp ends = yarn_ramp(dims, base, scaling);
    for (uint32_t i = 0; i < dims / 2; i++) {
        double plain = pow(base, -2.0 * (double)i / (double)dims);
        double keep = is_yarn ? ramp_share(ends, i, (double)scaling->extrapolation) : 0;
        frequencies[i] = (float)(plain * (shrink * (1 - keep) + keep));
    }
    *magnitude = (float)((double)scaling->magnitude * (is_yarn ? yarn_magnitude(scaling) : 1));
}
