/* chat_style.h - what a template's text says of its family, as far as rendering depends on it. */
#ifndef FV_CHAT_STYLE_H
#define FV_CHAT_STYLE_H

#include "text/chat_date.h"

/* In the texts of fv_chat_marks: the file's end and beginning tokens, as text. */
#define FV_CHAT_EOS "\x01"
#define FV_CHAT_BOS "\x02"

/* What stands around turns. An answer is: answer_open, content, answer_close (which ends with the end token), and after
 * that, since nobody evaluated it yet when the answer ended, answer_tail. */
typedef struct fv_chat_marks {
    const char *system_open, *system_close; /* open NULL: a system text shares the first question */
    const char *shared_open, *shared_close; /* around one that does */
    const char *user_open, *user_close;
    const char *answer_open, *answer_close, *answer_tail;
    const char *opening; /* of an answer to come */
    bool trims_system, trims_user, trims_answer;
    bool strict; /* at most one system text, then question and answer in turn */
} fv_chat_marks;

/* Texts lie in the file; bytes NULL: there is none. Literals are as they stand in the template: escapes not resolved.
 */
typedef struct fv_chat_style {
    fv_chat_marks marks;
    const char *dated_system;          /* before each system text, and a system text by itself; NULL: none */
    fv_gguf_text default_system;       /* literal: where the conversation has none */
    fv_chat_part parts[FV_CHAT_PARTS]; /* the same, put together with the date of the day */
    size_t part_count;
    bool leaves_out_system;   /* there is one of that kind, and its parts can't be told */
    fv_gguf_text thinking;    /* literal: what the template opens an answer with after marks.opening */
    fv_gguf_text no_thinking; /* literal: the same where its switch says not to think */
    bool adds_bos;            /* the template writes a beginning token that the tokenizer does not add */
    fv_gguf_text bos, eos;
} fv_chat_style;

/* The template in the file; empty if there is none. */
fv_gguf_text fv_chat_template(const fv_gguf *gguf);

/* FV_CHAT_NONE: no known one. */
fv_chat_family fv_chat_family_of(fv_gguf_text text);

/* gguf: NULL: no file to go by. */
void fv_chat_style_read(fv_chat_style *style, fv_chat_family family, const fv_gguf *gguf);

#endif
