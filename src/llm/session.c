/* session.c - conversations with a model. A session takes all its memory when it is opened. */
#include "fovea/session.h"
#include "fovea/policy_text.h"
#include "llm/fault_text.h"
#include "llm/llm.h"
#include "platform/environment.h"
#include "platform/pages.h"
#include <inttypes.h>
#include <math.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CONTEXT ((uint32_t)1 << 30) /* fv_cache_config.max_tokens */
#define DEFAULT_BATCH 512

struct fv_session {
    const fv_llm *llm;
    const fv_parallel *parallel; /* NULL: one thread */
    fv_model *model;
    void *memory; /* of the model: caches and activations */
    size_t memory_bytes;
    size_t huge_tokens; /* in the caches when huge pages were last made; the context's: of all memory */
    fv_model_config shape;
    fv_policy policy;
    fv_session_memory use;
    fv_status failed;    /* of the last feed or logits, */
    size_t fault_tokens; /* and the tokens before the rows that it failed at */
    fv_report report;
    fv_clock_fn *clock; /* NULL: no time is taken */
    void *clock_context;
    const fv_kernels *kernels;
    alignas(8) unsigned char kernels_memory[FV_KERNELS_BYTES];
};

/* --- shape and memory ------------------------------------------------------------------------------------------- */

const char *fv_element_name(uint32_t type) {
#define ELEMENT_NAME(NAME, name) #name,
    static const char *const names[] = {FV_ELEMENT_LIST(ELEMENT_NAME)};
#undef ELEMENT_NAME
    return type < FV_ELEMENT_COUNT ? names[type] : "?";
}

void fv_session_config_default(fv_session_config *config) {
    *config = (fv_session_config){.batch_tokens = DEFAULT_BATCH,
                                  .key_type = FV_ELEMENT_F16,
                                  .value_type = FV_ELEMENT_F16,
                                  .isa_limit = FV_ISA_BEST};
    fv_policy_default(FV_SELECTOR_DENSE, &config->policy);
}

/* Whether a session may use the policy at all, whatever its cache. */
static fv_status check_policy(const fv_policy *policy, fv_message *message) {
    fv_policy_fault fault = fv_policy_find_fault(policy);
    if (fault != FV_POLICY_FAULT_NONE)
        return fv_message_set(message, fv_policy_check(policy), "attention policy: %s %s", fv_policy_fault_field(fault),
                              fv_policy_fault_text(fault));
    if (!policy->causal)
        return fv_message_set(message, FV_ERROR_POLICY, "attention policy: causal must be 1 for a language model");
    return FV_OK;
}

static fv_status check_config(const fv_session_config *config, fv_message *message) {
    if (config->context_tokens > MAX_CONTEXT)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "a context of %" PRIu32 " tokens; the most is %" PRIu32,
                              config->context_tokens, MAX_CONTEXT);
    if (config->batch_tokens == 0)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "a batch must have at least 1 token");
    if (config->key_type >= FV_ELEMENT_COUNT || config->value_type >= FV_ELEMENT_COUNT)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "the cache's element type is unknown");
    if (config->isa_limit >= FV_ISA_COUNT && config->isa_limit != FV_ISA_BEST)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "the limit of the instruction set is unknown");
    return check_policy(&config->policy, message);
}

static fv_model_config shape_of(const fv_llm *llm, const fv_session_config *config) {
    fv_model_config shape = llm->loaded.config;
    if (config->context_tokens) shape.cache.max_tokens = config->context_tokens;
    shape.batch_tokens = config->batch_tokens < shape.cache.max_tokens ? config->batch_tokens : shape.cache.max_tokens;
    shape.cache.key_type = config->key_type;
    shape.cache.value_type = config->value_type;
    shape.exact_activations = config->exact_activations ? 1 : 0;
    fv_policy_needs(&config->policy, &shape.cache);
    return shape;
}

/* Whether a session of this shape may use the policy. */
static fv_status check_needs(const fv_policy *policy, const fv_model_config *shape, fv_message *message) {
    fv_policy_fault unmet;
    fv_status status = fv_policy_suits(policy, &shape->cache, shape->attention_softcap, &unmet);
    if (status == FV_OK) return FV_OK;
    const char *advice =
        unmet == FV_POLICY_FAULT_SOFTCAP ? "" : "; open a session with this policy for a cache that has what it needs";
    return fv_message_set(message, status, "attention policy: %s %s%s", fv_policy_fault_field(unmet),
                          fv_policy_fault_text(unmet), advice);
}

/* K and V of one token: the slope of the cache's size, so that only the cache knows its layout. */
static uint64_t token_bytes_of(const fv_model_config *shape) {
    fv_cache_config cache = shape->cache;
    cache.landmark_tokens = cache.shadow = cache.margins = cache.tail = 0;
    size_t few = 0, many = 0;
    const uint32_t step = 1024;
    cache.max_tokens = step;
    if (fv_cache_size(&cache, &few) != FV_OK) return 0;
    cache.max_tokens = 2 * step;
    if (fv_cache_size(&cache, &many) != FV_OK) return 0;
    return (uint64_t)(many - few) / step * shape->layers;
}

static fv_status plan_memory(const fv_model_config *shape, uint32_t workers, fv_session_memory *memory, size_t *total,
                             fv_message *message) {
    fv_model_bytes bytes;
    fv_status status = fv_model_size(shape, workers, &bytes);
    if (status == FV_ERROR_OVERFLOW)
        return fv_message_set(message, status, "a context of %" PRIu32 " tokens needs more bytes than can be addressed",
                              shape->cache.max_tokens);
    if (status != FV_OK)
        return fv_message_set(message, status, "the model's shape or the session's settings are out of range");
    fv_cache_bytes parts;
    status = fv_cache_size_parts(&shape->cache, &parts);
    if (status != FV_OK) return fv_message_set(message, status, "the cache's shape is out of range");
    *memory = (fv_session_memory){.cache_bytes = bytes.cache,
                                  .key_bytes = (uint64_t)parts.keys * shape->layers,
                                  .value_bytes = (uint64_t)parts.values * shape->layers,
                                  .scale_bytes = (uint64_t)parts.scales * shape->layers,
                                  .landmark_bytes = bytes.landmarks,
                                  .scratch_bytes = bytes.scratch,
                                  .token_bytes = token_bytes_of(shape)};
    *total = bytes.total;
    return FV_OK;
}

/* What the caller may want to say although nothing is wrong; no text else. */
static fv_status remark(const fv_model_config *shape, const fv_llm *llm, fv_message *message) {
    uint32_t context = shape->cache.max_tokens, trained = llm->loaded.config.cache.max_tokens;
    if (context <= trained) return fv_message_set(message, FV_OK, "%s", "");
    return fv_message_set(message, FV_OK,
                          "a context of %" PRIu32 " tokens, but the model was trained for %" PRIu32
                          ": what it says after them may make no sense",
                          context, trained);
}

fv_status fv_session_memory_plan(const fv_llm *llm, const fv_session_config *config, uint32_t threads,
                                 fv_session_memory *memory, fv_message *message) {
    if (!llm || !config || !memory) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is missing");
    fv_status status = check_config(config, message);
    if (status != FV_OK) return status;
    fv_model_config shape = shape_of(llm, config);
    status = check_needs(&config->policy, &shape, message);
    if (status != FV_OK) return status;
    size_t total = 0;
    status = plan_memory(&shape, threads ? threads : 1, memory, &total, message);
    return status == FV_OK ? remark(&shape, llm, message) : status;
}

static fv_status take_memory(fv_session *session, uint32_t workers, fv_message *message) {
    fv_status status = plan_memory(&session->shape, workers, &session->use, &session->memory_bytes, message);
    if (status != FV_OK) return status;
    session->memory = fv_pages_reserve(session->memory_bytes);
    if (session->memory) return FV_OK;
    return fv_message_set(message, FV_ERROR_MEMORY,
                          "no memory for the session: KV cache of %" PRIu32 " tokens %" PRIu64
                          " bytes (of them landmarks %" PRIu64 "), activations %" PRIu64
                          " bytes; a smaller context needs less",
                          session->shape.cache.max_tokens, session->use.cache_bytes, session->use.landmark_bytes,
                          session->use.scratch_bytes);
}

/* --- opening ---------------------------------------------------------------------------------------------------- */

/* FV_ISA in the environment lowers the limit. */
static fv_status apply_environment(uint32_t *limit, fv_message *message) {
    fv_isa isa;
    fv_status status = fv_environment_isa(&isa, message);
    if (status != FV_OK) return status;
    if (*limit == FV_ISA_BEST || (isa != FV_ISA_BEST && fv_isa_includes((fv_isa)*limit, isa))) *limit = isa;
    return FV_OK;
}

static fv_status session_build(fv_session *session, const fv_session_config *config, fv_message *message) {
    fv_status status = check_config(config, message);
    uint32_t limit = config->isa_limit;
    if (status == FV_OK) status = apply_environment(&limit, message);
    if (status != FV_OK) return status;
    status = fv_kernels_init(&session->kernels, (fv_isa)limit, session->kernels_memory, sizeof session->kernels_memory);
    if (status != FV_OK) return fv_message_set(message, status, "the table of kernels could not be made");
    session->policy = config->policy;
    session->shape = shape_of(session->llm, config);
    status = check_needs(&session->policy, &session->shape, message);
    if (status != FV_OK) return status;
    uint32_t workers = session->parallel ? session->parallel->workers : 1;
    status = take_memory(session, workers, message);
    if (status != FV_OK) return status;
    const fv_model_weights weights = fv_loaded_weights(&session->llm->loaded, session->shape.cache.max_tokens);
    status = fv_model_init(&session->model, &session->shape, &weights, session->kernels, workers, session->memory,
                           session->memory_bytes);
    if (status != FV_OK)
        return fv_message_set(message, status, "the forward pass refuses the model's shape or weights");
    fv_session_report_reset(session);
    return FV_OK;
}

fv_status fv_session_open(fv_session **session, const fv_llm *llm, const fv_session_config *config, fv_pool *pool,
                          fv_message *message) {
    if (!session || !llm || !config) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is missing");
    fv_session *made = calloc(1, sizeof *made);
    if (!made)
        return fv_message_set(message, FV_ERROR_MEMORY, "out of memory for a session of %zu bytes", sizeof *made);
    fv_status status = fv_llm_hold(llm, message);
    if (status != FV_OK) {
        free(made);
        return status;
    }
    made->llm = llm;
    made->parallel = fv_pool_parallel(pool);
    status = session_build(made, config, message);
    if (status != FV_OK) {
        fv_session_close(made);
        return status;
    }
    *session = made;
    return remark(&made->shape, llm, message);
}

void fv_session_close(fv_session *session) {
    if (!session) return;
    fv_pages_unmap(session->memory, session->memory_bytes);
    fv_llm_release(session->llm);
    free(session);
}

/* --- evaluation ------------------------------------------------------------------------------------------------- */

static fv_status check_feed(const fv_session *session, const int32_t *tokens, size_t count) {
    if (!tokens) return FV_ERROR_ARGUMENT;
    if (count > fv_session_context_tokens(session) - fv_session_tokens(session)) return FV_ERROR_FULL;
    for (size_t i = 0; i < count; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= session->shape.vocabulary) return FV_ERROR_ARGUMENT;
    return FV_OK;
}

/* Huge pages are made of small ones once half of each is filled, or half of the context if its regions are short: a
 * context that is not used takes no memory. */
static void place_memory(fv_session *session) {
    enum { STEP_TOKENS = 512 };
    size_t tokens = fv_session_tokens(session), most = session->shape.cache.max_tokens;
    if (session->huge_tokens == most || (tokens < session->huge_tokens + STEP_TOKENS && tokens < most - most / 2))
        return;
    if (tokens >= most - most / 2) {
        session->huge_tokens = most;
        fv_pages_huge(session->memory, session->memory_bytes, session->memory_bytes);
        return;
    }
    session->huge_tokens = tokens;
    const fv_cache *cache;
    fv_cache_region region;
    for (uint32_t layer = 0; (cache = fv_model_cache(session->model, layer)) != NULL; layer++)
        for (uint32_t i = 0; fv_cache_region_at(cache, i, &region); i++)
            fv_pages_huge(region.memory, region.used, region.bytes);
}

/* For fv_session_explain(). */
static fv_status book_failure(fv_session *session, fv_status status, size_t tokens) {
    session->failed = status;
    session->fault_tokens = tokens;
    return status;
}

fv_status fv_session_feed(fv_session *session, const int32_t *tokens, size_t count, fv_session_progress_fn *progress,
                          void *context) {
    if (!session) return FV_ERROR_ARGUMENT;
    if (count == 0) return FV_OK;
    fv_status status = check_feed(session, tokens, count);
    size_t done = 0;
    while (status == FV_OK && done < count) {
        size_t batch = count - done < session->shape.batch_tokens ? count - done : session->shape.batch_tokens;
        status = fv_model_forward(session->model, tokens + done, (uint32_t)batch, &session->policy, session->parallel,
                                  &session->report);
        if (status != FV_OK) return book_failure(session, status, fv_session_tokens(session));
        place_memory(session);
        done += batch;
        if (progress && !progress(context, done, count)) status = FV_ERROR_INTERRUPTED;
    }
    return status;
}

fv_status fv_session_logits(fv_session *session, size_t first_row, size_t rows, float *logits) {
    if (!session || !logits) return FV_ERROR_ARGUMENT;
    size_t held = fv_session_batch_rows(session);
    if (rows > held || first_row > held - rows) return FV_ERROR_ARGUMENT;
    if (rows == 0) return FV_OK;
    uint64_t begin_ns = session->clock ? session->clock(session->clock_context) : 0;
    fv_status status = fv_model_logits(session->model, (uint32_t)first_row, (uint32_t)rows, session->parallel, logits);
    if (session->clock)
        session->report.product_ns +=
            (session->clock(session->clock_context) - begin_ns) * (session->parallel ? session->parallel->workers : 1);
    return book_failure(session, status, fv_session_tokens(session) - held);
}

size_t fv_session_batch_rows(const fv_session *session) { return fv_model_batch_rows(session->model); }
size_t fv_session_tokens(const fv_session *session) { return fv_model_tokens(session->model); }
size_t fv_session_context_tokens(const fv_session *session) { return session->shape.cache.max_tokens; }

fv_status fv_session_truncate(fv_session *session, size_t tokens) {
    if (!session || tokens > fv_session_tokens(session)) return FV_ERROR_ARGUMENT;
    return fv_model_truncate(session->model, (uint32_t)tokens);
}

fv_status fv_session_copy(fv_session *to, const fv_session *from) {
    if (!to || !from || to->llm != from->llm) return FV_ERROR_ARGUMENT;
    fv_status status = fv_model_copy(to->model, from->model);
    if (status == FV_OK) place_memory(to);
    return status;
}

fv_status fv_session_set_policy(fv_session *session, const fv_policy *policy, fv_message *message) {
    if (!session || !policy) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is missing");
    fv_status status = check_policy(policy, message);
    if (status != FV_OK) return status;
    status = check_needs(policy, &session->shape, message);
    if (status != FV_OK) return status;
    session->policy = *policy;
    return FV_OK;
}

void fv_session_observe(fv_session *session, fv_attention_observer_fn *observer, void *context) {
    fv_model_observe(session->model, observer, context);
}

void fv_session_time(fv_session *session, fv_clock_fn *clock, void *context) {
    session->clock = clock;
    session->clock_context = context;
    fv_model_time(session->model, clock, context);
}

fv_status fv_session_explain(const fv_session *session, fv_status status, fv_message *message) {
    if (!session || status != session->failed) return status;
    const fv_model_fault *fault = fv_model_last_fault(session->model);
    const fv_cache_config *cache = &session->shape.cache;
    uint32_t type = fault->place == FV_PLACE_VALUE ? cache->value_type : cache->key_type;
    const fv_fault_cache held = {type, fv_element_name(type)};
    return fv_fault_text(fv_gguf_path(session->llm->gguf), fault, &held, session->fault_tokens, status, message);
}

const fv_report *fv_session_report(const fv_session *session) { return &session->report; }

void fv_session_report_reset(fv_session *session) {
    session->report = (fv_report){.struct_bytes = sizeof(fv_report),
                                  .isa = (uint32_t)fv_kernels_isa(session->kernels),
                                  .error_bound = NAN,
                                  .relative_bound = NAN,
                                  .relative_estimate = NAN};
}
