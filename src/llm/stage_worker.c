/* stage_worker.c - sequences and steppers of a later stage, by the numbers that the first stage gave them. */
#include "fovea/stage.h"
#include <stdlib.h>

struct fv_stage_worker {
    const fv_engine *engine;
};

fv_status fv_stage_worker_open(fv_stage_worker **worker, const fv_engine *engine, fv_message *message) {
    if (!worker || !engine) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is missing");
    fv_stage_worker *made = calloc(1, sizeof *made);
    if (!made) return fv_message_set(message, FV_ERROR_MEMORY, "no memory for a stage");
    made->engine = engine;
    *worker = made;
    return FV_OK;
}

void fv_stage_worker_close(fv_stage_worker *worker) { free(worker); }

fv_status fv_stage_worker_run(fv_stage_worker *worker, fv_stage_message *message, bool *ended, fv_message *fault) {
    if (!worker || !message || !ended) return fv_message_set(fault, FV_ERROR_ARGUMENT, "an argument is missing");
    return fv_message_set(fault, FV_ERROR_UNSUPPORTED, "stages are not linked yet");
}

void fv_stage_worker_observe(fv_stage_worker *worker, fv_attention_observer_fn *observer, void *context) {
    (void)worker, (void)observer, (void)context;
}

uint64_t fv_stage_worker_bytes(const fv_stage_worker *worker) { return worker ? 0 : 0; }

fv_status fv_engine_link(fv_engine *engine, const fv_stage_link *link, uint32_t stages, fv_message *message) {
    (void)engine, (void)link, (void)stages;
    return fv_message_set(message, FV_ERROR_UNSUPPORTED, "stages are not linked yet");
}
