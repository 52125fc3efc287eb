/* memory_check.c - whether what is foreseen fits into what the process may use: a sentence in place of a kill. */
#include "fovea/engine.h"
#include <inttypes.h>

#define MIB (1024.0 * 1024.0)

uint32_t fv_session_memory_tokens(const fv_session_memory *memory, uint32_t context, uint64_t weight_bytes,
                                  const fv_machine_limits *limits) {
    uint64_t usable = limits->memory_bytes + limits->swap_bytes, other = weight_bytes + memory->scratch_bytes;
    if (limits->memory_bytes == 0 || memory->cache_bytes == 0) return context;
    double tokens = other < usable ? (double)(usable - other) / (double)memory->cache_bytes * (double)context : 0;
    return tokens < (double)context ? (uint32_t)tokens : context;
}

fv_status fv_session_memory_check(const fv_session_memory *memory, uint32_t context, uint64_t tokens,
                                  uint64_t weight_bytes, const fv_machine_limits *limits, fv_message *message) {
    uint64_t usable = limits->memory_bytes + limits->swap_bytes, other = weight_bytes + memory->scratch_bytes;
    uint32_t fitting = fv_session_memory_tokens(memory, context, weight_bytes, limits);
    bool fits = tokens <= fitting;
    double named = fits ? (double)context : (double)tokens;
    if (fitting == context && fits) return fv_message_set(message, FV_OK, "%s", "");
    return fv_message_set(message, fits ? FV_OK : FV_ERROR_MEMORY,
                          "%s%.0f tokens %s %.1f MiB of cache beside %.1f MiB for private weights and activations, "
                          "but this process may use %.1f MiB (%s): about %" PRIu32 " tokens fit",
                          fits ? "a full context of " : "", named, fits ? "would take" : "take",
                          (double)memory->cache_bytes / (double)context * named / MIB, (double)other / MIB,
                          (double)usable / MIB, fv_machine_limit_name(limits->memory_by), fitting);
}

static uint32_t context_of(const fv_llm *llm, const fv_session_config *config) {
    return config->context_tokens ? config->context_tokens : fv_llm_config(llm)->cache.max_tokens;
}

fv_status fv_engine_memory_check(const fv_engine *engine, const fv_session_config *config, uint64_t tokens,
                                 fv_message *message) {
    const fv_llm *llm = fv_engine_llm(engine);
    fv_session_memory memory;
    fv_machine_limits limits;
    fv_status status = fv_session_memory_plan(llm, config, fv_engine_threads(engine), &memory, message);
    if (status != FV_OK) return status;
    fv_machine_limits_read(&limits);
    return fv_session_memory_check(&memory, context_of(llm, config), tokens, fv_llm_packed_bytes(llm), &limits,
                                   message);
}

uint32_t fv_engine_memory_tokens(const fv_engine *engine, const fv_session_config *config) {
    const fv_llm *llm = fv_engine_llm(engine);
    fv_session_memory memory;
    fv_machine_limits limits;
    if (fv_session_memory_plan(llm, config, fv_engine_threads(engine), &memory, NULL) != FV_OK) return 0;
    fv_machine_limits_read(&limits);
    return fv_session_memory_tokens(&memory, context_of(llm, config), fv_llm_packed_bytes(llm), &limits);
}
