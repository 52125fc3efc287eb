/* neon_list.h - the kernels of this folder, for processors with AArch64 with ASIMD: K(slot, set) stands for
 * fv_SLOT_SET(). Their declarations and the table are made from it. */
#ifndef FV_NEON_LIST_H
#define FV_NEON_LIST_H

#include "build.h"

#ifndef FV_BUILD_NEON
#define FV_BUILD_NEON 0
#endif

#if FV_BUILD_NEON
#define FV_NEON_ATTENTION_LIST(K) \
    K(score_page_f32, neon) \
    K(score_page_f16, neon) \
    K(score_page_q8, neon) \
    K(score_page_bf16, neon) \
    K(score_page_q4, neon) \
    K(value_sum_f32, neon) \
    K(value_sum_f16, neon) \
    K(value_sum_q8, neon) \
    K(value_sum_bf16, neon) \
    K(value_sum_q4, neon) \
    K(softmax_chunk, neon) \
    K(narrow_f16, neon) \
    K(widen_f16, neon) \
    K(dot_f32, neon) \
    K(rotate_page, neon) \
    K(shadow_query, neon) \
    K(mean_score, neon) \
    K(sign_score, neon) \
    K(shadow_score, neon) \
    K(page_weight, neon) \
    K(count_least, neon)
#else
#define FV_NEON_ATTENTION_LIST(K)
#endif

#if FV_BUILD_NEON && FV_BUILD_MODEL
#define FV_NEON_MODEL_LIST(K) \
    K(rms_norm_f32, neon) \
    K(silu_f32, neon) \
    K(gelu_f32, neon) \
    K(quantize_q8, neon) \
    K(panel_pack, neon) \
    K(panel_unpack, neon) \
    K(product_panel, neon) \
    K(product_packed, neon)
#else
#define FV_NEON_MODEL_LIST(K)
#endif

#define FV_NEON_LIST(K) \
    FV_NEON_ATTENTION_LIST(K) \
    FV_NEON_MODEL_LIST(K)

#endif
