/* recording.h - a table of kernels that counts how often each slot is called, and calls on. One recording at a time. */
#ifndef FV_TEST_RECORDING_H
#define FV_TEST_RECORDING_H

#include "kernels/kernels.h"
#include <string.h>

#define RECORDED_PLACE(slot, type) RECORDED_##slot,
enum { FV_KERNEL_LIST(RECORDED_PLACE) FV_KERNEL_OPTIONAL_LIST(RECORDED_PLACE) RECORDED_SLOTS };
#undef RECORDED_PLACE

static const fv_kernels *recorded;              /* what is called on */
static uint64_t recorded_calls[RECORDED_SLOTS]; /* by slot */

/* A counting function for a slot, by the type of the slot. */
#define RECORD(slot, result, parameters, arguments) \
    static result recorded_##slot parameters { \
        recorded_calls[RECORDED_##slot]++; \
        return recorded->slot arguments; \
    }
#define RECORD_VOID(slot, parameters, arguments) \
    static void recorded_##slot parameters { \
        recorded_calls[RECORDED_##slot]++; \
        recorded->slot arguments; \
    }
#define RECORD_fv_score_page_fn(slot) \
    RECORD_VOID(slot, \
                (size_t rows, size_t pages, size_t dim, const float *query, size_t query_stride, \
                 const void *const *key, const void *const *next, const float *scale, float *score, size_t stride), \
                (rows, pages, dim, query, query_stride, key, next, scale, score, stride))
#define RECORD_fv_value_sum_fn(slot) \
    RECORD_VOID(slot, \
                (size_t rows, size_t dim, size_t keys, const float *weight, size_t weight_stride, const void *value, \
                 const void *next, float *out, size_t stride), \
                (rows, dim, keys, weight, weight_stride, value, next, out, stride))
#define RECORD_fv_value_parts_fn(slot) \
    RECORD_VOID(slot, \
                (size_t positions, size_t group, size_t dim, const fv_value_part *part, const float *weight, \
                 size_t weight_stride, const void *value, float *out, size_t stride), \
                (positions, group, dim, part, weight, weight_stride, value, out, stride))
#define RECORD_fv_score_list_fn(slot) \
    RECORD_VOID(slot, \
                (const fv_row_list *list, size_t dim, const float *query, const void *key, const void *next, \
                 const float *scale, float *score), \
                (list, dim, query, key, next, scale, score))
#define RECORD_fv_value_list_fn(slot) \
    RECORD_VOID(slot, \
                (const fv_row_list *list, size_t dim, size_t keys, const float *weight, const void *value, \
                 const void *next, float *out), \
                (list, dim, keys, weight, value, next, out))
#define RECORD_fv_score_own_fn(slot) \
    RECORD_VOID(slot, (size_t pages, size_t dim, const float *query, const float *const *key, float *score), \
                (pages, dim, query, key, score))
#define RECORD_fv_value_own_fn(slot) \
    RECORD_VOID(slot, \
                (size_t pages, size_t dim, const float *weight, size_t weight_stride, const float *const *value, \
                 float *out, size_t stride), \
                (pages, dim, weight, weight_stride, value, out, stride))
#define RECORD_fv_query_pack_fn(slot) \
    RECORD_VOID(slot, (size_t rows, size_t dim, const float *query, size_t query_stride, float *out), \
                (rows, dim, query, query_stride, out))
#define RECORD_fv_transpose16_fn(slot) \
    RECORD_VOID(slot, (size_t columns, const float *x, size_t stride, float *out), (columns, x, stride, out))
#define RECORD_fv_finish16_fn(slot) \
    RECORD_VOID(slot, (size_t group, size_t dim, const float *sum, const float *x, float *out, size_t stride), \
                (group, dim, sum, x, out, stride))
#define RECORD_fv_mix_fn(slot) \
    RECORD_VOID(slot, (size_t n, float keep, float *into, float add, const float *from), (n, keep, into, add, from))
#define RECORD_fv_copy_rows_fn(slot) \
    RECORD_VOID(slot, (size_t rows, size_t n, const float *x, size_t stride, float *out), (rows, n, x, stride, out))
#define RECORD_fv_mean_add_fn(slot) \
    RECORD_VOID(slot, (uint32_t before, uint32_t rows, size_t n, const float *x, size_t stride, float *mean), \
                (before, rows, n, x, stride, mean))
#define RECORD_fv_largest_fn(slot) RECORD(slot, uint32_t, (size_t n, const float *x), (n, x))
#define RECORD_fv_softmax_chunk_fn(slot) \
    RECORD_VOID(slot, \
                (size_t rows, size_t columns, size_t dim, float factor, float *score, float *maximum, float *sum, \
                 float *out, size_t stride), \
                (rows, columns, dim, factor, score, maximum, sum, out, stride))
#define RECORD_fv_softcap_f32_fn(slot) \
    RECORD_VOID(slot, (size_t n, float scale, float cap, float *x), (n, scale, cap, x))
#define RECORD_fv_narrow_f16_fn(slot) RECORD_VOID(slot, (size_t n, const float *x, uint16_t *out), (n, x, out))
#define RECORD_fv_widen_f16_fn(slot) RECORD_VOID(slot, (size_t n, const uint16_t *x, float *out), (n, x, out))
#define RECORD_fv_rms_norm_f32_fn(slot) \
    RECORD_VOID(slot, (size_t n, const float *x, const float *weight, float epsilon, float *out), \
                (n, x, weight, epsilon, out))
#define RECORD_fv_gated_f32_fn(slot) \
    RECORD_VOID(slot, (size_t n, const float *gate, const float *up, float *out), (n, gate, up, out))
#define RECORD_fv_dot_f32_fn(slot) RECORD(slot, float, (size_t n, const float *x, const float *y), (n, x, y))
#define RECORD_fv_quantize_q8_fn(slot) \
    RECORD_VOID(slot, (size_t n, const float *x, int8_t *quants, float *scale, float *sum16, float *sum32), \
                (n, x, quants, scale, sum16, sum32))
#define RECORD_fv_panel_pack_fn(slot) \
    RECORD_VOID(slot, \
                (size_t columns, size_t groups, const uint8_t *quants, const float *scale, const float *offset, \
                 uint8_t *out_quants, float *out_scale, float *out_offset), \
                (columns, groups, quants, scale, offset, out_quants, out_scale, out_offset))
#define RECORD_fv_panel_unpack_fn(slot) \
    RECORD_VOID( \
        slot, (fv_packed_type type, size_t columns, const void *packed, uint8_t *quants, float *scale, float *offset), \
        (type, columns, packed, quants, scale, offset))
#define RECORD_fv_product_panel_fn(slot) \
    RECORD_VOID( \
        slot, (size_t columns, size_t tokens, const fv_panel *panel, const fv_q8_rows *x, float *out, size_t stride), \
        (columns, tokens, panel, x, out, stride))
#define RECORD_fv_product_packed_fn(slot) \
    RECORD(slot, bool, \
           (fv_packed_type type, size_t columns, size_t eights, const void *packed, size_t tokens, \
            const fv_q8_rows *x, float *out, size_t stride), \
           (type, columns, eights, packed, tokens, x, out, stride))
#define RECORD_fv_product_float_fn(slot) \
    RECORD_VOID( \
        slot, \
        (size_t columns, size_t rows, size_t tokens, const void *weight, const float *x, float *out, size_t stride), \
        (columns, rows, tokens, weight, x, out, stride))
#define RECORD_fv_rotate_page_fn(slot) \
    RECORD_VOID(slot, (size_t dim, size_t first, size_t end, float *x), (dim, first, end, x))
#define RECORD_fv_shadow_query_fn(slot) \
    RECORD(slot, float, (size_t dim, size_t padded, float *x, int8_t *query, uint8_t *table, int32_t *coarse_sum), \
           (dim, padded, x, query, table, coarse_sum))
#define RECORD_fv_mean_score_fn(slot) \
    RECORD_VOID(slot, \
                (const fv_shadow_rows *query, size_t panels, const uint8_t *mean, const float *step, int32_t *out, \
                 size_t stride), \
                (query, panels, mean, step, out, stride))
#define RECORD_fv_sign_score_fn(slot) \
    RECORD_VOID(slot, \
                (const fv_shadow_rows *query, size_t pages, const uint8_t *signs, const uint16_t *steps, int32_t *out, \
                 size_t stride), \
                (query, pages, signs, steps, out, stride))
#define RECORD_fv_shadow_score_fn(slot) \
    RECORD_VOID(slot, \
                (const fv_shadow_rows *query, size_t count, const uint32_t *pages, const uint8_t *signs, \
                 const uint8_t *sizes, const uint16_t *steps, int32_t *out, size_t stride), \
                (query, count, pages, signs, sizes, steps, out, stride))
#define RECORD_fv_key_score_fn(slot) \
    RECORD_VOID(slot, \
                (const fv_shadow_rows *query, size_t count, const uint32_t *pages, const uint8_t *signs, \
                 const uint8_t *sizes, const uint16_t *steps, const float *noise, int32_t *out, size_t stride), \
                (query, count, pages, signs, sizes, steps, noise, out, stride))
#define RECORD_fv_tail_sum_fn(slot) \
    RECORD_VOID(slot, \
                (size_t rows, size_t dim, size_t count, const uint32_t *pages, const int32_t *score, size_t stride, \
                 const int32_t *level, const uint8_t *values, uint64_t *mass, float *out), \
                (rows, dim, count, pages, score, stride, level, values, mass, out))
#define RECORD_fv_page_weight_fn(slot) \
    RECORD_VOID(slot, (size_t pages, const int32_t *score, uint32_t *weight), (pages, score, weight))
#define RECORD_fv_count_least_fn(slot) \
    RECORD(slot, size_t, (size_t n, const uint32_t *x, uint32_t least), (n, x, least))
#define RECORD_fv_list_least_fn(slot) \
    RECORD(slot, size_t, (size_t n, const uint32_t *x, uint32_t least, uint32_t *place), (n, x, least, place))

#define RECORD_SLOT(slot, type) RECORD_##type(slot)
FV_KERNEL_LIST(RECORD_SLOT)
FV_KERNEL_OPTIONAL_LIST(RECORD_SLOT)

/* `kernels`, counted from 0; slots that it lacks are lacking. */
static inline void recording_begin(fv_kernels *table, const fv_kernels *kernels) {
    memset(recorded_calls, 0, sizeof recorded_calls);
    recorded = kernels;
    *table = *kernels;
#define RECORDING_SLOT(slot, type) \
    if (table->slot) table->slot = recorded_##slot;
    FV_KERNEL_LIST(RECORDING_SLOT)
    FV_KERNEL_OPTIONAL_LIST(RECORDING_SLOT)
#undef RECORDING_SLOT
}

#endif
