/* tune_file.h - what `fovea tune` finds out about a model: shares of a budget by layer and head, in a JSON file beside
 * the model. */
#ifndef FOVEA_TUNE_FILE_H
#define FOVEA_TUNE_FILE_H

#include "fovea/session.h"

/** Shares, and where they come from. */
typedef struct cli_tune {
    uint32_t layers, kv_heads, head_dim;
    uint16_t *shares; /* [layers][kv_heads] in 1/1024; owned; NULL: there are none */
    char path[512];   /* of the file; "" if there is none */
} cli_tune;

/** "MODEL.fovea.json". False if that is too long. */
bool cli_tune_path(const char *model, char *path, size_t bytes);

/**
 * Reads `path` and checks that it was made for a model of this shape and size. Start from {0}; free in any case.
 * returns FV_OK, FV_ERROR_FILE (there is none: `tune` stays empty), FV_ERROR_CORRUPT, FV_ERROR_UNSUPPORTED (another
 *         model's or a later format), FV_ERROR_MEMORY.
 */
fv_status cli_tune_read(cli_tune *tune, const char *path, const fv_llm *llm, fv_message *message);
void cli_tune_free(cli_tune *tune);

/** How a file was made, for its readers; not needed to use it. */
typedef struct cli_tune_notes {
    const char *text, *attention;
    uint32_t context, scored;
    double kl_uniform, kl_tuned; /* on tokens behind those that it was made from */
    const double (*loss)[2]; /* [layers][kv_heads]: KL with that head alone under the policy, with half and with twice
                                an equal share */
} cli_tune_notes;

/** Writes the shares to `path`, whole or not at all. FV_OK, FV_ERROR_FILE, FV_ERROR_MEMORY. */
fv_status cli_tune_write(const cli_tune *tune, const char *path, const fv_llm *llm, const cli_tune_notes *notes,
                         fv_message *message);

#endif
