/* peaks.c - runs the loops of peak_loops.h and takes their time. Other work on the machine only ever makes a repetition
 * slower, so the best one is the figure. */
#include "fovea/peaks.h"
#include "platform/cpu.h"
#include "platform/linux_only.h"
#include "platform/pages.h"
#include "platform/peak_loops.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REPETITION_NS 1500000.0 /* shorter than a time slice: some repetition is not interrupted */
#define REPETITIONS 16

typedef struct peak_loops {
    fv_peak_loop_fn *operations[FV_PEAK_COUNT]; /* NULL: there is none */
    fv_peak_read_fn *read, *read_ahead;         /* read_ahead: NULL: there is none */
} peak_loops;

static peak_loops loops_of(fv_isa limit) {
    uint64_t memory[FV_KERNELS_BYTES / sizeof(uint64_t)];
    const fv_kernels *kernels = fv_kernels_scalar();
    (void)fv_kernels_init(&kernels, limit, memory, sizeof memory);
    fv_isa isa = fv_kernels_isa(kernels);
    (void)isa;
#if FV_BUILD_AVX512
    if (fv_isa_includes(isa, FV_ISA_AVX512))
        return (peak_loops){{fv_peak_f32_avx512, fv_cpu_has_bf16() ? fv_peak_bf16_avx512 : NULL, fv_peak_int8_avx512},
                            fv_peak_read_avx512,
                            fv_peak_read_ahead_avx2};
#endif
#if FV_BUILD_AVXVNNI
    if (fv_isa_includes(isa, FV_ISA_AVXVNNI))
        return (peak_loops){{fv_peak_f32_avx2, NULL, fv_peak_int8_avxvnni}, fv_peak_read_avx2, fv_peak_read_ahead_avx2};
#endif
#if FV_BUILD_AVX2
    if (fv_isa_includes(isa, FV_ISA_AVX2))
        return (peak_loops){{fv_peak_f32_avx2, NULL, fv_peak_int8_avx2}, fv_peak_read_avx2, fv_peak_read_ahead_avx2};
#endif
    return (peak_loops){{fv_peak_f32_scalar, NULL, NULL}, fv_peak_read_scalar, NULL};
}

static bool is_limit(fv_isa limit) { return limit < FV_ISA_COUNT || limit == FV_ISA_BEST; }

static double now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static uint32_t workers_of(const fv_parallel *parallel) { return parallel ? parallel->workers : 1; }

/* One task for each worker: all of them run at once, or the repetition is slow and does not count. */
static double run_ns(const fv_parallel *parallel, fv_task_fn *task, void *context) {
    double start = now_ns();
    fv_parallel_run(parallel, workers_of(parallel), task, context);
    return now_ns() - start;
}

typedef struct operations_run {
    fv_peak_loop_fn *loop;
    size_t rounds;
} operations_run;

static void operations_task(void *context, size_t task, size_t worker) {
    const operations_run *run = context;
    (void)task, (void)worker;
    run->loop(run->rounds);
}

fv_status fv_peak_operations(fv_isa limit, fv_peak kind, const fv_parallel *parallel, double *rate) {
    if (!rate || !is_limit(limit) || kind >= FV_PEAK_COUNT) return FV_ERROR_ARGUMENT;
    operations_run run = {.loop = loops_of(limit).operations[kind], .rounds = 1000};
    if (!run.loop) return FV_ERROR_UNSUPPORTED;
    double operations = (double)run.loop(1) * workers_of(parallel), best = 0.0;
    while (run_ns(parallel, operations_task, &run) < REPETITION_NS && run.rounds < SIZE_MAX / 2) run.rounds *= 2;
    for (int i = 0; i < REPETITIONS; i++) {
        double made = operations * (double)run.rounds / run_ns(parallel, operations_task, &run);
        if (made > best) best = made;
    }
    *rate = best;
    return FV_OK;
}

typedef struct read_run {
    fv_peak_read_fn *read;
    unsigned char *memory;
    size_t part;           /* bytes of each worker */
    size_t passes;         /* over them */
    volatile uint64_t any; /* what was read: written by all, read by none */
} read_run;

static void write_task(void *context, size_t task, size_t worker) {
    const read_run *run = context;
    (void)worker;
    memset(run->memory + task * run->part, 1, run->part); /* untouched pages would all be the one page of zeros */
}

static void read_task(void *context, size_t task, size_t worker) {
    read_run *run = context;
    (void)worker;
    uint64_t any = 0;
    for (size_t i = 0; i < run->passes; i++) any |= run->read(run->memory + task * run->part, run->part);
    run->any = any;
}

static double read_rate(const fv_parallel *parallel, read_run *run) {
    double bytes = (double)run->part * workers_of(parallel), best = 0.0;
    while (run_ns(parallel, read_task, run) < REPETITION_NS) run->passes *= 2;
    for (int i = 0; i < REPETITIONS; i++) {
        double made = bytes * (double)run->passes / run_ns(parallel, read_task, run);
        if (made > best) best = made;
    }
    return best;
}

fv_status fv_peak_read(fv_isa limit, size_t bytes, const fv_parallel *parallel, double *rate) {
    if (!rate || !is_limit(limit) || bytes < 1 || bytes > SIZE_MAX / 4) return FV_ERROR_ARGUMENT;
    size_t workers = workers_of(parallel), part = (bytes / workers / 1024 + 1) * 1024;
    if (bytes % (1024 * workers) == 0) part = bytes / workers;
    peak_loops loops = loops_of(limit);
    read_run run = {.read = loops.read, .part = part, .passes = 1};
    run.memory = fv_pages_map(part * workers);
    if (!run.memory) return FV_ERROR_MEMORY;
    (void)run_ns(parallel, write_task, &run);
    *rate = read_rate(parallel, &run);
    run.read = loops.read_ahead;
    double ahead = run.read ? read_rate(parallel, &run) : 0.0;
    if (ahead > *rate) *rate = ahead;
    fv_pages_unmap(run.memory, part * workers);
    return FV_OK;
}

/* One line of what the system says about cache number `index` of the first processor; "" if it says nothing. */
static void cache_line(unsigned index, const char *name, char *line, size_t bytes) {
    char path[96];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%u/%s", index, name);
    FILE *file = fopen(path, "r");
    if (!file || !fgets(line, (int)bytes, file)) line[0] = 0;
    if (file) fclose(file);
}

/* sysconf() would do, but adds up the caches of a whole package on some processors. */
size_t fv_peak_cache_bytes(uint32_t level) {
    static const size_t usual[4] = {0, (size_t)32 << 10, (size_t)512 << 10, (size_t)16 << 20};
    char line[32];
    if (level < 1 || level > 3) return 0;
    for (unsigned index = 0; index < 8; index++) {
        cache_line(index, "level", line, sizeof line);
        if (strtoul(line, NULL, 10) != level) continue;
        cache_line(index, "type", line, sizeof line);
        if (strncmp(line, "Instruction", strlen("Instruction")) == 0) continue;
        cache_line(index, "size", line, sizeof line);
        char *unit;
        unsigned long long size = strtoull(line, &unit, 10);
        int shift = *unit == 'K' ? 10 : *unit == 'M' ? 20 : 0;
        if (size > 0 && size <= (SIZE_MAX / 8) >> shift) return (size_t)size << shift;
    }
    return usual[level];
}

size_t fv_peak_memory_bytes(void) {
    const size_t least = (size_t)128 << 20, most = (size_t)2 << 30;
    size_t last = fv_peak_cache_bytes(3);
    return last < least / 4 ? least : last > most / 4 ? most : 4 * last;
}

size_t fv_peak_read_bytes(uint32_t level, const fv_parallel *parallel) {
    if (level > 3) return fv_peak_memory_bytes();
    return fv_peak_cache_bytes(level) / 2 * (level < 3 ? workers_of(parallel) : 1);
}
