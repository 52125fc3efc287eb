/* The one executor: walks a plan in segments of absolute position and packs what it reads into chunks of 64 keys. Keys
 * that lie apart (DIAG, MARK) are first gathered into pages of their own. Every number is a function of positions only.
 */
#include "attend/attend_job.h"
#include "build.h"
#include "cache/cache_pages.h"
#include "cache/element.h"
#include "size.h"
#include <float.h>

typedef struct scratch_layout {
    size_t query_offset, state_offset, segment_offset, score_offset, key_offset, value_offset, chunk_offset, bytes;
    uint32_t gather;
} scratch_layout;

/* The chunk at work and the one behind it. */
enum { JOB_CHUNKS = FV_BUILD_AHEAD ? 2 : 1 };

static fv_status scratch_layout_make(const fv_attend_config *config, scratch_layout *out) {
    if (!config || config->kv_heads < 1 || config->head_dim < 1 || config->head_dim > 1024) return FV_ERROR_ARGUMENT;
    if (config->query_heads < 1 || config->query_heads % config->kv_heads != 0) return FV_ERROR_ARGUMENT;
    if (!(config->scale > 0.0f && config->scale <= FLT_MAX)) return FV_ERROR_ARGUMENT;
    if (!(config->softcap >= 0.0f && config->softcap <= FLT_MAX)) return FV_ERROR_ARGUMENT;
    if (config->softcap > 0.0f && !FV_BUILD_SOFTCAP) return FV_ERROR_ARGUMENT;
    if (config->tile_rows > FV_TILE_ROWS || config->gather_keys > FV_CHUNK_KEYS ||
        config->gather_keys % FV_PAGE_TOKENS != 0)
        return FV_ERROR_ARGUMENT;
    scratch_layout layout = {0};
    size_t group = config->query_heads / config->kv_heads, dim = config->head_dim, rows = 0;
    if (!fv_size_add(&rows, group, fv_attend_rows(config), 1) ||
        rows > SIZE_MAX / (4 * (dim + 1 + FV_SUM_LANES + FV_CHUNK_KEYS)))
        return FV_ERROR_OVERFLOW;
    layout.gather = config->gather_keys ? config->gather_keys : FV_CHUNK_KEYS;
    const size_t counts[] = {rows * dim,           fv_state_floats(rows, dim), fv_state_floats(rows, dim),
                             rows * FV_CHUNK_KEYS, layout.gather * dim,        layout.gather * dim};
    size_t *const offsets[] = {&layout.query_offset, &layout.state_offset, &layout.segment_offset,
                               &layout.score_offset, &layout.key_offset,   &layout.value_offset};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        *offsets[i] = layout.bytes;
        if (!fv_size_add(&layout.bytes, counts[i], sizeof(float), FV_CACHE_ALIGN)) return FV_ERROR_OVERFLOW;
    }
    layout.chunk_offset = layout.bytes;
    if (!fv_size_add(&layout.bytes, JOB_CHUNKS, sizeof(key_chunk), FV_CACHE_ALIGN)) return FV_ERROR_OVERFLOW;
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

/* Which of the tokens begin..end-1, all of one page, the rows read. False: none. */
static bool slot_rows(const attend_job *job, const fv_step *step, uint32_t begin, uint32_t end, page_slot *slot) {
    uint32_t page = begin / FV_PAGE_TOKENS * FV_PAGE_TOKENS, first = job->plan->first_token + step->row_begin;
    uint32_t last = job->plan->first_token + step->row_end - 1;
    slot->low = begin - page, slot->high = end - page;
    slot->row_begin = step->row_begin, slot->row_end = step->row_end;
    slot->even =
        fv_step_span_end(step, first) >= end && (!step->window || last < step->window || last - step->window < begin);
    if (slot->even) return true;
    slot->row_begin = step->row_end, slot->row_end = step->row_begin;
    for (uint32_t i = step->row_begin; i < step->row_end; i++) {
        uint32_t position = job->plan->first_token + i, low = begin, high = fv_step_span_end(step, position);
        if (high > end) high = end;
        if (step->window && position >= step->window && low < position + 1 - step->window)
            low = position + 1 - step->window;
        slot->begin[i] = slot->end[i] = 0;
        if (low >= high) continue;
        slot->begin[i] = (uint8_t)(low - page), slot->end[i] = (uint8_t)(high - page);
        if (slot->row_begin > i) slot->row_begin = i;
        slot->row_end = i + 1;
    }
    if (slot->row_end == slot->row_begin + 1) { /* a row is even with itself */
        slot->low = slot->begin[slot->row_begin], slot->high = slot->end[slot->row_begin];
        slot->even = true;
    }
    return slot->row_begin < slot->row_end;
}

/* Adds the tokens begin..end-1, which are of one page, to a chunk that has room. */
static void chunk_add(const attend_job *job, key_chunk *chunk, const fv_step *step, uint32_t begin, uint32_t end) {
    page_slot *slot = &chunk->slots[chunk->count];
    if (!slot_rows(job, step, begin, end, slot)) return;
    uint32_t page = begin / FV_PAGE_TOKENS, token = page * FV_PAGE_TOKENS;
    slot->keys = fv_cache_key_page(job->cache, job->kv_head, page);
    slot->values = fv_cache_value_row(job->cache, job->kv_head, token);
    slot->key_scales = fv_cache_key_scale(job->cache, job->kv_head, token);
    slot->value_scales = fv_cache_value_scale(job->cache, job->kv_head, token);
    chunk->count++;
}

/* The first span that ends behind `token`, or plan->count. Spans are in rising order; other kinds may stand between. */
static uint32_t span_find(const fv_plan *plan, uint32_t token) {
    uint32_t low = 0, high = plan->count, found = plan->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2, s = middle;
        while (s < high && plan->steps[s].kind != FV_STEP_SPAN) s++;
        if (s < high && plan->steps[s].end <= token) {
            low = s + 1;
            continue;
        }
        if (s < high) found = s;
        high = middle;
    }
    return found;
}

/* A place in the spans of a plan: the next token to be read and the step that reads it. */
typedef struct span_walk {
    const attend_job *job;
    uint32_t step, token;
} span_walk;

/* Fills a chunk with the next pages of tokens below `to`. */
static void walk_fill(span_walk *walk, uint32_t to, key_chunk *chunk) {
    const fv_plan *plan = walk->job->plan;
    chunk->key_type = walk->job->cache->config.key_type;
    chunk->value_type = walk->job->cache->config.value_type;
    for (chunk->count = 0; walk->step < plan->count; walk->step++) {
        const fv_step *step = &plan->steps[walk->step];
        if (step->kind != FV_STEP_SPAN) continue;
        if (walk->token < step->begin) walk->token = step->begin;
        uint32_t end = step->end < to ? step->end : to;
        while (walk->token < end && chunk->count < FV_CHUNK_PAGES) {
            uint32_t stop = (walk->token / FV_PAGE_TOKENS + 1) * FV_PAGE_TOKENS;
            if (stop > end) stop = end;
            chunk_add(walk->job, chunk, step, walk->token, stop);
            walk->token = stop;
        }
        if (walk->token < step->end) return; /* full, or at `to` */
    }
}

/* The chunk behind the one at work is known, so that few rows can fetch it meanwhile; also if it is the next segment's.
 */
static void spans_attend(const attend_job *job, uint32_t from, uint32_t to) {
    span_walk walk = {job, span_find(job->plan, from), from};
    key_chunk *chunks = job->chunks;
#if !FV_BUILD_AHEAD
    for (walk_fill(&walk, to, chunks); chunks->count; walk_fill(&walk, to, chunks)) fv_chunk_attend(job, chunks, NULL);
#else
    uint32_t now = 0;
    walk_fill(&walk, to, &chunks[now]);
    for (bool last = false; !last && chunks[now].count; now = 1 - now) {
        key_chunk *next = &chunks[1 - now];
        walk_fill(&walk, to, next);
        last = next->count == 0;
        if (last) walk_fill(&walk, UINT32_MAX, next);
        fv_chunk_attend(job, &chunks[now], next->count ? next : NULL);
    }
#endif
}

/* Runs the `count` keys gathered into job->keys and job->values for the given rows. */
static void gathered_attend(const attend_job *job, uint32_t count, uint32_t row_begin, uint32_t row_end) {
    size_t page = FV_PAGE_TOKENS * (size_t)job->config->head_dim;
    key_chunk *chunk = job->chunks;
    chunk->key_type = chunk->value_type = FV_ELEMENT_F32;
    chunk->count = 0;
    for (uint32_t first = 0; first < count; first += FV_PAGE_TOKENS, chunk->count++) {
        uint32_t left = count - first;
        chunk->slots[chunk->count] = (page_slot){.keys = job->keys + chunk->count * page,
                                                 .values = job->values + chunk->count * page,
                                                 .row_begin = row_begin,
                                                 .row_end = row_end,
                                                 .high = left < FV_PAGE_TOKENS ? left : FV_PAGE_TOKENS,
                                                 .even = true};
    }
    if (count) fv_chunk_attend(job, chunk, NULL);
}

/* Places one key at column `column` of the gathered chunk; `stride` is the step between its channels. */
static void gather_key(const attend_job *job, uint32_t column, const float *key, size_t stride) {
    size_t dim = job->config->head_dim;
    float *panel = job->keys + column / FV_PAGE_TOKENS * FV_PAGE_TOKENS * dim + column % FV_PAGE_TOKENS;
    for (size_t c = 0; c < dim; c++) panel[c * FV_PAGE_TOKENS] = key[c * stride];
    fv_element_turn(job->cache->config.key_type, dim, FV_TURN_KEY, panel, FV_PAGE_TOKENS);
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
        if (count < job->gather) continue;
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
            gather_key(job, count, fv_cache_mark_key_row(job->cache, job->kv_head, mark), 1);
            const float *value = fv_cache_mark_value_row(job->cache, job->kv_head, mark);
            for (size_t c = 0; c < dim; c++) job->values[count * dim + c] = value[c];
            if (++count < job->gather) continue;
            gathered_attend(job, count, step->row_begin, step->row_end);
            count = 0;
        }
    }
    if (last) gathered_attend(job, count, last->row_begin, last->row_end);
}

void fv_attend_segments(const fv_plan *plan, uint32_t *first, uint32_t *end) {
    uint32_t s = span_find(plan, 0), last = plan->count;
    *first = *end = 0;
    if (s == plan->count) return;
    while (plan->steps[last - 1].kind != FV_STEP_SPAN) last--;
    *first = plan->steps[s].begin / FV_SEGMENT_TOKENS;
    *end = (plan->steps[last - 1].end - 1) / FV_SEGMENT_TOKENS + 1;
}

/* Lays the rows of one KV head's group side by side, turned as the keys are. */
static void query_gather(const attend_job *job, const float *query, size_t query_stride, float *out) {
    size_t dim = job->config->head_dim, width = job->group * dim;
    for (size_t i = 0; i < job->plan->rows; i++) {
        const float *row = query + i * query_stride + job->kv_head * width;
        for (size_t c = 0; c < width; c++) out[i * width + c] = row[c];
        for (size_t g = 0; g < job->group; g++)
            fv_element_turn(job->cache->config.key_type, dim, 1.0f, out + i * width + g * dim, 1);
    }
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
                        .gather = layout->gather,
                        .keys = (float *)(void *)(base + layout->key_offset),
                        .values = (float *)(void *)(base + layout->value_offset),
                        .chunks = (key_chunk *)(void *)(base + layout->chunk_offset)};
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
    query_gather(&job, query, query_stride, (float *)(void *)((unsigned char *)scratch + layout.query_offset));
    job_segment(&job, segment, gathered);
}

void fv_attend_spans(const fv_attend_config *config, const fv_kernels *kernels, const fv_cache *cache,
                     const fv_plan *plan, uint32_t kv_head, uint32_t begin, uint32_t end, const float *query,
                     size_t query_stride, fv_state state, void *scratch) {
    scratch_layout layout;
    if (scratch_layout_make(config, &layout) != FV_OK) return; /* checked by whoever made the scratch */
    attend_job job = job_make(config, kernels, cache, plan, kv_head, state, scratch, &layout);
    query_gather(&job, query, query_stride, (float *)(void *)((unsigned char *)scratch + layout.query_offset));
    spans_attend(&job, begin, end);
}

#if FV_BUILD_PROMPT
/* The first segment from `segment` on that any span reaches into, or `end`. */
static uint32_t segment_find(const fv_plan *plan, uint32_t segment, uint32_t end) {
    if (segment >= end) return end;
    uint32_t s = span_find(plan, segment * FV_SEGMENT_TOKENS);
    if (s == plan->count) return end;
    uint32_t next = plan->steps[s].begin / FV_SEGMENT_TOKENS;
    return next > segment ? next : segment;
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
    if (plan->rows > fv_attend_rows(config)) return FV_ERROR_ARGUMENT;
    if (config->kv_heads != cache->config.kv_heads || config->head_dim != cache->config.head_dim)
        return FV_ERROR_ARGUMENT;
    if (!scratch || scratch_bytes < layout.bytes || (uintptr_t)scratch % FV_CACHE_ALIGN != 0) return FV_ERROR_MEMORY;
    size_t rows = (size_t)plan->rows * (config->query_heads / config->kv_heads), dim = config->head_dim;
    unsigned char *base = scratch;
    fv_state total = fv_state_at((float *)(void *)(base + layout.state_offset), rows, dim);
    fv_state part = fv_state_at((float *)(void *)(base + layout.segment_offset), rows, dim);
    attend_job job = job_make(config, kernels, cache, plan, kv_head, part, scratch, &layout);
    query_gather(&job, query, query_stride, (float *)(void *)(base + layout.query_offset));
    fv_state_clear(total, rows, dim);
    uint32_t first, end;
    fv_attend_segments(plan, &first, &end);
    for (uint32_t segment = segment_find(plan, first, end); segment < end;
         segment = segment_find(plan, segment + 1, end)) {
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
#endif

uint64_t fv_attend_bytes(const fv_cache *cache, const fv_plan *plan) {
    uint64_t bytes = 0, dim = cache->config.head_dim;
    uint64_t lines_a_row = (cache->value_row_bytes + 63) / 64 * 64,
             lines_a_column = (cache->key_page_bytes + 63) / 64 * 64;
    for (uint32_t s = 0; s < plan->count; s++) {
        const fv_step *step = &plan->steps[s];
        uint64_t rows = step->row_end - step->row_begin;
        if (step->kind == FV_STEP_SPAN)
            bytes += ((step->end - 1) / FV_PAGE_TOKENS - step->begin / FV_PAGE_TOKENS + 1) * fv_cache_page_bytes(cache);
        if (step->kind == FV_STEP_DIAG) bytes += rows * (lines_a_row + lines_a_column); /* a column crosses the panel */
        if (step->kind == FV_STEP_MARK) bytes += (step->end - step->begin) * 2 * ((dim * 4 + 63) / 64 * 64);
    }
    return bytes;
}
