/* stage_serve.c - the life of a later stage. */
#include "fovea/stage.h"

fv_status fv_stage_serve(fv_stage_worker *worker, const fv_stage_link *link, fv_message *fault) {
    if (!worker || !link) return fv_message_set(fault, FV_ERROR_ARGUMENT, "an argument is missing");
    fv_stage_message message = {0};
    fv_message sentence = {{0}};
    fv_status status = FV_OK;
    for (bool ended = false; !ended && status == FV_OK;) {
        status = link->receive(link->context, &message, &sentence);
        if (status == FV_OK) status = fv_stage_worker_run(worker, &message, &ended, &sentence);
        if (status == FV_OK) status = link->send(link->context, &message, &sentence);
    }
    fv_stage_message_free(&message);
    return status == FV_OK ? FV_OK : fv_message_set(fault, status, "%s", sentence.text);
}
