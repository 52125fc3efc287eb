/* engine.c - opens what conversations share, in the order in which it can fail. */
#include "fovea/engine.h"
#include "fovea/machine.h"
#include "fovea/policy_text.h"
#include "fovea/stage.h"
#include "llm/lead.h"
#include "llm/session_shape.h"
#include <stdlib.h>
#include <string.h>

struct fv_engine {
    fv_llm *llm;
    fv_pool *pool;
    fv_tune tune;          /* empty if there is no file */
    fv_status tune_status; /* of a file beside the model that nobody asked for: an error for those who would use it */
    fv_message tune_fault;
    fv_session_config session;
};

void fv_engine_config_default(fv_engine_config *config) {
    *config = (fv_engine_config){0};
    fv_pool_config_default(&config->pool);
    fv_session_config_default(&config->session);
}

bool fv_engine_repacks(const fv_llm *llm, uint32_t repack) {
    fv_machine_limits limits;
    fv_machine_limits_read(&limits);
    if (repack == FV_REPACK_AUTO)
        return limits.memory_bytes == 0 || fv_llm_packable_bytes(llm) <= limits.memory_bytes / 2;
    return repack == FV_REPACK_ON;
}

/* The shares that are named, or those beside the model if there are any. */
static fv_status read_tune(fv_engine *engine, const fv_engine_config *config, fv_message *message) {
    char path[sizeof engine->tune.path];
    if (config->tune && strcmp(config->tune, "none") == 0) return FV_OK;
    if (config->tune) return fv_tune_read(&engine->tune, config->tune, engine->llm, message);
    if (!fv_tune_path(config->model, path, sizeof path)) return FV_OK;
    engine->tune_status = fv_tune_read(&engine->tune, path, engine->llm, &engine->tune_fault);
    if (engine->tune_status == FV_ERROR_FILE) engine->tune_status = FV_OK; /* there is none */
    return engine->tune_status == FV_ERROR_MEMORY ? fv_message_set(message, FV_ERROR_MEMORY, "%s", path) : FV_OK;
}

static fv_status engine_make(fv_engine *engine, const fv_engine_config *config, const fv_layer_range *range,
                             fv_message *message) {
    engine->session = config->session;
    fv_status status =
        fv_llm_open_range(&engine->llm, config->model, config->allowed_keys, config->allowed_key_count, range, message);
    if (status == FV_OK && fv_engine_repacks(engine->llm, config->repack)) status = fv_llm_repack(engine->llm, message);
    if (status == FV_OK) status = fv_pool_open_config(&engine->pool, &config->pool, message);
    return status == FV_OK && (!range || range->first == 0) ? read_tune(engine, config, message) : status;
}

fv_status fv_engine_open(fv_engine **engine, const fv_engine_config *config, fv_message *message) {
    return fv_engine_open_range(engine, config, NULL, message);
}

fv_status fv_engine_open_range(fv_engine **engine, const fv_engine_config *config, const fv_layer_range *range,
                               fv_message *message) {
    if (!engine || !config || !config->model || !config->model[0])
        return fv_message_set(message, FV_ERROR_ARGUMENT, "no model file was given");
    fv_engine *made = calloc(1, sizeof *made);
    if (!made) return fv_message_set(message, FV_ERROR_MEMORY, "%s: no memory", config->model);
    fv_status status = engine_make(made, config, range, message);
    if (status == FV_OK)
        *engine = made;
    else
        fv_engine_close(made);
    return status;
}

void fv_engine_close(fv_engine *engine) {
    if (!engine) return;
    fv_pool_close(engine->pool);
    fv_llm_close(engine->llm);
    fv_tune_free(&engine->tune);
    free(engine);
}

fv_status fv_engine_divide(fv_engine *engine, const fv_exchange *exchange, fv_message *message) {
    if (!engine) return fv_message_set(message, FV_ERROR_ARGUMENT, "no engine was given");
    return fv_llm_divide(engine->llm, exchange, message);
}

fv_status fv_engine_lead(fv_engine *engine, fv_message *message) {
    if (!engine) return fv_message_set(message, FV_ERROR_ARGUMENT, "no engine was given");
    return fv_lead_make(engine->llm, message);
}

const fv_llm *fv_engine_llm(const fv_engine *engine) { return engine->llm; }
fv_pool *fv_engine_pool(const fv_engine *engine) { return engine->pool; }
uint32_t fv_engine_threads(const fv_engine *engine) { return fv_pool_parallel(engine->pool)->workers; }
const fv_tune *fv_engine_tune(const fv_engine *engine) { return engine->tune.shares ? &engine->tune : NULL; }
void fv_engine_session_config(const fv_engine *engine, fv_session_config *config) { *config = engine->session; }

fv_status fv_engine_tune_attach(const fv_engine *engine, fv_policy *policy, bool *attached, fv_message *message) {
    if (engine->tune_status != FV_OK && fv_policy_is_dynamic(policy) && !policy->head_share)
        return fv_message_set(message, engine->tune_status, "%s", engine->tune_fault.text);
    *attached = fv_tune_attach(fv_engine_tune(engine), policy);
    return FV_OK;
}

const char *fv_engine_attention(const fv_engine *engine, const fv_session_config *config) {
    static const char dense[] = "dense";
    fv_session_config used = config ? *config : engine->session;
    if (fv_policy_parse(&used.policy, FV_ENGINE_ATTENTION, NULL) != FV_OK) return dense;
    if (fv_session_shape(engine->llm, &used, 1).cache.max_tokens <= FV_ENGINE_ATTENTION_TOKENS) return dense;
    fv_session_memory memory;
    fv_status status = fv_session_memory_plan(engine->llm, &used, fv_engine_threads(engine), &memory, NULL);
    return status == FV_OK ? FV_ENGINE_ATTENTION : dense;
}

fv_status fv_engine_session_open(const fv_engine *engine, const fv_session_config *config, fv_session **session,
                                 fv_message *message) {
    fv_session_config used = config ? *config : engine->session;
    bool attached;
    fv_status status = fv_engine_tune_attach(engine, &used.policy, &attached, message);
    if (status != FV_OK) return status;
    return fv_session_open(session, engine->llm, &used, engine->pool, message);
}
