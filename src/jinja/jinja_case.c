/* jinja_case.c - small and capital letters: libutf8proc's pairs, or where the library is built without it those of
 * Latin, Greek and Cyrillic. */
#include "jinja/jinja_run.h"

#ifndef FV_HAVE_UTF8PROC
#define FV_HAVE_UTF8PROC 1
#endif
#if FV_HAVE_UTF8PROC
#include <utf8proc.h>

uint32_t fv_code_cased(uint32_t code, bool upper) {
    utf8proc_int32_t character = (utf8proc_int32_t)code;
    if (code > 0x10FFFF) return code;
    return (uint32_t)(upper ? utf8proc_toupper(character) : utf8proc_tolower(character));
}
#else

/* Capital letters first..last, whose small ones are `distance` further on. */
static const struct {
    uint32_t first, last, distance;
} pairs[] = {{'A', 'Z', 32},     {0xC0, 0xD6, 32},   {0xD8, 0xDE, 32},  {0x391, 0x3A1, 32},
             {0x3A3, 0x3AB, 32}, {0x410, 0x42F, 32}, {0x400, 0x40F, 80}};

uint32_t fv_code_cased(uint32_t code, bool upper) {
    bool alternates =
        (code >= 0x100 && code <= 0x137 && code != 0x130 && code != 0x131) || (code >= 0x14A && code <= 0x177);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        if (upper && code >= pairs[i].first + pairs[i].distance && code <= pairs[i].last + pairs[i].distance)
            return code - pairs[i].distance;
        if (!upper && code >= pairs[i].first && code <= pairs[i].last) return code + pairs[i].distance;
    }
    if (!alternates) return code;
    return upper ? code & ~1u : code | 1u;
}
#endif
