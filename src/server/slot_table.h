/* slot_table.h - what is in the caches: for each slot a sequence, of an answer at work or of one that ended, which the
 * next prompt may begin like. Of the thread that steps. */
#ifndef FV_SLOT_TABLE_H
#define FV_SLOT_TABLE_H

#include "fovea/prefix_store.h"
#include "fovea/sequence.h"
#include "request.h"

typedef struct fv_slot {
    fv_sequence *sequence; /* NULL: none yet */
    fv_sequence *base;     /* what it held before the question of its prompt was read, which prompts with another
                              question go on from; NULL: nothing */
    size_t prompt_tokens;  /* of the prompt that was read last; 0: not known */
    char policy[FV_POLICY_TEXT_BYTES];
    fv_choice *choice; /* NULL: free */
    uint64_t used;     /* when it was given away last */
} fv_slot;

typedef struct fv_slots {
    const fv_server *server;
    fv_segments *segments;
    fv_prefix_store *store; /* NULL: nothing is kept in files */
    fv_slot *items;
    uint32_t count;
    uint64_t uses;
} fv_slots;

fv_status fv_slots_open(fv_slots *slots, const fv_server *server, fv_message *message);
void fv_slots_close(fv_slots *slots);

/** What the sequences of this server are opened with. */
void fv_slots_session(const fv_server *server, fv_session_config *config);

/**
 * A free slot for the choice, whose sequence holds as much of the prompt as any of them does: what answers have in
 * common is read once.
 *
 * slot     out: NULL where none is free, or where an answer at work is about to read what this one begins with, too.
 * returns  FV_OK, FV_ERROR_MEMORY, FV_ERROR_POLICY (the message says why the model can't).
 */
fv_status fv_slots_give(fv_slots *slots, fv_choice *choice, fv_slot **slot, fv_message *message);

/** How many of the next `most` tokens of the slot's prompt may be read in one step: what comes before its question and
 *  the question are read apart. */
size_t fv_slot_piece(const fv_slot *slot, size_t most);

/** Before a piece is read: where the question begins, what the slot holds is kept for prompts with another one. Its
 *  sequence is in no step. */
void fv_slot_keep_base(fv_slot *slot);

/** Empties the free slot that was used longest ago, where memory is short; else drops a base. false: none has anything.
 */
bool fv_slots_forget(fv_slots *slots);

/** Keeps what all slots have read in the store, if there is one. FV_OK; else status and message are of the first that
 *  could not be: FV_ERROR_FILE, FV_ERROR_MEMORY. */
fv_status fv_slots_keep(fv_slots *slots, fv_message *message);

/** The slot holds `sequence`, of which nothing is known but its policy, in place of what it held; NULL: nothing. */
void fv_slot_fill(fv_slot *slot, fv_sequence *sequence, const char *policy);

/** The answer has ended; what was read stays, unless its sequence can't be trusted. */
void fv_slots_return(fv_slots *slots, fv_slot *slot, bool keep);

#endif
