/* avx2_list.h - the kernels of this folder, for processors with AVX2, FMA and F16C: K(slot, set) stands for
 * fv_SLOT_SET(). Their declarations and the table are made from it. */
#ifndef FV_AVX2_LIST_H
#define FV_AVX2_LIST_H

#include "build.h"

#ifndef FV_BUILD_AVX2
#define FV_BUILD_AVX2 0
#endif

#if FV_BUILD_AVX2
#define FV_AVX2_ATTENTION_LIST(K) \
    K(score_page_f32, avx2) \
    K(score_page_f16, avx2) \
    K(score_page_q8, avx2) \
    K(score_page_bf16, avx2) \
    K(score_page_q4, avx2) \
    K(value_sum_f32, avx2) \
    K(value_sum_f16, avx2) \
    K(value_sum_q8, avx2) \
    K(value_sum_bf16, avx2) \
    K(value_sum_q4, avx2) \
    K(value_parts_f32, avx2) \
    K(value_parts_f16, avx2) \
    K(value_parts_q8, avx2) \
    K(value_parts_bf16, avx2) \
    K(value_parts_q4, avx2) \
    K(score_own_f32, avx2) \
    K(value_own_f32, avx2) \
    K(mix_f32, avx2) \
    K(copy_rows_f32, avx2) \
    K(finish16_f32, avx2) \
    K(mean_add_f32, avx2) \
    K(largest_f32, avx2) \
    K(softmax_chunk, avx2) \
    K(narrow_f16, avx2) \
    K(widen_f16, avx2) \
    K(dot_f32, avx2) \
    K(rotate_page, avx2) \
    K(shadow_query, avx2) \
    K(mean_score, avx2) \
    K(sign_score, avx2) \
    K(shadow_score, avx2) \
    K(page_weight, avx2) \
    K(count_least, avx2) \
    K(list_least, avx2) \
    K(key_score, avx2) \
    K(tail_sum, avx2)
#else
#define FV_AVX2_ATTENTION_LIST(K)
#endif

#if FV_BUILD_AVX2 && FV_BUILD_LISTS
#define FV_AVX2_LISTED_LIST(K) \
    K(score_list_f32, avx2) \
    K(score_list_f16, avx2) \
    K(score_list_q8, avx2) \
    K(score_list_bf16, avx2) \
    K(score_list_q4, avx2) \
    K(value_list_f32, avx2) \
    K(value_list_f16, avx2) \
    K(value_list_q8, avx2) \
    K(value_list_bf16, avx2) \
    K(value_list_q4, avx2)
#else
#define FV_AVX2_LISTED_LIST(K)
#endif

#if FV_BUILD_AVX2 && FV_BUILD_MODEL
#define FV_AVX2_MODEL_LIST(K) \
    K(rms_norm_f32, avx2) \
    K(silu_f32, avx2) \
    K(gelu_f32, avx2) \
    K(quantize_q8, avx2) \
    K(panel_pack, avx2) \
    K(panel_unpack, avx2) \
    K(product_panel, avx2) \
    K(product_packed, avx2) \
    K(product_f32, avx2) \
    K(product_f16, avx2) \
    K(product_bf16, avx2)
#else
#define FV_AVX2_MODEL_LIST(K)
#endif

#define FV_AVX2_LIST(K) \
    FV_AVX2_ATTENTION_LIST(K) \
    FV_AVX2_LISTED_LIST(K) \
    FV_AVX2_MODEL_LIST(K)

#endif
