/* The one place that picks kernels: scalar fills every slot that the switches of build.h leave, each instruction set
 * overrides what it has. A slot that is left out is NULL, and its kernel drops out of the program. */
#include "kernels/kernels.h"
#include "build.h"
#include "platform/cpu.h"

#ifndef FV_BUILD_NEON
#define FV_BUILD_NEON 0
#endif

_Static_assert(sizeof(fv_kernels) <= FV_KERNELS_BYTES, "raise FV_KERNELS_BYTES");

#define FV_KERNEL_SCALAR(name, type) .name = fv_##name##_scalar,
/* clang-format off */
static const fv_kernels scalar_kernels = {
    .isa = FV_ISA_SCALAR,
    FV_KERNEL_F32_LIST(FV_KERNEL_SCALAR)
#if FV_BUILD_F16
    FV_KERNEL_F16_LIST(FV_KERNEL_SCALAR)
#endif
#if FV_BUILD_BF16
    FV_KERNEL_BF16_LIST(FV_KERNEL_SCALAR)
#endif
#if FV_BUILD_Q8
    FV_KERNEL_Q8_LIST(FV_KERNEL_SCALAR)
#endif
#if FV_BUILD_Q4
    FV_KERNEL_Q4_LIST(FV_KERNEL_SCALAR)
#endif
#if FV_BUILD_SOFTCAP
    FV_KERNEL_SOFTCAP_LIST(FV_KERNEL_SCALAR)
#endif
#if FV_BUILD_MODEL || FV_BUILD_MASS
    FV_KERNEL_DOT_LIST(FV_KERNEL_SCALAR)
#endif
#if FV_BUILD_CHOOSE
    FV_KERNEL_CHOOSE_LIST(FV_KERNEL_SCALAR)
#endif
#if FV_BUILD_TAIL
    FV_KERNEL_TAIL_LIST(FV_KERNEL_SCALAR)
#endif
#if FV_BUILD_MODEL
    FV_KERNEL_MODEL_LIST(FV_KERNEL_SCALAR)
#endif
};
/* clang-format on */

const fv_kernels *fv_kernels_scalar(void) { return &scalar_kernels; }

#if FV_BUILD_AVX2
static void use_avx2(fv_kernels *table) {
    table->isa = FV_ISA_AVX2;
    table->score_page_f32 = fv_score_page_f32_avx2;
    table->score_page_f16 = fv_score_page_f16_avx2;
    table->score_page_q8 = fv_score_page_q8_avx2;
    table->score_page_bf16 = fv_score_page_bf16_avx2;
    table->score_page_q4 = fv_score_page_q4_avx2;
    table->value_sum_f32 = fv_value_sum_f32_avx2;
    table->value_sum_f16 = fv_value_sum_f16_avx2;
    table->value_sum_q8 = fv_value_sum_q8_avx2;
    table->value_sum_bf16 = fv_value_sum_bf16_avx2;
    table->value_sum_q4 = fv_value_sum_q4_avx2;
    table->value_parts_f32 = fv_value_parts_f32_avx2;
    table->value_parts_f16 = fv_value_parts_f16_avx2;
    table->value_parts_q8 = fv_value_parts_q8_avx2;
    table->value_parts_bf16 = fv_value_parts_bf16_avx2;
    table->value_parts_q4 = fv_value_parts_q4_avx2;
    table->softmax_chunk = fv_softmax_chunk_avx2;
    table->narrow_f16 = fv_narrow_f16_avx2;
    table->widen_f16 = fv_widen_f16_avx2;
    table->dot_f32 = fv_dot_f32_avx2;
    table->rotate_page = fv_rotate_page_avx2;
    table->shadow_query = fv_shadow_query_avx2;
    table->mean_score = fv_mean_score_avx2;
    table->sign_score = fv_sign_score_avx2;
    table->shadow_score = fv_shadow_score_avx2;
    table->page_weight = fv_page_weight_avx2;
    table->count_least = fv_count_least_avx2;
    table->list_least = fv_list_least_avx2;
    table->key_score = fv_key_score_avx2;
    table->tail_sum = fv_tail_sum_avx2;
#if FV_BUILD_MODEL
    table->rms_norm_f32 = fv_rms_norm_f32_avx2;
    table->silu_f32 = fv_silu_f32_avx2;
    table->gelu_f32 = fv_gelu_f32_avx2;
    table->quantize_q8 = fv_quantize_q8_avx2;
    table->panel_pack = fv_panel_pack_avx2;
    table->panel_unpack = fv_panel_unpack_avx2;
    table->product_panel = fv_product_panel_avx2;
    table->product_packed = fv_product_packed_avx2;
    table->product_f32 = fv_product_f32_avx2;
    table->product_f16 = fv_product_f16_avx2;
    table->product_bf16 = fv_product_bf16_avx2;
#endif
}
#endif

#if FV_BUILD_AVX512
static void use_avx512(fv_kernels *table) {
    table->isa = FV_ISA_AVX512;
    table->score_page_f32 = fv_score_page_f32_avx512;
    table->score_page_f16 = fv_score_page_f16_avx512;
    table->score_page_q8 = fv_score_page_q8_avx512;
    table->score_page_bf16 = fv_score_page_bf16_avx512;
    table->score_page_q4 = fv_score_page_q4_avx512;
    table->value_sum_f32 = fv_value_sum_f32_avx512;
    table->value_sum_f16 = fv_value_sum_f16_avx512;
    table->value_sum_q8 = fv_value_sum_q8_avx512;
    table->value_sum_bf16 = fv_value_sum_bf16_avx512;
    table->value_sum_q4 = fv_value_sum_q4_avx512;
    table->value_parts_f32 = fv_value_parts_f32_avx512;
    table->value_parts_f16 = fv_value_parts_f16_avx512;
    table->value_parts_q8 = fv_value_parts_q8_avx512;
    table->value_parts_bf16 = fv_value_parts_bf16_avx512;
    table->value_parts_q4 = fv_value_parts_q4_avx512;
    table->turn_rows_f32 = fv_turn_rows_f32_avx512;
    table->softmax_chunk = fv_softmax_chunk_avx512;
    table->mean_score = fv_mean_score_avx512;
    table->sign_score = fv_sign_score_avx512;
    table->shadow_score = fv_shadow_score_avx512;
    table->page_weight = fv_page_weight_avx512;
    table->count_least = fv_count_least_avx512;
    table->list_least = fv_list_least_avx512;
#if FV_BUILD_MODEL
    table->product_panel = fv_product_panel_avx512;
    table->product_packed = fv_product_packed_avx512;
    table->product_f32 = fv_product_f32_avx512;
    table->product_f16 = fv_product_f16_avx512;
    table->product_bf16 = fv_product_bf16_avx512;
#endif
}
#endif

#if FV_BUILD_NEON
static void use_neon(fv_kernels *table) {
    table->isa = FV_ISA_NEON;
    table->score_page_f32 = fv_score_page_f32_neon;
    table->score_page_f16 = fv_score_page_f16_neon;
    table->score_page_q8 = fv_score_page_q8_neon;
    table->score_page_bf16 = fv_score_page_bf16_neon;
    table->score_page_q4 = fv_score_page_q4_neon;
    table->value_sum_f32 = fv_value_sum_f32_neon;
    table->value_sum_f16 = fv_value_sum_f16_neon;
    table->value_sum_q8 = fv_value_sum_q8_neon;
    table->value_sum_bf16 = fv_value_sum_bf16_neon;
    table->value_sum_q4 = fv_value_sum_q4_neon;
    table->softmax_chunk = fv_softmax_chunk_neon;
    table->narrow_f16 = fv_narrow_f16_neon;
    table->widen_f16 = fv_widen_f16_neon;
    table->dot_f32 = fv_dot_f32_neon;
    table->rotate_page = fv_rotate_page_neon;
    table->shadow_query = fv_shadow_query_neon;
    table->mean_score = fv_mean_score_neon;
    table->sign_score = fv_sign_score_neon;
    table->shadow_score = fv_shadow_score_neon;
    table->page_weight = fv_page_weight_neon;
    table->count_least = fv_count_least_neon;
#if FV_BUILD_MODEL
    table->rms_norm_f32 = fv_rms_norm_f32_neon;
    table->silu_f32 = fv_silu_f32_neon;
    table->gelu_f32 = fv_gelu_f32_neon;
    table->quantize_q8 = fv_quantize_q8_neon;
    table->panel_pack = fv_panel_pack_neon;
    table->panel_unpack = fv_panel_unpack_neon;
    table->product_panel = fv_product_panel_neon;
    table->product_packed = fv_product_packed_neon;
#endif
}

static void use_neon_dotprod(fv_kernels *table) {
    table->isa = FV_ISA_NEON_DOTPROD;
#if FV_BUILD_MODEL
    table->product_panel = fv_product_panel_neon_dotprod;
    table->product_packed = fv_product_packed_neon_dotprod;
#endif
}

static void use_neon_i8mm(fv_kernels *table) {
    table->isa = FV_ISA_NEON_I8MM;
#if FV_BUILD_MODEL
    table->product_panel = fv_product_panel_neon_i8mm;
#endif
}
#endif

fv_status fv_kernels_init(const fv_kernels **kernels, fv_isa limit, void *memory, size_t bytes) {
    if (!kernels || limit >= FV_ISA_COUNT) return FV_ERROR_ARGUMENT;
    if (!memory || bytes < FV_KERNELS_BYTES || (uintptr_t)memory % 8 != 0) return FV_ERROR_MEMORY;
    fv_kernels *table = (fv_kernels *)memory;
    fv_isa here = fv_cpu_isa();
    if (here > limit) here = limit;
    *table = scalar_kernels;
#if FV_BUILD_AVX2
    if (here >= FV_ISA_AVX2) use_avx2(table);
#endif
#if FV_BUILD_AVX512
    if (here >= FV_ISA_AVX512) use_avx512(table);
#endif
#if FV_BUILD_NEON
    if (here >= FV_ISA_NEON) use_neon(table);
    if (here >= FV_ISA_NEON_DOTPROD) use_neon_dotprod(table);
    if (here >= FV_ISA_NEON_I8MM) use_neon_i8mm(table);
#endif
    *kernels = table;
    return FV_OK;
}

fv_isa fv_kernels_isa(const fv_kernels *kernels) { return (fv_isa)kernels->isa; }

const char *fv_isa_name(fv_isa isa) {
#define FV_ISA_CASE(NAME, name) \
    case FV_ISA_##NAME: \
        return #name;
    switch (isa) {
        FV_ISA_LIST(FV_ISA_CASE)
    case FV_ISA_COUNT:
        break;
    }
#undef FV_ISA_CASE
    return NULL;
}

static bool is_built(fv_isa isa) {
    if (isa >= FV_ISA_NEON) return FV_BUILD_NEON;
    return isa == FV_ISA_SCALAR || (isa == FV_ISA_AVX2 ? FV_BUILD_AVX2 : FV_BUILD_AVX512);
}

static bool text_equal(const char *a, const char *b) {
    while (*a && *a == *b) a++, b++;
    return *a == *b;
}

fv_status fv_isa_from_name(const char *name, fv_isa *isa) {
    for (uint32_t i = 0; name && isa && i < FV_ISA_COUNT; i++) {
        if (!text_equal(name, fv_isa_name((fv_isa)i))) continue;
        if (!is_built((fv_isa)i)) return FV_ERROR_UNSUPPORTED;
        *isa = (fv_isa)i;
        return FV_OK;
    }
    return FV_ERROR_ARGUMENT;
}
