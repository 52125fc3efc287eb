/* random.h - numbers for tests: the same on every machine, the seed from FV_SEED, so that a failure can be repeated. */
#ifndef FV_TEST_RANDOM_H
#define FV_TEST_RANDOM_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct test_random {
    uint64_t state;
    uint32_t seed; /* for messages */
} test_random;

/* `stream` tells the users of one seed apart. */
static inline test_random test_random_make(uint32_t stream) {
    const char *text = getenv("FV_SEED");
    uint32_t seed = text ? (uint32_t)strtoul(text, NULL, 10) : 1;
    return (test_random){.state = ((uint64_t)seed << 32 | stream) * 0x9E3779B97F4A7C15u + 0x1234567, .seed = seed};
}

/* splitmix64 (Steele et al. 2014). */
static inline uint32_t test_random_u32(test_random *random) {
    uint64_t z = random->state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (uint32_t)((z ^ z >> 31) >> 32);
}

/* low..high, both included. */
static inline uint32_t test_random_in(test_random *random, uint32_t low, uint32_t high) {
    return low + (uint32_t)((uint64_t)test_random_u32(random) * ((uint64_t)high - low + 1) >> 32);
}

/* -1..1, 24 bits. */
static inline float test_random_f32(test_random *random) {
    return (float)(int32_t)(test_random_u32(random) >> 7) * 0x1p-24f - 1.0f;
}

static inline void test_fill_f32(test_random *random, float *x, size_t n, float size) {
    for (size_t i = 0; i < n; i++) x[i] = size * test_random_f32(random);
}

static inline void test_fill_bytes(test_random *random, void *x, size_t n) {
    unsigned char *byte = x;
    for (size_t i = 0; i < n; i++) byte[i] = (unsigned char)test_random_u32(random);
}

#endif
