/* stepper_state.h - a stepper, as the files of this room see it. Private to src/llm. */
#ifndef FV_STEPPER_STATE_H
#define FV_STEPPER_STATE_H

#include "llm/sequence_state.h"
#include "llm/stage_steps.h"

struct fv_stepper {
    const fv_llm *llm; /* held */
    const fv_parallel *parallel;
    fv_model_config shape;
    fv_model *model;
    void *memory;
    size_t memory_bytes;
    void *exchange_memory; /* of what goes over between ranks; NULL: there are none */
    size_t exchange_bytes;
    bool huge;            /* its memory is of huge pages */
    fv_model_part *parts; /* [shape.parts], likewise those below, for fv_stepper_run_rest() */
    fv_step_part *kept;
    fv_part_outcome *became;
    uint32_t *places;
    fv_replaced_list replaced;
    const fv_kernels *kernels;
    void *kernels_memory;
    uint32_t led;           /* its number at ranks that hold contexts together, where they are told */
    fv_stage_steps *stages; /* NULL, or the same in the other stages: this is the first */
    fv_model_fault fault;   /* then */
    float *hidden;          /* then: rows that came back, [hidden_rows][shape.width] */
    size_t hidden_rows;
    const float *const *inputs; /* of a later stage: rows of each part of the step at work */
    uint32_t embedded;          /* then: tokens since rows of the embedding were given back */
    bool defers;                /* nobody waits for the other stages in the step at work */
};

#endif
