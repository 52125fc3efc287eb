/* mass_table.h - the share of dense attention's mass that a session reads, by layer and query head. Hosted. */
#ifndef FOVEA_MASS_TABLE_H
#define FOVEA_MASS_TABLE_H

#include "fovea/session.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Observes one session. The threads that compute rows note them, each in its own place; they are summed in a fixed
 *  order, so the figures are the same for any number of threads. One caller at a time. */
typedef struct fv_mass_table fv_mass_table;

/**
 * Begins to observe `session` (fv_session_observe()), until the table is closed: close it before the session.
 *
 * context  tokens of the session's context.
 * rows     most rows of a micro-batch.
 * workers  of the session's pool, >= 1.
 * returns  FV_OK, FV_ERROR_MEMORY; *table untouched on error. Memory: rows * layers * query heads + workers * context
 *          floats.
 */
FV_API fv_status fv_mass_table_open(fv_mass_table **table, fv_session *session, const fv_llm *llm, uint32_t context,
                                    uint32_t rows, uint32_t workers);
FV_API void fv_mass_table_close(fv_mass_table *table); /* NULL is allowed */

/** Around each micro-batch that counts: its first token, then how many rows it had (0: forget it). */
FV_API void fv_mass_table_begin(fv_mass_table *table, uint32_t first_token);
FV_API void fv_mass_table_end(fv_mass_table *table, uint32_t rows);

/** Remembers the sums as they are now (as does opening), and goes back to them: for work that may be given up. */
FV_API void fv_mass_table_keep(fv_mass_table *table);
FV_API void fv_mass_table_revert(fv_mass_table *table);

/* Shares, 0..1; NaN where nothing counted: before the first row, and for layers with a sliding window. */
FV_API double fv_mass_table_mean(const fv_mass_table *table); /* over layers and heads */
FV_API double fv_mass_table_head(const fv_mass_table *table, uint32_t layer, uint32_t query_head);

/** Writes the shares of tables[count] as CSV (attention,layer,head,mass), `names` being the first column, into a file
 *  that appears whole or not at all. A layer with a sliding window has no line. FV_OK, FV_ERROR_FILE. */
FV_API fv_status fv_mass_tables_write(const fv_mass_table *const *tables, const char *const *names, size_t count,
                                      const char *path, fv_message *message);

#ifdef __cplusplus
}
#endif

#endif
