/* stage.h - a model whose layers are divided over processes: each is a stage, which has the weights and caches of some
 * layers that follow each other. The first stage has the embedding, the vocabulary's matrix and the tokenizer, and all
 * of session.h, sequence.h, step.h and schedule.h works there as in one process, with the same bits. It hands rows on
 * to the next stage, that to the next, and the last one hands back what logits are made of. How messages get from stage
 * to stage is the caller's (fv_stage_link): MPI, threads. Hosted. How structs may change: docs/abi.md. */
#ifndef FOVEA_STAGE_H
#define FOVEA_STAGE_H

#include "fovea/api.h"
#include "fovea/engine.h"

#ifdef __cplusplus
extern "C" {
#endif

#define FV_STAGE_SLACK ((uint64_t)36 << 20) /* bytes that work is evened out by, of all stages together */

/* --- who has which layers ----------------------------------------------------------------------------------------- */

/** Of what the stages' work is evened out. */
typedef enum fv_stage_work {
    FV_STAGE_PROMPTS =
        0, /* of many tokens that go through the layers together: the vocabulary's product counts for nothing */
    FV_STAGE_ANSWERS = 1, /* of single tokens, whose logits are wanted: it counts by its bytes, as layers do */
} fv_stage_work;

/**
 * Divides the layers of a model over `stages` stages.
 *
 * The most work of any stage, by bytes of weights, is as little as it can be while no stage holds more weights and
 * caches than 1 / stages of all, one layer's and FV_STAGE_SLACK / stages: however full the context is; or where that
 * can't be, from a quarter of it on; or a full one. The first has vocabulary, tokenizer and sampler beside its layers,
 * and its embedding stays in the file where that is another matrix. Where no way is left (a vocabulary of more than 1 /
 * stages), the largest stage is as small as it can be.
 *
 * llm      of the whole file (fv_llm_open()): no weight is read.
 * config   context_tokens, element types and policy of the caches.
 * work     what the stages are to do at the same time.
 * layers   [stages], out: how many each has, at least 1.
 * returns  FV_OK, FV_ERROR_ARGUMENT (NULL, no stages or more than layers, another work), what fv_session_memory_plan()
 * returns; *layers untouched on error. Pure: all stages come to the same. O(stages * layers^2).
 */
FV_API fv_status fv_stage_split(const fv_llm *llm, const fv_session_config *config, uint32_t stages, fv_stage_work work,
                                uint32_t *layers, fv_message *message);

/** The same from text, such as "8,8,7,7": one number for each stage, which add up to `model_layers`. FV_OK,
 *  FV_ERROR_ARGUMENT with a sentence; *layers untouched on error. */
FV_API fv_status fv_stage_split_parse(const char *text, uint32_t model_layers, uint32_t stages, uint32_t *layers,
                                      fv_message *message);

/** The layers of stage `index` of such a list. Pure. */
FV_API void fv_stage_layers(const uint32_t *layers, uint32_t index, fv_layer_range *range);

/** Bytes that a stage with these layers holds. */
typedef struct fv_stage_bytes {
    uint64_t weights;       /* embedding and vocabulary included where it has the first layer */
    uint64_t cache;         /* of one full context */
    uint64_t largest_layer; /* of the whole model: weights and cache of one layer */
    uint64_t all;           /* weights and cache of the whole model */
} fv_stage_bytes;

/** FV_OK, FV_ERROR_ARGUMENT (a range beyond the model's) and what fv_session_memory_plan() returns. Pure. */
FV_API fv_status fv_stage_bytes_plan(const fv_llm *llm, const fv_session_config *config, const fv_layer_range *range,
                                     fv_stage_bytes *bytes, fv_message *message);

/**
 * A number that differs where a model file has other metadata, tensors of other shapes, or other weights in the tensors
 * of these layers (with the first layer: embedding and vocabulary, too): by a few bytes of each tensor, so that little
 * is read, and none of it stays in memory. That files are the same in every byte it does not say. Whoever starts stages
 * compares it, since fv_engine_link() sees shapes alone.
 *
 * llm      of the whole file or of any layers.
 */
FV_API uint64_t fv_stage_sum(const fv_llm *llm, const fv_layer_range *range);

/* --- opening ------------------------------------------------------------------------------------------------------ */

/** fv_engine_open() of some layers: on a stage without the first one `tune` is not read, shares come with sequences. */
FV_API fv_status fv_engine_open_range(fv_engine **engine, const fv_engine_config *config, const fv_layer_range *range,
                                      fv_message *message);

/* --- messages ------------------------------------------------------------------------------------------------------
 */

/** Bytes that go from one stage to the next. Start from {0}. */
typedef struct fv_stage_message {
    unsigned char *bytes; /* [room]; of malloc() */
    size_t count, room;   /* in use; reserved */
} fv_stage_message;

#define FV_STAGE_MESSAGE_MOST ((size_t)1 << 30) /* bytes: what claims more is damaged */

/** What a message has beside hidden rows, for each token at most: bytes. */
#define FV_STAGE_OVERHEAD 64

/** Room for `count` bytes; what is in use stays. FV_OK, FV_ERROR_MEMORY, FV_ERROR_OVERFLOW (FV_STAGE_MESSAGE_MOST). */
FV_API fv_status fv_stage_message_reserve(fv_stage_message *message, size_t count);
FV_API void fv_stage_message_free(fv_stage_message *message); /* {0} afterwards */

/**
 * How messages of one stage travel. Stages are a ring: 0, 1, ..., last, 0. Each message of stage 0 goes round once, and
 * comes back to it as the answer. Order is kept, bytes are kept whole.
 *
 * send     hands `message` to the next stage (the last stage: to stage 0). Its bytes are the caller's again once it
 *          returns. It may wait, but not for stage 0 to receive: up to FV_STAGE_FLIGHT messages, of any size, are on
 *          their way before stage 0 looks for an answer.
 * receive  waits for the next message from the stage before (stage 0: from the last), makes room for it
 *          (fv_stage_message_reserve()) and fills it.
 * Both return FV_OK or a status with a sentence in `fault` (never NULL), after which the link is of no use: all calls
 * over it return that status. On stage 0 two threads may be in `send` and in `receive` at the same time, but never two
 * in the same. On other stages one thread calls both, in turn.
 */
typedef struct fv_stage_link {
    void *context;
    fv_status (*send)(void *context, const fv_stage_message *message, fv_message *fault);
    fv_status (*receive)(void *context, fv_stage_message *message, fv_message *fault);
} fv_stage_link;

#define FV_STAGE_FLIGHT(stages) ((stages) + 1u) /* messages that are on their way at once, at most */

/* --- the first stage -----------------------------------------------------------------------------------------------
 */

/**
 * Layers that `engine` does not have are those of the stages that `link` leads to. Waits for all of them to say that
 * they have a file of the same shapes (fv_stage_sum() tells other weights) and the layers that follow. From now on
 * sequences, steppers and sessions of this engine are mirrored there:
 *
 * - opening, closing, truncating, forking, copying, policies and reports are as in one process. Reports are sums over
 *   all stages; reading one, fv_sequence_report(), asks them all.
 * - fv_stepper_run() returns once its own layers are done and the rows were handed on: a prompt's chunks are in all
 *   stages at once. What fails later (NOT_FINITE, RANGE, FULL, MEMORY) comes back from the next call that waits:
 *   fv_stepper_wait(), fv_stepper_logits(), a later fv_stepper_run() of that stepper, and whatever asks something of
 *   the sequence. By then the sequences of the failed step hold the tokens that they held before it, in all stages.
 *   fv_sequence_feed(), fv_session_feed(), fv_stepper_run_each() and fv_stepper_run_rest() wait themselves.
 * - fv_stepper_logits() waits for the rows that it needs: the last one of each part comes by itself, others are asked
 *   for.
 *
 * A session is saved in a file of each stage: the first one's has the name that was given, that of stage r is
 * NAME.STAMP.rank<r>, in a folder of the same name where that stage runs. The first one's takes its name last, and
 * until then what was saved before is there whole. Such a session wakes only where stages have the layers that they
 * had.
 *
 * Refused with FV_ERROR_UNSUPPORTED: deadlines, folders of sessions (prefix_store.h), waking with noise, and what reads
 * caches itself.
 * Observers (fv_stepper_observe()) see the first stage's layers: fv_stage_worker_observe() has the others'.
 *
 * link     copied; its context must live until the engine, its sessions and its sequences are closed: then the other
 *          stages are told to end.
 * stages   of the whole model, this one included: at least 2.
 * returns  FV_OK, FV_ERROR_ARGUMENT (NULL, no or all layers, a session is open, another file, layers that do not
 *          follow), what the link returns.
 */
FV_API fv_status fv_engine_link(fv_engine *engine, const fv_stage_link *link, uint32_t stages, fv_message *message);

/* --- the other stages ----------------------------------------------------------------------------------------------
 */

/** What a later stage keeps of sequences and steppers. One caller at a time. */
typedef struct fv_stage_worker fv_stage_worker;

/**
 * engine   with layers but the first; must outlive the worker. Its own threads are used.
 * returns  FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_MEMORY; *worker untouched on error.
 */
FV_API fv_status fv_stage_worker_open(fv_stage_worker **worker, const fv_engine *engine, fv_message *message);
FV_API void fv_stage_worker_close(fv_stage_worker *worker); /* NULL is allowed */

/**
 * Does what one message asks for, which then is what the next stage gets (on the last stage: what stage 0 gets). What
 * fails for a sequence is told in the message and is no error here.
 *
 * ended    out: it was the last one. Hand it on all the same, and end.
 * returns  FV_OK; FV_ERROR_CORRUPT (the message is not one, or not one for this stage: every number in it is checked),
 *          FV_ERROR_MEMORY: stages no longer agree, end the job with the sentence in `fault`.
 */
FV_API fv_status fv_stage_worker_run(fv_stage_worker *worker, fv_stage_message *message, bool *ended,
                                     fv_message *fault);

/** Receives, runs and sends until the end. Returns FV_OK at the end, what fv_stage_worker_run() or the link returned.
 */
FV_API fv_status fv_stage_serve(fv_stage_worker *worker, const fv_stage_link *link, fv_message *fault);

/** Shows plans of its layers to `observer`, see fv_attention_observe(): those of steppers opened from now on. */
FV_API void fv_stage_worker_observe(fv_stage_worker *worker, fv_attention_observer_fn *observer, void *context);

FV_API uint64_t fv_stage_worker_bytes(const fv_stage_worker *worker); /* of caches and steppers, now */

#ifdef __cplusplus
}
#endif

#endif
