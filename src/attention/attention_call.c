/* The memory of attention. */
#include "attention/attention_call.h"
#include "cache/cache_pages.h"
#include "numeric/size.h"

typedef struct attention_layout {
#if FV_BUILD_LISTS
    size_t reader_offset, list_offset; /* of a worker */
#endif
    size_t worker_offset, worker_bytes, attend_bytes, step_bytes, state_offset, plan_offset, step_offset, count_offset;
    size_t bytes;
    fv_attend_layout attend;
    uint32_t segments;
} attention_layout;

/* What a worker has after attend's scratch. */
static void worker_layout_make(const fv_attention_config *config, size_t choose_bytes, attention_layout *layout) {
    size_t *bytes = &layout->worker_bytes;
    fv_size_reserve(&layout->step_bytes, config->plan_steps, sizeof(fv_step));
    fv_size_reserve(bytes, config->chooses ? FV_PAIR_PLANS : 1, layout->step_bytes);
    fv_size_reserve(bytes, 1, choose_bytes);
    if (choose_bytes) fv_size_reserve(bytes, 1, FV_CHOOSING_BYTES);
#if FV_BUILD_LISTS
    if (!config->chooses) return;
    layout->reader_offset = fv_size_reserve(bytes, config->max_tokens / FV_PAGE_TOKENS + 1, sizeof(uint16_t));
    layout->list_offset = fv_size_reserve(bytes, 1, fv_attend_lists_bytes(&config->attend));
#endif
}

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
    worker_layout_make(config, choose_bytes, layout);
    size_t states = 0;
    if (!fv_size_add(&states, heads, layout->segments + 1, 1) ||
        state_rows > SIZE_MAX / sizeof(float) / fv_state_floats(1, config->attend.head_dim))
        return FV_ERROR_OVERFLOW;
    layout->worker_offset = fv_size_reserve(bytes, config->workers, layout->worker_bytes);
    layout->state_offset =
        fv_size_reserve(bytes, states, fv_state_floats(state_rows, config->attend.head_dim) * sizeof(float));
    if (FV_BUILD_TAIL && config->chooses)
        fv_size_reserve(bytes, FV_TAIL_ROWS * (heads > config->workers ? heads : config->workers),
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
    *made = (fv_attention) {
        .kernels = kernels, .worker_bytes = layout.worker_bytes, .attend_bytes = layout.attend_bytes,
        .step_bytes = layout.step_bytes,
#if FV_BUILD_LISTS
        .reader_offset = layout.reader_offset, .list_offset = layout.list_offset,
#endif
        .layout = layout.attend, .workers = base + layout.worker_offset,
        .states = (float *)(void *)(base + layout.state_offset),
        .plans = (fv_plan *)(void *)(base + layout.plan_offset),
        .row_steps = (fv_step *)(void *)(base + layout.step_offset),
        .counts = (fv_work_count *)(void *)(base + layout.count_offset), .segments = layout.segments
    };
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
