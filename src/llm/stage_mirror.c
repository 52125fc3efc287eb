/* stage_mirror.c - see stage_mirror.h. */
#include "llm/stage_mirror.h"

fv_status fv_stage_mirror_open(fv_stage_hub *hub, fv_stage_kind kind, uint32_t number, uint32_t parts,
                               const fv_session_config *config, fv_message *message) {
    fv_stage_message sent = {0};
    fv_status status = fv_stage_opening_put(&sent, kind, number, parts, config);
    if (status == FV_ERROR_UNSUPPORTED)
        status = fv_message_set(message, status, "a policy with a list of tokens to keep can't be used over stages");
    else if (status == FV_OK) {
        status = fv_stage_hub_ask(hub, &sent);
        if (status != FV_OK && fv_stage_is_whole(&sent, 0, true)) {
            fv_stage_opening *opening = fv_stage_body(&sent);
            opening->text[FV_MESSAGE_BYTES - 1] = 0;
            (void)fv_message_set(message, status, "%s", opening->text);
        }
        (void)fv_stage_hub_explain(hub, status, message);
    }
    fv_stage_message_free(&sent);
    return status;
}

static fv_status ask(fv_stage_hub *hub, fv_stage_kind kind, uint32_t number, uint32_t count) {
    fv_stage_message sent = {0};
    fv_status status = fv_stage_begin(&sent, kind, number, count, 0);
    if (status == FV_OK) status = fv_stage_hub_ask(hub, &sent);
    fv_stage_message_free(&sent);
    return status;
}

fv_status fv_stage_mirror_fill(fv_stage_hub *hub, uint32_t number, uint32_t from) {
    return ask(hub, FV_STAGE_SEQUENCE_FILL, number, from);
}

fv_status fv_stage_mirror_cut(fv_stage_hub *hub, uint32_t number, uint32_t tokens) {
    return ask(hub, FV_STAGE_SEQUENCE_CUT, number, tokens);
}

fv_status fv_stage_mirror_report(fv_stage_hub *hub, uint32_t number, fv_report *report) {
    fv_stage_message sent = {0};
    fv_status status = fv_stage_begin(&sent, FV_STAGE_REPORT, number, 0, sizeof *report);
    if (status == FV_OK) {
        fv_report *sum = fv_stage_body(&sent);
        *sum = *report;
        status = fv_stage_hub_ask(hub, &sent);
    }
    if (status == FV_OK) *report = *(const fv_report *)fv_stage_body(&sent);
    fv_stage_message_free(&sent);
    return status;
}

void fv_stage_mirror_tell(fv_stage_hub *hub, fv_stage_kind kind, uint32_t number) {
    fv_stage_message sent = {0};
    if (fv_stage_begin(&sent, kind, number, 0, 0) == FV_OK) (void)fv_stage_hub_send(hub, &sent, NULL, false, NULL);
    fv_stage_message_free(&sent);
}
