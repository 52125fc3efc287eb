/* kernel_slots.h - which test program checks which slot. vector_kernel_test walks the library's lists and fails on a
 * slot that is in none of these; a slot that is here and has no check_<slot>() does not compile. */
#ifndef FV_TEST_KERNEL_SLOTS_H
#define FV_TEST_KERNEL_SLOTS_H

#define ATTENTION_SLOTS(X) \
    X(score_page_f32) \
    X(score_page_f16) \
    X(score_page_q8) \
    X(score_page_bf16) \
    X(score_page_q4) \
    X(value_sum_f32) \
    X(value_sum_f16) \
    X(value_sum_q8) \
    X(value_sum_bf16) \
    X(value_sum_q4) \
    X(value_parts_f32) \
    X(value_parts_f16) \
    X(value_parts_q8) \
    X(value_parts_bf16) \
    X(value_parts_q4) \
    X(query_pack_bf16) \
    X(score_own_f32) \
    X(value_own_f32) \
    X(transpose16_f32) \
    X(softmax_chunk)

#define LIST_SLOTS(X) \
    X(score_list_f32) \
    X(score_list_f16) \
    X(score_list_q8) \
    X(score_list_bf16) \
    X(score_list_q4) \
    X(value_list_f32) \
    X(value_list_f16) \
    X(value_list_q8) \
    X(value_list_bf16) \
    X(value_list_q4)

#define VECTOR_SLOTS(X) \
    X(softcap_f32) \
    X(narrow_f16) \
    X(widen_f16) \
    X(narrow_bf16) \
    X(rms_norm_f32) \
    X(silu_f32) \
    X(gelu_f32) \
    X(dot_f32) \
    X(mix_f32) \
    X(copy_rows_f32) \
    X(finish16_f32) \
    X(mean_add_f32) \
    X(largest_f32)

#define PRODUCT_SLOTS(X) \
    X(quantize_q8) \
    X(panel_pack) \
    X(panel_unpack) \
    X(product_panel) \
    X(product_packed)

#define PRODUCT_FLOAT_SLOTS(X) \
    X(product_f32) \
    X(product_f16) \
    X(product_bf16)

#define SHADOW_SLOTS(X) \
    X(rotate_page) \
    X(shadow_query) \
    X(mean_score) \
    X(sign_score) \
    X(shadow_score) \
    X(page_weight) \
    X(count_least) \
    X(list_least) \
    X(key_score) \
    X(tail_sum)

#endif
