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

static inline bool fv_deadline_is_usable(const fv_deadline *deadline, const fv_progress *progress) {
    return deadline->clock && deadline->on_deadline <= FV_DEADLINE_BEST &&
           (progress || deadline->on_deadline == FV_DEADLINE_FAIL);
}

/* fv_attention_run() with the deadline of a watch that was started before and may go on after it, in place of that of
 * `rows`. */
fv_status fv_attention_run_watched(fv_attention *attention, const fv_cache *cache, const fv_policy *policy,
                                   const fv_attention_rows *rows, const fv_parallel *parallel, fv_report *report,
                                   fv_watch *watch);

#endif
