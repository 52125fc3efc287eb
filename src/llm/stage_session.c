/* stage_session.c - see stage_session.h. */
#include "llm/stage_session.h"
#include "llm/divided.h"
#include "llm/sequence_state.h"
#include "llm/session_layout.h"
#include "llm/session_segments.h"
#include "llm/stage_files.h"
#include "llm/stage_hub.h"
#include "platform/array.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* What all stages have: [fv_stage_hub_stages()], of malloc(). */
static fv_status layers_ask(const fv_sequence *sequence, uint32_t **layers, fv_message *message) {
    fv_stage_hub *hub = sequence->llm->hub;
    uint32_t stages = fv_stage_hub_stages(hub), sum = 0;
    size_t bytes = stages * sizeof(uint32_t);
    fv_stage_message sent = {0};
    uint32_t *made = fv_array_new(stages, sizeof *made);
    fv_status status = made ? fv_stage_begin(&sent, FV_STAGE_LAYERS, 0, stages, bytes) : FV_ERROR_MEMORY;
    if (status == FV_OK) {
        *(uint32_t *)fv_stage_body(&sent) = sequence->layers_end;
        status = fv_stage_hub_ask(hub, &sent);
    }
    if (status == FV_OK) memcpy(made, fv_stage_body(&sent), bytes);
    for (uint32_t i = 0; i < stages && status == FV_OK; i++) {
        if (made[i] == 0 || made[i] > sequence->shape.layers - sum) status = FV_ERROR_CORRUPT;
        sum += made[i];
    }
    if (status == FV_OK && sum != sequence->shape.layers) status = FV_ERROR_CORRUPT;
    fv_stage_message_free(&sent);
    if (status == FV_OK)
        *layers = made;
    else
        free(made);
    if (status == FV_OK) return FV_OK;
    (void)fv_message_set(message, status, "stages can't say which layers they have: %s", fv_status_text(status));
    return fv_stage_hub_explain(hub, status, message);
}

/* What all other stages do. */
static fv_status tell(const fv_sequence *sequence, fv_stage_kind kind, const fv_stage_session *what,
                      const fv_session_split *split, fv_message *message) {
    fv_stage_hub *hub = sequence->llm->hub;
    fv_stage_message sent = {0};
    size_t bytes = split->stages * sizeof(uint32_t);
    fv_status status = fv_stage_begin(&sent, kind, sequence->number, split->stages, sizeof *what + bytes);
    if (status == FV_OK) {
        fv_stage_session *body = fv_stage_body(&sent);
        *body = *what;
        memcpy(body + 1, split->layers, bytes);
        status = fv_stage_hub_ask(hub, &sent);
    }
    if (status != FV_OK) {
        (void)fv_message_set(message, status, "%s: %s", what->path, fv_status_text(status));
        if (fv_stage_is_whole(&sent, 0, true)) {
            fv_stage_session *body = fv_stage_body(&sent);
            body->text[FV_MESSAGE_BYTES - 1] = 0;
            if (body->text[0]) (void)fv_message_set(message, status, "%s", body->text);
        }
        (void)fv_stage_hub_explain(hub, status, message);
    }
    fv_stage_message_free(&sent);
    return status;
}

typedef struct saving {
    const fv_sequence *sequence;
    fv_stage_session told;
    fv_session_split split;
    bool has_begun;
} saving;

/* Nobody else saves to that name now: what the last save left is what its first file names. */
static fv_status others_save(void *context, fv_message *message) {
    saving *s = context;
    s->has_begun = true;
    s->told.kept = fv_session_stamp_at(s->told.path);
    return tell(s->sequence, FV_STAGE_SESSION_SAVE, &s->told, &s->split, message);
}

/* Files that the name does not lead to: of the save before, or of this one if it failed. */
static void leftovers_drop(saving *s) {
    fv_stage_session gone = s->told;
    if (fv_session_stamp_at(gone.path) == gone.stamp) gone.stamp = gone.kept;
    if (!s->has_begun || gone.stamp == 0) return;
    fv_stage_files_drop(gone.path, gone.stamp);
    (void)tell(s->sequence, FV_STAGE_SESSION_DROP, &gone, &s->split, NULL);
}

fv_status fv_stage_session_save(fv_sequence *sequence, const char *path, uint32_t end, fv_message *message) {
    uint32_t *layers = NULL, tokens = (uint32_t)fv_sequence_tokens(sequence);
    saving s = {.sequence = sequence, .told = {.stamp = fv_stage_stamp(), .tokens = tokens, .end = end}};
    if (strlen(path) >= FV_STAGE_PATH) return fv_message_set(message, FV_ERROR_FILE, "%s: the name is too long", path);
    memcpy(s.told.path, path, strlen(path));
    fv_status status = fv_llm_check_whole(sequence->llm, "no session of it can be saved", message);
    if (status == FV_OK) status = layers_ask(sequence, &layers, message);
    if (status != FV_OK) return status;
    s.split = (fv_session_split){s.told.stamp, layers, fv_stage_hub_stages(sequence->llm->hub), 0};
    fv_session_image image = {.split = &s.split, .others = others_save, .others_context = &s};
    status = fv_sequence_write(sequence, &image, tokens, path, end, message);
    leftovers_drop(&s);
    free(layers);
    return status;
}

fv_status fv_stage_session_fits(const fv_sequence *sequence, const fv_session_file *file, fv_message *message) {
    const fv_session_split *split = fv_session_file_split(file);
    uint32_t *layers = NULL, stages = fv_stage_hub_stages(sequence->llm->hub);
    fv_status status = layers_ask(sequence, &layers, message);
    if (status != FV_OK) return status;
    const fv_session_split own = {0, layers, stages, 0};
    if (split->stages != stages || memcmp(split->layers, layers, stages * sizeof *layers) != 0) {
        char saved[FV_SPLIT_TEXT], here[FV_SPLIT_TEXT];
        fv_split_text(split, saved), fv_split_text(&own, here);
        status =
            fv_message_set(message, FV_ERROR_UNSUPPORTED,
                           "the session was saved by %" PRIu32 " ranks with layers %s, and here they are %s; go on "
                           "with the same ranks and layers, or read the document again",
                           split->stages, saved, here);
    }
    free(layers);
    return status;
}

fv_status fv_stage_session_wake(fv_sequence *sequence, const fv_session_file *file, uint32_t tokens,
                                fv_message *message) {
    const fv_session_split *split = fv_session_file_split(file);
    const char *path = fv_session_file_path(file);
    fv_stage_session told = {.stamp = split->stamp, .tokens = tokens};
    if (strlen(path) >= FV_STAGE_PATH) return fv_message_set(message, FV_ERROR_FILE, "%s: the name is too long", path);
    memcpy(told.path, path, strlen(path));
    return tell(sequence, FV_STAGE_SESSION_WAKE, &told, split, message);
}
