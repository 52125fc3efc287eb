/* shadow.h - a coarse copy of the keys to choose by: 2 bits a channel. A key is rotated (random signs, Hadamard), less the
 * mean of the block of 64 before it, and coded in four levels of its own step:
 *   key ~ centre + step * (code - 1.5), code 0..3
 * The code of a token depends on stored keys up to its own only: it is made when the token is appended, a cut needs no
 * repair, and made anew from what is stored it has the same bits on every machine. Method: random rotation and one step a
 * vector as in RaBitQ (Gao & Long 2024) and TurboQuant (Zandieh et al. 2025). */
#ifndef FV_SHADOW_H
#define FV_SHADOW_H

#include "fovea/cache.h"
#include <stdbool.h>

#define FV_SHADOW_BLOCK 64 /* tokens that share a centre */

/* Where it lies. `dim` is head_dim rounded up to a multiple of 16; a channel that is padding has code 0. Per head:
 * codes   [pages][dim / 16][16 tokens][4]: bits 2p, 2p + 1 of byte (j, t, i) are channel p * dim/4 + 4j + i of token t
 * steps   [pages * 16] bf16
 * centres [panels][dim / 4][16 blocks][4]: byte (j, b, i) is 128 + channel 4j + i of block b in units of centre_steps
 * centre_steps [panels * 16]
 * The work area, one for all heads, is for whoever writes the cache: rows [3][dim], then keys [dim][16], all f32, then codes
 * [dim][16]. */
typedef struct fv_shadow {
    uint32_t dim;        /* 0: there is none */
    unsigned char *base; /* of the cache's memory; the offsets are bytes */
    size_t code_offset, centre_offset, step_offset, centre_step_offset, work_offset;
    size_t code_head_bytes, centre_head_bytes, step_head_bytes, centre_step_head_bytes; /* from head to head */
} fv_shadow;

static inline uint8_t *fv_shadow_codes(const fv_shadow *shadow, uint32_t head, uint32_t page) {
    return shadow->base + shadow->code_offset + head * shadow->code_head_bytes + (size_t)page * shadow->dim * 4;
}

static inline uint16_t *fv_shadow_steps(const fv_shadow *shadow, uint32_t head, uint32_t token) {
    unsigned char *steps = shadow->base + shadow->step_offset + head * shadow->step_head_bytes;
    return (uint16_t *)(void *)steps + token;
}

static inline uint8_t *fv_shadow_centres(const fv_shadow *shadow, uint32_t head) {
    return shadow->base + shadow->centre_offset + head * shadow->centre_head_bytes;
}

static inline float *fv_shadow_centre_steps(const fv_shadow *shadow, uint32_t head) {
    return (float *)(void *)(shadow->base + shadow->centre_step_offset + head * shadow->centre_step_head_bytes);
}

/* Row 0..2 of the work area. */
static inline float *fv_shadow_row(const fv_shadow *shadow, uint32_t row) {
    return (float *)(void *)(shadow->base + shadow->work_offset) + (size_t)row * shadow->dim;
}

static inline float *fv_shadow_keys(const fv_shadow *shadow) { return fv_shadow_row(shadow, 3); }

static inline uint8_t *fv_shadow_key_codes(const fv_shadow *shadow) { return (uint8_t *)fv_shadow_row(shadow, 19); }

/* Adds its regions to `bytes`. False on overflow. */
bool fv_shadow_layout(const fv_cache_config *config, size_t *bytes, fv_shadow *layout);

/* The coarse key of a token, rotated: [head_dim]. */
void fv_shadow_read(const fv_cache *cache, uint32_t head, uint32_t token, float *out);

/* Codes of the stored tokens from `first` on, all heads. */
void fv_shadow_update(fv_cache *cache, uint32_t first);

/* x [dim] <- the rotation of x, in f32 operations of a fixed order. The product of two rotated vectors is theirs. */
void fv_shadow_rotate(size_t dim, float *x);

/* Nearest even of x * inverse, -127..127; NaN is 0. */
static inline int32_t fv_shadow_round(float x, float inverse) {
    float q = x * inverse;
    q = q < -127.0f ? -127.0f : q > 127.0f ? 127.0f : q == q ? q : 0.0f;
    return (int32_t)((q + 12582912.0f) - 12582912.0f);
}

/* Cache lines x 64 that choosing among `tokens` tokens reads, one head. */
uint64_t fv_shadow_bytes(const fv_shadow *shadow, uint32_t tokens);

#endif
