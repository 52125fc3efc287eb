/* stage_link.c - the first stage meets the others. */
#include "llm/llm.h"
#include "llm/stage_hub.h"
#include <inttypes.h>

/* All of them have the same file, and the layers that follow. */
static fv_status hello(const fv_llm *llm, fv_stage_hub *hub, fv_message *message) {
    fv_stage_message sent = {0};
    uint32_t stages = fv_stage_hub_stages(hub), layers = llm->loaded.config.layers;
    fv_status status = fv_stage_begin(&sent, FV_STAGE_HELLO, 0, 0, sizeof(fv_stage_hello));
    if (status == FV_OK) {
        fv_stage_hello *said = fv_stage_body(&sent);
        said->outline = fv_llm_outline(llm);
        said->build = fv_stage_build();
        said->next_layer = llm->loaded.range.count;
        said->stages = 1;
        said->of_stages = stages;
        status = fv_stage_hub_ask(hub, &sent);
    }
    if (status != FV_OK) (void)fv_message_set(message, status, "stages can't be linked: %s", fv_status_text(status));
    (void)fv_stage_hub_explain(hub, status, message);
    fv_stage_hello *said = sent.bytes ? fv_stage_body(&sent) : NULL;
    if (said) said->text[FV_MESSAGE_BYTES - 1] = 0;
    if (status != FV_OK && said && said->text[0]) (void)fv_message_set(message, status, "%s", said->text);
    if (status == FV_OK && (said->stages != stages || said->next_layer != layers))
        status = fv_message_set(message, FV_ERROR_ARGUMENT,
                                "%" PRIu32 " stages have layers up to number %" PRIu32 "; the model has %" PRIu32
                                " layers, and %" PRIu32 " stages were to have them",
                                said->stages, said->next_layer, layers, stages);
    fv_stage_message_free(&sent);
    return status;
}

fv_status fv_engine_link(fv_engine *engine, const fv_stage_link *link, uint32_t stages, fv_message *message) {
    if (!engine || !link || !link->send || !link->receive)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is missing");
    fv_llm *llm = fv_engine_llm(engine)->self;
    const fv_layer_range *range = &llm->loaded.range;
    if (range->first > 0 || range->count == llm->loaded.config.layers || stages < 2 ||
        stages > llm->loaded.config.layers)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "%s: the first of several stages has the first layers alone",
                              fv_gguf_path(llm->gguf));
    if (llm->hub || atomic_load(&llm->holders) > 1)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "%s: stages are linked once, before sessions are opened",
                              fv_gguf_path(llm->gguf));
    fv_stage_hub *hub = NULL;
    fv_status status = fv_stage_hub_open(&hub, link, stages, llm->loaded.config.width, message);
    if (status == FV_OK) status = hello(llm, hub, message);
    if (status == FV_OK) {
        llm->hub = hub;
        llm->steps_kept = FV_STAGE_FLIGHT(stages) + 1;
    } else
        fv_stage_hub_close(hub, true);
    return status;
}
