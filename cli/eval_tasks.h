/* eval_tasks.h - documents with facts hidden in them, and questions about the facts, in the manner of RULER (Hsieh et
 * al. 2024) and NoLiMa (Modarressi et al. 2025). Made from a seed: the same on every machine. */
#ifndef FOVEA_EVAL_TASKS_H
#define FOVEA_EVAL_TASKS_H

#include "fovea/tokenizer.h"

/* X(NAME, name, about) */
#define EVAL_TASK_LIST(X) \
    X(NEEDLE, needle, "a number said once, asked for in the same words") \
    X(NEEDLES, needles, "two numbers said in two places: one is told, the other asked for") \
    X(PARAPHRASE, paraphrase, "a person, asked for in words that the document does not use") \
    X(VARIABLES, variables, "a variable that has its number from another one") \
    X(COUNTING, counting, "how often something happened")
#define EVAL_TASK_ENUM(NAME, name, about) EVAL_TASK_##NAME,
typedef enum eval_task { EVAL_TASK_LIST(EVAL_TASK_ENUM) EVAL_TASK_COUNT } eval_task;
#undef EVAL_TASK_ENUM

#define EVAL_QUESTIONS_MOST 20 /* of one document */

/** The model goes on behind document + prompt; right if the answer says what is expected. */
typedef struct eval_question {
    char prompt[256];
    char expected[2][24]; /* the second, if not "", is as good: a numeral or its word */
    double depth;         /* 0..1, where in the document the (first) fact stands */
} eval_question;

typedef struct eval_document {
    fv_text text;
    eval_question questions[EVAL_QUESTIONS_MOST];
    size_t count;
} eval_document;

/**
 * Makes a document of `sentences` sentences of filler, facts added, and `count` questions (1..EVAL_QUESTIONS_MOST),
 * whose facts are spread evenly from beginning to end. document: start from {0}; drop the text with fv_text_free().
 * returns FV_OK, FV_ERROR_MEMORY.
 */
fv_status eval_document_make(eval_task task, uint64_t seed, size_t sentences, size_t count, eval_document *document);

/** Whether `answer`, the model's words, is right: what is expected must come first. */
bool eval_answer_is_right(const eval_question *question, const char *answer);

const char *eval_task_name(eval_task task);

#endif
