/* unicode_class.h - code points and the few classes of them that pre-tokenizers ask for. */
#ifndef FV_UNICODE_CLASS_H
#define FV_UNICODE_CLASS_H

#include <stddef.h>
#include <stdint.h>

/* One class per code point; bits, so that a set of classes is a mask. */
typedef enum fv_unicode_class {
    FV_UNICODE_LETTER = 1,       /* \p{L} */
    FV_UNICODE_NUMBER = 2,       /* \p{N} */
    FV_UNICODE_SPACE = 4,        /* \s: property White_Space */
    FV_UNICODE_MARK = 8,         /* \p{M} */
    FV_UNICODE_PUNCTUATION = 16, /* \p{P} */
    FV_UNICODE_OTHER = 32,       /* control, format, private, unassigned */
    FV_UNICODE_SYMBOL = 64       /* \p{S} */
} fv_unicode_class;

/* A code point with its class: code | class << 24. */
typedef uint32_t fv_glyph;
static inline uint32_t fv_glyph_code(fv_glyph glyph) { return glyph & 0xFFFFFF; }
static inline uint32_t fv_glyph_class(fv_glyph glyph) { return glyph >> 24; }

/* Any code below 2^24; above U+10FFFF is FV_UNICODE_OTHER. Thread-safe. */
fv_unicode_class fv_unicode_class_of(uint32_t code);

/* Takes one code point off text[0..length), length >= 1; returns the bytes taken. Reads as llama.cpp does: overlong
 * forms and surrogates are taken at their value, any other invalid byte is U+FFFD on its own. */
size_t fv_utf8_read(const char *text, size_t length, uint32_t *code);

/* Writes 1..4 bytes; code <= 0x10FFFF. */
size_t fv_utf8_write(uint32_t code, char *bytes);

#endif
