/* The memory of attention, and the checks of a call. */
#include "attention/attention_call.h"
#include "cache/cache_pages.h"
#include "numeric/size.h"

typedef struct attention_layout {
    size_t worker_offset, worker_bytes, attend_bytes, step_bytes, state_offset, plan_offset, step_offset, count_offset;
    size_t bytes;
    fv_attend_layout attend;
    uint32_t segments;
} attention_layout;

static fv_status attention_layout_make(const fv_attention_config *config, attention_layout *layout) {
    if (!config || config->workers < 1 || config->workers > 1024 || config->max_tokens < 1) return FV_ERROR_ARGUMENT;
    if (!FV_BUILD_STATE && config->executor) return FV_ERROR_UNSUPPORTED;
    if (FV_BUILD_STATE && config->executor && !config->executor->run) return FV_ERROR_ARGUMENT;
    if (config->plan_steps < 1 || config->plan_steps > 1u << 24 || config->state_rows > fv_attend_rows(&config->attend))
        return FV_ERROR_ARGUMENT;
    *layout =
        (attention_layout){.bytes = (sizeof(fv_attention) + FV_CACHE_ALIGN - 1) / FV_CACHE_ALIGN * FV_CACHE_ALIGN};
    fv_status status = fv_attend_layout_make(&config->attend, &layout->attend);
    if (status != FV_OK) return status;
    layout->attend_bytes = layout->attend.bytes;
    size_t group = fv_attend_group(&config->attend);
    size_t state_rows = group * (config->state_rows ? config->state_rows : 1);
    layout->segments = (config->max_tokens - 1) / FV_SEGMENT_TOKENS + 1;
    layout->worker_bytes = layout->attend_bytes;
    size_t choose_bytes = 0, heads = config->attend.kv_heads, *bytes = &layout->bytes;
    if (FV_BUILD_CHOOSE && config->chooses &&
        !fv_choose_scratch_bytes(config->attend.head_dim, (uint32_t)group, config->max_tokens,
                                 fv_choose_together(&config->attend), &choose_bytes))
        return FV_ERROR_OVERFLOW;
    fv_size_reserve(&layout->step_bytes, config->plan_steps, sizeof(fv_step));
    fv_size_reserve(&layout->worker_bytes, config->chooses ? FV_PAIR_PLANS : 1, layout->step_bytes);
    fv_size_reserve(&layout->worker_bytes, 1, choose_bytes);
    if (choose_bytes) fv_size_reserve(&layout->worker_bytes, 1, FV_CHOOSING_BYTES);
    size_t states = 0;
    if (!fv_size_add(&states, heads, layout->segments + 1, 1) ||
        state_rows > SIZE_MAX / sizeof(float) / fv_state_floats(1, config->attend.head_dim))
        return FV_ERROR_OVERFLOW;
    layout->worker_offset = fv_size_reserve(bytes, config->workers, layout->worker_bytes);
    layout->state_offset =
        fv_size_reserve(bytes, states, fv_state_floats(state_rows, config->attend.head_dim) * sizeof(float));
    if (FV_BUILD_TAIL && config->chooses)
        fv_size_reserve(bytes, 2 * (heads > config->workers ? heads : config->workers),
                        fv_state_floats(group, config->attend.head_dim) * sizeof(float));
    layout->plan_offset = fv_size_reserve(bytes, heads, sizeof(fv_plan));
    layout->step_offset = fv_size_reserve(bytes, config->chooses ? heads : 1, layout->step_bytes);
    layout->count_offset = fv_size_reserve(bytes, config->workers, sizeof(fv_work_count));
    return *bytes == SIZE_MAX ? FV_ERROR_OVERFLOW : FV_OK;
}

fv_status fv_attention_size(const fv_attention_config *config, size_t *bytes) {
    attention_layout layout;
    fv_status status = attention_layout_make(config, &layout);
    if (status != FV_OK) return status;
    if (!bytes) return FV_ERROR_ARGUMENT;
    *bytes = layout.bytes;
    return FV_OK;
}

fv_status fv_attention_init(fv_attention **attention, const fv_attention_config *config, const fv_kernels *kernels,
                            void *memory, size_t bytes) {
    attention_layout layout;
    fv_status status = attention_layout_make(config, &layout);
    if (status != FV_OK) return status;
    if (!attention || !kernels) return FV_ERROR_ARGUMENT;
    if (!memory || bytes < layout.bytes || (uintptr_t)memory % FV_CACHE_ALIGN != 0) return FV_ERROR_MEMORY;
    unsigned char *base = (unsigned char *)memory;
    fv_attention *made = (fv_attention *)memory;
    *made = (fv_attention){.kernels = kernels,
                           .worker_bytes = layout.worker_bytes,
                           .attend_bytes = layout.attend_bytes,
                           .step_bytes = layout.step_bytes,
                           .layout = layout.attend,
                           .workers = base + layout.worker_offset,
                           .states = (float *)(void *)(base + layout.state_offset),
                           .plans = (fv_plan *)(void *)(base + layout.plan_offset),
                           .row_steps = (fv_step *)(void *)(base + layout.step_offset),
                           .counts = (fv_work_count *)(void *)(base + layout.count_offset),
                           .segments = layout.segments};
    made->config = *config;
    *attention = made;
    return FV_OK;
}

void fv_attention_observe(fv_attention *attention, fv_attention_observer_fn *observer, void *context) {
    attention->observer = observer;
    attention->observer_context = context;
}

void fv_attention_time(fv_attention *attention, fv_clock_fn *clock, void *context) {
    attention->clock = clock;
    attention->clock_context = context;
}

void fv_call_tile(const fv_attention_call *call, uint32_t tile, fv_plan_view *view) {
    uint32_t most = fv_call_tile_rows(call), end = call->first_token + call->rows,
             begin = (call->first_token / most + tile) * most;
    uint32_t stop = begin + most < end ? begin + most : end;
    if (begin < call->first_token) begin = call->first_token;
    view->first_token = begin;
    view->rows = stop - begin;
    view->local_window = call->local_window;
    view->tokens = call->cache->tokens;
}

static fv_status call_check(const fv_attention *attention, const fv_cache *cache, const fv_policy *policy,
                            const fv_attention_rows *rows, const fv_parallel *parallel) {
    if (!attention || !cache || !rows || rows->count < 1 || rows->count > cache->tokens) return FV_ERROR_ARGUMENT;
    if (rows->first_token > cache->tokens - rows->count) return FV_ERROR_ARGUMENT;
    const fv_attend_config *attend = &attention->config.attend;
    if (attend->kv_heads != cache->config.kv_heads || attend->head_dim != cache->config.head_dim)
        return FV_ERROR_ARGUMENT;
    if (cache->config.max_tokens > attention->config.max_tokens) return FV_ERROR_ARGUMENT;
    if (parallel && parallel->workers > attention->config.workers) return FV_ERROR_ARGUMENT;
    if (!FV_BUILD_PROMPT && rows->count > 1) return FV_ERROR_UNSUPPORTED;
    if ((!FV_BUILD_STATE && rows->lse) || (!FV_BUILD_DEADLINE && rows->deadline)) return FV_ERROR_UNSUPPORTED;
    if (FV_BUILD_STATE && rows->lse && rows->lse_stride < attend->query_heads) return FV_ERROR_ARGUMENT;
    if (FV_BUILD_DEADLINE && rows->deadline && !fv_deadline_is_usable(rows->deadline, rows->progress))
        return FV_ERROR_ARGUMENT;
    fv_status status = fv_policy_check(policy);
    if (status != FV_OK || rows->local_window) return status;
    status = fv_policy_suits(policy, &cache->config, attend->softcap, NULL);
    if (status != FV_OK) return status;
    if (fv_policy_is_dynamic(policy) && !attention->config.chooses) return FV_ERROR_ARGUMENT;
    if (!FV_BUILD_PROMPT && policy->quality > 0.0f) return FV_ERROR_UNSUPPORTED;
    uint32_t steps = fv_policy_steps(policy, cache->config.max_tokens, fv_attend_rows(attend));
    return steps > attention->config.plan_steps ? FV_ERROR_FULL : FV_OK;
}

fv_status fv_call_make(fv_attention *attention, const fv_cache *cache, const fv_policy *policy,
                       const fv_attention_rows *rows, const fv_parallel *parallel) {
    fv_status status = call_check(attention, cache, policy, rows, parallel);
    if (status != FV_OK) return status;
    size_t width = (size_t)attention->config.attend.query_heads * attention->config.attend.head_dim;
    if (!rows->query || !rows->out || rows->query_stride < width || rows->out_stride < width) return FV_ERROR_ARGUMENT;
    fv_attention_call *call = &attention->call; /* field by field: a literal would pass by on the stack */
    call->attention = attention;
    call->cache = cache;
    call->policy = policy;
    call->parallel = parallel;
    call->setting.config = &attention->config.attend;
    call->setting.layout = &attention->layout;
    call->setting.kernels = attention->kernels;
    call->setting.cache = cache;
    call->setting.query_stride = rows->query_stride;
    call->failed = FV_OK;
    call->local_window = rows->local_window;
    call->layer = rows->layer;
    call->chooses = FV_BUILD_CHOOSE && fv_policy_is_dynamic(policy) && !rows->local_window;
    call->first_token = rows->first_token;
    call->read_from = 0;
    call->rows = rows->count;
    call->query = rows->query;
    call->query_stride = rows->query_stride;
    call->out = rows->out;
    call->out_stride = rows->out_stride;
#if FV_BUILD_STATE
    call->lse = rows->lse;
    call->lse_stride = rows->lse_stride;
#endif
    return FV_OK;
}

#if FV_BUILD_STATE
const fv_state *fv_plan_execute(const fv_attention_call *call, const fv_plan *plan, uint32_t kv_head, size_t worker) {
    fv_attention *attention = call->attention;
    fv_work_count *count = &attention->counts[worker];
    fv_execution *execution = &count->execution;
    unsigned char *scratch = attention->workers + worker * attention->worker_bytes;
    uint32_t end;
    execution->config = &attention->config.attend;
    execution->cache = call->cache;
    execution->plans = plan;
    execution->first_head = kv_head;
    execution->heads = 1;
    execution->query = call->query + (plan->first_token - call->first_token) * call->query_stride;
    execution->query_stride = call->query_stride;
    fv_attend_segments(plan, &execution->first_segment, &end);
    execution->segments = end - execution->first_segment;
    execution->gathered = 1;
    execution->states = (float *)(void *)(scratch + attention->layout.state_offset);
    execution->head_stride = execution->part_stride = 0;
    execution->parallel = NULL;
    execution->worker = worker;
    fv_status status = attention->config.executor->run(attention->config.executor->self, execution);
    if (status != FV_OK) count->failed = status;
    count->state = fv_state_at(execution->states, (size_t)plan->rows * fv_attend_group(execution->config),
                               execution->config->head_dim);
    return &count->state;
}
#endif
