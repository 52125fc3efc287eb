/* pool_test.c - each task exactly once, no worker index in use twice at a time, for any number of threads. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sched_getcpu, sched_getaffinity */
#endif
#include "fovea/pool.h"
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

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
    assert_true(fv_pool_parallel(pool)->workers >= 1);
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
    fv_pool_config config = fv_pool_config_default();
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

static void wrong_places_are_refused(void **state) {
    (void)state;
    fv_message message;
    fv_pool *pool = NULL;
    fv_pool_config config = fv_pool_config_default();
    config.processors[FV_POOL_PROCESSORS / 64 - 1] = (uint64_t)1 << 63; /* number 1023 */
    assert_int_equal(fv_pool_open_config(&pool, &config, &message), FV_ERROR_ARGUMENT);
    assert_non_null(strstr(message.text, "none of the processors"));
    config = fv_pool_config_default();
    config.priority = 4;
    assert_int_equal(fv_pool_open_config(&pool, &config, NULL), FV_ERROR_ARGUMENT);
    config = fv_pool_config_default();
    config.poll = 101;
    assert_int_equal(fv_pool_open_config(&pool, &config, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_pool_open_config(&pool, NULL, NULL), FV_ERROR_ARGUMENT);
    assert_null(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_task_runs_once),          cmocka_unit_test(many_short_runs),
        cmocka_unit_test(open_and_close_without_a_run), cmocka_unit_test(zero_means_the_processors),
        cmocka_unit_test(too_many_threads_are_refused), cmocka_unit_test(threads_stay_where_they_are_put),
        cmocka_unit_test(wrong_places_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
