/* f32_loops.h - contracts of the small loops over f32 between the large kernels of kernels.h. */
#ifndef FV_F32_LOOPS_H
#define FV_F32_LOOPS_H

#include <stddef.h>
#include <stdint.h>

/* The end of the online softmax for rows 0, group, 2 * group, .. 15 * group: all[r] = the lanes of sum[r], added one
 * after the other to 0;  out[t * out_stride + c] = x[r * head_dim + c] * (1 / all[r]), or * 0 unless all[r] > 0, r = t
 * * group. The bits of plain C; optional. */
typedef void fv_finish16_fn(size_t group, size_t head_dim, const float *sum, const float *x, float *out,
                            size_t out_stride);

/* Small loops over f32 between the large ones: the bits of plain C, no overlap. Optional.
 * mix: into[i] <- into[i] * keep + from[i] * add, both products rounded.
 * copy_rows: out[t * n + i] = x[t * x_stride + i], t < rows.
 * mean_add: for each of `rows` rows x[t], `before` rows before them: mean[i] += (x[t][i] - mean[i]) * (1 / (before + t
 * + 1)), the share and each step rounded; before = 0 starts from 0. largest: the most of |x[i]|'s bits, 0 of none. */
typedef void fv_mix_fn(size_t n, float keep, float *into, float add, const float *from);
typedef void fv_copy_rows_fn(size_t rows, size_t n, const float *x, size_t x_stride, float *out);
typedef void fv_mean_add_fn(uint32_t before, uint32_t rows, size_t n, const float *x, size_t x_stride, float *mean);
typedef uint32_t fv_largest_fn(size_t n, const float *x);

/* Slots that a table may lack (NULL). */
#define FV_KERNEL_LOOP_LIST(K) \
    K(mix_f32, fv_mix_fn) \
    K(copy_rows_f32, fv_copy_rows_fn) \
    K(finish16_f32, fv_finish16_fn) \
    K(mean_add_f32, fv_mean_add_fn) \
    K(largest_f32, fv_largest_fn)

#endif
