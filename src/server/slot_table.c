/* slot_table.c - the longest common beginning of a prompt and of all that is in the slots. A slot at work is forked; a
 * free one goes on itself where most of it is common, else it is forked, too, and the one that was used longest ago is
 * given. Tokens that were a question were read by another rule than the same tokens in the midst of a longer prompt: an
 * answer goes on from them only where its prompt is as long, so that it has the bits that it would have alone. */
#include "slot_table.h"
#include "fovea/machine.h"
#include "slot_store.h"
#include <stdlib.h>
#include <string.h>

enum { WORTH_WAITING = 64 /* tokens that another answer is about to read */ };

/* What all caches may take: what was asked for, or all that this process may use beside weights and activations. */
static fv_status cache_limit(const fv_slots *slots, uint64_t *bytes, fv_message *message) {
    const fv_engine *engine = slots->server->engine;
    fv_session_config config;
    fv_session_memory memory;
    fv_machine_limits limits;
    *bytes = slots->server->config->cache_bytes;
    if (*bytes > 0) return FV_OK;
    fv_slots_session(slots->server, &config);
    fv_status status =
        fv_session_memory_plan(fv_engine_llm(engine), &config, fv_engine_threads(engine), &memory, message);
    fv_machine_limits_read(&limits);
    if (status != FV_OK || limits.memory_bytes == 0) return status;
    uint64_t usable = limits.memory_bytes + limits.swap_bytes;
    uint64_t other = fv_llm_packed_bytes(fv_engine_llm(engine)) + memory.scratch_bytes;
    if (other < usable) *bytes = usable - other;
    if (other < usable) return FV_OK;
    return fv_message_set(message, FV_ERROR_MEMORY,
                          "weights and activations take %.1f MiB, but this process may use %.1f MiB: there is no room "
                          "for a context",
                          (double)other / 1048576, (double)usable / 1048576);
}

fv_status fv_slots_open(fv_slots *slots, const fv_server *server, fv_message *message) {
    *slots = (fv_slots){.server = server, .count = server->config->slots};
    slots->items = calloc(slots->count, sizeof *slots->items);
    if (!slots->items) return fv_message_set(message, FV_ERROR_MEMORY, "no memory for %u slots", slots->count);
    uint64_t limit = 0;
    fv_status status = cache_limit(slots, &limit, message);
    if (status == FV_OK) status = fv_segments_open(&slots->segments, limit, message);
    return status == FV_OK ? fv_slot_store_open(&slots->store, slots->server->config, message) : status;
}

void fv_slots_close(fv_slots *slots) {
    for (uint32_t i = 0; slots->items && i < slots->count; i++) fv_slot_fill(&slots->items[i], NULL, "");
    free(slots->items);
    fv_segments_close(slots->segments);
    fv_prefix_store_close(slots->store);
    *slots = (fv_slots){0};
}

void fv_slots_session(const fv_server *server, fv_session_config *config) {
    fv_engine_session_config(server->engine, config);
    config->context_tokens = server->slot_tokens;
    if (config->batch_tokens > server->slot_tokens) config->batch_tokens = server->slot_tokens;
}

/* ---- what is common ---- */

static size_t common(const int32_t *a, size_t a_count, const int32_t *b, size_t b_count) {
    size_t most = a_count < b_count ? a_count : b_count, count = 0;
    while (count < most && a[count] == b[count]) count++;
    return count;
}

/* Where the question of a prompt begins; SIZE_MAX: its rows have the bits of those before it. Rows that see no more
 * than the policy reads anyway have them, too. */
static size_t question_begin(const fv_policy *policy, size_t prompt_tokens) {
    size_t floor = policy->floor < FV_POLICY_FLOOR_DEFAULT ? policy->floor : FV_POLICY_FLOOR_DEFAULT;
    size_t whole = fv_policy_is_dynamic(policy) ? floor * FV_PAGE_TOKENS : policy->window;
    if (policy->question == 0 || prompt_tokens <= whole) return SIZE_MAX;
    return prompt_tokens > policy->question ? prompt_tokens - policy->question : 0;
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Tokens of the prompt that may be reused at most: the last one's logits are needed, and where its own
 * log-probabilities are wanted, all. */
static size_t most_reused(const fv_choice *choice) {
    if (!choice->request->settings.use_cache || fv_choice_wants_rows(choice)) return 0;
    return choice->prompt->tokens.count - 1;
}

/* The same of what was read with another prompt, of `prompt_tokens`: neither question may be in it, unless both begin
 * at the same token. 0: it is not known what was read. */
static size_t most_alike(const fv_choice *choice, size_t prompt_tokens) {
    const fv_policy *policy = &choice->request->settings.policy;
    size_t most = most_reused(choice), count = choice->prompt->tokens.count;
    if (prompt_tokens == 0 || prompt_tokens == count) return most;
    return least(most, least(question_begin(policy, prompt_tokens), question_begin(policy, count)));
}

static size_t shared_by(const fv_slot *slot, const fv_choice *choice) {
    if (!slot->sequence || strcmp(slot->policy, choice->request->settings.policy_text) != 0) return 0;
    size_t sound = fv_sequence_tokens(slot->sequence);
    if (slot->choice && slot->choice->cut > 0) sound = slot->choice->prompt->tokens.count;
    return common(fv_sequence_ids(slot->sequence), sound, choice->prompt->tokens.ids,
                  most_alike(choice, slot->prompt_tokens));
}

/* The same, once the slot has read its whole prompt. */
static size_t shared_soon(const fv_slot *slot, const fv_choice *choice) {
    const fv_choice *other = slot->choice;
    if (!other || other->read == other->prompt->tokens.count) return 0;
    if (strcmp(slot->policy, choice->request->settings.policy_text) != 0) return 0;
    return common(other->prompt->tokens.ids, other->prompt->tokens.count, choice->prompt->tokens.ids,
                  most_alike(choice, other->prompt->tokens.count));
}

static fv_slot *longest_shared(fv_slots *slots, const fv_choice *choice, size_t *shared) {
    fv_slot *best = NULL;
    *shared = 0;
    for (uint32_t i = 0; i < slots->count; i++) {
        size_t tokens = shared_by(&slots->items[i], choice);
        if (tokens <= *shared) continue;
        *shared = tokens;
        best = &slots->items[i];
    }
    return best;
}

/* ---- giving ---- */

static fv_slot *longest_unused(fv_slots *slots, const fv_slot *not_this) {
    fv_slot *found = NULL;
    for (uint32_t i = 0; i < slots->count; i++) {
        fv_slot *slot = &slots->items[i];
        if (slot->choice || slot == not_this) continue;
        if (!found || slot->used < found->used) found = slot;
    }
    return found;
}

static fv_status sequence_new(const fv_slots *slots, const fv_settings *settings, fv_sequence **sequence,
                              fv_message *message) {
    fv_session_config config;
    fv_slots_session(slots->server, &config);
    config.policy = settings->policy;
    return fv_sequence_open(sequence, slots->server->llm, slots->segments, &config, message);
}

void fv_slot_fill(fv_slot *slot, fv_sequence *sequence, const char *policy) {
    fv_sequence_close(slot->sequence);
    fv_sequence_close(slot->base);
    slot->sequence = sequence;
    slot->base = NULL;
    slot->prompt_tokens = 0;
    if (policy != slot->policy) strcpy(slot->policy, policy);
}

static fv_status begin_anew(fv_slots *slots, fv_slot *slot, const fv_settings *settings, fv_message *message) {
    fv_slot_fill(slot, NULL, settings->policy_text);
    return sequence_new(slots, settings, &slot->sequence, message);
}

/* The slot's sequence begins as the first `shared` tokens of `from`, or of its base where that has them; false where
 * that can't be had. */
static bool begin_as(fv_slot *slot, fv_slot *from, size_t shared) {
    bool is_base = from->base && shared <= fv_sequence_tokens(from->base);
    fv_sequence **source = is_base ? &from->base : &from->sequence, *begun = NULL;
    if (slot != from && fv_sequence_fork(&begun, *source, NULL) != FV_OK) return false;
    if (slot == from && is_base) begun = *source, *source = NULL;
    if (begun) fv_slot_fill(slot, begun, from->policy);
    return fv_sequence_truncate(slot->sequence, shared) == FV_OK;
}

/* The slot's sequence is one from the store, which has more than `shared` tokens of the prompt: how many; 0: none has.
 */
static size_t begin_from_store(fv_slots *slots, fv_slot *slot, const fv_choice *choice, size_t shared) {
    const fv_settings *settings = &choice->request->settings;
    fv_sequence *made = NULL;
    size_t most = least(most_reused(choice), question_begin(&settings->policy, choice->prompt->tokens.count));
    if (!fv_slot_store_may_have(slots->store, shared, most)) return 0;
    if (sequence_new(slots, settings, &made, NULL) != FV_OK) return 0;
    size_t tokens = fv_slot_store_wake(slots->store, choice, shared, most, made);
    if (tokens > 0)
        fv_slot_fill(slot, made, settings->policy_text);
    else
        fv_sequence_close(made);
    return tokens;
}

/* Where `best` is free and most of it is common, it goes on itself. */
static fv_slot *choose(fv_slots *slots, fv_slot *best, size_t shared) {
    if (best && !best->choice && 2 * shared >= fv_sequence_tokens(best->sequence)) return best;
    fv_slot *slot = longest_unused(slots, best);
    return slot || !best || best->choice ? slot : best;
}

/* Of each token of the answer; a fork has the deadline of another one. */
static fv_status set_deadline(fv_sequence *sequence, const fv_settings *settings, fv_message *message) {
    const fv_token_deadline deadline = {.clock = fv_machine_clock,
                                        .token_ns = (uint64_t)settings->deadline_ms * 1000000,
                                        .on_deadline = FV_DEADLINE_BEST};
    return fv_sequence_set_deadline(sequence, settings->deadline_ms > 0 ? &deadline : NULL, message);
}

fv_status fv_slots_give(fv_slots *slots, fv_choice *choice, fv_slot **slot, fv_message *message) {
    size_t shared = 0;
    *slot = NULL;
    if (!longest_unused(slots, NULL)) return FV_OK;
    fv_slot *best = longest_shared(slots, choice, &shared), *given = choose(slots, best, shared);
    for (uint32_t i = 0; i < slots->count; i++)
        if (shared_soon(&slots->items[i], choice) >= shared + WORTH_WAITING) return FV_OK;
    fv_status status = FV_OK;
    size_t kept = begin_from_store(slots, given, choice, shared);
    if (kept > 0) {
        shared = kept;
    } else if (shared == 0 || !begin_as(given, best, shared)) {
        shared = 0;
        status = begin_anew(slots, given, &choice->request->settings, message);
    }
    if (status != FV_OK) return status;
    status = set_deadline(given->sequence, &choice->request->settings, message);
    if (status != FV_OK) return status;
    fv_sequence_report_reset(given->sequence);
    choice->cached = choice->read = shared;
    given->choice = choice;
    given->prompt_tokens = choice->prompt->tokens.count;
    given->used = ++slots->uses;
    *slot = given;
    return FV_OK;
}

bool fv_slots_forget(fv_slots *slots) {
    fv_slot *oldest = NULL;
    for (uint32_t i = 0; i < slots->count; i++) {
        fv_slot *slot = &slots->items[i];
        if (!slot->choice && slot->sequence && (!oldest || slot->used < oldest->used)) oldest = slot;
    }
    if (oldest) {
        fv_slot_fill(oldest, NULL, "");
        return true;
    }
    for (uint32_t i = 0; i < slots->count; i++) {
        fv_slot *slot = &slots->items[i];
        if (!slot->base) continue;
        fv_sequence_close(slot->base);
        slot->base = NULL;
        return true;
    }
    return false;
}

static size_t own_question_begin(const fv_slot *slot) {
    return question_begin(fv_sequence_policy(slot->sequence), slot->prompt_tokens);
}

size_t fv_slot_piece(const fv_slot *slot, size_t most) {
    size_t read = slot->choice->read, begin = own_question_begin(slot);
    return read < begin && begin - read < most ? begin - read : most;
}

void fv_slot_keep_base(fv_slot *slot) {
    if (!slot->base && slot->choice->read == own_question_begin(slot))
        (void)fv_sequence_fork(&slot->base, slot->sequence, NULL); /* of use, no more */
}

/* Of the slot, what any prompt may go on from. */
static fv_sequence *sequence_to_keep(fv_slot *slot) {
    fv_sequence *sequence = slot->sequence;
    if (slot->base || !sequence) return slot->base;
    size_t begin = own_question_begin(slot);
    bool is_alike = fv_sequence_tokens(sequence) <= begin || fv_sequence_truncate(sequence, begin) == FV_OK;
    return is_alike ? sequence : NULL;
}

fv_status fv_slots_keep(fv_slots *slots, fv_message *message) {
    fv_status all = FV_OK;
    for (uint32_t i = 0; i < slots->count && slots->store; i++) {
        fv_message why = {""};
        fv_sequence *sequence = sequence_to_keep(&slots->items[i]);
        fv_status status = sequence ? fv_prefix_store_keep(slots->store, sequence, &why) : FV_OK;
        if (all != FV_OK || status == FV_OK) continue;
        all = fv_message_set(message, status, "slot %u: %.400s", i, why.text[0] ? why.text : fv_status_text(status));
    }
    return all;
}

void fv_slots_return(fv_slots *slots, fv_slot *slot, bool keep) {
    slot->choice = NULL;
    slot->used = ++slots->uses;
    if (!keep) fv_slot_fill(slot, NULL, slot->policy);
}
