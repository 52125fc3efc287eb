/* kld_file.h - the base of llama-perplexity's --kl-divergence: a file that its --save-all-logits writes. Hosted. */
#ifndef FOVEA_KLD_FILE_H
#define FOVEA_KLD_FILE_H

#include "fovea/api.h"
#include "fovea/message.h"
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Of each chunk of `context` tokens the last context - 1 - context / 2 positions have a row. One caller at a time. */
typedef struct fv_kld_file fv_kld_file;

/** Opens `path` and checks everything that can be checked without reading the rows. returns FV_OK, FV_ERROR_FILE,
 *  FV_ERROR_CORRUPT, FV_ERROR_MEMORY; the message names the file and what is wrong. *file untouched on error. */
FV_API fv_status fv_kld_file_open(fv_kld_file **file, const char *path, fv_message *message);
FV_API void fv_kld_file_close(fv_kld_file *file); /* NULL is allowed */

FV_API uint32_t fv_kld_file_context(const fv_kld_file *file);      /* tokens of a chunk, >= 4 */
FV_API uint32_t fv_kld_file_vocabulary(const fv_kld_file *file);   /* entries of a row */
FV_API uint32_t fv_kld_file_chunks(const fv_kld_file *file);       /* >= 1 */
FV_API const int32_t *fv_kld_file_tokens(const fv_kld_file *file); /* [chunks][context], inside the vocabulary */

/**
 * Log-probabilities of `rows` scored positions of `chunk`, from scored position `first` on.
 *
 * log_probabilities  [rows][vocabulary] f32, nats. What the file holds as e^-16 or less counts as impossible, as in
 *                    llama-perplexity: -1e30.
 * returns  FV_OK, FV_ERROR_ARGUMENT (rows that the chunk does not have), FV_ERROR_FILE, FV_ERROR_CORRUPT (a row without
 *          a valid scale); on error the rows before the bad one are written.
 */
FV_API fv_status fv_kld_file_read(fv_kld_file *file, size_t chunk, size_t first, size_t rows, float *log_probabilities,
                                  fv_message *message);

#ifdef __cplusplus
}
#endif

#endif
