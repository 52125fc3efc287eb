/* follow.c - the life of a rank that is told what to do (lead.h). */
#include "fovea/engine.h"
#include "llm/lead.h"
#include <stdlib.h>

fv_status fv_engine_follow(fv_engine *engine, fv_message *message) {
    fv_stage_worker *worker = NULL;
    if (!engine) return fv_message_set(message, FV_ERROR_ARGUMENT, "no engine was given");
    const fv_exchange *exchange = fv_engine_llm(engine)->exchange;
    if (!exchange || exchange->rank == 0)
        return fv_message_set(message, FV_ERROR_ARGUMENT,
                              "a rank that follows is one that holds contexts, not the first");
    fv_message fault = {{0}};
    fv_call_room room = {0};
    fv_stage_message told = {0};
    fv_status status = fv_stage_worker_open(&worker, engine, &fault);
    for (bool ended = false; status == FV_OK && !ended;) {
        status = fv_call_pass(exchange, &room, &told);
        if (status == FV_OK) status = fv_stage_worker_run(worker, &told, &ended, &fault);
    }
    fv_stage_worker_close(worker);
    fv_stage_message_free(&told);
    free(room.memory);
    if (status == FV_OK) return FV_OK;
    return fv_message_set(message, status, "%s", fault.text[0] ? fault.text : fv_status_text(status));
}
