/* The CPU's executor: heads x parts for workers, or the parts of each head one after the other. */
#include "fovea/executor.h"
#include "attend/attend_job.h"
#include "build.h"
#include "numeric/size.h"

#if FV_BUILD_STATE

typedef struct cpu_executor {
    fv_attend_config config;
    const fv_kernels *kernels;
    fv_attend_layout layout;
    uint32_t workers;
    unsigned char *scratch; /* [workers] */
} cpu_executor;

/* One execution, shared by its tasks. */
typedef struct cpu_run {
    const cpu_executor *cpu;
    const fv_execution *execution;
    fv_attend_setting setting;
    uint32_t parts;
    size_t rows;
} cpu_run;

static fv_attend_job *head_begin(const cpu_run *run, uint32_t head, size_t worker) {
    const fv_execution *execution = run->execution;
    return fv_attend_begin(&run->setting, &execution->plans[head], execution->first_head + head, execution->query,
                           run->cpu->scratch + worker * run->cpu->layout.bytes);
}

static void part_attend(const cpu_run *run, fv_attend_job *job, uint32_t part, fv_state state) {
    fv_attend_segment(job, state, run->execution->first_segment + part, part == run->execution->segments);
}

static void part_task(void *context, size_t task, size_t worker) {
    const cpu_run *run = (const cpu_run *)context;
    const fv_execution *execution = run->execution;
    uint32_t head = (uint32_t)(task / run->parts), part = (uint32_t)(task % run->parts);
    float *memory = execution->states + head * execution->head_stride + part * execution->part_stride;
    if (!execution->parallel) worker = execution->worker;
    part_attend(run, head_begin(run, head, worker), part, fv_state_at(memory, run->rows, run->cpu->config.head_dim));
}

#if FV_BUILD_PROMPT
/* All parts of a head into its state. */
static void head_task(void *context, size_t head, size_t worker) {
    const cpu_run *run = (const cpu_run *)context;
    const fv_execution *execution = run->execution;
    size_t dim = run->cpu->config.head_dim;
    if (!execution->parallel) worker = execution->worker;
    fv_attend_job *job = head_begin(run, (uint32_t)head, worker);
    fv_state total = fv_state_at(execution->states + head * execution->head_stride, run->rows, dim);
    fv_state part = fv_state_at(job->states[1], run->rows, dim);
    part_attend(run, job, 0, total);
    for (uint32_t p = 1; p < run->parts; p++) {
        part_attend(run, job, p, part);
        fv_state_merge_by(job->kernels, &total, &part, run->rows, dim);
    }
}
#endif

static fv_status cpu_execute(void *self, const fv_execution *execution) {
    const cpu_executor *cpu = (const cpu_executor *)self;
    const fv_attend_config *config = execution->config;
    size_t workers = execution->parallel ? execution->parallel->workers : execution->worker + 1;
    cpu_run run = {.cpu = cpu, .execution = execution, .parts = execution->segments + execution->gathered};
    if (config->query_heads != cpu->config.query_heads || config->kv_heads != cpu->config.kv_heads ||
        config->head_dim != cpu->config.head_dim || workers > cpu->workers)
        return FV_ERROR_ARGUMENT;
    if (!execution->heads || !run.parts) return FV_OK;
    if (execution->plans[0].rows > fv_attend_rows(&cpu->config)) return FV_ERROR_ARGUMENT;
    run.setting =
        (fv_attend_setting){&cpu->config, &cpu->layout, cpu->kernels, execution->cache, execution->query_stride};
    run.rows = (size_t)execution->plans[0].rows * fv_attend_group(config);
    if (execution->part_stride) {
        fv_parallel_run(execution->parallel, (size_t)execution->heads * run.parts, part_task, &run);
        return FV_OK;
    }
#if FV_BUILD_PROMPT
    fv_parallel_run(execution->parallel, execution->heads, head_task, &run);
    return FV_OK;
#else
    return FV_ERROR_UNSUPPORTED;
#endif
}

static fv_status layout_of(const fv_attend_config *config, uint32_t workers, fv_attend_layout *layout,
                           size_t *scratch_offset, size_t *bytes) {
    *bytes = 0;
    fv_status status = workers < 1 ? FV_ERROR_ARGUMENT : fv_attend_layout_make(config, layout);
    if (status != FV_OK) return status;
    fv_size_reserve(bytes, 1, sizeof(cpu_executor));
    *scratch_offset = fv_size_reserve(bytes, workers, layout->bytes);
    return *bytes == SIZE_MAX ? FV_ERROR_OVERFLOW : FV_OK;
}

fv_status fv_executor_cpu_size(const fv_attend_config *config, uint32_t workers, size_t *bytes) {
    fv_attend_layout layout;
    size_t offset, size;
    if (!bytes) return FV_ERROR_ARGUMENT;
    fv_status status = layout_of(config, workers, &layout, &offset, &size);
    if (status == FV_OK) *bytes = size;
    return status;
}

fv_status fv_executor_cpu_init(fv_executor *executor, const fv_attend_config *config, const fv_kernels *kernels,
                               uint32_t workers, void *memory, size_t bytes) {
    fv_attend_layout layout;
    size_t offset, size;
    fv_status status = layout_of(config, workers, &layout, &offset, &size);
    if (status != FV_OK) return status;
    if (!executor || !kernels) return FV_ERROR_ARGUMENT;
    if (!memory || bytes < size || (uintptr_t)memory % FV_CACHE_ALIGN != 0) return FV_ERROR_MEMORY;
    cpu_executor *cpu = (cpu_executor *)memory;
    *cpu = (cpu_executor){
        .kernels = kernels, .layout = layout, .workers = workers, .scratch = (unsigned char *)memory + offset};
    cpu->config = *config;
    *executor = (fv_executor){.run = cpu_execute, .self = cpu};
    return FV_OK;
}

#endif
