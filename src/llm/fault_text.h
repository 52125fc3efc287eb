/* fault_text.h - a sentence for numbers that went wrong in a forward pass. Private to src/llm. */
#ifndef FV_FAULT_TEXT_H
#define FV_FAULT_TEXT_H

#include "fovea/message.h"
#include "fovea/model.h"

/* The type of what a cache could not hold. */
typedef struct fv_fault_cache {
    uint32_t type; /* fv_element */
    const char *name;
} fv_fault_cache;

/* FV_ERROR_NOT_FINITE and FV_ERROR_RANGE: where it was, and where to look. Returns `status`.
 * path: of the model file; tokens: those before the step's rows. */
fv_status fv_fault_text(const char *path, const fv_model_fault *fault, const fv_fault_cache *cache, size_t tokens,
                        fv_status status, fv_message *message);

#endif
