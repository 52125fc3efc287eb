/* tune.h - shares of a budget by layer and head, found once for a model and kept in a JSON file beside it
 * (docs/file-formats.md). Hosted. */
#ifndef FOVEA_TUNE_H
#define FOVEA_TUNE_H

#include "fovea/session.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Shares, and where they come from. Start from {0}; drop with fv_tune_free(). Read-only after reading: any number of
 *  threads may share it. */
typedef struct fv_tune {
    uint32_t layers, kv_heads, head_dim; /* of the model */
    uint16_t *shares; /* [layers][kv_heads], >= 1, in 1/1024 of an equal share; owned; NULL: there are none */
    char path[512];   /* of the file; "" if there is none; cut if it is longer */
} fv_tune;

/** "MODEL.fovea.json" into path[bytes], zero-terminated. False if that is too long. */
FV_API bool fv_tune_path(const char *model, char *path, size_t bytes);

/**
 * Reads `path` and checks that it was made for a model of this shape and size. Nothing in it is believed before it is
 * checked.
 *
 * returns FV_OK, FV_ERROR_FILE (there is none, or it can't be read), FV_ERROR_CORRUPT, FV_ERROR_UNSUPPORTED (another
 *         model's, a later format, or a library that was built without jansson), FV_ERROR_MEMORY. `tune` stays {0} on
 *         error.
 */
FV_API fv_status fv_tune_read(fv_tune *tune, const char *path, const fv_llm *llm, fv_message *message);

/** The same of `length` bytes that are in memory; `path` is what messages call them. */
FV_API fv_status fv_tune_parse(fv_tune *tune, const char *json, size_t length, const char *path, const fv_llm *llm,
                               fv_message *message);
FV_API void fv_tune_free(fv_tune *tune);

/** How a file was made, for its readers; not needed to use it. */
typedef struct fv_tune_notes {
    const char *text, *attention; /* names of the text and of the policy; what is not UTF-8 becomes U+FFFD */
    uint32_t context, scored;     /* tokens */
    double kl_uniform, kl_tuned;  /* on tokens after those that it was made from, nats */
    const double (*loss)[2]; /* [layers][kv_heads]: KL with that head alone under the policy, with half and with twice
                                an equal share */
} fv_tune_notes;

/** Writes the shares to `path`, whole or not at all. FV_OK, FV_ERROR_FILE, FV_ERROR_MEMORY, FV_ERROR_UNSUPPORTED (no
 *  jansson). */
FV_API fv_status fv_tune_write(const fv_tune *tune, const char *path, const fv_llm *llm, const fv_tune_notes *notes,
                               fv_message *message);

/** Gives `policy` the shares of `tune` (which must outlive it) if it chooses by the queries and has none. Whether it
 *  did; false also for a tune that is NULL or empty. */
FV_API bool fv_tune_attach(const fv_tune *tune, fv_policy *policy);

#ifdef __cplusplus
}
#endif

#endif
