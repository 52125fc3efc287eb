/* ranks.h - a call over a context that several ranks hold: each makes scores and states of its own segments, and all
 * put them together alike. Rows pass in units, a tile or a part of one, all KV heads at once, so that few exchanges are
 * made and their memory stays small. */
#ifndef FV_RANKS_H
#define FV_RANKS_H

#include "attention/attention_call.h"
#include "fovea/exchange.h"
#include "select/gathered_scores.h"

#if FV_BUILD_EXCHANGE

/* What goes over in one exchange, if a row's scores or a segment's states are not more: long contexts take more
 * exchanges, not more memory. */
enum { FV_RANKS_BYTES = 16 << 20 };

/* A segment of a round, and where its states lie. */
typedef struct fv_rank_entry {
    uint32_t segment;
    size_t offset; /* in `all`, floats */
} fv_rank_entry;

struct fv_ranks {
    const fv_exchange *exchange;
    size_t *bytes;  /* [ranks], of the exchange at hand */
    size_t *offset; /* [ranks], where parts begin, floats */
    float *all;     /* parts of all ranks, all_bytes long */
    size_t all_bytes;
    float *totals;     /* [kv_heads] states of a unit's rows */
    uint16_t *readers; /* [kv_heads][reader_stride], who reads which page */
    uint16_t *chosen;  /* [kv_heads], rows that chose */
    bool *begun;       /* [kv_heads], whether a total has anything */
    size_t reader_stride;
    uint32_t unit_rows;   /* most rows of a unit that chooses */
    fv_rank_entry *round; /* [segments of the context], those of the round at work, */
    uint32_t round_count; /* how many they are, */
    uint32_t round_own;   /* and how many of them are here: */
    uint32_t *own;        /* their places in `round` */
    bool listed;          /* the unit is read by `readers`, not by plans */
    uint64_t moved_bytes; /* that other ranks' parts had so far */
    fv_gathered_scores scores;
};

/* --- ranks.c --- */

/* Whether a call may run so: FV_OK, FV_ERROR_UNSUPPORTED, FV_ERROR_ARGUMENT. */
fv_status fv_ranks_check(const fv_attention *attention, const fv_cache *cache, const fv_policy *policy,
                         const fv_attention_rows *rows);

fv_status fv_ranks_run(fv_attention_call *call);

/* --- rank_parts.c --- */

/* Of parts whose bytes are set: where they begin. */
void fv_ranks_place(fv_ranks *ranks);
fv_status fv_ranks_gather(fv_ranks *ranks);

/* --- rank_states.c --- */

/* Reads what the unit's plans or lists say, and writes the outputs of its rows. */
fv_status fv_ranks_read(fv_attention_call *call);

#endif

#endif
