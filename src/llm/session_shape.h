/* session_shape.h - what the settings of a session, a sequence or a stepper come to: checks in words, shapes, bytes.
 * Private to src/llm. */
#ifndef FV_SESSION_SHAPE_H
#define FV_SESSION_SHAPE_H

#include "fovea/session.h"

#define FV_MOST_CONTEXT ((uint32_t)1 << 30) /* fv_cache_config.max_tokens */

/* Everything that does not depend on the model. */
fv_status fv_session_config_check(const fv_session_config *config, fv_message *message);

/* The model in this context and batch, without caches of its own; its cache has what the policy needs. */
fv_model_config fv_session_shape(const fv_llm *llm, const fv_session_config *config, uint32_t parts);

/* Whether a policy may be used with caches of this shape, or at all. */
fv_status fv_session_policy_check(const fv_policy *policy, const fv_model_config *shape, fv_message *message);

/* Both checks, and the shape. */
fv_status fv_session_shape_make(fv_model_config *shape, const fv_llm *llm, const fv_session_config *config,
                                uint32_t parts, fv_message *message);

/* The shape of a layer's cache: one with a sliding window has nothing for policies, which do not apply to it. */
fv_cache_config fv_layer_cache_shape(const fv_model_config *shape, uint32_t layer);

/* Segments that a layer with a sliding window keeps, unless the context is shorter: the window and `steps` batches
 * before the newest token, and what the segments of their ends hold besides. */
uint32_t fv_session_ring(const fv_model_config *shape, uint32_t steps);

/* Layers that there are caches of, and steps that those with a sliding window can go back. */
typedef struct fv_session_layers {
    fv_layer_range range;
    uint32_t steps;
    uint32_t ranks; /* that hold a context together; 0 and 1: there are none */
} fv_session_layers;

fv_session_layers fv_session_layers_of(const fv_llm *llm);

/* Bytes of a session of this shape that has caches of some layers, by purpose; *scratch of its stepper. */
fv_status fv_session_memory_of(const fv_model_config *shape, const fv_session_layers *layers, uint32_t workers,
                               fv_session_memory *memory, size_t *scratch, fv_message *message);

/* What the caller may want to say although nothing is wrong; no text else. FV_OK. */
fv_status fv_session_remark(const fv_model_config *shape, const fv_llm *llm, fv_message *message);

/* The table of kernels for config.isa_limit, which FV_ISA in the environment lowers; free() it. */
fv_status fv_session_kernels(const fv_session_config *config, const fv_kernels **kernels, void **memory,
                             fv_message *message);

/* A report at zero. */
fv_report fv_session_report_new(const fv_kernels *kernels);

#endif
