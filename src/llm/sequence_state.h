/* sequence_state.h - a sequence, as the files of this room see it. */
#ifndef FV_SEQUENCE_STATE_H
#define FV_SEQUENCE_STATE_H

#include "fovea/sequence.h"
#include "llm/segment_pool.h"

struct fv_sequence {
    const fv_llm *llm; /* held */
    fv_segments *pool; /* held */
    fv_session_config config;
    fv_model_config shape; /* cache: of layers without a sliding window */
    fv_policy policy;
    fv_report report;
    fv_token_deadline deadline; /* without a clock: none */
    fv_deadline_counts deadline_counts;
    fv_part_outcome failed;           /* of the last part that failed alone, */
    size_t fault_tokens;              /* and the tokens before its rows */
    uint32_t first_layer, layers_end; /* those that this process has: the others have no cache */
    fv_cache **caches;                /* [layers] */
    void *cache_memory;               /* of all of them */
    size_t cache_bytes;
    fv_segment **segments; /* [layers][table]; NULL: it is not there */
    size_t *segment_bytes; /* [layers] */
    uint32_t table;        /* segments of the whole context */
    uint32_t local_first;  /* those before it are gone in layers with a sliding window */
    uint32_t locals;       /* such layers */
    uint32_t filled;       /* segments whose memory was told that it fills */
    int32_t *ids;          /* of the tokens in the caches */
    size_t id_room;
    const fv_kernels *kernels; /* in their memory */
    void *kernels_memory;
    uint32_t led;     /* its number at ranks that hold its context with this one, where they are told */
    uint32_t number;  /* in other stages, where there are any */
    uint64_t ticket;  /* of its last step there */
    fv_report *whole; /* of all stages, as it was when somebody asked */
};

static inline fv_segment **fv_sequence_segment(const fv_sequence *sequence, uint32_t layer, uint32_t index) {
    return &sequence->segments[(size_t)layer * sequence->table + index];
}

/* The cache of a layer that there is, which knows how many tokens all have. */
static inline fv_cache *fv_sequence_first_cache(const fv_sequence *sequence) {
    return sequence->caches[sequence->first_layer];
}

/* Sets segment `index` of a layer, of which the sequence is a holder from now on; the one before it loses one. NULL:
 * there is none. */
void fv_sequence_set(fv_sequence *sequence, uint32_t layer, uint32_t index, fv_segment *segment);

/* --- sequence_room.c: memory before and after a step --- */

/* A shared segment in whose place a sequence has a copy, held until the whole step has its room. */
typedef struct fv_replaced {
    fv_sequence *sequence;
    uint32_t layer, index;
    fv_segment *segment;
} fv_replaced;

typedef struct fv_replaced_list {
    fv_replaced *items;
    size_t count, room;
} fv_replaced_list;

/* Room for `count` tokens more: segments that are the sequence's own, and ids. FV_OK, FV_ERROR_FULL, FV_ERROR_MEMORY;
 * on error, all is as it was. Until fv_sequence_trim() or fv_sequence_settle(), memory that is going to be given back
 * counts as given back. replaced: of the parts of a step; NULL: there is none else. */
fv_status fv_sequence_prepare(fv_sequence *sequence, uint32_t count, fv_replaced_list *replaced);

/* The step has its room, or it is refused: then sequences share again what they have copied. Empties the list. */
void fv_replaced_end(fv_replaced_list *replaced, bool refused);

/* Gives back what layers with a sliding window do not keep once the tokens that room was made for are there. */
void fv_sequence_trim(fv_sequence *sequence, uint32_t count);

/* Gives back segments beyond the tokens that there are. */
void fv_sequence_settle(fv_sequence *sequence);

/* The tokens are in the caches. */
void fv_sequence_commit(fv_sequence *sequence, const int32_t *tokens, uint32_t count);

/* Waits until its steps are through the other stages. What failed there is taken back in all of them, and its status
 * returned: the sequence holds then what it held before. FV_OK where there are none. */
fv_status fv_sequence_await(fv_sequence *sequence);

/* The same of a failure that is known, once all steps of the sequence are through. */
fv_status fv_sequence_undo(fv_sequence *sequence, uint32_t position, const fv_part_outcome *outcome);

/* Whether what `from` holds can be held by `to`: FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_FULL. */
fv_status fv_sequence_resembles(const fv_sequence *to, const fv_sequence *from);

/* An empty sequence holds what `from` holds, which it resembles; layers of the same shape share their segments. FV_OK,
 * FV_ERROR_FULL, FV_ERROR_MEMORY: it is closed then. */
fv_status fv_sequence_fill(fv_sequence *to, const fv_sequence *from);

/* --- sequence_file.c --- */

/* fv_sequence_save() of the first `tokens` tokens: all, or whole segments that no landmark leaves.
 * busy: of fv_session_image. */
fv_status fv_sequence_save_part(fv_sequence *sequence, uint32_t tokens, const char *path, uint32_t end, bool *busy,
                                fv_message *message);

/* --- sequence_image.c --- */

/* Writes the first `tokens` tokens to a file. `image` has split, others and busy; the rest is filled here. */
struct fv_session_image;
fv_status fv_sequence_write(fv_sequence *sequence, struct fv_session_image *image, uint32_t tokens, const char *path,
                            uint32_t end, fv_message *message);

/* --- sequence.c --- */

/* A part of it failed, whose rows follow `tokens` tokens: for fv_sequence_explain(). */
void fv_sequence_blame(fv_sequence *sequence, size_t tokens, fv_status status, const fv_model_fault *fault);

/* `sequence` holds what `made` holds, and `made` is closed; policy, report and deadline stay. */
void fv_sequence_become(fv_sequence *sequence, fv_sequence *made);

/* `to` holds what `from` holds. What fv_session_copy() returns; `to` is untouched on error. */
fv_status fv_sequence_copy(fv_sequence *to, const fv_sequence *from);

#endif
