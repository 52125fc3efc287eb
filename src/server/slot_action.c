/* slot_action.c - a file holds tokens that were read with one attention, kept as one type of keys and one of values,
 * and is taken up with those only. */
#include "slot_action.h"
#include "fovea/machine.h"
#include "fovea/session_file.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool fv_slot_file_is_good(const char *name) {
    static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t length = strlen(name);
    return length > 0 && length < 128 && name[0] != '.' && strspn(name, good) == length;
}

void fv_slot_action_free(fv_slot_action *action) {
    fv_reply_drop(action->reply);
    free(action);
}

static double ms_since(uint64_t began_ns) { return (double)(fv_machine_clock_ns() - began_ns) * 1e-6; }

static void path_of(const fv_slots *slots, const fv_slot_action *action, char *path, size_t bytes) {
    snprintf(path, bytes, "%s/%s", slots->server->config->slot_folder, action->file);
}

static uint64_t bytes_of(const char *path) {
    fv_session_file *file = NULL;
    if (fv_session_file_open(&file, path, NULL) != FV_OK) return 0;
    uint64_t bytes = fv_session_file_info(file)->file_bytes;
    fv_session_file_close(file);
    return bytes;
}

/* ---- the three ---- */

static void save(fv_slots *slots, fv_slot *slot, fv_slot_action *action) {
    char path[4096];
    fv_message message = {""};
    uint64_t began_ns = fv_machine_clock_ns();
    size_t tokens = slot->sequence ? fv_sequence_tokens(slot->sequence) : 0;
    if (tokens == 0) {
        fv_reply_error(action->reply, 400, "slot %u is empty: there is nothing to save", action->slot);
        return;
    }
    path_of(slots, action, path, sizeof path);
    fv_status status = fv_sequence_save(slot->sequence, path, FV_SESSION_END_PLAIN, &message);
    if (status != FV_OK) {
        fv_reply_error(action->reply, 500, "%s", message.text[0] ? message.text : fv_status_text(status));
        return;
    }
    fv_reply_json(action->reply, 200,
                  json_pack("{s:i, s:s, s:I, s:I, s:{s:f}}", "id_slot", (int)action->slot, "filename", action->file,
                            "n_saved", (json_int_t)tokens, "n_written", (json_int_t)bytes_of(path), "timings",
                            "save_ms", ms_since(began_ns)));
}

/* A sequence with the attention and the types that the file was read with. */
static fv_status wake(fv_slots *slots, fv_session_file *file, fv_sequence **sequence, char *policy,
                      fv_message *message) {
    const fv_session_info *info = fv_session_file_info(file);
    fv_session_config config;
    bool attached = false;
    fv_slots_session(slots->server, &config);
    config.key_type = info->cache.key_type;
    config.value_type = info->cache.value_type;
    if (info->tokens > slots->server->slot_tokens)
        return fv_message_set(message, FV_ERROR_FULL, "the file has %u tokens, the context of a slot holds %u",
                              info->tokens, slots->server->slot_tokens);
    fv_status status = fv_policy_parse(&config.policy, info->attention, message);
    if (status == FV_OK) status = fv_policy_format(&config.policy, policy, FV_POLICY_TEXT_BYTES);
    if (status == FV_OK) status = fv_engine_tune_attach(slots->server->engine, &config.policy, &attached, message);
    if (status == FV_OK) status = fv_sequence_open(sequence, slots->server->llm, slots->segments, &config, message);
    return status == FV_OK ? fv_sequence_wake(*sequence, file, info->tokens, message) : status;
}

static void restore(fv_slots *slots, fv_slot *slot, fv_slot_action *action) {
    char path[4096], policy[FV_POLICY_TEXT_BYTES];
    fv_message message = {""};
    fv_session_file *file = NULL;
    fv_sequence *sequence = NULL;
    uint64_t began_ns = fv_machine_clock_ns();
    path_of(slots, action, path, sizeof path);
    fv_status status = fv_session_file_open(&file, path, &message);
    if (status == FV_OK) status = wake(slots, file, &sequence, policy, &message);
    if (status == FV_OK) {
        fv_slot_fill(slot, sequence, policy);
        slot->used = ++slots->uses;
        fv_reply_json(action->reply, 200,
                      json_pack("{s:i, s:s, s:I, s:I, s:{s:f}}", "id_slot", (int)action->slot, "filename", action->file,
                                "n_restored", (json_int_t)fv_sequence_tokens(sequence), "n_read",
                                (json_int_t)fv_session_file_info(file)->file_bytes, "timings", "restore_ms",
                                ms_since(began_ns)));
    } else {
        fv_sequence_close(sequence);
        fv_reply_error(action->reply, 400, "%s", message.text[0] ? message.text : fv_status_text(status));
    }
    fv_session_file_close(file);
}

static void erase(fv_slot *slot, fv_slot_action *action) {
    size_t tokens = slot->sequence ? fv_sequence_tokens(slot->sequence) : 0;
    fv_slot_fill(slot, NULL, slot->policy);
    fv_reply_json(action->reply, 200,
                  json_pack("{s:i, s:I}", "id_slot", (int)action->slot, "n_erased", (json_int_t)tokens));
}

void fv_slot_act(fv_slots *slots, fv_slot_action *action) {
    fv_slot *slot = &slots->items[action->slot];
    if (slot->choice)
        fv_reply_error(action->reply, 503, "slot %u is at work: ask again when its answer has ended", action->slot);
    else if (action->verb == FV_SLOT_SAVE)
        save(slots, slot, action);
    else if (action->verb == FV_SLOT_RESTORE)
        restore(slots, slot, action);
    else
        erase(slot, action);
    fv_slot_action_free(action);
}
