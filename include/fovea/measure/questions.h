/* questions.h - documents with facts hidden in them, and questions about the facts, in the manner of RULER (Hsieh et
 * al. 2024) and NoLiMa (Modarressi et al. 2025), and in code. Made from a seed: the same on every machine. Hosted. */
#ifndef FOVEA_QUESTIONS_H
#define FOVEA_QUESTIONS_H

#include "fovea/api.h"
#include "fovea/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* X(NAME, name, about) */
#define FV_EVAL_TASK_LIST(X) \
    X(NEEDLE, needle, "a number said once, asked for in the same words") \
    X(NEEDLES, needles, "two numbers said in two places: one is told, the other asked for") \
    X(PARAPHRASE, paraphrase, "a person, asked for in words that the document does not use") \
    X(VARIABLES, variables, "a variable that has its number from another one") \
    X(COUNTING, counting, "how often something happened") \
    X(DEFINITION, definition, "the definition of a function that is called, among hundreds") \
    X(IMPORTS, imports, "a constant of one file, imported by another one")
#define FV_EVAL_TASK_ENUM(NAME, name, about) FV_EVAL_TASK_##NAME,
typedef enum fv_eval_task { FV_EVAL_TASK_LIST(FV_EVAL_TASK_ENUM) FV_EVAL_TASK_COUNT } fv_eval_task;
#undef FV_EVAL_TASK_ENUM

#define FV_EVAL_QUESTIONS_MAX 20 /* of one document */

/** The model continues document + prompt; right if the answer says what is expected. */
typedef struct fv_eval_question {
    char prompt[256];
    char expected[2][24]; /* the second, if not "", is as good: a numeral or its word */
    double depth;         /* 0..1, where in the document the (first) fact stands */
} fv_eval_question;

/** Start from {0}. */
typedef struct fv_eval_document {
    fv_text text; /* owned: fv_text_free() */
    fv_eval_question questions[FV_EVAL_QUESTIONS_MAX];
    size_t count;
} fv_eval_document;

/**
 * Makes a document of `sentences` sentences of filler (0 counts as 1), facts added, and `count` questions, whose facts
 * are spread evenly from beginning to end. Reuses the text's memory.
 *
 * count    1..FV_EVAL_QUESTIONS_MAX.
 * returns  FV_OK, FV_ERROR_ARGUMENT (task or count), FV_ERROR_MEMORY (the document is then not whole).
 */
FV_API fv_status fv_eval_document_make(fv_eval_task task, uint64_t seed, size_t sentences, size_t count,
                                       fv_eval_document *document);

/** Whether `answer`, the model's words, is right: what is expected must come first. Pure. */
FV_API bool fv_eval_answer_is_right(const fv_eval_question *question, const char *answer);

FV_API const char *fv_eval_task_name(fv_eval_task task); /* "needle"; static */

/** Names of tasks joined by commas (NULL: all) into flags. FV_OK, FV_ERROR_ARGUMENT (the message says which name is
 *  none, and lists those that are); `tasks` untouched on error. */
FV_API fv_status fv_eval_tasks_parse(const char *list, bool tasks[FV_EVAL_TASK_COUNT], fv_message *message);

#ifdef __cplusplus
}
#endif

#endif
