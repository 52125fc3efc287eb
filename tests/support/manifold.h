/* manifold.h - vectors as embeddings are: a smooth surface of few dimensions, bent into many. The same on every
 * machine.
 */
#ifndef FV_TEST_MANIFOLD_H
#define FV_TEST_MANIFOLD_H

#include "support/random.h"

enum { MANIFOLD_INTRINSIC = 16 };

/* About normal, by the sum of four. */
static inline float manifold_normal(test_random *random) {
    return (test_random_f32(random) + test_random_f32(random) + test_random_f32(random) + test_random_f32(random)) *
           0.87f;
}

/* rows [rows][dim]: a point of the surface of `stream`, plus a little noise. */
static inline void manifold_fill(uint32_t stream, uint32_t first, size_t rows, size_t dim, float *out) {
    test_random shape = test_random_make(stream), random = test_random_make(stream * 1000003u + first + 7);
    float *map = malloc(dim * MANIFOLD_INTRINSIC * sizeof *map), *offset = malloc(dim * sizeof *offset);
    for (size_t i = 0; i < dim * MANIFOLD_INTRINSIC; i++) map[i] = manifold_normal(&shape) * 0.5f;
    for (size_t i = 0; i < dim; i++) offset[i] = manifold_normal(&shape);
    for (size_t row = 0; row < rows; row++) {
        float point[MANIFOLD_INTRINSIC];
        for (size_t i = 0; i < MANIFOLD_INTRINSIC; i++) point[i] = manifold_normal(&random);
        for (size_t c = 0; c < dim; c++) {
            float x = offset[c];
            for (size_t i = 0; i < MANIFOLD_INTRINSIC; i++) x += map[c * MANIFOLD_INTRINSIC + i] * point[i];
            x = x / (1.0f + (x < 0 ? -x : x)); /* bent */
            out[row * dim + c] = x + 0.02f * manifold_normal(&random);
        }
    }
    free(map);
    free(offset);
}

#endif
