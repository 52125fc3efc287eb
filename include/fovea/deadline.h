/* deadline.h - when attention must stop, by a clock of the caller: nothing here knows an operating system. */
#ifndef FOVEA_DEADLINE_H
#define FOVEA_DEADLINE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Nanoseconds since any moment, never falling. */
typedef uint64_t fv_clock_fn(void *context);

typedef enum fv_on_deadline {
    FV_DEADLINE_FAIL = 0, /* FV_ERROR_DEADLINE; outputs, cache and report are untouched */
    FV_DEADLINE_BEST = 1  /* FV_OK; the softmax over the keys read so far, fv_progress says how many */
} fv_on_deadline;

/** The kinds of step of a call, in their order. A batch comes back to the dot product for each group of rows. */
typedef enum fv_checkpoint {
    FV_CHECKPOINT_CANDIDATE_SELECTION = 0, /* plans are written; nothing is read yet */
    FV_CHECKPOINT_DOT_PRODUCT = 1,         /* keys are being read: scores and their weighted values */
    FV_CHECKPOINT_SOFTMAX = 2              /* all is read; the parts are merged and divided by their sum */
} fv_checkpoint;

/** A deadline. The clock is asked by the calling thread only: before the selection, before the newest segment is read
 *  (FV_SEGMENT_TOKENS, all heads; with several workers a segment for each), before log-strides and landmarks, before
 *  older segments, before the merge and after it; a call ends at most one such piece late. Older segments are read
 *  together as far as a quarter of the time that is left is enough for them at the speed so far, at least one for each
 *  worker: a deadline that is far costs next to nothing, one that is near is looked at after every segment. A
 *  certificate (fv_policy.certificate) is of what was read in time; it is made after the last look and takes
 *  about as long as choosing. */
typedef struct fv_deadline {
    fv_clock_fn *clock;
    void *context;
    uint64_t end_ns;      /* by that clock; from this moment on it is too late */
    uint32_t on_deadline; /* fv_on_deadline */
} fv_deadline;

/** How far a call came. Plain data, fixed widths, no padding. Keys are tokens and landmarks, counted per query row for
 *  one KV head: all heads read the same ones. */
typedef struct fv_progress {
    uint64_t elapsed_ns;    /* from the first look at the clock to the last */
    uint64_t keys_read;     /* in the output */
    uint64_t keys_planned;  /* 0 if the time was over before the selection; not causal: of the rows begun */
    uint32_t rows_complete; /* the first rows, all of whose keys were read; at most 16 after them are read in part, the
                               others not at all */
    uint32_t checkpoint;    /* fv_checkpoint: the last kind of step begun in time */
    uint32_t expired;       /* 1: a look at the clock came too late */
    uint32_t reserved;      /* 0 */
} fv_progress;

#ifndef __cplusplus
_Static_assert(sizeof(fv_progress) == 40 && offsetof(fv_progress, rows_complete) == 24,
               "fv_progress is part of the ABI");
#endif

#ifdef __cplusplus
}
#endif

#endif
