/* tally.h - what a call did: keys by reason, bytes, time by phase; what of it goes to the caller's report. */
#ifndef FV_TALLY_H
#define FV_TALLY_H

#include "attention/attention_call.h"

/* The time since the worker's last look is that of a phase, of so many workers. */
static inline void fv_phase_end(fv_attention *attention, size_t worker, uint64_t *phase_ns, uint64_t workers) {
    if (!FV_BUILD_REPORT || !attention->clock) return;
    fv_work_count *count = &attention->counts[worker];
    uint64_t now = attention->clock(attention->clock_context);
    if (phase_ns) *phase_ns += (now - count->seen_ns) * workers;
    count->seen_ns = now;
}

static inline void fv_phase_begin(fv_attention *attention, size_t worker) { fv_phase_end(attention, worker, NULL, 1); }

static inline void fv_phase_end_choose(fv_attention *attention, size_t worker) {
    fv_phase_end(attention, worker, &attention->counts[worker].choose_ns, 1);
}

static inline void fv_phase_end_read(fv_attention *attention, size_t worker) {
    fv_phase_end(attention, worker, &attention->counts[worker].read_ns, 1);
}

/* Of a single row's phases, whose tasks are too short for looks of their own, the caller takes the time. */
static inline void fv_phase_end_choose_all(fv_attention *attention, const fv_parallel *parallel) {
    fv_phase_end(attention, 0, &attention->counts[0].choose_ns, parallel ? parallel->workers : 1);
}

static inline void fv_phase_end_read_all(fv_attention *attention, const fv_parallel *parallel) {
    fv_phase_end(attention, 0, &attention->counts[0].read_ns, parallel ? parallel->workers : 1);
}

/* Keys of the tokens from..to-1 that all rows of a SPAN read. */
uint64_t fv_step_keys(const fv_plan *plan, const fv_step *step, uint32_t from, uint32_t to);

/* Counts why the keys of the tokens from `from` on are read by the plan's spans. */
void fv_reasons_add(const fv_plan *plan, uint32_t from, fv_work_count *count);

/* Counts the keys that a head reads, and shows them to whoever watches; `row` is the plan's first. */
void fv_plan_see(const fv_attention_call *call, const fv_plan *plan, uint32_t kv_head, size_t row, size_t worker);

/* The same, and the bytes. */
void fv_plan_tally(const fv_attention_call *call, const fv_plan *plan, uint32_t kv_head, size_t row, size_t worker);

static inline void fv_plan_note(const fv_attention_call *call, const fv_plan *plan, uint32_t kv_head, size_t row,
                                size_t worker) {
    if (FV_BUILD_REPORT && call->tallied) fv_plan_tally(call, plan, kv_head, row, worker);
}

static inline void fv_counts_clear(fv_attention *attention) {
    if (!FV_BUILD_REPORT) return;
    for (uint32_t i = 0; i < attention->config.workers; i++) attention->counts[i] = (fv_work_count){0};
}

/* into <- into + from, but for the look. */
void fv_count_add(fv_work_count *into, const fv_work_count *from);

/* All workers' counts, which are those of the first from now on. */
fv_work_count *fv_counts_sum(fv_attention *attention);

/* Keys that dense attention would read in `rows` rows from `first_token` on, all KV heads. */
uint64_t fv_keys_visible(const fv_attention_call *call, uint64_t first_token, uint64_t rows);

/* Whether a caller's report, which may be NULL, has room for what is always written. True where none are built: they
 * are refused as such. */
static inline bool fv_report_has_room(const fv_report *report) {
    return !FV_BUILD_REPORT || !report || report->struct_bytes >= FV_REPORT_LEAST;
}

/* A caller of an older report has less room. */
void fv_report_add(const fv_attention_call *call, const fv_work_count *count, fv_report *report);

#endif
