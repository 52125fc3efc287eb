/* The one executor: walks a plan in segments of absolute position and packs what it reads into chunks of 64 keys. Keys
 * that lie apart (DIAG, MARK) are first gathered into pages of their own. Every number is a function of positions only.
 */
#include "attend/attend_job.h"
#include "build.h"
#include "cache/cache_pages.h"
#include "cache/element.h"
#include "numeric/size.h"
#include <float.h>

/* The chunk being read and what is fetched meanwhile. */
enum { JOB_CHUNKS = FV_BUILD_AHEAD ? 2 : 1 };

/* Pages that are fetched before they are read: fewer wait for memory, more are pushed out; at most a chunk. */
enum { PAGES_AHEAD = FV_CHUNK_PAGES };

/* Rows of all positions that kernels may fetch for, eight at a time: more of them take longer than memory does. */
enum { FETCHED_ROWS = 16 };

fv_status fv_attend_layout_make(const fv_attend_config *config, fv_attend_layout *layout) {
    if (!config || config->kv_heads < 1 || config->head_dim < 1 || config->head_dim > 1024) return FV_ERROR_ARGUMENT;
    if (config->query_heads < 1 || config->query_heads % config->kv_heads != 0) return FV_ERROR_ARGUMENT;
    if (!(config->scale > 0.0f && config->scale <= FLT_MAX)) return FV_ERROR_ARGUMENT;
    if (!(config->softcap >= 0.0f && config->softcap <= FLT_MAX)) return FV_ERROR_ARGUMENT;
    if (config->softcap > 0.0f && !FV_BUILD_SOFTCAP) return FV_ERROR_ARGUMENT;
    if (config->tile_rows > FV_TILE_ROWS || config->gather_keys > FV_CHUNK_KEYS ||
        config->gather_keys % FV_PAGE_TOKENS != 0)
        return FV_ERROR_ARGUMENT;
    *layout = (fv_attend_layout){0};
    size_t group = fv_attend_group(config), dim = config->head_dim, rows = 0;
    if (!fv_size_add(&rows, group, fv_attend_rows(config), 1) ||
        rows > SIZE_MAX / (4 * (dim + 1 + FV_SUM_LANES + FV_CHUNK_KEYS)))
        return FV_ERROR_OVERFLOW;
    layout->gather = config->gather_keys ? config->gather_keys : FV_CHUNK_KEYS;
    /* without prompts, queries are read where they are unless they are turned, and states are all the caller's */
    size_t query = FV_BUILD_PROMPT || FV_BUILD_Q4 ? rows * dim : 0,
           state = FV_BUILD_PROMPT ? fv_state_floats(rows, dim) : 0;
    size_t *bytes = &layout->bytes;
    layout->query_offset = fv_size_reserve(bytes, query, sizeof(float));
#if FV_BUILD_PAIRS
    layout->packed_offset = fv_size_reserve(bytes, rows * dim, sizeof(float));
#endif
    layout->state_offset = fv_size_reserve(bytes, state, sizeof(float));
    layout->segment_offset = fv_size_reserve(bytes, state, sizeof(float));
    layout->score_offset = fv_size_reserve(bytes, rows, FV_CHUNK_KEYS * sizeof(float));
    layout->key_offset = fv_size_reserve(bytes, layout->gather, dim * sizeof(float));
    layout->value_offset = fv_size_reserve(bytes, layout->gather, dim * sizeof(float));
    layout->chunk_offset = fv_size_reserve(bytes, JOB_CHUNKS, sizeof(fv_key_chunk));
    layout->scale_offset = fv_size_reserve(bytes, FV_BUILD_Q8 ? FV_CHUNK_KEYS : 0, sizeof(float));
    layout->job_offset = fv_size_reserve(bytes, 1, sizeof(fv_attend_job));
    return *bytes == SIZE_MAX ? FV_ERROR_OVERFLOW : FV_OK;
}

fv_status fv_attend_size(const fv_attend_config *config, size_t *bytes) {
    fv_attend_layout layout;
    fv_status status = fv_attend_layout_make(config, &layout);
    if (status != FV_OK) return status;
    if (!bytes) return FV_ERROR_ARGUMENT;
    *bytes = layout.bytes;
    return FV_OK;
}

/* Which of the tokens begin..end-1, all of one page, each row reads. False: no row any. */
static bool slot_rows(const fv_attend_job *job, const fv_step *step, uint32_t begin, uint32_t end, fv_page_slot *slot) {
    uint32_t page = begin / FV_PAGE_TOKENS * FV_PAGE_TOKENS;
    slot->row_begin = step->row_end, slot->row_end = step->row_begin;
    for (uint32_t i = step->row_begin; i < step->row_end; i++) {
        uint32_t position = job->plan->first_token + i;
        uint32_t low = fv_step_span_begin(step, position), high = fv_step_span_end(step, position);
        if (low < begin) low = begin;
        if (high > end) high = end;
        slot->begin[i] = slot->end[i] = 0;
        if (low >= high) continue;
        slot->begin[i] = (uint8_t)(low - page), slot->end[i] = (uint8_t)(high - page);
        if (slot->row_begin > i) slot->row_begin = i;
        slot->row_end = i + 1;
    }
    if (slot->row_end == slot->row_begin + 1) { /* one row is uniform */
        slot->low = slot->begin[slot->row_begin], slot->high = slot->end[slot->row_begin];
        slot->uniform = true;
    }
    return slot->row_begin < slot->row_end;
}

/* A place in the spans of a plan: the next token to be read and the step that reads it. */
typedef struct span_walk {
    const fv_attend_job *job;
    uint32_t kv_head, step, token;
    uint32_t uniform_begin, uniform_end; /* tokens of the step that all of its rows read */
} span_walk;

/* A step comes first that reads the token or one after it. */
static void walk_enter(span_walk *walk) {
    const fv_step *step = &walk->job->plan->steps[walk->step];
    uint32_t first = walk->job->plan->first_token + step->row_begin,
             last = walk->job->plan->first_token + step->row_end - 1;
    if (walk->token < step->begin) walk->token = step->begin;
    walk->uniform_begin = step->window && last >= step->window ? last + 1 - step->window : 0;
    walk->uniform_end = fv_step_span_end(step, first);
}

/* What the only row reads of the tokens from the walk's to `end`. */
static bool slot_cut(const span_walk *walk, uint32_t end, fv_page_slot *slot) {
    uint32_t page = walk->token / FV_PAGE_TOKENS * FV_PAGE_TOKENS;
    uint32_t low = walk->token > walk->uniform_begin ? walk->token : walk->uniform_begin;
    uint32_t high = end < walk->uniform_end ? end : walk->uniform_end;
    slot->low = low - page, slot->high = high - page;
    slot->uniform = true;
    return low < high;
}

/* Adds the tokens from the walk's to `end`, which are of one page, to a chunk that has room. */
static void walk_add(const span_walk *walk, uint32_t end, fv_key_chunk *chunk) {
    const fv_attend_job *job = walk->job;
    const fv_step *step = &job->plan->steps[walk->step];
    fv_page_slot *slot = &chunk->slots[chunk->count];
    uint32_t page = walk->token / FV_PAGE_TOKENS, token = page * FV_PAGE_TOKENS;
    slot->low = walk->token - token, slot->high = end - token;
    slot->row_begin = step->row_begin, slot->row_end = step->row_end;
    slot->uniform = walk->token >= walk->uniform_begin && end <= walk->uniform_end;
    if (!FV_BUILD_PROMPT && !slot->uniform && !slot_cut(walk, end, slot)) return;
    if (FV_BUILD_PROMPT && !slot->uniform && !slot_rows(job, step, walk->token, end, slot)) return;
    chunk->keys[chunk->count++] = fv_cache_key_page(job->cache, walk->kv_head, page);
    slot->values = fv_cache_value_row(job->cache, walk->kv_head, token);
    slot->key_scales = fv_cache_key_scale(job->cache, walk->kv_head, token);
    slot->value_scales = fv_cache_value_scale(job->cache, walk->kv_head, token);
}

/* The first span that ends after `token`, or plan->count. Spans are in rising order; other kinds may stand between. */
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

/* To the place of the first token from `token` on. */
static void walk_begin(span_walk *walk, uint32_t kv_head, uint32_t token) {
    walk->kv_head = kv_head;
    walk->step = span_find(walk->job->plan, token);
    walk->token = token;
    if (walk->step < walk->job->plan->count) walk_enter(walk);
}

/* Fills a chunk with the next pages of tokens below `to`. */
static void walk_fill(span_walk *walk, uint32_t to, fv_key_chunk *chunk) {
    const fv_plan *plan = walk->job->plan;
    chunk->key_type = walk->job->cache->config.key_type;
    chunk->value_type = walk->job->cache->config.value_type;
    chunk->count = 0;
    while (walk->step < plan->count) {
        uint32_t last = plan->steps[walk->step].end, end = last < to ? last : to;
        while (walk->token < end && chunk->count < FV_CHUNK_PAGES) {
            uint32_t stop = (walk->token / FV_PAGE_TOKENS + 1) * FV_PAGE_TOKENS;
            if (stop > end) stop = end;
            walk_add(walk, stop, chunk);
            walk->token = stop;
        }
        if (walk->token < last) return; /* full, or at `to` */
        do walk->step++;
        while (walk->step < plan->count && plan->steps[walk->step].kind != FV_STEP_SPAN);
        if (walk->step < plan->count) walk_enter(walk);
    }
}

#if FV_BUILD_AHEAD
/* What is read some pages later: on to the end of the range, then where reading is likely to go on. */
typedef struct span_scout {
    const fv_attend_job *job;
    const fv_token_range *tokens;
    uint32_t kv_head, step, token;
    uint32_t end; /* of what it sees: UINT32_MAX once it is past the range */
} span_scout;

static void scout_pass(span_scout *scout) {
    const fv_token_range *tokens = scout->tokens;
    scout->end = UINT32_MAX;
    if (tokens->ahead == tokens->end && tokens->ahead_head == scout->kv_head) return; /* it is there */
    scout->kv_head = tokens->ahead_head;
    scout->token = tokens->ahead;
    scout->step = span_find(scout->job->plan, scout->token);
}

/* To the next token that is read; false: there is none. */
static bool scout_find(span_scout *scout) {
    const fv_plan *plan = scout->job->plan;
    for (;;) {
        if (scout->step < plan->count) {
            const fv_step *step = &plan->steps[scout->step];
            if (scout->token < step->begin && step->kind == FV_STEP_SPAN) scout->token = step->begin;
            if (scout->token < scout->end) {
                if (scout->token < step->end && step->kind == FV_STEP_SPAN) return true;
                scout->step++;
                continue;
            }
        } else if (scout->end == UINT32_MAX)
            return false;
        scout_pass(scout);
    }
}

/* The next `most` pages, past which it goes. */
static void scout_fill(span_scout *scout, uint32_t most, fv_key_chunk *chunk) {
    const fv_cache *cache = scout->job->cache;
    for (chunk->count = 0; chunk->count < most && scout_find(scout); chunk->count++) {
        uint32_t page = scout->token / FV_PAGE_TOKENS;
        chunk->keys[chunk->count] = fv_cache_key_page(cache, scout->kv_head, page);
        chunk->slots[chunk->count].values = fv_cache_value_row(cache, scout->kv_head, page * FV_PAGE_TOKENS);
        scout->token = (page + 1) * FV_PAGE_TOKENS;
    }
    for (uint32_t s = chunk->count; s && s < FV_CHUNK_PAGES; s++) chunk->keys[s] = chunk->keys[s - 1];
}
#endif

#define SCOUTS_STRIDES (FV_BUILD_AHEAD && FV_BUILD_PROMPT && FV_BUILD_AVX2) /* kernels that fetch */

#if SCOUTS_STRIDES
/* Strides from this one on lead to what may have left the second cache since it was a window's. */
enum { FAR_TOKENS = 512 };

static bool step_is_far(const fv_attend_job *job, const fv_step *step) {
    return step->kind == FV_STEP_DIAG && !step->ahead && step->begin >= FAR_TOKENS &&
           step->begin <= job->plan->first_token;
}

/* Of a tile with strides. Its window is near, as that of the tile before had all but its last page. What is fetched
 * while the window is read is this page, twice as no values are fetched beside the first page of a window, which is
 * read in part; then what strides lead to, the farthest first. */
typedef struct stride_scout {
    const fv_attend_job *job;
    uint32_t own, step; /* how often its own page, and past the next step */
} stride_scout;

/* To the next of it; false: there is none. */
static bool strides_find(stride_scout *scout, uint32_t *token) {
    const fv_plan *plan = scout->job->plan;
    *token = plan->first_token;
    if (scout->own && scout->own--) return true;
    while (scout->step > 0)
        if (step_is_far(scout->job, &plan->steps[--scout->step])) {
            *token -= plan->steps[scout->step].begin;
            return true;
        }
    return false;
}

static void strides_fill(stride_scout *scout, uint32_t most, fv_key_chunk *chunk) {
    const fv_cache *cache = scout->job->cache;
    chunk->count = 0;
    for (uint32_t token; chunk->count < most && strides_find(scout, &token);) {
        const uint32_t page = token / FV_PAGE_TOKENS;
        if (!fv_cache_has(cache, token, token + 1)) continue;
        chunk->keys[chunk->count] = fv_cache_key_page(cache, scout->job->kv_head, page);
        chunk->slots[chunk->count++].values = fv_cache_value_row(cache, scout->job->kv_head, page * FV_PAGE_TOKENS);
    }
    for (uint32_t s = chunk->count; s && s < FV_CHUNK_PAGES; s++) chunk->keys[s] = chunk->keys[s - 1];
}

static bool plan_is_far(const fv_attend_job *job) {
    const fv_plan *plan = job->plan;
    for (uint32_t s = plan->count; plan->rows == FV_TILE_ROWS && s > 0; s--)
        if (step_is_far(job, &plan->steps[s - 1])) return true;
    return false;
}
#endif

/* With few rows, as many pages are fetched with each chunk as it has, those that are read PAGES_AHEAD pages later:
 * every page is asked for once, whatever chunks it and its neighbours are cut into. */
static void spans_attend(fv_attend_job *job, const fv_token_range *tokens) {
    span_walk walk = {.job = job};
    fv_key_chunk *now = job->chunks;
    walk_begin(&walk, job->kv_head, tokens->begin);
#if FV_BUILD_AHEAD
    fv_key_chunk *next = now + 1;
    span_scout scout = {job, tokens, job->kv_head, walk.step, walk.token, tokens->end};
    const bool fetches = (size_t)job->plan->rows * job->group <= FETCHED_ROWS;
    if (fetches) scout_fill(&scout, PAGES_AHEAD, next);
#if SCOUTS_STRIDES
    const bool strided = fetches && plan_is_far(job);
    stride_scout strides = {job, 2, job->plan->count};
#else
    const bool strided = false;
#endif
#endif
    for (walk_fill(&walk, tokens->end, now); now->count; walk_fill(&walk, tokens->end, now)) {
#if FV_BUILD_AHEAD
#if SCOUTS_STRIDES
        if (strided) strides_fill(&strides, now->count, next);
#endif
        if (fetches && !strided) scout_fill(&scout, now->count, next);
        fv_chunk_attend(job, now, fetches && next->count ? next : NULL);
#else
        fv_chunk_attend(job, now, NULL);
#endif
    }
}

void fv_attend_segments(const fv_plan *plan, uint32_t *first, uint32_t *end) {
    uint32_t s = span_find(plan, 0), last = plan->count;
    *first = *end = 0;
    if (s == plan->count) return;
    while (plan->steps[last - 1].kind != FV_STEP_SPAN) last--;
    *first = plan->steps[s].begin / FV_SEGMENT_TOKENS;
    *end = (plan->steps[last - 1].end - 1) / FV_SEGMENT_TOKENS + 1;
}

/* Lays the rows of one KV head's group side by side, where they do not lie so already, turned as the keys are. */
static const float *query_gather(const fv_attend_job *job, const float *query, size_t query_stride,
                                 float *restrict out) {
    uint32_t type = job->cache->config.key_type;
    size_t dim = job->config->head_dim, width = job->group * dim;
    query += job->kv_head * width;
    if ((!FV_BUILD_PROMPT || job->plan->rows == 1) && !FV_ELEMENT_IS(type, Q4_0)) return query;
    if (FV_BUILD_AVX2 && job->kernels->copy_rows_f32 && !FV_ELEMENT_IS(type, Q4_0)) {
        job->kernels->copy_rows_f32(job->plan->rows, width, query, query_stride, out);
        return out;
    }
    for (size_t i = 0; i < job->plan->rows; i++) {
        const float *restrict row = query + i * query_stride;
        for (size_t c = 0; c < width; c++) out[i * width + c] = row[c];
        for (size_t g = 0; g < job->group; g++) fv_element_hadamard(type, dim, 1.0f, out + i * width + g * dim, 1);
    }
    return out;
}

#if FV_BUILD_PAIRS
static const float *query_pack(const fv_attend_job *job, float *out) {
    size_t dim = job->config->head_dim;
    if (job->cache->config.key_type != FV_ELEMENT_BF16 || !job->kernels->query_pack_bf16) return job->query;
    job->kernels->query_pack_bf16((size_t)job->plan->rows * job->group, dim, job->query, dim, out);
    return out;
}
#endif

fv_attend_job *fv_attend_begin(const fv_attend_setting *setting, const fv_plan *plan, uint32_t kv_head,
                               const float *query, void *scratch) {
    const fv_attend_layout *layout = setting->layout;
    const fv_attend_config *config = setting->config;
    unsigned char *base = (unsigned char *)scratch;
    fv_attend_job *job = (fv_attend_job *)(void *)(base + layout->job_offset);
    job->config = config;
    job->kernels = setting->kernels;
    job->cache = setting->cache;
    job->plan = plan;
    job->kv_head = kv_head;
    job->group = fv_attend_group(config);
    job->gather = layout->gather;
    job->states[0] = (float *)(void *)(base + layout->state_offset);
    job->states[1] = (float *)(void *)(base + layout->segment_offset);
    job->score = (float *)(void *)(base + layout->score_offset);
    job->scales = (float *)(void *)(base + layout->scale_offset);
    job->keys = (float *)(void *)(base + layout->key_offset);
    job->values = (float *)(void *)(base + layout->value_offset);
    job->chunks = (fv_key_chunk *)(void *)(base + layout->chunk_offset);
    job->query = query_gather(job, query, setting->query_stride, (float *)(void *)(base + layout->query_offset));
#if FV_BUILD_PAIRS
    job->packed = query_pack(job, (float *)(void *)(base + layout->packed_offset));
#endif
    return job;
}

/* Into the job's state. */
static void segment_attend(fv_attend_job *job, uint32_t segment, bool gathered) {
    fv_state_clear(job->state, (size_t)job->plan->rows * job->group, job->config->head_dim);
    if (gathered) {
        fv_diagonals_attend(job);
        fv_marks_attend(job);
        return;
    }
    uint32_t begin = segment * FV_SEGMENT_TOKENS, end = begin + FV_SEGMENT_TOKENS;
    fv_token_range tokens = {begin, end, end, job->kv_head};
    spans_attend(job, &tokens);
}

void fv_attend_segment(fv_attend_job *job, fv_state state, uint32_t segment, bool gathered) {
    job->state = state;
    segment_attend(job, segment, gathered);
}

void fv_attend_spans(fv_attend_job *job, fv_state state, const fv_token_range *tokens) {
    job->state = state;
    spans_attend(job, tokens);
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

/* The state of all parts, or of one of them. */
static fv_state job_state(const fv_attend_job *job, bool part) {
    size_t rows = (size_t)job->plan->rows * job->group, dim = job->config->head_dim;
    return fv_state_at(job->states[part], rows, dim);
}

/* All parts, the first of them straight into the state of all, each of the others merged into it. */
const fv_state *fv_attend_plan(fv_attend_job *job) {
    size_t rows = (size_t)job->plan->rows * job->group, dim = job->config->head_dim;
    uint32_t first, end, parts = 0;
    const fv_state total = job_state(job, false);
    job->state = total;
    fv_attend_segments(job->plan, &first, &end);
    bool gathered = plan_has_gathered(job->plan);
    for (uint32_t segment = segment_find(job->plan, first, end); segment < end || gathered;
         segment = segment_find(job->plan, segment + 1, end)) {
        if (segment >= end) gathered = false;
        segment_attend(job, segment, segment >= end);
        if (parts++) fv_state_merge_by(job->kernels, &total, &job->state, rows, dim);
        job->state = job_state(job, true);
    }
    job->state = total;
    if (!parts) fv_state_clear(total, rows, dim);
    return &job->state;
}

fv_status fv_attend_tile(const fv_attend_config *config, const fv_kernels *kernels, const fv_cache *cache,
                         const fv_plan *plan, uint32_t kv_head, const float *query, size_t query_stride, float *out,
                         size_t out_stride, void *scratch, size_t scratch_bytes) {
    fv_attend_layout layout;
    fv_status status = fv_attend_layout_make(config, &layout);
    if (status != FV_OK) return status;
    if (!kernels || !cache || !plan || !query || !out || kv_head >= config->kv_heads) return FV_ERROR_ARGUMENT;
    if (plan->rows > fv_attend_rows(config)) return FV_ERROR_ARGUMENT;
    if (config->kv_heads != cache->config.kv_heads || config->head_dim != cache->config.head_dim)
        return FV_ERROR_ARGUMENT;
    if (!scratch || scratch_bytes < layout.bytes || (uintptr_t)scratch % FV_CACHE_ALIGN != 0) return FV_ERROR_MEMORY;
    fv_attend_setting setting = {config, &layout, kernels, cache, query_stride};
    const fv_state *state = fv_attend_plan(fv_attend_begin(&setting, plan, kv_head, query, scratch));
    fv_state_write(config, kernels, state, plan->rows, kv_head, out, out_stride);
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
