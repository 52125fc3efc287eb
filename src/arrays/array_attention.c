/* array_attention.c - the call over arrays: checks all of it, packs keys and values of a batch into a cache, attends.
 */
#include "fovea/array_attention.h"
#include "arrays/array_elements.h"
#include "fovea/attention.h"
#include "fovea/policy_text.h"
#include "numeric/size.h"
#include <math.h>
#include <stdlib.h>

#define ROWS 256   /* query rows that are widened and attended at a time */
#define TOKENS 256 /* keys and values that are widened and appended at a time */
#define SCALE_LARGEST 1024.0f

/* What a call needs while it runs. Offsets are into one block of `bytes`. */
typedef struct array_job {
    const fv_array_attention *call;
    fv_policy policy;
    fv_cache_config shape;
    fv_attention_config config;
    size_t cache_at, cache_bytes, attention_at, attention_bytes, query_at, out_at, key_at, value_at, bytes;
    unsigned char *memory;
    const fv_kernels *kernels;
    fv_cache *cache;
    fv_attention *attention;
} array_job;

void fv_array_attention_default(fv_array_attention *call) {
    if (call) *call = (fv_array_attention){.causal = 1};
}

static fv_status check_numbers(const fv_array_attention *call, fv_message *message) {
    const char *problem = NULL;
    if (!(call->scale >= 0.0f && call->scale <= SCALE_LARGEST)) problem = "scale is 0 (1 / sqrt(head_dim)) to 1024";
    if (!(call->softcap >= 0.0f && call->softcap <= FV_CACHE_LARGEST)) problem = "softcap is 0 (off) or above";
    if (call->causal > 1) problem = "causal is 0 or 1";
    if (call->window && !call->causal) problem = "a window needs causal = 1";
    for (size_t i = 0; i < sizeof call->reserved / sizeof *call->reserved; i++)
        if (call->reserved[i]) problem = "reserved is not 0: start from fv_array_attention_default()";
    if (call->report && call->report->struct_bytes < FV_REPORT_LEAST)
        problem = "report: struct_bytes is not set: it is sizeof(fv_report)";
    return problem ? fv_message_set(message, FV_ERROR_ARGUMENT, "%s", problem) : FV_OK;
}

static fv_status check_shapes(const fv_array_attention *call, fv_message *message) {
    const fv_array *q = &call->query, *k = &call->keys, *v = &call->values, *o = &call->out;
    uint32_t batches = fv_array_batches(q);
    if (k->tokens != v->tokens || k->heads != v->heads)
        return fv_message_set(message, FV_ERROR_SHAPE, "keys: %u tokens, %u heads; values: %u tokens, %u heads",
                              k->tokens, k->heads, v->tokens, v->heads);
    if (q->tokens != o->tokens || q->heads != o->heads)
        return fv_message_set(message, FV_ERROR_SHAPE, "query: %u tokens, %u heads; out: %u tokens, %u heads",
                              q->tokens, q->heads, o->tokens, o->heads);
    if (k->head_dim != q->head_dim || v->head_dim != q->head_dim || o->head_dim != q->head_dim)
        return fv_message_set(message, FV_ERROR_SHAPE, "head_dim of query, keys, values, out: %u, %u, %u, %u",
                              q->head_dim, k->head_dim, v->head_dim, o->head_dim);
    if (fv_array_batches(k) != batches || fv_array_batches(v) != batches || fv_array_batches(o) != batches)
        return fv_message_set(message, FV_ERROR_SHAPE, "batches of query, keys, values, out: %u, %u, %u, %u", batches,
                              fv_array_batches(k), fv_array_batches(v), fv_array_batches(o));
    if (k->heads > 1024 || k->tokens > 1u << 30 || q->heads % k->heads != 0)
        return fv_message_set(message, FV_ERROR_SHAPE,
                              "%u query heads over %u KV heads (1 to 1024, and they must divide the query heads), "
                              "%u keys (at most 2^30)",
                              q->heads, k->heads, k->tokens);
    if (!fv_array_is_apart(o))
        return fv_message_set(message, FV_ERROR_SHAPE, "out: its strides put two elements in one place");
    return FV_OK;
}

static fv_status check_elements(const fv_array_attention *call, fv_message *message) {
    float largest = call->out.type == FV_ELEMENT_F16 ? FV_ARRAY_F16_LARGEST : FV_CACHE_LARGEST;
    fv_status status = fv_array_scan(&call->query, FV_CACHE_LARGEST, "query", message);
    if (status == FV_OK) status = fv_array_scan(&call->keys, FV_CACHE_LARGEST, "keys", message);
    if (status == FV_OK) status = fv_array_scan(&call->values, largest, "values", message);
    return status;
}

/* The policy, and what it asks of the cache. */
static fv_status choose_policy(array_job *job, fv_message *message) {
    const fv_array_attention *call = job->call;
    fv_status status = fv_policy_parse(&job->policy, call->policy ? call->policy : "dense", message);
    if (status != FV_OK) return status;
    job->policy.causal = call->causal;
    fv_policy_fault fault = fv_policy_find_fault(&job->policy);
    fv_policy_needs(&job->policy, &job->shape);
    if (fault == FV_POLICY_FAULT_NONE) (void)fv_policy_suits(&job->policy, &job->shape, call->softcap, &fault);
    if (fault != FV_POLICY_FAULT_NONE)
        return fv_message_set(message, FV_ERROR_POLICY, "policy: %s %s", fv_policy_fault_field(fault),
                              fv_policy_fault_text(fault));
    bool by_position = call->causal || job->policy.selector != FV_SELECTOR_DENSE;
    if (call->query.tokens > call->keys.tokens && by_position)
        return fv_message_set(message, FV_ERROR_SHAPE,
                              "%u queries and %u keys: a query has the position of a key, unless attention is dense "
                              "and not causal",
                              call->query.tokens, call->keys.tokens);
    return FV_OK;
}

static uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* Configurations of the cache and of attention, and where everything lies in one block. */
static fv_status lay_out(array_job *job) {
    const fv_array_attention *call = job->call;
    uint32_t rows = smaller(call->query.tokens, ROWS), tokens = smaller(call->keys.tokens, TOKENS);
    size_t width = (size_t)call->query.heads * call->query.head_dim;
    size_t kv_width = (size_t)call->keys.heads * call->keys.head_dim, row_bytes = 0;
    job->config = (fv_attention_config){
        .attend = {.query_heads = call->query.heads,
                   .kv_heads = call->keys.heads,
                   .head_dim = call->keys.head_dim,
                   .scale = call->scale > 0.0f ? call->scale : 1.0f / sqrtf((float)call->keys.head_dim),
                   .softcap = call->softcap},
        .max_tokens = call->keys.tokens,
        .workers = call->parallel && call->parallel->workers ? call->parallel->workers : 1,
        .plan_steps = fv_policy_steps(&job->policy, call->keys.tokens, FV_TILE_ROWS),
        .chooses = fv_policy_is_dynamic(&job->policy)};
    fv_status status = fv_cache_size(&job->shape, &job->cache_bytes);
    if (status == FV_OK) status = fv_attention_size(&job->config, &job->attention_bytes);
    if (status != FV_OK) return status;
    if (!fv_size_add(&row_bytes, width, sizeof(float), 1)) return FV_ERROR_OVERFLOW;
    size_t total = 0;
    (void)fv_size_reserve(&total, FV_KERNELS_BYTES, 1);
    job->cache_at = fv_size_reserve(&total, job->cache_bytes, 1);
    job->attention_at = fv_size_reserve(&total, job->attention_bytes, 1);
    job->query_at = fv_size_reserve(&total, rows, row_bytes);
    job->out_at = fv_size_reserve(&total, rows, row_bytes);
    job->key_at = fv_size_reserve(&total, tokens, kv_width * sizeof(float));
    job->value_at = fv_size_reserve(&total, tokens, kv_width * sizeof(float));
    job->bytes = total;
    return total == SIZE_MAX ? FV_ERROR_OVERFLOW : FV_OK;
}

static float *floats_at(const array_job *job, size_t offset) { return (float *)(void *)(job->memory + offset); }

/* Rows of `array` as f32: where they lie, or widened into `buffer`. */
static const float *rows_of(const fv_array *array, uint32_t batch, uint32_t first, uint32_t count, float *buffer,
                            size_t *stride) {
    const float *rows = fv_array_in_place(array, batch, first);
    *stride = (size_t)array->heads * array->head_dim;
    if (rows && array->token_stride > *stride) *stride = array->token_stride;
    if (rows) return rows;
    fv_array_widen(array, batch, first, count, buffer);
    return buffer;
}

static fv_status fill_cache(const array_job *job, uint32_t batch) {
    const fv_array *keys = &job->call->keys, *values = &job->call->values;
    fv_status status = fv_cache_truncate(job->cache, 0);
    for (uint32_t first = 0, count; status == FV_OK && first < keys->tokens; first += count) {
        size_t key_stride, value_stride;
        count = smaller(keys->tokens - first, TOKENS);
        const float *key = rows_of(keys, batch, first, count, floats_at(job, job->key_at), &key_stride);
        const float *value = rows_of(values, batch, first, count, floats_at(job, job->value_at), &value_stride);
        status = fv_cache_append(job->cache, count, key, key_stride, value, value_stride);
    }
    return status;
}

/* Rows first.. of a batch. Where neither mask nor policy looks at positions, rows may outnumber keys. */
static fv_status attend_rows(const array_job *job, uint32_t batch, uint32_t first, uint32_t count) {
    const fv_array_attention *call = job->call;
    const fv_array *query = &call->query, *out = &call->out;
    uint32_t keys = call->keys.tokens;
    fv_attention_rows rows = {.count = count, .local_window = call->window};
    rows.first_token = query->tokens <= keys ? keys - query->tokens + first : 0;
    rows.query = rows_of(query, batch, first, count, floats_at(job, job->query_at), &rows.query_stride);
    rows.out = fv_array_in_place(out, batch, first);
    rows.out_stride = (size_t)out->heads * out->head_dim;
    if (rows.out && out->token_stride > rows.out_stride) rows.out_stride = out->token_stride;
    bool in_place = rows.out != NULL;
    if (!in_place) rows.out = floats_at(job, job->out_at);
    if (call->lse) {
        rows.lse = call->lse + ((size_t)batch * query->tokens + first) * query->heads;
        rows.lse_stride = query->heads;
    }
    fv_status status = fv_attention_run(job->attention, job->cache, &job->policy, &rows, call->parallel, call->report);
    if (status == FV_OK && !in_place) fv_array_narrow(out, batch, first, count, rows.out);
    return status;
}

static fv_status run_batches(array_job *job) {
    uint32_t most = smaller(ROWS, job->call->keys.tokens), tokens = job->call->query.tokens;
    fv_status status = fv_kernels_init(&job->kernels, FV_ISA_BEST, job->memory, FV_KERNELS_BYTES);
    if (status == FV_OK)
        status = fv_cache_init(&job->cache, &job->shape, job->kernels, job->memory + job->cache_at, job->cache_bytes);
    if (status == FV_OK)
        status = fv_attention_init(&job->attention, &job->config, job->kernels, job->memory + job->attention_at,
                                   job->attention_bytes);
    for (uint32_t batch = 0; status == FV_OK && batch < fv_array_batches(&job->call->query); batch++) {
        status = fill_cache(job, batch);
        for (uint32_t first = 0, count; status == FV_OK && first < tokens; first += count) {
            count = smaller(tokens - first, most);
            status = attend_rows(job, batch, first, count);
        }
    }
    return status;
}

static fv_status check(const fv_array_attention *call, fv_message *message) {
    fv_status status = fv_array_check(&call->query, "query", message);
    if (status == FV_OK) status = fv_array_check(&call->keys, "keys", message);
    if (status == FV_OK) status = fv_array_check(&call->values, "values", message);
    if (status == FV_OK) status = fv_array_check(&call->out, "out", message);
    if (status == FV_OK) status = check_numbers(call, message);
    return status == FV_OK ? check_shapes(call, message) : status;
}

fv_status fv_array_attention_run(const fv_array_attention *call, fv_message *message) {
    if (!call) return fv_message_set(message, FV_ERROR_ARGUMENT, "no call: NULL");
    fv_status status = check(call, message);
    if (status != FV_OK) return status;
    array_job job = {.call = call};
    fv_cache_config_default(&job.shape);
    job.shape.kv_heads = call->keys.heads;
    job.shape.head_dim = call->keys.head_dim;
    job.shape.max_tokens = call->keys.tokens;
    job.shape.key_type = call->keys.type;
    job.shape.value_type = call->values.type;
    status = choose_policy(&job, message);
    if (status == FV_OK) status = check_elements(call, message);
    if (status != FV_OK) return status;
    status = lay_out(&job);
    if (status != FV_OK) return fv_message_set(message, status, "%s", fv_status_text(status));
    job.memory = aligned_alloc(FV_CACHE_ALIGN, job.bytes);
    if (!job.memory) return fv_message_set(message, FV_ERROR_MEMORY, "%zu bytes are not to be had", job.bytes);
    status = run_batches(&job);
    free(job.memory);
    return status == FV_OK ? FV_OK : fv_message_set(message, status, "%s", fv_status_text(status));
}
