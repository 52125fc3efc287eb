/* rope.h - rotation frequencies and their scaling, as model files describe it. Private to src/llm. */
#ifndef FV_ROPE_H
#define FV_ROPE_H

#include <stdint.h>

typedef enum fv_rope_scaling_type {
    FV_ROPE_SCALING_NONE,
    FV_ROPE_SCALING_LINEAR,
    FV_ROPE_SCALING_YARN
} fv_rope_scaling_type;

typedef struct fv_rope_scaling {
    fv_rope_scaling_type type;
    float factor;             /* > 0; the context is longer by this than in training */
    float magnitude;          /* cos and sin times this, whatever the type */
    float yarn_magnitude;     /* yarn: in place of its formula; 0 = formula */
    float log_multiplier;     /* yarn: the formula's divisor; 0 = none */
    float extrapolation;      /* yarn: strength of the ramp, usually 1 */
    float beta_fast;          /* yarn: rotations in the original context above which a frequency stays; default 32 */
    float beta_slow;          /* yarn: rotations below which it is divided by factor; default 1 */
    uint32_t original_tokens; /* yarn: training context before it was stretched */
} fv_rope_scaling;

fv_rope_scaling fv_rope_scaling_default(void); /* linear by 1, which changes nothing */

/**
 * frequencies[i] = base^(-2i / dims), scaled; i = 0 .. dims/2 - 1, radians per token; computed in double.
 * dims even, >= 2; base >= 1. magnitude: out, factor of cos and sin.
 * Yarn: Peng et al. 2023 (arXiv 2309.00071), with the rounding of its ramp's ends that its authors' code has.
 */
void fv_rope_frequencies(uint32_t dims, double base, const fv_rope_scaling *scaling, float *frequencies,
                         float *magnitude);

#endif
