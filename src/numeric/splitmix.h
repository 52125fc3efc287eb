/* splitmix.h - random bits by number: splitmix64 (Steele, Lea & Flood 2014) read at any place of its stream, so that
 * what is drawn depends on the seed and the place only, never on who draws or in which order. */
#ifndef FV_SPLITMIX_H
#define FV_SPLITMIX_H

#include <stdint.h>

#define FV_SPLITMIX_STEP 0x9E3779B97F4A7C15u /* from a state to the next */

/* Output number `place` of the generator whose state begins at `seed`. */
static inline uint64_t fv_splitmix(uint64_t seed, uint64_t place) {
    uint64_t z = seed + (place + 1) * FV_SPLITMIX_STEP;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* In (-0.5, 0.5), 24 bits, symmetric about 0: an odd multiple of 2^-25, exact in f32. */
static inline float fv_centred_f32(uint64_t bits) {
    return (float)((int32_t)(bits >> 40) * 2 + 1 - (1 << 24)) * 0x1p-25f;
}

#endif
