/* packed_pairs.h - products of packed rows by dpbusd, which AVX-VNNI and AVX-512 have by two names: each brings a
 * packed_dot_fn of its own, and the rest is here. */
#ifndef FV_PACKED_PAIRS_H
#define FV_PACKED_PAIRS_H

#include "kernels/avx2/packed_avx2.h"

/* Products of a type. One token apart: that is decode, and must not share its registers. */
#define PACKED_PAIR(NAME, name, set, dot_of) \
    static __attribute__((noinline)) void one_##name##_##set(size_t columns, size_t eights, const void *packed, \
                                                             const fv_q8_rows *x, float *out) { \
        packed_single(FV_PACKED_##NAME, dot_of, columns, eights, packed, x, out); \
    } \
    static __attribute__((noinline)) void few_##name##_##set(size_t columns, size_t eights, const void *packed, \
                                                             size_t tokens, const fv_q8_rows *x, float *out, \
                                                             size_t out_stride) { \
        packed_product(FV_PACKED_##NAME, dot_of, columns, eights, packed, tokens, x, out, out_stride); \
    }

/* Of the kernel's switch over types. */
#define PACKED_PAIR_CASE(NAME, name, set) \
    case FV_PACKED_##NAME: \
        if (tokens == 1) \
            one_##name##_##set(columns, eights, packed, x, out); \
        else \
            few_##name##_##set(columns, eights, packed, tokens, x, out, out_stride); \
        return true;

#endif
