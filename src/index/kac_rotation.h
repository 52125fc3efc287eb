/* kac_rotation.h - a random rotation of any dimension in O(n log n): four rounds of random signs and a Hadamard
 * transform over as many channels as a power of two has, the first ones and the last ones in turn; where that is not
 * all, a step of Kac's walk mixes the halves after each round (as RaBitQ-Library does, Gao & Long 2024). It is a
 * function of the seed alone: signs are bits of integers, and every channel is one chain of f32 operations, so that all
 * machines have the same bits. */
#ifndef FV_KAC_ROTATION_H
#define FV_KAC_ROTATION_H

#include <stddef.h>
#include <stdint.h>

#define FV_ROTATED_ALIGN 64 /* channels: what blocks of codes want */

/* Channels of a rotated vector. */
static inline size_t fv_rotated_dim(size_t dim) {
    return (dim + FV_ROTATED_ALIGN - 1) / FV_ROTATED_ALIGN * FV_ROTATED_ALIGN;
}

/* out [fv_rotated_dim(dim)] = the rotation of x [dim], with zeros after it. dim >= 1. */
void fv_kac_rotate(uint64_t seed, size_t dim, const float *x, float *out);

/* out [fv_rotated_dim(dim)] = what x [fv_rotated_dim(dim)] is the rotation of. */
void fv_kac_rotate_back(uint64_t seed, size_t dim, const float *x, float *out);

#endif
