/* avx512bf16_list.h - the kernels of this folder, for processors with AVX-512 F, BW, VL, DQ, VNNI and BF16: K(slot,
 * set) stands for fv_SLOT_SET(). Their declarations and the table are made from it. */
#ifndef FV_AVX512BF16_LIST_H
#define FV_AVX512BF16_LIST_H

#include "build.h"

#ifndef FV_BUILD_AVX512BF16
#define FV_BUILD_AVX512BF16 0
#endif

#if FV_BUILD_AVX512BF16 && FV_BUILD_BF16
#define FV_AVX512BF16_PAGE_LIST(K) \
    K(query_pack_bf16, avx512bf16) \
    K(score_page_bf16, avx512bf16) \
    K(value_sum_bf16, avx512bf16) \
    K(value_parts_bf16, avx512bf16)
#else
#define FV_AVX512BF16_PAGE_LIST(K)
#endif

#if FV_BUILD_AVX512BF16 && FV_BUILD_BF16 && FV_BUILD_LISTS
#define FV_AVX512BF16_LISTED_LIST(K) \
    K(score_list_bf16, avx512bf16) \
    K(value_list_bf16, avx512bf16)
#else
#define FV_AVX512BF16_LISTED_LIST(K)
#endif

#define FV_AVX512BF16_LIST(K) \
    FV_AVX512BF16_PAGE_LIST(K) \
    FV_AVX512BF16_LISTED_LIST(K)

#endif
