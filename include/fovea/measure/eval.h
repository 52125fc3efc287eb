/* eval.h - questions about long documents, answered with several policies: the same questions for all. Hosted.
 * How structs may change: docs/abi.md. */
#ifndef FOVEA_EVAL_H
#define FOVEA_EVAL_H

#include "fovea/measure/questions.h"
#include "fovea/session.h"

#ifdef __cplusplus
extern "C" {
#endif

#define FV_EVAL_COUNTS_FROM 0.4 /* a task that dense attention solves less often says nothing about a policy */

/** Answers of one policy to one task, beside those of dense attention to the same questions. Start from {0}. */
typedef struct fv_eval_sum {
    uint64_t questions, right;
    uint64_t better, worse; /* right where dense attention is wrong, and the reverse */
} fv_eval_sum;

FV_API void fv_eval_sum_add(fv_eval_sum *sum, bool right, bool dense_right);

/* Pure. */
FV_API bool fv_eval_counts(const fv_eval_sum *dense); /* whether the task says something about policies */
FV_API double fv_eval_of_dense(const fv_eval_sum *sum,
                               const fv_eval_sum *dense); /* right / dense right; NaN if none was */
FV_API double fv_eval_difference(
    const fv_eval_sum *sum); /* share of right answers minus dense attention's, -1..1; 0 without questions */
FV_API double fv_eval_difference_95(
    const fv_eval_sum *sum); /* half of that difference's 95 % interval, of paired answers; 1 below 2 questions */

/**
 * Half of the 95 % interval of the difference over `count` documents, which need not be alike: questions about one
 * document are not independent, so the spread is that of whole documents (a cluster-robust standard error).
 *
 *   t(count - 1) sqrt(count / (count - 1) sum over documents of (better - worse - questions mean)^2) / all questions
 *
 * documents  [count]. t is the 97.5 % point of Student's distribution. 1 below 2 documents. Pure.
 */
FV_API double fv_eval_documents_95(const fv_eval_sum *documents, size_t count);

/** What one policy answered. */
typedef struct fv_eval_answer {
    fv_text text;
    bool right;
} fv_eval_answer;

/** What the caller is told and asked, from the thread that called fv_eval_run(). Each may be NULL. */
typedef struct fv_eval_watch {
    void *context;
    fv_session_progress_fn *progress; /* of reading a document; false stops */
    bool (*go_on)(void *context);     /* before each answer; false stops */
    /* `number` questions of the task are answered; answers [policy_count], valid during the call */
    void (*answered)(void *context, fv_eval_task task, size_t number, const fv_eval_question *question,
                     const fv_eval_answer *answers);
} fv_eval_watch;

/** Fill by fv_eval_config_default(), then set llm and policies. */
typedef struct fv_eval_config {
    const fv_llm *llm;
    fv_pool *pool;             /* default NULL: one thread */
    fv_session_config session; /* types, micro-batch, activations; its context and policy are not looked at */
    const fv_policy *policies; /* copied, but not what they point to; the first is the one that the others are compared
                                  with: dense */
    size_t policy_count;       /* >= 1 */
    uint32_t context;          /* tokens of document, question and answer, >= 256; default 4096 */
    uint32_t decode;  /* 0 (default): the policy reads everything. 1: the document is read densely, question and answer
                         with the policy */
    uint32_t seed;    /* documents and questions follow from it; default 1 */
    size_t questions; /* of each task, >= 1; default 40 */
    size_t per_document; /* most questions about one document, 1..FV_EVAL_QUESTIONS_MAX (default) */
    fv_eval_watch watch;
    uint32_t dense_questions; /* 1: questions read everything; default 0: as much as policies say */
} fv_eval_config;

FV_API void fv_eval_config_default(fv_eval_config *config);

/** A session per policy, and what they have answered. One caller at a time. */
typedef struct fv_eval fv_eval;

/** returns FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_MEMORY and what fv_session_open() returns; *eval untouched on error. */
FV_API fv_status fv_eval_open(fv_eval **eval, const fv_eval_config *config, fv_message *message);
FV_API void fv_eval_close(fv_eval *eval); /* NULL is allowed */

/**
 * Asks the questions of one task. A document is read once; the caches are cut back between its questions.
 *
 * returns  FV_OK, FV_ERROR_INTERRUPTED (the watch said no: what was answered by all policies stays counted),
 *          FV_ERROR_FULL (the context has no room for a document with so many questions), FV_ERROR_MEMORY and what
 *          fv_session_feed() returns.
 */
FV_API fv_status fv_eval_run(fv_eval *eval, fv_eval_task task);

/** fv_session_explain() of whichever session fv_eval_run() failed in. */
FV_API fv_status fv_eval_explain(const fv_eval *eval, fv_status status, fv_message *message);

FV_API const fv_eval_sum *fv_eval_of(const fv_eval *eval, size_t policy, fv_eval_task task);
FV_API const fv_report *fv_eval_report(const fv_eval *eval,
                                       size_t policy); /* of the questions and answers that count */

/** Documents of a task with at least one answered question. */
FV_API size_t fv_eval_document_count(const fv_eval *eval, fv_eval_task task);

/** What a policy answered, document by document, in the order of asking: [fv_eval_document_count()], valid until the
 *  next fv_eval_run(). The last has fewer questions where the task was cut short. */
FV_API const fv_eval_sum *fv_eval_documents(const fv_eval *eval, size_t policy, fv_eval_task task);

/** Seconds that a policy has taken so far: in reading documents, and in questions and answers. */
FV_API void fv_eval_seconds(const fv_eval *eval, size_t policy, double *reading, double *answering);

#ifdef __cplusplus
}
#endif

#endif
