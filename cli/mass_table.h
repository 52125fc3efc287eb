/* mass_table.h - the share of dense attention's mass that a policy reads, by layer and query head. */
#ifndef FOVEA_MASS_TABLE_H
#define FOVEA_MASS_TABLE_H

#include "fovea/session.h"

/** Watches one session. Rows are noted by the threads that compute them, each in its own place, and summed in order. */
typedef struct cli_mass {
    uint32_t layers, query_heads, rows; /* most rows of a micro-batch */
    uint32_t first_token;               /* of the micro-batch being read */
    bool on;                            /* what is read now counts */
    float *noted;                       /* [rows][layers][query_heads]; negative: that layer has a mask of its own */
    double *sum;                        /* [layers][query_heads] */
    uint64_t *count;                    /* likewise */
    float **scratch;                    /* one a worker */
    uint32_t workers, scratch_tokens;
} cli_mass;

/** FV_OK or FV_ERROR_MEMORY; free in any case. Observes `session` until it is closed. */
fv_status cli_mass_open(cli_mass *mass, fv_session *session, const fv_llm *llm, uint32_t context, uint32_t rows,
                        uint32_t workers);
void cli_mass_free(cli_mass *mass);

/** Before and behind each micro-batch of scored positions. */
void cli_mass_begin(cli_mass *mass, uint32_t first_token);
void cli_mass_end(cli_mass *mass, uint32_t rows);

double cli_mass_mean(const cli_mass *mass); /* over layers and heads; NaN if none counted */
double cli_mass_head(const cli_mass *mass, uint32_t layer, uint32_t head); /* NaN likewise */

#endif
