/* watch.h - a deadline on its way through a call, and attention that keeps to it. */
#ifndef FV_WATCH_H
#define FV_WATCH_H

#include "fovea/attention.h"
#include "fovea/deadline.h"
#include <stdbool.h>

typedef struct fv_watch {
    const fv_deadline *deadline;
    bool started;
    uint64_t start_ns;
    uint64_t tokens_read; /* of the rows at hand, for the report */
    fv_progress progress;
} fv_watch;

/* Looks at the clock, unless it was too late already. */
static inline bool fv_watch_is_over(fv_watch *watch) {
    if (watch->progress.expired) return true;
    uint64_t now = watch->deadline->clock(watch->deadline->context);
    if (!watch->started) watch->start_ns = now;
    watch->started = true;
    watch->progress.elapsed_ns = now > watch->start_ns ? now - watch->start_ns : 0;
    watch->progress.expired = now >= watch->deadline->end_ns;
    return watch->progress.expired;
}

/* fv_attention_run_rows() until the deadline. FV_ERROR_DEADLINE with FAIL: rows of `out` may be written, so hand in a
 * place of your own if there is more than one; the report is untouched. BEST: rows not reached are zeros. The same bits
 * as without a deadline if there was time. config.state_rows rows are read together. A policy that
 * chooses: the clock is also looked at before each row chooses; keys of the progress are those of all KV heads, and the
 * planned ones those of the rows that have chosen. A certificate is of what was read: what the row had chosen, its
 * window and its sinks included, is unread if the time was over before, and rows not reached are certified as zeros;
 * FV_ERROR_UNSUPPORTED for a quality, which may want more and more reading. */
fv_status fv_attention_run_watched(fv_attention *attention, const fv_cache *cache, const fv_policy *policy,
                                   const fv_attention_rows *rows, const fv_parallel *parallel, fv_report *report,
                                   fv_watch *watch);

#endif
