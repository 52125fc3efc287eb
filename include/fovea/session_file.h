/* session_file.h - files of sessions: what a model has read, kept to go on from, docs/file-formats.md. Hosted.
 * How structs may change: docs/abi.md. */
#ifndef FOVEA_SESSION_FILE_H
#define FOVEA_SESSION_FILE_H

#include "fovea/sequence.h"
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Where in a conversation the text of a session ends: what has to come before a question. */
typedef enum fv_session_end {
    FV_SESSION_END_PLAIN = 0, /* in no turn */
    FV_SESSION_END_TURN = 1,  /* in a turn of the user that is still open: a question completes it */
    FV_SESSION_END_ANSWER = 2 /* after the content of an answer, which is still to be closed */
} fv_session_end;

/** What a session file says about itself. Texts belong to the file and are zero-terminated. */
typedef struct fv_session_info {
    uint64_t model;             /* fv_llm_identity() of the model that read the tokens */
    uint64_t file_bytes;        /* all of it */
    fv_cache_config cache;      /* of every layer; max_tokens is 0 */
    uint32_t version;           /* of the format */
    uint32_t vocabulary;        /* tokens of the model */
    uint32_t layers;            /* likewise */
    uint32_t tokens;            /* held */
    uint32_t exact_activations; /* fv_session_config.exact_activations when they were read */
    uint32_t end;               /* fv_session_end */
    const char *model_name;     /* for readers: the model's file */
    const char *attention;      /* the policy that they were read with, as text (fovea/policy_text.h) */
} fv_session_info;

/** A session file, mapped and read-only: any number of threads may use it. A file that is replaced meanwhile stays
 *  what it was; it must not be shortened or written into. */
typedef struct fv_session_file fv_session_file;

/**
 * Opens `path` and checks all but the segments, which are checked when a sequence first takes them up.
 *
 * file     out; untouched on error. Close with fv_session_file_close().
 * message  may be NULL; on error: the file, what is wrong, what to do.
 * returns  FV_OK, FV_ERROR_FILE, FV_ERROR_CORRUPT (damaged, cut short, or no session file), FV_ERROR_UNSUPPORTED (of a
 *          newer version), FV_ERROR_MEMORY. Cost: reads the head, 4 bytes a token, and 16 a segment of each layer.
 */
FV_API fv_status fv_session_file_open(fv_session_file **file, const char *path, fv_message *message);
/** NULL is allowed. Sessions that woke from it keep the mapping until they are closed. */
FV_API void fv_session_file_close(fv_session_file *file);

/** Whether the file at `path` begins as a session file does. false also if it can't be read. */
FV_API bool fv_session_file_is(const char *path);

/* Of an open file; valid until it is closed. */
FV_API const fv_session_info *fv_session_file_info(const fv_session_file *file);
FV_API const int32_t *fv_session_file_tokens(const fv_session_file *file); /* [info.tokens] ids */

/** Tokens at the beginning of `tokens` that the file begins with, too. O(count). */
FV_API uint32_t fv_session_file_shared(const fv_session_file *file, const int32_t *tokens, size_t count);

/** Checks every segment. FV_OK, FV_ERROR_CORRUPT (the message says which). Reads the whole file. */
FV_API fv_status fv_session_file_check(const fv_session_file *file, fv_message *message);

/**
 * Writes what the sequence holds in the place of what is at `path`: whole and durable, or not at all. A cut or the end
 * of the process at any moment leaves the old file or the new one.
 *
 * Where layers are divided over stages (fovea/stage.h), each stage writes a file of its own layers.
 *
 * end      fv_session_end: what the text ends with.
 * returns  FV_OK, FV_ERROR_ARGUMENT (there are no tokens), FV_ERROR_FILE (also: another process is writing that file),
 *          FV_ERROR_MEMORY, FV_ERROR_OVERFLOW. The sequence is only read. O(bytes).
 */
FV_API fv_status fv_sequence_save(fv_sequence *sequence, const char *path, uint32_t end, fv_message *message);

/**
 * The sequence holds the first `tokens` tokens of the file in place of what it held: the same bits as when it was saved
 * and then truncated to them. Whole segments stay where they are mapped, take none of the sequence's memory and are
 * shared by all that wake from the file; the last one, and what is written later, is copied.
 *
 * sequence  opened with the model, element types and exact_activations that the file was made with, and a policy with
 *           the same needs (fv_policy_needs()); fv_sequence_set_policy() may name another one afterwards. Where layers
 *           are divided over stages (fovea/stage.h), saved by stages of the same layers.
 * tokens    1 to info.tokens.
 * returns   FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_UNSUPPORTED (another model, other types, needs or stages: the message
 *           has those of the file), FV_ERROR_FILE (a stage's file is missing), FV_ERROR_CORRUPT, FV_ERROR_FULL (the
 *           context or the pool), FV_ERROR_RANGE (layers with a sliding window do not have what so few tokens need:
 *           evaluate them again), FV_ERROR_MEMORY; `sequence` is untouched on error. Cost: checks the segments that are
 *           taken up for the first time.
 */
FV_API fv_status fv_sequence_wake(fv_sequence *sequence, fv_session_file *file, size_t tokens, fv_message *message);

/**
 * fv_sequence_wake(), but keys and values are read stochastically (ADR-191's proposal): each stored value comes with
 * noise of up to half a step of its type, which has mean 0 over seeds and is a function of seed, layer, head, token and
 * element alone. So what rounding lost is not lost the same way each time; of one seed the noise is as large as the
 * rounding was, and a mean over seeds is the stored value. Off unless this is called; the file stays as it is.
 *
 * sequence  of wider types than the file's: of what is Q8_0 or Q4_0 F16 or F32, of what is F16 or BF16 F32. F32 stays
 * as it is, but not both. All else as for fv_sequence_wake(). seed      any; the same one gives the same bits, for any
 * number of tokens. returns   what fv_sequence_wake() does; FV_ERROR_UNSUPPORTED also for types without room for noise,
 * FV_ERROR_RANGE also where a value with its noise is beyond f16. Cost: reads, converts and codes all tokens; all
 * segments are the sequence's own.
 */
FV_API fv_status fv_sequence_wake_dithered(fv_sequence *sequence, fv_session_file *file, size_t tokens, uint64_t seed,
                                           fv_message *message);

/** The sequence that the session is: to be asked, kept and saved, not to be fed or changed. Valid until it is closed.
 */
FV_API fv_sequence *fv_session_sequence(fv_session *session);

/* The same for a session; no rows of logits are left. */
FV_API fv_status fv_session_save(fv_session *session, const char *path, uint32_t end, fv_message *message);
FV_API fv_status fv_session_wake(fv_session *session, fv_session_file *file, size_t tokens, fv_message *message);
FV_API fv_status fv_session_wake_dithered(fv_session *session, fv_session_file *file, size_t tokens, uint64_t seed,
                                          fv_message *message);

/**
 * A number that differs between models: of the type, shape and name of every tensor, samples of its data (up to 4,096
 * bytes all of it, else the first and last 64 bytes and 14 runs of 64 evenly between) and all metadata but
 * "general.*", "split.*" and chat templates, which do not change what a token computes. So another quantisation, a
 * fine-tune or another scaling of positions is noticed; a change to a few rows of one matrix may not be. The same on
 * every machine. Cost: reads 1 KiB a tensor. Thread-safe.
 */
FV_API uint64_t fv_llm_identity(const fv_llm *llm);

#ifdef __cplusplus
}
#endif

#endif
