/* pool.c - threads that take tasks by an atomic counter. One word, the gate, says whether a run is open and who is
 * inside: a thread that sleeps through a whole run is not waited for, so more threads than processors cost little. One
 * flag, `taken`, says that a run has the threads: a second caller never waits for it. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* placement.h: cpu_set_t */
#endif
#include "fovea/pool.h"
#include "platform/placement.h"
#include "platform/process_limits.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_THREADS 1024
#define CACHE_LINE 64
#define STACK_BYTES ((size_t)512 << 10) /* tasks keep their data in the caller's buffers */
/* Of fv_pool_config.poll; its default makes 100 us: longer than the pause between two products of one layer, shorter
 * than is felt as load. */
#define POLL_NS 2000

/* The gate: generation in the upper half, below it "open" and the number of pool threads inside. */
#define GATE_OPEN ((uint64_t)1 << 31)
#define GATE_INSIDE (GATE_OPEN - 1)
#define GATE_GENERATION(gate) ((uint32_t)((gate) >> 32))

typedef struct pool_thread {
    fv_pool *pool;
    size_t worker;
    pthread_t handle;
} pool_thread;

struct fv_pool {
    alignas(CACHE_LINE) atomic_bool taken; /* by the one run that may touch what follows, up to `mutex` */
    alignas(CACHE_LINE) _Atomic uint64_t gate;
    alignas(CACHE_LINE) atomic_size_t next_task;
    /* written by run() while nobody is inside, read by those inside */
    alignas(CACHE_LINE) fv_task_fn *task;
    void *context;
    size_t tasks;
    alignas(CACHE_LINE) pthread_mutex_t mutex;
    pthread_cond_t opened, left;
    atomic_uint sleepers;      /* threads that wait for `opened`, or are about to */
    atomic_bool caller_sleeps; /* run() waits for `left`, or is about to */
    atomic_bool closing;
    int64_t spin_ns;  /* 0: sleep at once */
    uint32_t started; /* pool threads that run */
    fv_parallel parallel;
    fv_placement placement;
    pool_thread threads[];
};

static void processor_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static bool may_enter(uint64_t gate, uint32_t seen) { return (gate & GATE_OPEN) && GATE_GENERATION(gate) != seen; }

static bool nobody_inside(uint64_t gate) { return (gate & GATE_INSIDE) == 0; }

static void take_tasks(fv_pool *pool, size_t worker) {
    size_t tasks = pool->tasks;
    for (;;) {
        size_t task = atomic_fetch_add_explicit(&pool->next_task, 1, memory_order_relaxed);
        if (task >= tasks) return;
        pool->task(pool->context, task, worker);
    }
}

/* Waits a while for a run to enter; true if one may be open (or the pool closes). */
static bool spin_for_run(fv_pool *pool, uint32_t seen) {
    if (pool->spin_ns == 0) return false;
    int64_t end = now_ns() + pool->spin_ns;
    do {
        for (int i = 0; i < 64; i++) {
            if (may_enter(atomic_load_explicit(&pool->gate, memory_order_relaxed), seen)) return true;
            if (atomic_load_explicit(&pool->closing, memory_order_relaxed)) return true;
            processor_pause();
        }
    } while (now_ns() < end);
    return false;
}

/* The sleeper announces itself before it looks at the gate, run() opens the gate before it looks for sleepers (both
 * sequentially consistent): one of the two sees the other. */
static void sleep_for_run(fv_pool *pool, uint32_t seen) {
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    while (!may_enter(atomic_load(&pool->gate), seen) && !atomic_load(&pool->closing))
        pthread_cond_wait(&pool->opened, &pool->mutex);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
}

/* Counts this thread in, unless the run has closed meanwhile. */
static bool enter(fv_pool *pool, uint32_t *seen) {
    uint64_t gate = atomic_load(&pool->gate);
    while (may_enter(gate, *seen)) {
        if (!atomic_compare_exchange_weak(&pool->gate, &gate, gate + 1)) continue;
        *seen = GATE_GENERATION(gate);
        return true;
    }
    return false;
}

static void leave(fv_pool *pool) {
    uint64_t before = atomic_fetch_sub(&pool->gate, 1);
    if ((before & GATE_INSIDE) != 1 || !atomic_load(&pool->caller_sleeps)) return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_signal(&pool->left);
    pthread_mutex_unlock(&pool->mutex);
}

static void *thread_main(void *argument) {
    pool_thread *self = argument;
    fv_pool *pool = self->pool;
    uint32_t seen = 0;
    (void)fv_placement_apply(&pool->placement, self->worker); /* what worker 0 was allowed */
    while (!atomic_load(&pool->closing)) {
        if (!spin_for_run(pool, seen)) sleep_for_run(pool, seen);
        if (!enter(pool, &seen)) continue;
        take_tasks(pool, self->worker);
        leave(pool);
    }
    return NULL;
}

static void open_gate(fv_pool *pool) {
    uint32_t generation = GATE_GENERATION(atomic_load_explicit(&pool->gate, memory_order_relaxed)) + 1;
    if (generation == 0) generation = 1; /* 0 is "none seen yet" */
    atomic_store(&pool->gate, (uint64_t)generation << 32 | GATE_OPEN);
    if (atomic_load(&pool->sleepers) == 0) return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_broadcast(&pool->opened);
    pthread_mutex_unlock(&pool->mutex);
}

static void close_gate(fv_pool *pool) {
    if (nobody_inside(atomic_fetch_and(&pool->gate, ~GATE_OPEN))) return;
    int64_t end = pool->spin_ns ? now_ns() + pool->spin_ns : 0;
    while (pool->spin_ns && now_ns() < end)
        for (int i = 0; i < 64; i++) {
            if (nobody_inside(atomic_load(&pool->gate))) return;
            processor_pause();
        }
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->caller_sleeps, true);
    while (!nobody_inside(atomic_load(&pool->gate))) pthread_cond_wait(&pool->left, &pool->mutex);
    atomic_store(&pool->caller_sleeps, false);
    pthread_mutex_unlock(&pool->mutex);
}

/* Looks before it writes: callers that find the pool taken, task after task, leave the flag's cache line alone. */
static bool take_pool(fv_pool *pool) {
    return !atomic_load_explicit(&pool->taken, memory_order_relaxed) &&
           !atomic_exchange_explicit(&pool->taken, true, memory_order_acquire);
}

/* Tasks first .. tasks - 1 by all threads; the pool is taken. */
static void run_shared(fv_pool *pool, size_t first, size_t tasks, fv_task_fn *task, void *context) {
    pool->task = task;
    pool->context = context;
    pool->tasks = tasks;
    atomic_store_explicit(&pool->next_task, first, memory_order_relaxed);
    open_gate(pool);
    take_tasks(pool, 0);
    close_gate(pool);
    atomic_store_explicit(&pool->taken, false, memory_order_release);
}

static void pool_run(void *opaque, size_t tasks, fv_task_fn *task, void *context) {
    fv_pool *pool = opaque;
    for (size_t i = 0; i < tasks; i++) {
        if (tasks - i > 1 && pool->started > 0 && take_pool(pool)) {
            run_shared(pool, i, tasks, task, context);
            return;
        }
        task(context, i, 0);
    }
}

/* Signals stay with the threads of the program: Ctrl-C must not land here. Those of a thread's own faults can't be
 * blocked, only made deadly. */
static void block_signals(sigset_t *before) {
    static const int faults[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGABRT};
    sigset_t all;
    sigfillset(&all);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, before);
}

static int start_threads(fv_pool *pool, uint32_t count) {
    sigset_t before;
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);
    if (error) return error;
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    block_signals(&before);
    while (!error && pool->started < count) {
        pool_thread *thread = &pool->threads[pool->started];
        *thread = (pool_thread){.pool = pool, .worker = (size_t)pool->started + 1};
        error = pthread_create(&thread->handle, &attributes, thread_main, thread);
        if (!error) pool->started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return error;
}

static bool sync_init(fv_pool *pool) {
    if (pthread_mutex_init(&pool->mutex, NULL)) return false;
    if (pthread_cond_init(&pool->opened, NULL) == 0) {
        if (pthread_cond_init(&pool->left, NULL) == 0) return true;
        pthread_cond_destroy(&pool->opened);
    }
    pthread_mutex_destroy(&pool->mutex);
    return false;
}

static fv_pool *pool_allocate(uint32_t threads) {
    size_t bytes = sizeof(fv_pool) + (threads - 1) * sizeof(pool_thread);
    bytes = (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    fv_pool *pool = aligned_alloc(CACHE_LINE, bytes);
    if (!pool) return NULL;
    memset(pool, 0, bytes);
    if (sync_init(pool)) return pool;
    free(pool);
    return NULL;
}

void fv_pool_config_default(fv_pool_config *config) { *config = (fv_pool_config){.poll = 50}; }

static fv_status pool_start(fv_pool *pool, uint32_t threads, fv_message *message) {
    int error = fv_placement_apply(&pool->placement, 0);
    if (error)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "the system does not let threads be placed so (%s)",
                              error == EPERM ? "a raised priority needs more rights" : strerror(error));
    error = start_threads(pool, threads - 1);
    if (!error) return FV_OK;
    return fv_message_set(message, FV_ERROR_MEMORY, "only %u of %u threads could be started (%s); ask for fewer",
                          (unsigned)pool->started + 1, (unsigned)threads,
                          error == EAGAIN ? "the system's limit is reached" : "no memory");
}

fv_status fv_pool_open_config(fv_pool **pool, const fv_pool_config *config, fv_message *message) {
    if (!pool || !config || config->threads > MAX_THREADS)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "threads must be 1..%d, or 0 for one per processor; got %u",
                              MAX_THREADS, config ? (unsigned)config->threads : 0u);
    fv_placement placement;
    fv_status status = fv_placement_init(&placement, config, message);
    if (status != FV_OK) return status;
    fv_machine_limits limits;
    fv_process_limits_read("", fv_placement_processors(&placement), &limits);
    uint32_t available = limits.processors, threads = config->threads;
    if (threads == 0) threads = available < MAX_THREADS ? available : MAX_THREADS;
    fv_pool *made = pool_allocate(threads);
    if (!made)
        return fv_message_set(message, FV_ERROR_MEMORY, "out of memory for a pool of %u threads", (unsigned)threads);
    made->placement = placement;
    made->spin_ns = threads <= available ? (int64_t)config->poll * POLL_NS : 0;
    made->parallel = (fv_parallel){.run = pool_run, .pool = made, .workers = threads};
    status = pool_start(made, threads, message);
    if (status != FV_OK) {
        fv_pool_close(made);
        return status;
    }
    *pool = made;
    return FV_OK;
}

fv_status fv_pool_open(fv_pool **pool, uint32_t threads, fv_message *message) {
    fv_pool_config config;
    fv_pool_config_default(&config);
    config.threads = threads;
    return fv_pool_open_config(pool, &config, message);
}

void fv_pool_close(fv_pool *pool) {
    if (!pool) return;
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->closing, true);
    pthread_cond_broadcast(&pool->opened);
    pthread_mutex_unlock(&pool->mutex);
    for (uint32_t i = 0; i < pool->started; i++) pthread_join(pool->threads[i].handle, NULL);
    pthread_cond_destroy(&pool->left);
    pthread_cond_destroy(&pool->opened);
    pthread_mutex_destroy(&pool->mutex);
    fv_placement_undo(&pool->placement);
    free(pool);
}

const fv_parallel *fv_pool_parallel(fv_pool *pool) { return pool ? &pool->parallel : NULL; }
