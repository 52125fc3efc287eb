/* placement.c - sched_setaffinity() and pthread_setschedparam() under llama.cpp's words. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* cpu_set_t, pthread_setaffinity_np, SCHED_BATCH */
#endif
#include "platform/placement.h"
#include <pthread.h>
#include <string.h>
#include <unistd.h>

/* llama.cpp's: low, normal, medium, high, real-time. */
static const struct {
    int policy, priority;
} levels[] = {{SCHED_BATCH, 0}, {SCHED_OTHER, 0}, {SCHED_FIFO, 40}, {SCHED_FIFO, 80}, {SCHED_FIFO, 90}};

static bool any_named(const fv_pool_config *config) {
    for (size_t i = 0; i < FV_POOL_PROCESSORS / 64; i++)
        if (config->processors[i]) return true;
    return false;
}

static void keep_named(const fv_pool_config *config, cpu_set_t *set) {
    for (size_t p = 0; p < FV_POOL_PROCESSORS && p < CPU_SETSIZE; p++)
        if (!(config->processors[p / 64] >> p % 64 & 1)) CPU_CLR(p, set);
}

fv_status fv_placement_init(fv_placement *placement, const fv_pool_config *config, fv_message *message) {
    if (config->priority < -1 || config->priority > 3 || config->poll > 100 || config->strict > 1)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "priority is -1..3, poll 0..100, strict 0 or 1");
    fv_placement made = {.config = *config, .moves = any_named(config) || config->strict};
    if (sched_getaffinity(0, sizeof made.before, &made.before) != 0) CPU_ZERO(&made.before);
    made.allowed = made.before;
    if (any_named(config)) keep_named(config, &made.allowed);
    if (made.moves && CPU_COUNT(&made.allowed) == 0)
        return fv_message_set(message, FV_ERROR_ARGUMENT,
                              "this process may use none of the processors that were named");
    if (pthread_getschedparam(pthread_self(), &made.policy_before, &made.priority_before) != 0)
        made.policy_before = SCHED_OTHER;
    *placement = made;
    return FV_OK;
}

uint32_t fv_placement_processors(const fv_placement *placement) {
    int count = CPU_COUNT(&placement->allowed);
    if (count < 1) count = (int)sysconf(_SC_NPROCESSORS_ONLN); /* more of them than cpu_set_t counts */
    return count < 1 ? 1 : (uint32_t)count;
}

/* The set with only the n-th processor of `allowed`, counted round and round. */
static cpu_set_t one_of(const cpu_set_t *allowed, size_t n) {
    cpu_set_t one;
    CPU_ZERO(&one);
    n %= (size_t)CPU_COUNT(allowed);
    for (size_t p = 0; p < CPU_SETSIZE; p++)
        if (CPU_ISSET(p, allowed) && n-- == 0) {
            CPU_SET(p, &one);
            break;
        }
    return one;
}

int fv_placement_apply(const fv_placement *placement, size_t worker) {
    int error = 0, level = placement->config.priority + 1;
    if (placement->moves) {
        cpu_set_t set = placement->config.strict ? one_of(&placement->allowed, worker) : placement->allowed;
        error = pthread_setaffinity_np(pthread_self(), sizeof set, &set);
    }
    if (error || placement->config.priority == 0) return error;
    struct sched_param priority = {.sched_priority = levels[level].priority};
    return pthread_setschedparam(pthread_self(), levels[level].policy, &priority);
}

void fv_placement_undo(const fv_placement *placement) {
    if (placement->moves) (void)pthread_setaffinity_np(pthread_self(), sizeof placement->before, &placement->before);
    if (placement->config.priority != 0)
        (void)pthread_setschedparam(pthread_self(), placement->policy_before, &placement->priority_before);
}
