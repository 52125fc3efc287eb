/* The one executor. A plan is walked in segments of absolute position, a segment in chunks of 64 keys; keys that lie apart
 * (DIAG, MARK) are first gathered into a chunk of their own. Every number is a function of positions only. */
#include "attend/attend_state.h"
#include "cache/cache_pages.h"
#include "kernels/kernels.h"
#include "kernels/scalar/exp_scalar.h"
#include "size.h"
#include <float.h>

/* Rows up to which a page is converted in registers; above, once into scratch for all rows. */
enum { DIRECT_ROWS = 6 };

/* One call's surroundings, so that the walk below passes one pointer. */
typedef struct attend_job {
    const fv_attend_config *config;
    const fv_kernels *kernels;
    const fv_cache *cache;
    const fv_plan *plan;
    uint32_t kv_head, group;
    const float *query; /* [rows * group][head_dim] */
    fv_state state;
    float *score;  /* [rows * group][64] */
    float *keys;   /* [4][head_dim][16] */
    float *values; /* [64][head_dim] */
} attend_job;

/* 64 keys at most: where they lie and which of them exist. Columns are counted from the chunk's first key. */
typedef struct key_chunk {
    uint32_t type;           /* fv_element of keys; FV_ELEMENT_F32 once converted */
    uint32_t value_type;     /* likewise of values */
    const void *keys;        /* panel of page `first_page` of the chunk; the next pages follow in memory */
    uint32_t first_page, pages;
    const float *key_scales; /* [64], NULL unless Q8_0 */
    const void *values;      /* row of column `begin` */
    const float *value_scales; /* of column 0 */
    uint32_t begin, end;     /* columns read by any row */
} key_chunk;

/* Columns that one position reads. */
typedef struct column_range {
    uint32_t begin, end;
} column_range;

typedef struct scratch_layout {
    size_t query_offset, state_offset, segment_offset, score_offset, key_offset, value_offset, bytes;
} scratch_layout;

size_t fv_state_floats(size_t rows, size_t head_dim) { return rows * (head_dim + 2); }

fv_state fv_state_at(float *memory, size_t rows, size_t head_dim) {
    return (fv_state){.out = memory, .maximum = memory + rows * head_dim, .sum = memory + rows * head_dim + rows};
}

static fv_status scratch_layout_make(const fv_attend_config *config, scratch_layout *out) {
    if (!config || config->kv_heads < 1 || config->head_dim < 1 || config->head_dim > 1024) return FV_ERROR_ARGUMENT;
    if (config->query_heads < 1 || config->query_heads % config->kv_heads != 0) return FV_ERROR_ARGUMENT;
    if (!(config->scale > 0.0f && config->scale <= FLT_MAX)) return FV_ERROR_ARGUMENT;
    if (!(config->softcap >= 0.0f && config->softcap <= FLT_MAX)) return FV_ERROR_ARGUMENT;
    scratch_layout layout = {0};
    size_t group = config->query_heads / config->kv_heads, dim = config->head_dim, rows = 0;
    if (!fv_size_add(&rows, group, FV_TILE_ROWS, 1) || rows > SIZE_MAX / (4 * (dim + 2 + FV_CHUNK_KEYS)))
        return FV_ERROR_OVERFLOW;
    const size_t counts[] = {rows * dim, fv_state_floats(rows, dim), fv_state_floats(rows, dim), rows * FV_CHUNK_KEYS,
                             FV_CHUNK_KEYS * dim, FV_CHUNK_KEYS * dim};
    size_t *const offsets[] = {&layout.query_offset, &layout.state_offset, &layout.segment_offset,
                               &layout.score_offset, &layout.key_offset,   &layout.value_offset};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        *offsets[i] = layout.bytes;
        if (!fv_size_add(&layout.bytes, counts[i], sizeof(float), FV_CACHE_ALIGN)) return FV_ERROR_OVERFLOW;
    }
    *out = layout;
    return FV_OK;
}

fv_status fv_attend_size(const fv_attend_config *config, size_t *bytes) {
    scratch_layout layout;
    fv_status status = scratch_layout_make(config, &layout);
    if (status != FV_OK) return status;
    if (!bytes) return FV_ERROR_ARGUMENT;
    *bytes = layout.bytes;
    return FV_OK;
}

void fv_state_clear(fv_state state, size_t rows, size_t dim) {
    for (size_t r = 0; r < rows; r++) {
        state.maximum[r] = -FV_NO_MAXIMUM;
        state.sum[r] = 0.0f;
    }
    for (size_t i = 0; i < rows * dim; i++) state.out[i] = 0.0f;
}

void fv_state_merge(fv_state into, fv_state from, size_t rows, size_t head_dim) {
    for (size_t r = 0; r < rows; r++) {
        float *out = into.out + r * head_dim;
        const float *more = from.out + r * head_dim;
        if (from.sum[r] == 0.0f) continue;
        if (into.sum[r] == 0.0f) {
            for (size_t c = 0; c < head_dim; c++) out[c] = more[c];
            into.maximum[r] = from.maximum[r];
            into.sum[r] = from.sum[r];
            continue;
        }
        float best = into.maximum[r] > from.maximum[r] ? into.maximum[r] : from.maximum[r];
        float keep = fv_exp_scalar(into.maximum[r] - best), add = fv_exp_scalar(from.maximum[r] - best);
        for (size_t c = 0; c < head_dim; c++) out[c] = out[c] * keep + more[c] * add;
        into.sum[r] = into.sum[r] * keep + from.sum[r] * add;
        into.maximum[r] = best;
    }
}

void fv_state_finish(const fv_attend_config *config, fv_state state, uint32_t rows, uint32_t kv_head, float *out,
                     size_t out_stride) {
    size_t group = config->query_heads / config->kv_heads, dim = config->head_dim;
    for (size_t i = 0; i < rows; i++)
        for (size_t g = 0; g < group; g++) {
            size_t r = i * group + g;
            float factor = state.sum[r] > 0.0f ? 1.0f / state.sum[r] : 0.0f;
            float *row = out + i * out_stride + (kv_head * group + g) * dim;
            for (size_t c = 0; c < dim; c++) row[c] = state.out[r * dim + c] * factor;
        }
}

/* Converts a chunk's keys and values to f32 once; integers stay integers (their scales are applied as in registers). */
static void chunk_widen(const attend_job *job, key_chunk *chunk) {
    size_t key_count = chunk->pages * FV_PAGE_TOKENS * (size_t)job->config->head_dim;
    size_t value_count = (chunk->end - chunk->begin) * (size_t)job->config->head_dim;
    if (chunk->type == FV_ELEMENT_F16) job->kernels->widen_f16(key_count, chunk->keys, job->keys);
    if (chunk->type == FV_ELEMENT_Q8_0) job->kernels->widen_i8(key_count, chunk->keys, job->keys);
    if (chunk->type != FV_ELEMENT_F32) chunk->keys = job->keys;
    chunk->type = FV_ELEMENT_F32;
    if (chunk->value_type == FV_ELEMENT_F32) return;
    if (chunk->value_type == FV_ELEMENT_F16) job->kernels->widen_f16(value_count, chunk->values, job->values);
    if (chunk->value_type == FV_ELEMENT_Q8_0) job->kernels->widen_i8(value_count, chunk->values, job->values);
    chunk->values = job->values;
    chunk->value_type = FV_ELEMENT_F32;
}

static void chunk_scores(const attend_job *job, const key_chunk *chunk, size_t first, size_t rows, bool scale_after) {
    fv_score_page_fn *score = chunk->type == FV_ELEMENT_F32   ? job->kernels->score_page_f32
                              : chunk->type == FV_ELEMENT_F16 ? job->kernels->score_page_f16
                                                              : job->kernels->score_page_q8;
    size_t dim = job->config->head_dim, column = chunk->first_page * FV_PAGE_TOKENS;
    const float *scales = chunk->key_scales ? chunk->key_scales + column : NULL;
    float *out = job->score + first * FV_CHUNK_KEYS + column;
    score(rows, chunk->pages, dim, job->query + first * dim, dim, chunk->keys, scales, out, FV_CHUNK_KEYS);
    for (size_t r = 0; scale_after && r < rows; r++)
        for (size_t t = 0; t < chunk->pages * FV_PAGE_TOKENS; t++) out[r * FV_CHUNK_KEYS + t] *= scales[t];
}

static void value_sum(const attend_job *job, const key_chunk *chunk, size_t first, size_t rows, column_range columns) {
    if (columns.begin >= columns.end) return;
    fv_value_sum_fn *sum = chunk->value_type == FV_ELEMENT_F32   ? job->kernels->value_sum_f32
                           : chunk->value_type == FV_ELEMENT_F16 ? job->kernels->value_sum_f16
                                                                 : job->kernels->value_sum_q8;
    size_t dim = job->config->head_dim, element = chunk->value_type == FV_ELEMENT_F32   ? 4
                                                  : chunk->value_type == FV_ELEMENT_F16 ? 2
                                                                                        : 1;
    const unsigned char *values = (const unsigned char *)chunk->values + (columns.begin - chunk->begin) * dim * element;
    sum(rows, dim, columns.end - columns.begin, job->score + first * FV_CHUNK_KEYS + columns.begin, FV_CHUNK_KEYS, values,
        job->state.out + first * dim, dim);
}

/* Positions that read different columns: those that all read are summed together, what each reads before and behind them
 * alone, in the same order as without the cut. */
static void value_sum_ragged(const attend_job *job, const key_chunk *chunk, uint32_t row_begin, uint32_t row_end,
                             const column_range *columns) {
    column_range common = columns[row_begin];
    for (uint32_t i = row_begin; i < row_end; i++) {
        if (common.begin < columns[i].begin) common.begin = columns[i].begin;
        if (common.end > columns[i].end) common.end = columns[i].end;
    }
    bool shared = common.begin < common.end;
    for (uint32_t i = row_begin; i < row_end; i++) {
        column_range before = {columns[i].begin, shared ? common.begin : columns[i].end};
        value_sum(job, chunk, (size_t)i * job->group, job->group, before);
    }
    if (!shared) return;
    value_sum(job, chunk, (size_t)row_begin * job->group, (size_t)(row_end - row_begin) * job->group, common);
    for (uint32_t i = row_begin; i < row_end; i++)
        value_sum(job, chunk, (size_t)i * job->group, job->group, (column_range){common.end, columns[i].end});
}

/* Masks what each position does not read; tells whether all positions read the same columns. */
static bool chunk_mask(const attend_job *job, uint32_t row_begin, uint32_t row_end, const column_range *columns) {
    bool same = true;
    const float masked = fv_f32_from_bits(0xFF800000); /* -infinity */
    for (uint32_t i = row_begin; i < row_end; i++) {
        column_range range = columns[i];
        if (range.begin != columns[row_begin].begin || range.end != columns[row_begin].end) same = false;
        float *score = job->score + (size_t)i * job->group * FV_CHUNK_KEYS;
        for (uint32_t g = 0; g < job->group; g++, score += FV_CHUNK_KEYS) {
            for (uint32_t t = 0; t < range.begin; t++) score[t] = masked;
            for (uint32_t t = range.end; t < FV_CHUNK_KEYS; t++) score[t] = masked;
        }
    }
    return same;
}

/* One update of the state of rows row_begin..row_end-1 by a chunk, of which position i reads columns[i]. Values of keys
 * that a position does not read are not touched for it: what they hold cannot reach its output. */
static void chunk_attend(const attend_job *job, key_chunk chunk, uint32_t row_begin, uint32_t row_end,
                         const column_range *columns) {
    size_t first = (size_t)row_begin * job->group, rows = (size_t)(row_end - row_begin) * job->group;
    size_t dim = job->config->head_dim;
    bool widen = rows > DIRECT_ROWS, integers = widen && chunk.type == FV_ELEMENT_Q8_0;
    float scale = job->config->scale;
    if (widen) chunk_widen(job, &chunk);
    chunk_scores(job, &chunk, first, rows, integers);
    bool same = chunk_mask(job, row_begin, row_end, columns);
    if (job->config->softcap > 0.0f) {
        for (uint32_t i = row_begin; i < row_end; i++)
            for (size_t r = (size_t)i * job->group; r < (size_t)(i + 1) * job->group && columns[i].begin < columns[i].end; r++)
                job->kernels->softcap_f32(columns[i].end - columns[i].begin, scale, job->config->softcap,
                                          job->score + r * FV_CHUNK_KEYS + columns[i].begin);
        scale = 1.0f;
    }
    job->kernels->softmax_chunk(rows, dim, scale, job->score + first * FV_CHUNK_KEYS, job->state.maximum + first,
                                job->state.sum + first, job->state.out + first * dim, dim);
    for (size_t r = first; chunk.value_scales && r < first + rows; r++)
        for (size_t t = chunk.begin; t < chunk.end; t++) job->score[r * FV_CHUNK_KEYS + t] *= chunk.value_scales[t];
    if (same) {
        value_sum(job, &chunk, first, rows, columns[row_begin]);
        return;
    }
    value_sum_ragged(job, &chunk, row_begin, row_end, columns);
}

/* Tokens begin..end-1 of one aligned run of 64. */
static void span_chunk(const attend_job *job, const fv_step *step, uint32_t begin, uint32_t end) {
    uint32_t base = begin / FV_CHUNK_KEYS * FV_CHUNK_KEYS, page = begin / FV_PAGE_TOKENS;
    const float *value_scales = fv_cache_value_scale(job->cache, job->kv_head, base);
    key_chunk chunk = {.type = job->cache->config.key_type,
                       .value_type = job->cache->config.value_type,
                       .keys = fv_cache_key_page(job->cache, job->kv_head, page),
                       .first_page = page - base / FV_PAGE_TOKENS,
                       .pages = (end - 1) / FV_PAGE_TOKENS - page + 1,
                       .key_scales = fv_cache_key_scale(job->cache, job->kv_head, base),
                       .values = fv_cache_value_row(job->cache, job->kv_head, begin),
                       .value_scales = value_scales,
                       .begin = begin - base,
                       .end = end - base};
    column_range columns[FV_TILE_ROWS];
    uint32_t row_begin = step->row_end, row_end = step->row_begin; /* rows that read anything of this chunk */
    for (uint32_t i = step->row_begin; i < step->row_end; i++) {
        uint32_t position = job->plan->first_token + i, low = begin, high = fv_step_span_end(step, position);
        if (high > end) high = end;
        if (step->window && position + 1 > step->window && low < position + 1 - step->window)
            low = position + 1 - step->window;
        columns[i] = low < high ? (column_range){low - base, high - base} : (column_range){0, 0};
        if (low >= high) continue;
        if (row_begin > i) row_begin = i;
        row_end = i + 1;
    }
    if (row_begin < row_end) chunk_attend(job, chunk, row_begin, row_end, columns);
}

static void spans_attend(const attend_job *job, uint32_t from, uint32_t to) {
    for (uint32_t s = 0; s < job->plan->count; s++) {
        const fv_step *step = &job->plan->steps[s];
        if (step->kind != FV_STEP_SPAN) continue;
        uint32_t begin = step->begin > from ? step->begin : from, end = step->end < to ? step->end : to;
        while (begin < end) {
            uint32_t stop = (begin / FV_CHUNK_KEYS + 1) * FV_CHUNK_KEYS;
            if (stop > end) stop = end;
            span_chunk(job, step, begin, stop);
            begin = stop;
        }
    }
}

/* Runs the `count` keys gathered into job->keys and job->values for the given rows. */
static void gathered_attend(const attend_job *job, uint32_t count, uint32_t row_begin, uint32_t row_end) {
    if (!count) return;
    key_chunk chunk = {.type = FV_ELEMENT_F32,
                       .value_type = FV_ELEMENT_F32,
                       .keys = job->keys,
                       .pages = (count - 1) / FV_PAGE_TOKENS + 1,
                       .values = job->values,
                       .end = count};
    column_range columns[FV_TILE_ROWS];
    for (uint32_t i = row_begin; i < row_end; i++) columns[i] = (column_range){0, count};
    chunk_attend(job, chunk, row_begin, row_end, columns);
}

/* Places one key at column `column` of the gathered chunk; `stride` is the step between its channels. */
static void gather_key(const attend_job *job, uint32_t column, const float *key, size_t stride) {
    size_t dim = job->config->head_dim;
    float *panel = job->keys + column / FV_PAGE_TOKENS * FV_PAGE_TOKENS * dim + column % FV_PAGE_TOKENS;
    for (size_t c = 0; c < dim; c++) panel[c * FV_PAGE_TOKENS] = key[c * stride];
}

static void gather_token(const attend_job *job, uint32_t column, uint32_t token) {
    size_t dim = job->config->head_dim;
    float *value = job->values + column * dim; /* the value's place holds the key for a moment */
    if (job->cache->config.key_type == FV_ELEMENT_F32 && job->cache->config.value_type == FV_ELEMENT_F32) {
        const float *panel = fv_cache_key_page(job->cache, job->kv_head, token / FV_PAGE_TOKENS);
        const float *row = fv_cache_value_row(job->cache, job->kv_head, token);
        gather_key(job, column, panel + token % FV_PAGE_TOKENS, FV_PAGE_TOKENS);
        for (size_t c = 0; c < dim; c++) value[c] = row[c];
        return;
    }
    fv_cache_read(job->cache, job->kv_head, token, 1, value, NULL);
    gather_key(job, column, value, 1);
    fv_cache_read(job->cache, job->kv_head, token, 1, NULL, value);
}

static void row_diagonals(const attend_job *job, uint32_t row) {
    uint32_t count = 0, position = job->plan->first_token + row;
    for (uint32_t s = 0; s < job->plan->count; s++) {
        const fv_step *step = &job->plan->steps[s];
        if (step->kind != FV_STEP_DIAG || row < step->row_begin || row >= step->row_end) continue;
        if (!step->ahead && position < step->begin) continue;
        gather_token(job, count++, step->ahead ? position + step->ahead : position - step->begin);
        if (count < FV_CHUNK_KEYS) continue;
        gathered_attend(job, count, row, row + 1);
        count = 0;
    }
    gathered_attend(job, count, row, row + 1);
}

/* Neighbouring MARK steps of the same rows share chunks. */
static void plan_marks(const attend_job *job) {
    size_t dim = job->config->head_dim;
    uint32_t count = 0;
    const fv_step *last = NULL;
    for (uint32_t s = 0; s < job->plan->count; s++) {
        const fv_step *step = &job->plan->steps[s];
        if (step->kind != FV_STEP_MARK) continue;
        if (last && (last->row_begin != step->row_begin || last->row_end != step->row_end)) {
            gathered_attend(job, count, last->row_begin, last->row_end);
            count = 0;
        }
        last = step;
        for (uint32_t mark = step->begin; mark < step->end; mark++) {
            gather_key(job, count,
                       fv_cache_mark_key_page(job->cache, job->kv_head, mark / FV_PAGE_TOKENS) + mark % FV_PAGE_TOKENS,
                       FV_PAGE_TOKENS);
            const float *value = fv_cache_mark_value_row(job->cache, job->kv_head, mark);
            for (size_t c = 0; c < dim; c++) job->values[count * dim + c] = value[c];
            if (++count < FV_CHUNK_KEYS) continue;
            gathered_attend(job, count, step->row_begin, step->row_end);
            count = 0;
        }
    }
    if (last) gathered_attend(job, count, last->row_begin, last->row_end);
}

void fv_attend_segments(const fv_plan *plan, uint32_t *first, uint32_t *end) {
    uint32_t low = UINT32_MAX, high = 0;
    for (uint32_t s = 0; s < plan->count; s++) {
        const fv_step *step = &plan->steps[s];
        if (step->kind != FV_STEP_SPAN) continue;
        if (step->begin < low) low = step->begin;
        if (step->end > high) high = step->end;
    }
    *first = high ? low / FV_SEGMENT_TOKENS : 0;
    *end = high ? (high - 1) / FV_SEGMENT_TOKENS + 1 : 0;
}

/* Whether any span reaches into the segment. One that none reaches has nothing to merge. */
static bool segment_is_read(const fv_plan *plan, uint32_t segment) {
    for (uint32_t s = 0; s < plan->count; s++) {
        const fv_step *step = &plan->steps[s];
        if (step->kind != FV_STEP_SPAN) continue;
        if (step->begin / FV_SEGMENT_TOKENS <= segment && segment <= (step->end - 1) / FV_SEGMENT_TOKENS) return true;
    }
    return false;
}

/* Lays the rows of one KV head's group side by side. */
static const float *query_gather(const fv_attend_config *config, const fv_plan *plan, uint32_t kv_head,
                                 const float *query, size_t query_stride, float *out) {
    size_t width = (size_t)(config->query_heads / config->kv_heads) * config->head_dim;
    for (size_t i = 0; i < plan->rows; i++) {
        const float *row = query + i * query_stride + kv_head * width;
        for (size_t c = 0; c < width; c++) out[i * width + c] = row[c];
    }
    return out;
}

static attend_job job_make(const fv_attend_config *config, const fv_kernels *kernels, const fv_cache *cache,
                           const fv_plan *plan, uint32_t kv_head, fv_state state, void *scratch,
                           const scratch_layout *layout) {
    unsigned char *base = scratch;
    return (attend_job){.config = config,
                        .kernels = kernels,
                        .cache = cache,
                        .plan = plan,
                        .kv_head = kv_head,
                        .group = config->query_heads / config->kv_heads,
                        .query = (float *)(void *)(base + layout->query_offset),
                        .state = state,
                        .score = (float *)(void *)(base + layout->score_offset),
                        .keys = (float *)(void *)(base + layout->key_offset),
                        .values = (float *)(void *)(base + layout->value_offset)};
}

static void job_segment(const attend_job *job, uint32_t segment, bool gathered) {
    fv_state_clear(job->state, (size_t)job->plan->rows * job->group, job->config->head_dim);
    if (!gathered) {
        spans_attend(job, segment * FV_SEGMENT_TOKENS, (segment + 1) * FV_SEGMENT_TOKENS);
        return;
    }
    for (uint32_t row = 0; row < job->plan->rows; row++) row_diagonals(job, row);
    plan_marks(job);
}

void fv_attend_segment(const fv_attend_config *config, const fv_kernels *kernels, const fv_cache *cache,
                       const fv_plan *plan, uint32_t kv_head, uint32_t segment, bool gathered, const float *query,
                       size_t query_stride, fv_state state, void *scratch) {
    scratch_layout layout;
    if (scratch_layout_make(config, &layout) != FV_OK) return; /* checked by whoever made the scratch */
    attend_job job = job_make(config, kernels, cache, plan, kv_head, state, scratch, &layout);
    query_gather(config, plan, kv_head, query, query_stride, (float *)(void *)((unsigned char *)scratch + layout.query_offset));
    job_segment(&job, segment, gathered);
}

void fv_attend_spans(const fv_attend_config *config, const fv_kernels *kernels, const fv_cache *cache,
                     const fv_plan *plan, uint32_t kv_head, uint32_t begin, uint32_t end, const float *query,
                     size_t query_stride, fv_state state, void *scratch) {
    scratch_layout layout;
    if (scratch_layout_make(config, &layout) != FV_OK) return; /* checked by whoever made the scratch */
    attend_job job = job_make(config, kernels, cache, plan, kv_head, state, scratch, &layout);
    query_gather(config, plan, kv_head, query, query_stride, (float *)(void *)((unsigned char *)scratch + layout.query_offset));
    spans_attend(&job, begin, end);
}

static bool plan_has_gathered(const fv_plan *plan) {
    for (uint32_t s = 0; s < plan->count; s++)
        if (plan->steps[s].kind != FV_STEP_SPAN) return true;
    return false;
}

fv_status fv_attend_tile(const fv_attend_config *config, const fv_kernels *kernels, const fv_cache *cache,
                         const fv_plan *plan, uint32_t kv_head, const float *query, size_t query_stride, float *out,
                         size_t out_stride, void *scratch, size_t scratch_bytes) {
    scratch_layout layout;
    fv_status status = scratch_layout_make(config, &layout);
    if (status != FV_OK) return status;
    if (!kernels || !cache || !plan || !query || !out || kv_head >= config->kv_heads) return FV_ERROR_ARGUMENT;
    if (config->kv_heads != cache->config.kv_heads || config->head_dim != cache->config.head_dim) return FV_ERROR_ARGUMENT;
    if (!scratch || scratch_bytes < layout.bytes || (uintptr_t)scratch % FV_CACHE_ALIGN != 0) return FV_ERROR_MEMORY;
    size_t rows = (size_t)plan->rows * (config->query_heads / config->kv_heads), dim = config->head_dim;
    unsigned char *base = scratch;
    fv_state total = fv_state_at((float *)(void *)(base + layout.state_offset), rows, dim);
    fv_state part = fv_state_at((float *)(void *)(base + layout.segment_offset), rows, dim);
    attend_job job = job_make(config, kernels, cache, plan, kv_head, part, scratch, &layout);
    query_gather(config, plan, kv_head, query, query_stride, (float *)(void *)(base + layout.query_offset));
    fv_state_clear(total, rows, dim);
    uint32_t first, end;
    fv_attend_segments(plan, &first, &end);
    for (uint32_t segment = first; segment < end; segment++) {
        if (!segment_is_read(plan, segment)) continue;
        job_segment(&job, segment, false);
        fv_state_merge(total, part, rows, dim);
    }
    if (plan_has_gathered(plan)) {
        job_segment(&job, end, true);
        fv_state_merge(total, part, rows, dim);
    }
    fv_state_finish(config, total, plan->rows, kv_head, out, out_stride);
    return FV_OK;
}

uint64_t fv_attend_bytes(const fv_cache *cache, const fv_plan *plan) {
    uint64_t bytes = 0, dim = cache->config.head_dim;
    uint64_t lines_a_row = (cache->value_row_bytes + 63) / 64 * 64, lines_a_column = (cache->key_page_bytes + 63) / 64 * 64;
    for (uint32_t s = 0; s < plan->count; s++) {
        const fv_step *step = &plan->steps[s];
        uint64_t rows = step->row_end - step->row_begin;
        if (step->kind == FV_STEP_SPAN)
            bytes += ((step->end - 1) / FV_PAGE_TOKENS - step->begin / FV_PAGE_TOKENS + 1) * fv_cache_page_bytes(cache);
        if (step->kind == FV_STEP_DIAG) bytes += rows * (lines_a_row + lines_a_column); /* a column crosses the panel */
        if (step->kind == FV_STEP_MARK) bytes += (step->end - step->begin) * (dim * 64 + (dim * 4 + 63) / 64 * 64);
    }
    return bytes;
}
