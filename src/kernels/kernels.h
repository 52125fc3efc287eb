/* kernels.h - the contracts of all kernels and the one list of slots. A kernel sees plain pointers and sizes, never a
 * page, plan or config. Each slot has a scalar twin; bounds are against it unless said otherwise.
 *
 * Words: a row is a query row. "Same order" means that each output element is one chain of operations in the order that
 * the contract gives, whatever the number of rows: so cutting rows into calls changes no bit. */
#ifndef FV_KERNELS_H
#define FV_KERNELS_H

#include "build.h"
#include "fovea/isa.h"
#include "fovea/weight.h"
#include "kernels/f32_loops.h"
#include "kernels/packed.h"
#include "kernels/sets.h"
#include "numeric/half.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FV_CHUNK_KEYS 64 /* keys that share one softmax update */

/* Scores of pages: score[r][16 p + t] = sum over c, ascending, of query[r][c] * key[p][c][t], t = 0..15.
 * query [rows][query_stride].  key [pages] pointers to [head_dim][16] of the type.  score [rows][score_stride], 16 *
 * pages written.  next: NULL, or [pages] pointers to what will be read after these pages, to be fetched while they are
 * read. q8: the sum over the integers is multiplied by key_scale[16 p + t] at the end; the others ignore key_scale.
 * Same order. Bound: head_dim * 2^-23 * sum |query[c] * key[c][t]|. */
typedef void fv_score_page_fn(size_t rows, size_t pages, size_t head_dim, const float *query, size_t query_stride,
                              const void *const *key, const void *const *next, const float *key_scale, float *score,
                              size_t score_stride);

/* Q4_0 panels and rows hold their scales (src/cache/cache_pages.h); score_page_q4 reads panels of
 * 32 * ceil(head_dim / 32) + 16 * ceil(head_dim / 2) bytes, value_sum_q4 rows of 18 * ceil(head_dim / 32) bytes. An
 * element, (quant - 8) * scale, is exact in f32, and the sums are those of score_page_f32 and value_sum_f32 over it. */

/* Weighted sum of values: out[r][c] += sum over t < keys, ascending, of weight[r][t] * value[t][c].
 * value [keys][head_dim] of the type, contiguous.  weight [rows][weight_stride], out [rows][out_stride] f32. Same
 * order. q8: the integers; the caller has multiplied the token's scale into the weight.
 * next: NULL, or as many values that will be read after these.
 * Bound: keys * 2^-23 * sum |weight * value|. */
typedef void fv_value_sum_fn(size_t rows, size_t head_dim, size_t keys, const float *weight, size_t weight_stride,
                             const void *value, const void *next, float *out, size_t out_stride);

/* Scores and value sums of bf16 may round their queries and weights to bf16, nearest even, as processors do that
 * multiply pairs of bf16: their bounds are then 2^-8 * sum |query * key| and 2^-8 * sum |weight * value|, what is below
 * 2^-126 may become 0, and the chain has the odd element of each pair first, then the even one: channels 2 i and 2 i +
 * 1, keys t and t + 1 of a call. So that a value's pair is the same one in any cutting, calls begin at even keys of a
 * page, or have a single key. Queries are given to score_page_bf16 and score_list_bf16 as this kernel makes them, rows
 * head_dim apart, where a table has it (NULL elsewhere: as they are): what those read of `rows` queries that are
 * query_stride apart. */
typedef void fv_query_pack_fn(size_t rows, size_t head_dim, const float *query, size_t query_stride, float *out);

/* The values of one position: from row `first` on, with the weights from `column` on. */
typedef struct fv_value_part {
    uint8_t first, keys, column;
} fv_value_part;

/* The bits of value_sum for positions that read different values: row r = p * group + g, g < group, of position p:
 *   out[r][c] += sum over t < part[p].keys, ascending, of weight[r][part[p].column + t] * value[part[p].first + t][c]
 * Optional: where a table lacks it (NULL), value_sum does the work position by position. */
typedef void fv_value_parts_fn(size_t positions, size_t group, size_t head_dim, const fv_value_part *part,
                               const float *weight, size_t weight_stride, const void *value, float *out,
                               size_t out_stride);

/* The first of the `group` rows of a position, and where its sixteen scores of a page, later its weights, lie; the
 * other rows follow it, their scores FV_CHUNK_KEYS apart. */
typedef struct fv_listed_rows {
    uint32_t row, place;
} fv_listed_rows;

/* Positions, each with `group` rows, which a kernel can thus address from one place. */
typedef struct fv_row_list {
    size_t positions, group;
    const fv_listed_rows *at; /* [positions] */
} fv_row_list;

/* The bits of score_page for one page and listed positions, which need not follow each other:
 *   score[at[i].place + g * FV_CHUNK_KEYS + t] =
 *       sum over c, ascending, of query[(at[i].row + g) * head_dim + c] * key[c][t], t = 0..15, g < group
 * next: NULL, or a page that will be read after it. Optional: where a table lacks it, score_page does the work run by
 * run. */
typedef void fv_score_list_fn(const fv_row_list *list, size_t head_dim, const float *query, const void *key,
                              const void *next, const float *key_scale, float *score);

/* The bits of value_sum for the same; places of weights:
 *   out[(at[i].row + g) * head_dim + c] +=
 *       sum over t < keys, ascending, of weight[at[i].place + g * FV_CHUNK_KEYS + t] * value[t][c]
 * keys <= 16. Optional. */
typedef void fv_value_list_fn(const fv_row_list *list, size_t head_dim, size_t keys, const float *weight,
                              const void *value, const void *next, float *out);

/* Sixteen positions, each against a key of its own in each of `pages` pages, at most 16:
 *   score[16 * n + t] = sum over c, ascending, of query[16 * c + t] * key[n][16 * c + t], t < 16
 * The chain of score_page_f32; query as fv_transpose16_fn has it. Optional. */
typedef void fv_score_own_fn(size_t pages, size_t head_dim, const float *query, const float *const *key, float *score);

/* Values likewise, of rows out_stride apart:
 *   out[t][c] += sum over n < pages, ascending, of weight[t * weight_stride + n] * value[n][t * head_dim + c], t < 16
 * The chain of value_sum_f32. Optional. */
typedef void fv_value_own_fn(size_t pages, size_t head_dim, const float *weight, size_t weight_stride,
                             const float *const *value, float *out, size_t out_stride);

/* Sixteen rows side by side: out[16 * c + t] = x[t * stride + c], c < columns. Exact; optional. */
typedef void fv_transpose16_fn(size_t columns, const float *x, size_t stride, float *out);

/* One step of the online softmax (Milakov & Gimelshein 2018), in powers of two, for `rows` rows and `columns` keys (a
 * multiple of 16, at most 64). Per row:
 *   x = min(factor * score, FLT_MAX);  where some x > m + FV_SOFTMAX_SLACK: m' = max x rounded up to a whole number,
 *   and out and sum are multiplied by 2^(m - m'), otherwise m' = m;  score <- 2^(x - m');  sum[t % 16] += score[t]
 * As m is whole, a correction is exact: where chunks are cut and what masked columns lie between shows in no bit of
 * sum, out and of what is made of them, unless it is below 2^-126 of m.
 * score [rows][FV_CHUNK_KEYS], -inf = masked; maximum [rows], sum [rows][FV_SUM_LANES]; start from -FV_NO_MAXIMUM and
 * 0.
 * out [rows][out_stride].  2^x: relative error <= 2 ulp for x >= -126, below that 0. Same order. */
#define FV_NO_MAXIMUM 3e38f
#define FV_SOFTMAX_SLACK 8.0f /* a maximum that rises by less does not make a weight too large */
#define FV_SUM_LANES 16
typedef void fv_softmax_chunk_fn(size_t rows, size_t columns, size_t head_dim, float factor, float *score,
                                 float *maximum, float *sum, float *out, size_t out_stride);

/* x[i] <- cap * tanh(x[i] * scale / cap). Bound: 4 ulp of cap. */
typedef void fv_softcap_f32_fn(size_t n, float scale, float cap, float *x);

typedef void fv_narrow_f16_fn(size_t n, const float *x,
                              uint16_t *out); /* nearest even, overflow to infinity; exact twin */
typedef void fv_widen_f16_fn(size_t n, const uint16_t *x, float *out); /* exact */

/* out[i] = x[i] * weight[i] / sqrt(mean(x^2) + epsilon), the root's argument held between FLT_MIN and FLT_MAX. Any
 * overlap of x and out but shifted. Bound: (n + 4) * 2^-23 relative. */
typedef void fv_rms_norm_f32_fn(size_t n, const float *x, const float *weight, float epsilon, float *out);

/* out[i] = silu(gate[i]) * up[i];  gelu: the tanh form. out may be gate or up. |gate| <= 1e30.
 * Bound: 8 ulp + 2^-23 * |up|. */
typedef void fv_gated_f32_fn(size_t n, const float *gate, const float *up, float *out);

/* sum of x[i] * y[i]. Bound: n * 2^-23 * sum |x * y|. */
typedef float fv_dot_f32_fn(size_t n, const float *x, const float *y);

/* Symmetric int8 of n values (n a multiple of 32) in blocks of 32: scale = max|x| / 127, quants nearest even,
 * -127..127; sum16[i], sum32[i]: scale times the sum of 16 / 32 quants. A block with a NaN or an infinity has a scale
 * that is not finite, and so are its sums: int8 hides nothing. Exact twin but for the bits of a NaN. */
typedef void fv_quantize_q8_fn(size_t n, const float *x, int8_t *quants, float *scale, float *sum16, float *sum32);

/* Quantised rows of activations. */
typedef struct fv_q8_rows {
    const int8_t *quants; /* [tokens][columns] */
    const float *scale;   /* [tokens][columns / 32] */
    const float *sum16;   /* [tokens][columns / 16] */
    const float *sum32;   /* [tokens][columns / 32] */
} fv_q8_rows;

/* The rows from `token` on. */
static inline fv_q8_rows fv_q8_rows_from(const fv_q8_rows *x, size_t columns, size_t token) {
    return (fv_q8_rows){x->quants + token * columns, x->scale + token * (columns / 32),
                        x->sum16 + token * (columns / 16), x->sum32 + token * (columns / 32)};
}

#define FV_PANEL_ROWS 32 /* two registers of 16 lanes share each activation that is loaded */

/* A panel: 32 weight rows, unpacked and interleaved so that lanes are rows.
 * quants [columns / 4][32][4]; scale, offset [columns / group][32]; weight = scale * quant + offset. */
typedef struct fv_panel {
    const uint8_t *quants;
    const float *scale, *offset;
    uint32_t group;   /* inputs that share a scale: 16 or 32 */
    uint32_t largest; /* no quant is above: at most 255, in groups of 16 at most 63 */
} fv_panel;

/* Interleaves 8 rows of natural order (as unpack writes them) into 8 of a panel's 32. quants [8][columns], scale,
 * offset [8][groups] -> out_quants [columns / 4][32][4], out_scale, out_offset [groups][32], each from the first of the
 * eight rows on; the other rows stay untouched. Exact twin. */
typedef void fv_panel_pack_fn(size_t columns, size_t groups, const uint8_t *quants, const float *scale,
                              const float *offset, uint8_t *out_quants, float *out_scale, float *out_offset);

/* Products of a panel with `tokens` rows: out[token * out_stride + r], r = 0..31,
 *   = A + B, A = sum over groups g, ascending, of (float)(sum of quants) * (scale[g] * activation scale),
 *            B = sum over groups g, ascending, of offset[g] * activation sum.
 * Same order. Bound: groups * 2^-22 * (sum |A's terms| + sum |B's terms|). */
typedef void fv_product_panel_fn(size_t columns, size_t tokens, const fv_panel *panel, const fv_q8_rows *x, float *out,
                                 size_t out_stride);

/* Packed weights: eight rows of a type, interleaved in the bytes that they had in the file. A packed block is the
 * blocks of eight rows r: their scales, then their quants, 32 inputs after 32. The last index is the fastest.
 *
 *   type                     scales of a block
 *   Q4_0, Q5_0, Q8_0, IQ4_NL f16 scale[8]
 *   MXFP4                    u8 exponent[8]: 2^(exponent - 128) is the scale of doubled values
 *   Q4_1, Q5_1               f16 scale[8], f16 minimum[8]
 *   Q4_K, Q5_K               f16 scale[8], f16 minimum[8], u8 low[8 groups][8], u8 tops[4][8]; of group g and row r
 *                              low[g][r]       bits 0..3 of its scale, then bits 0..3 of its minimum
 *                              tops[g % 4][r]  g < 4: bits 4, 5 of its scale, then of its minimum, in the low nibble;
 *                                              g >= 4: in the high nibble
 *   Q6_K                     f16 scale[8], i8 steps[16 groups][8]
 *   IQ4_XS                   f16 scale[8], u8 low[4][8], u8 tops[2][8]; of group g and row r, 32 more than the factor:
 *                              low[g % 4][r]   bits 0..3, g < 4: in the low nibble, else in the high one
 *                              tops[g % 2][r]  bits 4, 5, at 2 (g / 2)
 *   Q2_K                     f16 scale[8], f16 minimum[8], u8 both[16 groups][8]: scale, then minimum
 *   Q3_K                     f16 scale[8], u8 low[8][8], u8 tops[4][8]; of group g and row r, 32 more than the factor:
 *                              low[g % 8][r]   bits 0..3, g < 8: in the low nibble, else in the high one
 *                              tops[g % 4][r]  bits 4, 5, at 2 (g / 4)
 *
 *   bits of a quant          where the quant of input i, row r is, of 32 inputs
 *   2                        u8 pairs[2][8][4]: bits 2 n, 2 n + 1 of [i / 16][r][i % 4], n = i / 4 % 4
 *   3                        pairs, then u8 thirds[8][4]: bit i / 4 of [r][i % 4]
 *   4                        u8 nibbles[4][8][4]: i < 16: low nibble of [i / 4][r][i % 4], else high nibble of
 *                              [i / 4 - 4][r][i % 4]
 *   5                        nibbles, then u8 fifths[8][4]: bit i / 4 of [r][i % 4]
 *   6                        nibbles, then u8 uppers[2][8][4]: bits 2 n, 2 n + 1 of [i / 16][r][i % 4], n = i / 4 % 4
 *   8                        u8 bytes[8][8][4]: [i / 4][r][i % 4], 128 more than in the file */

/* Eight packed rows to eight of a panel's 32, placed as panel_pack does (Q8_0, IQ4_NL and IQ4_XS with their bias of
 * 128, MXFP4 with one of 12). Exact twin. */
typedef void fv_panel_unpack_fn(fv_packed_type type, size_t columns, const void *packed, uint8_t *quants, float *scale,
                                float *offset);

#define FV_PACKED_TOKENS 3 /* that each kernel takes whose type it knows */

/* The panel product's numbers, bit for bit, straight from packed weights, which are read once for all tokens:
 * out[t * out_stride + r], r < 8 * eights. Eight rows follow eight rows. False: the kernel does not know the type, or
 * (from FV_PACKED_TOKENS + 1 tokens on) a panel would be faster, and has written nothing; the panel does the work. */
typedef bool fv_product_packed_fn(fv_packed_type type, size_t columns, size_t eights, const void *packed, size_t tokens,
                                  const fv_q8_rows *x, float *out, size_t out_stride);

/* Products of float weights with `tokens` f32 rows: out[t * out_stride + r] = sum over c of weight[r][c] * x[t][c].
 * weight [rows][columns] of the type, x [tokens][columns], contiguous; rows and tokens >= 1. Same bits for any number
 * of rows and tokens. Bound: columns * 2^-23 * sum |weight * x|. */
typedef void fv_product_float_fn(size_t columns, size_t rows, size_t tokens, const void *weight, const float *x,
                                 float *out, size_t out_stride);

/* ---- choosing pages: src/cache/shadow.h says how the coarse copy of the keys lies. Integers that decide, and f32 in
 * single operations of the order written here: all of these are exact twins. ---- */

/* x [dim][16] <- its rotation, lanes first..end-1: lane t is a vector whose channels lie 16 apart. Signs of
 * fv_rotate_signs, then Hadamard butterflies, the nearest channels first; a length that is no power of two is cut into
 * powers of two, the larger first; then times 1/sqrt(piece). dim <= 1024. */
typedef void fv_rotate_page_fn(size_t dim, size_t first, size_t end, float *x);

#define FV_COARSE_MOST 7 /* of the query that codes meet: four channels of four groups fit a byte */

/* Queries that coarse keys are scored with. Scores are in units of 2^-8 of a power of two. */
typedef struct fv_shadow_rows {
    size_t rows, dim;           /* dim a multiple of 16, at most 1024 */
    const int8_t *query;        /* [rows][dim], -127..127: for means */
    const int32_t *sum;         /* [rows], of it */
    const float *factor;        /* [rows]: to the units of scores */
    const uint8_t *table;       /* [rows][4 * dim]: for codes, of the coarse query (fv_shadow_query_fn) */
    const int32_t *coarse_sum;  /* [rows], of that query */
    const float *coarse_factor; /* [rows], 0..2^100 */
    const int32_t *base;        /* [rows][base_stride], one a block of four pages, |base| <= 2^28; not for means */
    size_t base_stride;
} fv_shadow_rows;

/* Where the codes of keys meet the table of a query. A plane holds one bit of each channel of a page's 16 keys, in
 * bytes [dim / 16][2][16]; a query's table has 16 entries for each four channels, [dim / 16][2][2][16]. Byte (j, l, t):
 *
 *   bits of the byte         0, 1, 2, 3               4, 5, 6, 7
 *   channels of key t        16 j + 4 l + 0..3        16 j + 8 + 4 l + 0..3
 *   entries of the table     [j][0][l][nibble]        [j][1][l][nibble]
 *
 * An entry is 4 * FV_COARSE_MOST + the sum of coarse[c] over the channels c whose bit is set in its nibble. So the
 * entries of key t, less 4 * FV_COARSE_MOST each, add up to plane[t]: the sum of coarse[c] over its set bits. */

/* x [dim] <- its rotation, the same operations; query[c] = fv_round_held(x[c] * (127 / magnitude), 127), and 0 for dim
 * <= c < padded, magnitude: the largest of x; likewise coarse with FV_COARSE_MOST, of which only the table and the sum
 * are written. Returns the magnitude; where it is not finite or is 0, both queries are 0 and so is the result. padded a
 * multiple of 16. */
typedef float fv_shadow_query_fn(size_t dim, size_t padded, float *x, int8_t *query, uint8_t *table,
                                 int32_t *coarse_sum);

/* Scores of 16 * panels means:
 *   out[r][p] = fv_round_held((float)(sum over c of query[r][c] * mean[p][c] - 64 * sum[r]) * step[p] * factor[r],
 *                              2^28)
 * mean [panels][dim / 4][16][4] bytes 0..127; step [16 * panels]; out rows out_stride apart. */
typedef void fv_mean_score_fn(const fv_shadow_rows *query, size_t panels, const uint8_t *mean, const float *step,
                              int32_t *out, size_t out_stride);

/* Scores of the best keys of pages 0..pages-1, by their signs:
 *   x[t] = (float)(2 * plane[t] - coarse_sum) * step[t];  out[r][p] = fv_round_held(max of x * (0.82f * coarse_factor),
 *                              2^28) + base[p / 4]
 * signs, steps: of page 0; a step is a bf16, 0..2^100. out rows out_stride apart. */
typedef void fv_sign_score_fn(const fv_shadow_rows *query, size_t pages, const uint8_t *signs, const uint16_t *steps,
                              int32_t *out, size_t out_stride);

/* Logarithms of the masses of listed pages, by both planes. Page n of the list is pages[n]; key t of it, signs[t] and
 * sizes[t] the plane[t] of the two planes:
 *   x[t] = fv_round_held((float)(4 * signs[t] + 2 * sizes[t] - 3 * coarse_sum) * step[t] * (0.5f * coarse_factor),
 *                         FV_SCORE_MOST)
 *   mass = sum of fv_score_power(x[t]) in f32: keys 0 and 1, 2 and 3 and so on, then pairs, then fours, then eights
 *   out[r][n] = fv_power_score(mass) + base[pages[n] / 4]
 * signs, sizes, steps: of page 0. out rows out_stride apart. */
#define FV_SCORE_MOST 30720.0f /* 120 powers of two beside the base */
typedef void fv_shadow_score_fn(const fv_shadow_rows *query, size_t count, const uint32_t *pages, const uint8_t *signs,
                                const uint8_t *sizes, const uint16_t *steps, int32_t *out, size_t out_stride);

/* Scores of the keys of listed pages, each with its part of the variance of its error:
 *   out[r][16 n + t] = x[t] + base[pages[n] / 4] + fv_round_held(noise[r] * step[t] * step[t], FV_KEY_NOISE), x[t] as
 *   in fv_shadow_score_fn. noise [rows] >= 0. signs, sizes, steps: of page 0. out rows out_stride apart. */
typedef void fv_key_score_fn(const fv_shadow_rows *query, size_t count, const uint32_t *pages, const uint8_t *signs,
                             const uint8_t *sizes, const uint16_t *steps, const float *noise, int32_t *out,
                             size_t out_stride);
#define FV_KEY_NOISE 512.0f

/* What listed pages add to the softmax of rows, by scores of their keys and coarse values (src/codes/codes.h says
 * how these lie). Page after page of the list, of key t of page n:
 *   p[t] = fv_power_of(score[r][16 n + t] - level[r]);  mass[r] += sum of p
 *   w[t] = (float)p[t] * step[t];  top = max of w;  u[t] = fv_round_held(w[t] * (255 / top), 255), 0 if top < 2^-100
 *   out[r][c] += (float)(2 * sum of u[t] * code[t][c] - 3 * sum of u[t]) * (top * (0.5f / 255))
 * No score is above its row's level.  values: of page 0, [4 * dim + 32] bytes a page: codes, then steps (bf16,
 * 0..2^100).
 * dim a multiple of 16.  score rows score_stride, out rows dim apart. count <= FV_TAIL_PAGES. */
typedef void fv_tail_sum_fn(size_t rows, size_t dim, size_t count, const uint32_t *pages, const int32_t *score,
                            size_t score_stride, const int32_t *level, const uint8_t *values, uint64_t *mass,
                            float *out);
#define FV_TAIL_PAGES 16

/* How much of a row's mass pages have, as a logarithm, and the larger of that and what is in `weight`:
 *   level = best + fv_log2_of(sum of fv_power_of(score[p] - best)) - 16 * 256, best = max of score
 *   weight[p] = max(weight[p], FV_WEIGHT_WHOLE + score[p] - level)
 * |score| <= 2^29 + 2^12, pages >= 1. */
typedef void fv_page_weight_fn(size_t pages, const int32_t *score, uint32_t *weight);
#define FV_WEIGHT_WHOLE 0x78000000u /* of a page that has all mass */

/* How many of x[i], i < n, are >= least. */
typedef size_t fv_count_least_fn(size_t n, const uint32_t *x, uint32_t least);

/* Writes the places i < n with x[i] >= least in rising order; how many. */
typedef size_t fv_list_least_fn(size_t n, const uint32_t *x, uint32_t least, uint32_t *place);

/* Nearest even integer of x, held within +-most; NaN is -most. most <= 2^28. */
static inline int32_t fv_round_held(float x, float most) {
    x = x > -most ? x : -most;
    x = x < most ? x : most;
    if (x > -0x1p22f && x < 0x1p22f) return (int32_t)((x + 12582912.0f) - 12582912.0f);
    int32_t whole = (int32_t)x; /* an f32 of this size may have a half bit at most */
    float rest = x - (float)whole;
    if (rest > 0.5f || (rest == 0.5f && whole & 1)) return whole + 1;
    if (rest < -0.5f || (rest == -0.5f && whole & 1)) return whole - 1;
    return whole;
}

/* 2^16 times 2^(e / 256), straight between powers of two, down to a whole number; e <= 0. */
static inline uint32_t fv_power_of(int32_t e) {
    int32_t shift = -(e >> 8);
    return shift < 32 ? (uint32_t)(256 + (e & 255)) << 8 >> shift : 0;
}

/* Its inverse: 256 times log2(x), straight between powers of two, of the upper 9 bits of x; x >= 1. */
static inline int32_t fv_log2_of(uint64_t x) {
    int32_t power = 0;
    for (int32_t step = 32; step > 0; step /= 2)
        if (x >> power >> step) power += step;
    return power * 256 + (int32_t)((power >= 8 ? x >> (power - 8) : x << (8 - power)) & 255);
}

/* 2^(x / 256), straight between powers of two; |x| <= FV_SCORE_MOST. */
static inline float fv_score_power(int32_t x) { return fv_f32_from_bits((uint32_t)(x + 127 * 256) << 15); }

/* Its inverse, of the upper 8 bits of x's fraction. */
static inline int32_t fv_power_score(float x) { return (int32_t)(fv_bits_from_f32(x) >> 15) - 127 * 256; }

/* Bit c: the rotation turns the sign of channel c. */
extern const uint32_t fv_rotate_signs[32];

/* 1/sqrt(2^i): what a piece of 2^i channels is multiplied by. */
extern const float fv_rotate_norms[11];

/* X(slot, function type), by the switch of build.h that needs them (F32: every build). A missing scalar twin is a link
 * error. */
#define FV_KERNEL_F32_LIST(K) \
    K(score_page_f32, fv_score_page_fn) \
    K(value_sum_f32, fv_value_sum_fn) \
    K(softmax_chunk, fv_softmax_chunk_fn)

#define FV_KERNEL_F16_LIST(K) \
    K(score_page_f16, fv_score_page_fn) \
    K(value_sum_f16, fv_value_sum_fn) \
    K(narrow_f16, fv_narrow_f16_fn) \
    K(widen_f16, fv_widen_f16_fn)

#define FV_KERNEL_BF16_LIST(K) \
    K(score_page_bf16, fv_score_page_fn) \
    K(value_sum_bf16, fv_value_sum_fn) \
    K(narrow_bf16, fv_narrow_f16_fn)

#define FV_KERNEL_Q8_LIST(K) \
    K(score_page_q8, fv_score_page_fn) \
    K(value_sum_q8, fv_value_sum_fn)

#define FV_KERNEL_Q4_LIST(K) \
    K(score_page_q4, fv_score_page_fn) \
    K(value_sum_q4, fv_value_sum_fn)

#define FV_KERNEL_SOFTCAP_LIST(K) K(softcap_f32, fv_softcap_f32_fn)

#define FV_KERNEL_DOT_LIST(K) K(dot_f32, fv_dot_f32_fn)

#define FV_KERNEL_MODEL_LIST(K) \
    K(rms_norm_f32, fv_rms_norm_f32_fn) \
    K(silu_f32, fv_gated_f32_fn) \
    K(gelu_f32, fv_gated_f32_fn) \
    K(quantize_q8, fv_quantize_q8_fn) \
    K(panel_pack, fv_panel_pack_fn) \
    K(panel_unpack, fv_panel_unpack_fn) \
    K(product_panel, fv_product_panel_fn) \
    K(product_packed, fv_product_packed_fn) \
    K(product_f32, fv_product_float_fn) \
    K(product_f16, fv_product_float_fn) \
    K(product_bf16, fv_product_float_fn)

#define FV_KERNEL_CHOOSE_LIST(K) \
    K(rotate_page, fv_rotate_page_fn) \
    K(shadow_query, fv_shadow_query_fn) \
    K(mean_score, fv_mean_score_fn) \
    K(sign_score, fv_sign_score_fn) \
    K(shadow_score, fv_shadow_score_fn) \
    K(page_weight, fv_page_weight_fn) \
    K(count_least, fv_count_least_fn) \
    K(list_least, fv_list_least_fn)

#define FV_KERNEL_TAIL_LIST(K) \
    K(key_score, fv_key_score_fn) \
    K(tail_sum, fv_tail_sum_fn)

#define FV_KERNEL_ATTENTION_LIST(K) \
    FV_KERNEL_F32_LIST(K) \
    FV_KERNEL_F16_LIST(K) \
    FV_KERNEL_BF16_LIST(K) \
    FV_KERNEL_Q8_LIST(K) \
    FV_KERNEL_Q4_LIST(K) \
    FV_KERNEL_SOFTCAP_LIST(K) \
    FV_KERNEL_DOT_LIST(K) \
    FV_KERNEL_CHOOSE_LIST(K) \
    FV_KERNEL_TAIL_LIST(K)

#define FV_KERNEL_LIST(K) \
    FV_KERNEL_ATTENTION_LIST(K) \
    FV_KERNEL_MODEL_LIST(K)

/* Slots that a table may lack (NULL), of prompts whose rows choose. */
#if FV_BUILD_LISTS
#define FV_KERNEL_LISTED_LIST(K) \
    K(score_list_f32, fv_score_list_fn) \
    K(score_list_f16, fv_score_list_fn) \
    K(score_list_bf16, fv_score_list_fn) \
    K(score_list_q8, fv_score_list_fn) \
    K(score_list_q4, fv_score_list_fn) \
    K(value_list_f32, fv_value_list_fn) \
    K(value_list_f16, fv_value_list_fn) \
    K(value_list_bf16, fv_value_list_fn) \
    K(value_list_q8, fv_value_list_fn) \
    K(value_list_q4, fv_value_list_fn)
#else
#define FV_KERNEL_LISTED_LIST(K)
#endif

/* Slots that a table may lack (NULL). */
#define FV_KERNEL_OPTIONAL_LIST(K) \
    K(value_parts_f32, fv_value_parts_fn) \
    K(value_parts_f16, fv_value_parts_fn) \
    K(value_parts_bf16, fv_value_parts_fn) \
    K(value_parts_q8, fv_value_parts_fn) \
    K(value_parts_q4, fv_value_parts_fn) \
    K(query_pack_bf16, fv_query_pack_fn) \
    K(score_own_f32, fv_score_own_fn) \
    K(value_own_f32, fv_value_own_fn) \
    K(transpose16_f32, fv_transpose16_fn) \
    FV_KERNEL_LOOP_LIST(K) \
    FV_KERNEL_LISTED_LIST(K)

#define FV_KERNEL_SLOT(name, type) type *name;
struct fv_kernels {
    uint32_t isa; /* fv_isa, the best in this table */
    FV_KERNEL_ATTENTION_LIST(FV_KERNEL_SLOT)
    FV_KERNEL_OPTIONAL_LIST(FV_KERNEL_SLOT)
#if FV_BUILD_MODEL
    FV_KERNEL_MODEL_LIST(FV_KERNEL_SLOT)
#endif
};
#undef FV_KERNEL_SLOT

/* fv_SLOT_kernel: the type of a slot's function. */
#define FV_KERNEL_TYPE(name, type) typedef type fv_##name##_kernel;
FV_KERNEL_LIST(FV_KERNEL_TYPE)
FV_KERNEL_OPTIONAL_LIST(FV_KERNEL_TYPE)
#undef FV_KERNEL_TYPE

#define FV_KERNEL_DECLARE(name, type) type fv_##name##_scalar;
FV_KERNEL_LIST(FV_KERNEL_DECLARE)
#undef FV_KERNEL_DECLARE

#define FV_SET_KERNEL(name, set) fv_##name##_kernel fv_##name##_##set;
#define FV_SET_KERNELS(NAME, name, family, level) FV_##NAME##_LIST(FV_SET_KERNEL)
FV_ISA_LIST(FV_SET_KERNELS)
#undef FV_SET_KERNELS
#undef FV_SET_KERNEL

/* The table as a processor of that level gets it, which need not be this one: for fv_kernels_init() and tests. */
void fv_kernels_fill(fv_kernels *table, fv_isa isa);

#endif
