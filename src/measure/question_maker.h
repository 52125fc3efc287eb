/* question_maker.h - what the functions that write facts and questions work with: draws from a seed, places, numbers.
 * One function per task. */
#ifndef FV_MEASURE_QUESTION_MAKER_H
#define FV_MEASURE_QUESTION_MAKER_H

#include "fovea/measure/questions.h"

#define FV_FACTS_MOST (FV_EVAL_QUESTIONS_MAX * 9) /* counting says a thing nine times at most */

/* A sentence that stands before filler sentence `place`. */
typedef struct fv_fact {
    size_t place, question;
    char text[128];
} fv_fact;

/* What a task's function works with. */
typedef struct fv_maker {
    uint64_t state;
    size_t sentences;
    fv_eval_document *document;
    fv_fact facts[FV_FACTS_MOST];
    size_t fact_count;
    bool code;                           /* the document is code: a blank line between facts */
    unsigned numbers;                    /* drawn so far */
    size_t order[FV_EVAL_QUESTIONS_MAX]; /* which key, name or deed each question has */
} fv_maker;

size_t fv_draw_below(uint64_t *state, size_t n);
void fv_shuffle(uint64_t *state, size_t *order, size_t n);             /* 0..n-1, in some order */
fv_fact *fv_maker_fact(fv_maker *make, size_t question, size_t place); /* one more, its text still to be written */
size_t fv_maker_place(const fv_maker *make, size_t question);          /* evenly from the first sentence to the last */
unsigned fv_maker_number(fv_maker *make); /* five digits; no two of a document are the same */

/* code_questions.c */
void fv_make_definition(fv_maker *make, size_t i, fv_eval_question *question);
void fv_make_imports(fv_maker *make, size_t i, fv_eval_question *question);
void fv_code_filler(fv_maker *make, char *text, size_t bytes); /* a function that nobody asks for */

/* A word of its own for each question. */
extern const char *const fv_question_keys[FV_EVAL_QUESTIONS_MAX];

#endif
