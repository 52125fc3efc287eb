/* attention_call.h - one call of attention on its way: the memory that an fv_attention is, the call's arguments, which
 * its tasks share, and what each worker counts. Everything else in this folder works on these. */
#ifndef FV_ATTENTION_CALL_H
#define FV_ATTENTION_CALL_H

#include "attend/attend_lists.h"
#include "attend/attend_state.h"
#include "attention/certify.h"
#include "attention/watch.h"
#include "build.h"
#include "fovea/attention.h"
#include "select/select_row.h"

/* What a worker did, and its tile at work; cache lines to itself. */
typedef struct fv_work_count {
    uint64_t keys, by_reason[FV_REASON_COUNT]; /* of spans only by reason */
    uint64_t bytes, visible;
    const fv_plan *const *parts; /* NULL, or the plans of two rows that the plan to be counted joins: they know each
                                    row's reasons */
    uint64_t choose_ns, read_ns, seen_ns; /* the last: its last look at the clock */
    fv_certified certified;
    fv_plan plan;
    fv_plan_view view;
#if FV_BUILD_STATE
    fv_execution execution; /* for an executor of the caller's, as its state */
    fv_state state;
    fv_status failed;
#endif
} fv_work_count;

typedef struct fv_ranks fv_ranks; /* ranks.h */

/* One call's arguments, shared by its tasks. */
typedef struct fv_attention_call {
    fv_attention *attention;
    const fv_cache *cache;
    const fv_policy *policy;
    const fv_parallel *parallel;
    fv_attend_setting setting;
    fv_status failed; /* what an executor of the caller's returned, if not FV_OK */
    uint32_t local_window, first_token, rows, layer;
    bool chooses;       /* here: not in a layer with a sliding window */
    bool tallied;       /* somebody wants to know what was read: a report, an observer, a deadline */
    fv_plan_view view;  /* of attention->plans */
    uint32_t plan_rows; /* of them */
    uint32_t read_from; /* tokens from this one on were read of those plans: all, unless a deadline came first */
    uint32_t first_segment, segments; /* of those plans; the last one is the gathered keys */
    const float *query;
    size_t query_stride;
    float *out;
    size_t out_stride;
    float *lse; /* NULL: not wanted */
    size_t lse_stride;
#if FV_BUILD_EXCHANGE
    const fv_gathered_scores *gathered; /* of all ranks, for the rows of `view`; NULL: there are none */
#endif
    fv_watch *watch; /* with a deadline, as all that follows */
    uint32_t round_first,
        round_count;                /* segments that are read next, one KV head after the other: each time reading moves
                                       to another head, the stream from memory starts over. None: the gathered keys */
    uint64_t keys_before, begin_ns; /* keys that were read and the time, before the older segments */
} fv_attention_call;

struct fv_attention {
    fv_attention_config config;
    const fv_kernels *kernels;
    size_t worker_bytes, attend_bytes, step_bytes;
#if FV_BUILD_LISTS
    size_t reader_offset, list_offset; /* in a worker's memory, of who reads a page; of fv_attend_lists() */
#endif
    fv_attend_layout layout; /* of attend's scratch */
    unsigned char *workers;  /* per worker: attend's scratch, steps of plans, then scratch for choosing */
    float *states;           /* [kv_heads][segments + 1] states of state_rows rows */
    fv_plan *plans;          /* [kv_heads], of a single row, or of those read together until a deadline */
    fv_step *row_steps;      /* of those plans: [kv_heads][plan_steps], but for one head if nothing chooses */
    fv_work_count *counts;   /* [workers] */
    uint32_t segments;
    fv_attention_observer_fn *observer; /* NULL: nobody watches */
    void *observer_context;
    fv_clock_fn *clock; /* NULL: no time is taken */
    void *clock_context;
#if FV_BUILD_EXCHANGE
    fv_ranks *ranks; /* NULL: a cache holds all */
#endif
    fv_attention_call call; /* at work; here and not on a chip's stack */
    fv_work_count counted;  /* with a deadline: so far */
    fv_watch watch;         /* of a call with a deadline that has no watch of its own */
};

/* One worker's choosing for rows of one tile and one KV head; it comes before its scratch. */
typedef struct fv_choosing {
    const fv_attention_call *call;
    fv_select_rows rows;
    fv_certified made;  /* of the row at hand */
    size_t tail_place;  /* of the state of its tail */
    fv_plan next, both; /* of the row after the one at hand, of the two */
    const fv_plan *parts[2];
} fv_choosing;

/* Room for plans that a worker needs: those of two rows, and of both at once, which may have twice as many steps. */
enum { FV_PAIR_PLANS = FV_BUILD_PROMPT ? 4 : 1 };

enum { FV_CHOOSING_BYTES = (sizeof(fv_choosing) + FV_CACHE_ALIGN - 1) / FV_CACHE_ALIGN * FV_CACHE_ALIGN };

/* Positions whose tails may wait for what they read: a tile, or two. */
enum { FV_TAIL_ROWS = FV_BUILD_LISTS ? FV_TILE_ROWS : 2 };

/* Positions of a tile that are scored together: they share the unpacking of codes. */
static inline uint32_t fv_choose_together(const fv_attend_config *attend) {
    uint32_t rows = FV_BUILD_PROMPT ? fv_attend_rows(attend) : 1;
    return rows < 4 ? rows : 4;
}

static inline uint32_t fv_call_tile_rows(const fv_attention_call *call) {
    return fv_attend_rows(&call->attention->config.attend);
}

static inline bool fv_call_certifies(const fv_attention_call *call) {
    return FV_BUILD_CERTIFICATE && call->chooses && call->policy->certificate;
}

static inline bool fv_call_has_tail(const fv_attention_call *call) {
    return FV_BUILD_TAIL && call->chooses && call->policy->tail;
}

/* Tiles begin at absolute multiples of their rows, wherever the batch begins. */
static inline void fv_call_tile(const fv_attention_call *call, uint32_t tile, fv_plan_view *view) {
    uint32_t most = fv_call_tile_rows(call), end = call->first_token + call->rows,
             begin = (call->first_token / most + tile) * most;
    uint32_t stop = begin + most < end ? begin + most : end;
    if (begin < call->first_token) begin = call->first_token;
    view->first_token = begin;
    view->rows = stop - begin;
    view->local_window = call->local_window;
    view->tokens = call->cache->tokens;
}

/* Writes what the rows' states say, from row `row` of the call on. */
static inline void fv_call_write(const fv_attention_call *call, const fv_state *state, uint32_t rows, uint32_t kv_head,
                                 size_t row) {
    const fv_attend_config *config = call->setting.config;
    fv_state_write(config, call->setting.kernels, state, rows, kv_head, call->out + row * call->out_stride,
                   call->out_stride);
#if FV_BUILD_STATE
    if (call->lse)
        fv_state_write_lse(config, state, rows, kv_head, call->lse + row * call->lse_stride, call->lse_stride);
#endif
}

/* An executor of the caller's, or NULL. */
static inline const fv_executor *fv_call_executor(const fv_attention_call *call) {
    return FV_BUILD_STATE ? call->attention->config.executor : NULL;
}

/* The state of a plan by an executor of the caller's, which there is; it is where the CPU's would be. */
const fv_state *fv_plan_execute(const fv_attention_call *call, const fv_plan *plan, uint32_t kv_head, size_t worker);

/* The reading of a plan whose first row is `row` of the call. */
static inline fv_attend_job *fv_call_begin(const fv_attention_call *call, const fv_plan *plan, uint32_t kv_head,
                                           size_t row, size_t worker) {
    fv_attention *attention = call->attention;
    return fv_attend_begin(&call->setting, plan, kv_head, call->query + row * call->query_stride,
                           attention->workers + worker * attention->worker_bytes);
}

#endif
