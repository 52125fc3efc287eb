/* batch.h - one step of the model for all slots. */
#ifndef FV_BATCH_H
#define FV_BATCH_H

#include "fovea/step.h"
#include "slot_table.h"

/** Rows of a slot in the step whose logits are wanted. */
typedef struct fv_wanted {
    uint32_t slot, row, rows;
} fv_wanted;

typedef struct fv_batch {
    fv_stepper *stepper;
    uint32_t vocabulary, slots, logit_rows;
    fv_step_part *parts; /* [slots], likewise those below */
    fv_part_outcome *outcomes;
    fv_token_time *times;
    uint32_t *first_rows;
    uint32_t *owners;  /* [slots] slot of a part */
    fv_wanted *wanted; /* [slots] */
    uint32_t *rows;    /* [logit_rows] */
    float *logits;     /* [logit_rows][vocabulary] */
    float *scratch;    /* [vocabulary] */
    fv_read_watch *watch;
    size_t *watched;     /* [slots] its row; SIZE_MAX: none */
    fv_status *statuses; /* [slots] of the last step */
    uint32_t turn;       /* slot whose prompt is served first */
    size_t part_count;
    uint64_t steps, rows_run, guessed, right;
} fv_batch;

fv_status fv_batch_open(fv_batch *batch, const fv_server *server, fv_message *message);
void fv_batch_close(fv_batch *batch);

/** One step: statuses say what became of each slot, its choice whether it is over. Nothing where no slot works. */
void fv_batch_step(fv_batch *batch, fv_slots *slots);

#endif
