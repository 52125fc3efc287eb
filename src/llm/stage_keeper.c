/* stage_keeper.c - see stage_keeper.h. */
#include "llm/stage_keeper.h"
#include "fovea/session_file.h"
#include "llm/llm.h"
#include "llm/sequence_state.h"
#include "llm/session_segments.h"
#include "llm/stage_files.h"
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

static const uint32_t *layers_of(const fv_stage_session *session) {
    return (const uint32_t *)(const void *)(session + 1);
}

bool fv_stage_keeper_takes(const fv_stage_message *message, const fv_llm *llm, uint32_t index) {
    const fv_stage_session *session = fv_stage_body(message);
    const uint32_t *layers = layers_of(session), stages = fv_stage_head_of(message)->count;
    uint32_t sum = 0, all = llm->loaded.config.layers;
    if (index == 0 || index >= stages || session->stamp == 0 || session->tokens == 0) return false;
    if (session->path[0] == 0 || !memchr(session->path, 0, FV_STAGE_PATH)) return false;
    for (uint32_t i = 0; i < stages; i++) {
        if (layers[i] == 0 || layers[i] > all - sum) return false;
        if (i == index && (sum != llm->loaded.range.first || layers[i] != llm->loaded.range.count)) return false;
        sum += layers[i];
    }
    return sum == all;
}

static fv_status stage_save(fv_sequence *sequence, const fv_stage_session *session, const fv_session_split *split,
                            fv_message *fault) {
    char name[FV_STAGE_FILE_NAME];
    fv_session_image image = {.split = split};
    if (session->tokens != fv_sequence_tokens(sequence))
        return fv_message_set(fault, FV_ERROR_INTERRUPTED, "rank %" PRIu32 " does not hold the tokens to be saved",
                              split->index);
    fv_stage_files_sweep(session->path, session->stamp, session->kept);
    fv_stage_file_name(name, session->path, session->stamp, split->index);
    return fv_sequence_write(sequence, &image, session->tokens, name, session->end, fault);
}

static bool is_same(const fv_session_split *a, const fv_session_split *b) {
    return a->stamp == b->stamp && a->stages == b->stages && a->index == b->index &&
           memcmp(a->layers, b->layers, a->stages * sizeof *a->layers) == 0;
}

static fv_status stage_wake(fv_sequence *sequence, const fv_stage_session *session, const fv_session_split *split,
                            fv_message *fault) {
    char name[FV_STAGE_FILE_NAME];
    fv_session_file *file = NULL;
    fv_stage_file_name(name, session->path, session->stamp, split->index);
    if (access(name, F_OK) != 0)
        return fv_message_set(fault, FV_ERROR_FILE, "%s: is missing, a part of the session; read the document again",
                              name);
    fv_status status = fv_session_file_open(&file, name, fault);
    if (status == FV_OK && !is_same(fv_session_file_split(file), split))
        status = fv_message_set(fault, FV_ERROR_CORRUPT, "%s: is of another save than %s; read the document again",
                                name, session->path);
    if (status == FV_OK) status = fv_sequence_wake(sequence, file, session->tokens, fault);
    fv_session_file_close(file);
    return status;
}

fv_status fv_stage_keeper_run(fv_sequence *sequence, const fv_stage_message *message, uint32_t index,
                              fv_message *fault) {
    const fv_stage_session *session = fv_stage_body(message);
    const fv_session_split split = {session->stamp, layers_of(session), fv_stage_head_of(message)->count, index};
    if (fv_stage_kind_of(message) == FV_STAGE_SESSION_SAVE) return stage_save(sequence, session, &split, fault);
    if (fv_stage_kind_of(message) == FV_STAGE_SESSION_WAKE) return stage_wake(sequence, session, &split, fault);
    fv_stage_files_drop(session->path, session->stamp);
    return FV_OK;
}
