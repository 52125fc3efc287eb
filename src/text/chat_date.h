/* chat_date.h - system texts of templates that name the day: parts that are literals, and forms of a date. */
#ifndef FV_CHAT_DATE_H
#define FV_CHAT_DATE_H

#include "text/chat_literal.h"

enum { FV_CHAT_PARTS = 12, FV_CHAT_DATE_BYTES = 64 };

/* text: as it stands in the template, escapes not resolved; a date's is strftime's form. */
typedef struct fv_chat_part {
    fv_gguf_text text;
    bool is_date;
} fv_chat_part;

/* The system text that a template puts together from literals and strftime_now(): its parts, and how many. 0: there is
 * none, or something else is in it. */
size_t fv_chat_find_dated_system(fv_gguf_text text, fv_chat_part parts[FV_CHAT_PARTS]);

/* A form of a date, of %A %a %B %b %d %m %Y %y, in English; `day` as in fv_chat_format. Returns its length; 0: the form
 * has something else in it, or is too long. */
size_t fv_chat_date(fv_gguf_text form, uint32_t day, char bytes[FV_CHAT_DATE_BYTES]);

#endif
