/* batch.h - steps of the model for all slots: one at a time, or one for each stage that the layers are in. */
#ifndef FV_BATCH_H
#define FV_BATCH_H

#include "fovea/step.h"
#include "slot_table.h"

/** Rows of a slot in the step whose logits are wanted. */
typedef struct fv_wanted {
    uint32_t slot, row, rows;
} fv_wanted;

/** A step on its way. */
typedef struct fv_flight {
    fv_stepper_lane *lane;
    fv_step_part *parts; /* [slots], likewise those below */
    fv_part_outcome *outcomes;
    fv_token_time *times;
    uint32_t *first_rows;
    uint32_t *owners; /* slot of a part */
    size_t part_count;
    fv_status status; /* of its beginning */
} fv_flight;

typedef struct fv_batch {
    fv_stepper *stepper;
    uint32_t vocabulary, slots, logit_rows;
    fv_flight *flights; /* [lanes], a ring */
    uint32_t lanes, oldest, flying;
    bool *flies;       /* [slots] in one of them */
    fv_wanted *wanted; /* [slots] */
    uint32_t *rows;    /* [logit_rows] */
    float *logits;     /* [logit_rows][vocabulary] */
    float *scratch;    /* [vocabulary] */
    fv_read_watch *watch;
    size_t *watched;                  /* [slots] its row; SIZE_MAX: none */
    fv_status *statuses;              /* [slots] of the step that ended */
    uint32_t turn;                    /* slot whose prompt is served first */
    bool (*is_wanted)(void *context); /* whether there is something else to do */
    void *context;
    uint64_t steps, rows_run, guessed, right;
} fv_batch;

/** is_wanted, context: the caller's to set before the first step. */
fv_status fv_batch_open(fv_batch *batch, const fv_server *server, fv_message *message);
void fv_batch_close(fv_batch *batch);

/**
 * Begins a step of slots that are in none, and ends the oldest one, unless there is room for another beside it: where
 * layers are in other stages, as many steps are on their way as there are stages. There, a long prompt that is alone
 * goes through them one chunk after the other until something else is wanted. Statuses say what became of each slot of
 * the one that ended, its choice whether it is over. Nothing where no slot works.
 */
void fv_batch_step(fv_batch *batch, fv_slots *slots);

/** Ends the oldest step. false: none is on its way, and slots can be given, taken and forked. */
bool fv_batch_end(fv_batch *batch, fv_slots *slots);

#endif
