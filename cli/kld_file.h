/* kld_file.h - the base of llama-perplexity's --kl-divergence: the file that its --save-all-logits writes. */
#ifndef FOVEA_KLD_FILE_H
#define FOVEA_KLD_FILE_H

#include "fovea/message.h"
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/** Of each chunk of `context` tokens the last context - 1 - context / 2 positions have a row. */
typedef struct cli_kld_file {
    FILE *file;
    const char *path;
    uint32_t context, vocabulary, chunks;
    int32_t *tokens; /* [chunks][context] */
    uint16_t *row;   /* one row as it lies in the file */
} cli_kld_file;

/** Checks everything that can be checked without reading the rows. Start from {0}; close in any case.
 *  FV_OK, FV_ERROR_FILE, FV_ERROR_CORRUPT, FV_ERROR_MEMORY; the message names the file and what is wrong. */
fv_status cli_kld_open(cli_kld_file *base, const char *path, fv_message *message);
void cli_kld_close(cli_kld_file *base);

/** Log-probabilities of `rows` scored positions from `first` on, rows of one chunk: [rows][vocabulary] f32. What the
 * file holds as e^-16 or less is as good as impossible, as in llama-perplexity: -1e30. */
fv_status cli_kld_read(cli_kld_file *base, size_t chunk, size_t first, size_t rows, float *log_probabilities,
                       fv_message *message);

#endif
