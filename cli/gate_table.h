/* gate_table.h - for each KV head one vector that stands for its queries: their mean over the tokens of a text. */
#ifndef FOVEA_GATE_TABLE_H
#define FOVEA_GATE_TABLE_H

#include "fovea/session.h"

/** Watches one session. Each thread sums in a place of its own. */
typedef struct cli_gate {
    uint32_t heads, kv_heads, head_dim, workers; /* heads: KV heads of all layers */
    double *sum;                                 /* [workers][heads][head_dim] */
    uint64_t *count;                             /* [workers][heads] queries */
} cli_gate;

/** FV_OK or FV_ERROR_MEMORY; free in any case. Observes `session`, until then or until it is closed. */
fv_status cli_gate_open(cli_gate *gate, fv_session *session, const fv_llm *llm, uint32_t workers);
void cli_gate_free(cli_gate *gate);

/** vectors [heads][head_dim]: the means of what was read since opening; zeros for a head that was not read. */
void cli_gate_vectors(const cli_gate *gate, float *vectors);

#endif
