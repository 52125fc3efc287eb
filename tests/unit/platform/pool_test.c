/* pool_test.c - each task exactly once, no worker index in use twice at a time, for any number of threads and callers;
 * where the threads run, and what reaches them. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sched_getcpu, sched_getaffinity */
#endif
#include "fovea/pool.h"
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define MAX_TASKS 4096

typedef struct run_log {
    atomic_uint done[MAX_TASKS];
    atomic_uint busy[1024]; /* per worker */
    atomic_uint clashes;
    uint32_t workers;
    uint32_t plain[MAX_TASKS]; /* not atomic: the end of run() must order these writes before the reads */
} run_log;

static void log_task(void *context, size_t task, size_t worker) {
    run_log *log = context;
    if (worker >= log->workers || atomic_fetch_add(&log->busy[worker], 1) != 0) {
        atomic_fetch_add(&log->clashes, 1);
        return;
    }
    atomic_fetch_add(&log->done[task], 1);
    log->plain[task] += (uint32_t)task + 1;
    atomic_fetch_sub(&log->busy[worker], 1);
}

static void check_runs(const fv_parallel *parallel, run_log *log, size_t tasks, uint32_t runs) {
    memset(log, 0, sizeof *log);
    log->workers = parallel->workers;
    for (uint32_t i = 0; i < runs; i++) parallel->run(parallel->pool, tasks, log_task, log);
    assert_int_equal(atomic_load(&log->clashes), 0);
    for (size_t t = 0; t < MAX_TASKS; t++) {
        assert_int_equal(atomic_load(&log->done[t]), t < tasks ? runs : 0);
        assert_int_equal(log->plain[t], t < tasks ? runs * ((uint32_t)t + 1) : 0);
    }
}

static void each_task_runs_once(void **state) {
    (void)state;
    static const uint32_t threads[] = {1, 2, 3, 7, 16, 33}; /* more than most machines have processors, too */
    static const size_t tasks[] = {0, 1, 2, 3, 5, 16, 100, MAX_TASKS};
    run_log *log = malloc(sizeof *log);
    assert_non_null(log);
    for (size_t n = 0; n < sizeof threads / sizeof *threads; n++) {
        fv_pool *pool = NULL;
        assert_int_equal(fv_pool_open(&pool, threads[n], NULL), FV_OK);
        assert_null(fv_pool_parallel(NULL));
        assert_int_equal(fv_pool_parallel(pool)->workers, threads[n]);
        for (size_t k = 0; k < sizeof tasks / sizeof *tasks; k++) check_runs(fv_pool_parallel(pool), log, tasks[k], 20);
        fv_pool_close(pool);
    }
    free(log);
}

static void many_short_runs(void **state) {
    (void)state;
    run_log *log = malloc(sizeof *log);
    assert_non_null(log);
    static const uint32_t threads[] = {2, 5};
    for (size_t n = 0; n < 2; n++) {
        fv_pool *pool = NULL;
        assert_int_equal(fv_pool_open(&pool, threads[n], NULL), FV_OK);
        check_runs(fv_pool_parallel(pool), log, 3, 20000);
        fv_pool_close(pool);
    }
    free(log);
}

enum { CALLERS = 8, CALLER_RUNS = 300 };

typedef struct caller {
    const fv_parallel *parallel;
    run_log log;
} caller;

static void *caller_main(void *argument) {
    caller *self = argument;
    for (uint32_t i = 0; i < CALLER_RUNS; i++)
        self->parallel->run(self->parallel->pool, 1 + i % 40, log_task, &self->log);
    return NULL;
}

static void many_callers_at_once(void **state) {
    (void)state;
    static const uint32_t threads[] = {1, 2, 3, 7};
    caller *callers = malloc(CALLERS * sizeof *callers);
    assert_non_null(callers);
    for (size_t n = 0; n < sizeof threads / sizeof *threads; n++) {
        fv_pool *pool = NULL;
        pthread_t handles[CALLERS];
        assert_int_equal(fv_pool_open(&pool, threads[n], NULL), FV_OK);
        memset(callers, 0, CALLERS * sizeof *callers);
        for (size_t i = 0; i < CALLERS; i++) {
            callers[i].parallel = fv_pool_parallel(pool);
            callers[i].log.workers = threads[n];
            assert_int_equal(pthread_create(&handles[i], NULL, caller_main, &callers[i]), 0);
        }
        for (size_t i = 0; i < CALLERS; i++) assert_int_equal(pthread_join(handles[i], NULL), 0);
        for (size_t i = 0; i < CALLERS; i++) {
            assert_int_equal(atomic_load(&callers[i].log.clashes), 0);
            for (uint32_t t = 0; t < 41; t++) {
                uint32_t runs = 0;
                for (uint32_t r = 0; r < CALLER_RUNS; r++) runs += t < 1 + r % 40;
                assert_int_equal(atomic_load(&callers[i].log.done[t]), runs);
                assert_int_equal(callers[i].log.plain[t], runs * (t + 1));
            }
        }
        fv_pool_close(pool);
    }
    free(callers);
}

typedef struct nested_runs {
    const fv_parallel *parallel;
    run_log inner[6];
} nested_runs;

static void nested_task(void *context, size_t task, size_t worker) {
    nested_runs *runs = context;
    (void)worker;
    runs->parallel->run(runs->parallel->pool, 20, log_task, &runs->inner[task]);
}

static void a_task_may_use_the_pool_that_runs_it(void **state) {
    (void)state;
    nested_runs *runs = calloc(1, sizeof *runs);
    assert_non_null(runs);
    fv_pool *pool = NULL;
    assert_int_equal(fv_pool_open(&pool, 3, NULL), FV_OK);
    runs->parallel = fv_pool_parallel(pool);
    for (size_t i = 0; i < 6; i++) runs->inner[i].workers = 3;
    for (int i = 0; i < 100; i++) runs->parallel->run(runs->parallel->pool, 6, nested_task, runs);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(atomic_load(&runs->inner[i].clashes), 0);
        for (size_t t = 0; t < 20; t++) assert_int_equal(atomic_load(&runs->inner[i].done[t]), 100);
    }
    fv_pool_close(pool);
    free(runs);
}

typedef struct handing_over {
    const fv_parallel *parallel;
    atomic_int phase;           /* 1: the first caller has the pool, 2: the second is in its first task */
    atomic_uint second_workers; /* bit w: worker w has run a task of the second caller */
} handing_over;

static void wait_for_phase(handing_over *self, int phase) {
    while (atomic_load(&self->phase) < phase) sched_yield();
}

static void first_task(void *context, size_t task, size_t worker) {
    handing_over *self = context;
    (void)worker;
    if (task == 0) atomic_store(&self->phase, 1);
    wait_for_phase(self, 2);
}

static void *first_main(void *argument) {
    handing_over *self = argument;
    self->parallel->run(self->parallel->pool, 2, first_task, self);
    atomic_store(&self->phase, 3);
    return NULL;
}

/* Holds on in its first task until the pool is free, then in each until a second worker has come. */
static void second_task(void *context, size_t task, size_t worker) {
    handing_over *self = context;
    atomic_fetch_or(&self->second_workers, 1u << worker);
    if (task == 0) {
        atomic_store(&self->phase, 2);
        wait_for_phase(self, 3);
        return;
    }
    for (long i = 0; i < 10000000 && atomic_load(&self->second_workers) != 3; i++) sched_yield();
}

static void a_run_is_shared_from_when_the_pool_is_free(void **state) {
    (void)state;
    fv_pool *pool = NULL;
    pthread_t first;
    assert_int_equal(fv_pool_open(&pool, 2, NULL), FV_OK);
    handing_over self = {.parallel = fv_pool_parallel(pool)};
    assert_int_equal(pthread_create(&first, NULL, first_main, &self), 0);
    wait_for_phase(&self, 1);
    self.parallel->run(self.parallel->pool, 3, second_task, &self);
    assert_int_equal(pthread_join(first, NULL), 0);
    assert_int_equal(atomic_load(&self.second_workers), 3);
    fv_pool_close(pool);
}

static void open_and_close_without_a_run(void **state) {
    (void)state;
    for (uint32_t i = 0; i < 200; i++) {
        fv_pool *pool = NULL;
        assert_int_equal(fv_pool_open(&pool, 1 + i % 5, NULL), FV_OK);
        fv_pool_close(pool);
    }
    fv_pool_close(NULL);
}

static void zero_means_the_processors(void **state) {
    (void)state;
    fv_pool *pool = NULL;
    assert_int_equal(fv_pool_open(&pool, 0, NULL), FV_OK);
    cpu_set_t mine;
    assert_int_equal(sched_getaffinity(0, sizeof mine, &mine), 0);
    assert_int_equal(fv_pool_parallel(pool)->workers, CPU_COUNT(&mine));
    fv_pool_close(pool);
}

static void too_many_threads_are_refused(void **state) {
    (void)state;
    fv_message message = {{0}};
    fv_pool *pool = NULL;
    assert_int_equal(fv_pool_open(&pool, 1025, &message), FV_ERROR_ARGUMENT);
    assert_null(pool);
    assert_non_null(strstr(message.text, "1025"));
    assert_int_equal(fv_pool_open(NULL, 1, NULL), FV_ERROR_ARGUMENT);
}

/* The processors on which the tasks of a run were seen. */
static void where_task(void *context, size_t task, size_t worker) {
    (void)task;
    atomic_fetch_or((_Atomic uint64_t *)context + worker, (uint64_t)1 << (sched_getcpu() & 63));
}

static void threads_stay_where_they_are_put(void **state) {
    (void)state;
    cpu_set_t before, after, one;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    size_t processor = 0;
    while (!CPU_ISSET(processor, &before)) processor++;
    fv_pool_config config;
    fv_pool_config_default(&config);
    config.processors[processor / 64] = (uint64_t)1 << processor % 64;
    for (uint32_t strict = 0; strict < 2; strict++) {
        fv_pool *pool = NULL;
        _Atomic uint64_t seen[3] = {0};
        config.threads = strict ? 3 : 0; /* 0: one for each processor that was named */
        config.strict = strict;
        config.poll = strict ? 0 : 100;
        assert_int_equal(fv_pool_open_config(&pool, &config, NULL), FV_OK);
        const fv_parallel *parallel = fv_pool_parallel(pool);
        assert_int_equal(parallel->workers, strict ? 3 : 1);
        for (int i = 0; i < 50; i++) parallel->run(parallel->pool, 8, where_task, (void *)seen);
        for (size_t w = 0; w < 3; w++) assert_int_equal(seen[w] & ~((uint64_t)1 << (processor & 63)), 0);
        assert_int_equal(sched_getaffinity(0, sizeof one, &one), 0);
        assert_int_equal(CPU_COUNT(&one), 1);
        fv_pool_close(pool);
        assert_int_equal(sched_getaffinity(0, sizeof after, &after), 0);
        assert_true(CPU_EQUAL(&before, &after));
    }
}

/* What each worker sees of itself: tasks wait for one another, so that every worker has one. */
typedef struct self_view {
    atomic_uint arrived;
    sigset_t blocked[4];
    int policy[4];
    cpu_set_t allowed[4];
} self_view;

static void view_task(void *context, size_t task, size_t worker) {
    self_view *view = context;
    struct sched_param priority;
    (void)task;
    pthread_sigmask(SIG_SETMASK, NULL, &view->blocked[worker]);
    pthread_getschedparam(pthread_self(), &view->policy[worker], &priority);
    pthread_getaffinity_np(pthread_self(), sizeof view->allowed[worker], &view->allowed[worker]);
    atomic_fetch_add(&view->arrived, 1);
    while (atomic_load(&view->arrived) < 4) sched_yield();
}

static self_view view_of(const fv_pool_config *config) {
    fv_pool *pool = NULL;
    self_view view = {.arrived = 0};
    assert_int_equal(fv_pool_open_config(&pool, config, NULL), FV_OK);
    const fv_parallel *parallel = fv_pool_parallel(pool);
    parallel->run(parallel->pool, 4, view_task, &view);
    fv_pool_close(pool);
    return view;
}

static fv_pool_config four_threads(void) {
    fv_pool_config config;
    fv_pool_config_default(&config);
    config.threads = 4;
    return config;
}

static void signals_stay_with_the_program(void **state) {
    (void)state;
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGALRM, SIGUSR1};
    fv_pool_config config = four_threads();
    self_view view = view_of(&config);
    sigset_t mine;
    pthread_sigmask(SIG_SETMASK, NULL, &mine);
    for (size_t s = 0; s < sizeof signals / sizeof *signals; s++) {
        assert_int_equal(sigismember(&mine, signals[s]), 0); /* the caller's mask is as before */
        assert_int_equal(sigismember(&view.blocked[0], signals[s]), 0);
        for (size_t w = 1; w < 4; w++) assert_int_equal(sigismember(&view.blocked[w], signals[s]), 1);
    }
    for (size_t w = 1; w < 4; w++) { /* a thread's own fault, blocked, would end the process without its handler */
        assert_int_equal(sigismember(&view.blocked[w], SIGBUS), 0);
        assert_int_equal(sigismember(&view.blocked[w], SIGSEGV), 0);
    }
}

static void a_low_priority_is_taken_and_given_back(void **state) {
    (void)state;
    struct sched_param priority;
    int before, after;
    assert_int_equal(pthread_getschedparam(pthread_self(), &before, &priority), 0);
    if (before != SCHED_OTHER) skip(); /* the tests run with a priority of their own */
    fv_pool_config config = four_threads();
    self_view view = view_of(&config);
    for (size_t w = 0; w < 4; w++) assert_int_equal(view.policy[w], SCHED_OTHER);
    config.priority = -1;
    view = view_of(&config);
    for (size_t w = 0; w < 4; w++) assert_int_equal(view.policy[w], SCHED_BATCH);
    assert_int_equal(pthread_getschedparam(pthread_self(), &after, &priority), 0);
    assert_int_equal(after, SCHED_OTHER);
}

/* A raised priority is taken where the system allows it and refused with the reason elsewhere: never ignored. */
static void a_raised_priority_is_never_ignored(void **state) {
    (void)state;
    for (int32_t level = 1; level <= 3; level++) {
        static const int wanted[] = {0, 40, 80, 90};
        struct sched_param priority = {0};
        int policy;
        fv_pool_config config = four_threads();
        fv_pool *pool = NULL;
        fv_message message = {{0}};
        config.priority = level;
        config.poll = 0;
        fv_status status = fv_pool_open_config(&pool, &config, &message);
        if (status == FV_OK) {
            assert_int_equal(pthread_getschedparam(pthread_self(), &policy, &priority), 0);
            assert_int_equal(policy, SCHED_FIFO);
            assert_int_equal(priority.sched_priority, wanted[level]);
            fv_pool_close(pool);
        } else {
            assert_int_equal(status, FV_ERROR_ARGUMENT);
            assert_non_null(strstr(message.text, "more rights"));
        }
        assert_int_equal(pthread_getschedparam(pthread_self(), &policy, &priority), 0);
        assert_int_equal(policy, SCHED_OTHER);
    }
}

/* Worker i has the i-th processor of those named, counted round and round, and no other. */
static void strict_threads_have_a_processor_each(void **state) {
    (void)state;
    cpu_set_t mine;
    size_t named[2] = {0, 0}, found = 0;
    assert_int_equal(sched_getaffinity(0, sizeof mine, &mine), 0);
    for (size_t p = 0; p < FV_POOL_PROCESSORS && found < 2; p++)
        if (CPU_ISSET(p, &mine)) named[found++] = p;
    if (found < 2) {
        print_message("skip: one processor only\n");
        skip();
    }
    fv_pool_config config = four_threads();
    for (size_t i = 0; i < 2; i++) config.processors[named[i] / 64] |= (uint64_t)1 << named[i] % 64;
    config.strict = 1;
    self_view view = view_of(&config);
    for (size_t w = 0; w < 4; w++) {
        assert_int_equal(CPU_COUNT(&view.allowed[w]), 1);
        assert_true(CPU_ISSET(named[w % 2], &view.allowed[w]));
    }
    config.strict = 0;
    view = view_of(&config);
    for (size_t w = 0; w < 4; w++) {
        assert_int_equal(CPU_COUNT(&view.allowed[w]), 2);
        assert_true(CPU_ISSET(named[0], &view.allowed[w]) && CPU_ISSET(named[1], &view.allowed[w]));
    }
}

static int64_t thread_time_ns(clockid_t clock) {
    struct timespec time;
    assert_int_equal(clock_gettime(clock, &time), 0);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void clock_task(void *context, size_t task, size_t worker) {
    (void)task;
    if (worker == 1) *(clockid_t *)context = 0;
    if (worker == 1) pthread_getcpuclockid(pthread_self(), context);
    if (worker == 0) nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL);
}

/* Processor time that a worker takes in 50 ms without a run, in ns. */
static int64_t idle_time_ns(uint32_t poll) {
    fv_pool_config config;
    fv_pool_config_default(&config);
    fv_pool *pool = NULL;
    clockid_t clock = 0;
    config.threads = 2;
    config.poll = poll;
    assert_int_equal(fv_pool_open_config(&pool, &config, NULL), FV_OK);
    const fv_parallel *parallel = fv_pool_parallel(pool);
    for (int i = 0; clock == 0 && i < 1000; i++) parallel->run(parallel->pool, 2, clock_task, &clock);
    assert_true(clock != 0);
    int64_t before = thread_time_ns(clock);
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    int64_t taken = thread_time_ns(clock) - before;
    fv_pool_close(pool);
    return taken;
}

/* 2 us awake for each of `poll`: 200 us at most, and a worker that sleeps takes next to nothing. */
static void waiting_threads_fall_asleep(void **state) {
    (void)state;
    assert_true(idle_time_ns(0) < 5000000);
    assert_true(idle_time_ns(100) < 5000000);
}

static void wrong_places_are_refused(void **state) {
    (void)state;
    fv_message message;
    fv_pool *pool = NULL;
    fv_pool_config config;
    fv_pool_config_default(&config);
    config.processors[FV_POOL_PROCESSORS / 64 - 1] = (uint64_t)1 << 63; /* number 1023 */
    assert_int_equal(fv_pool_open_config(&pool, &config, &message), FV_ERROR_ARGUMENT);
    assert_non_null(strstr(message.text, "none of the processors"));
    fv_pool_config_default(&config);
    config.priority = 4;
    assert_int_equal(fv_pool_open_config(&pool, &config, NULL), FV_ERROR_ARGUMENT);
    fv_pool_config_default(&config);
    config.poll = 101;
    assert_int_equal(fv_pool_open_config(&pool, &config, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_pool_open_config(&pool, NULL, NULL), FV_ERROR_ARGUMENT);
    assert_null(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_task_runs_once),
        cmocka_unit_test(many_short_runs),
        cmocka_unit_test(open_and_close_without_a_run),
        cmocka_unit_test(zero_means_the_processors),
        cmocka_unit_test(too_many_threads_are_refused),
        cmocka_unit_test(threads_stay_where_they_are_put),
        cmocka_unit_test(wrong_places_are_refused),
        cmocka_unit_test(many_callers_at_once),
        cmocka_unit_test(a_task_may_use_the_pool_that_runs_it),
        cmocka_unit_test(a_run_is_shared_from_when_the_pool_is_free),
        cmocka_unit_test(signals_stay_with_the_program),
        cmocka_unit_test(a_low_priority_is_taken_and_given_back),
        cmocka_unit_test(a_raised_priority_is_never_ignored),
        cmocka_unit_test(strict_threads_have_a_processor_each),
        cmocka_unit_test(waiting_threads_fall_asleep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
