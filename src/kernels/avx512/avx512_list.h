/* avx512_list.h - the kernels of this folder, for processors with AVX-512 F, BW, VL, DQ and VNNI: K(slot, set) stands
 * for fv_SLOT_SET(). Their declarations and the table are made from it. */
#ifndef FV_AVX512_LIST_H
#define FV_AVX512_LIST_H

#include "build.h"

#ifndef FV_BUILD_AVX512
#define FV_BUILD_AVX512 0
#endif

#if FV_BUILD_AVX512
#define FV_AVX512_ATTENTION_LIST(K) \
    K(score_page_f32, avx512) \
    K(score_page_f16, avx512) \
    K(score_page_q8, avx512) \
    K(score_page_bf16, avx512) \
    K(score_page_q4, avx512) \
    K(value_sum_f32, avx512) \
    K(value_sum_f16, avx512) \
    K(value_sum_q8, avx512) \
    K(value_sum_bf16, avx512) \
    K(value_sum_q4, avx512) \
    K(value_parts_f32, avx512) \
    K(value_parts_f16, avx512) \
    K(value_parts_q8, avx512) \
    K(value_parts_bf16, avx512) \
    K(value_parts_q4, avx512) \
    K(score_own_f32, avx512) \
    K(value_own_f32, avx512) \
    K(transpose16_f32, avx512) \
    K(mix_f32, avx512) \
    K(copy_rows_f32, avx512) \
    K(finish16_f32, avx512) \
    K(mean_add_f32, avx512) \
    K(largest_f32, avx512) \
    K(softmax_chunk, avx512) \
    K(mean_score, avx512) \
    K(sign_score, avx512) \
    K(shadow_score, avx512) \
    K(page_weight, avx512) \
    K(count_least, avx512) \
    K(list_least, avx512)
#else
#define FV_AVX512_ATTENTION_LIST(K)
#endif

#if FV_BUILD_AVX512 && FV_BUILD_LISTS
#define FV_AVX512_LISTED_LIST(K) \
    K(score_list_f32, avx512) \
    K(score_list_f16, avx512) \
    K(score_list_q8, avx512) \
    K(score_list_bf16, avx512) \
    K(score_list_q4, avx512) \
    K(value_list_f32, avx512) \
    K(value_list_f16, avx512) \
    K(value_list_q8, avx512) \
    K(value_list_bf16, avx512) \
    K(value_list_q4, avx512)
#else
#define FV_AVX512_LISTED_LIST(K)
#endif

#if FV_BUILD_AVX512 && FV_BUILD_MODEL
#define FV_AVX512_MODEL_LIST(K) \
    K(silu_f32, avx512) \
    K(gelu_f32, avx512) \
    K(quantize_q8, avx512) \
    K(product_panel, avx512) \
    K(product_packed, avx512) \
    K(product_f32, avx512) \
    K(product_f16, avx512) \
    K(product_bf16, avx512)
#else
#define FV_AVX512_MODEL_LIST(K)
#endif

#define FV_AVX512_LIST(K) \
    FV_AVX512_ATTENTION_LIST(K) \
    FV_AVX512_LISTED_LIST(K) \
    FV_AVX512_MODEL_LIST(K)

#endif
