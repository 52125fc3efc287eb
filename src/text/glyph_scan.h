/* glyph_scan.h - steps over glyphs that the scanners of pre-tokenizers share. */
#ifndef FV_GLYPH_SCAN_H
#define FV_GLYPH_SCAN_H

#include "text/unicode_class.h"
#include <stdbool.h>
#include <stddef.h>

/* Where the piece that starts at `begin` ends (> begin); what lies at `end` does not exist for it. */
typedef size_t fv_scan(const fv_glyph *glyphs, size_t begin, size_t end);

#define LETTER FV_UNICODE_LETTER
#define NUMBER FV_UNICODE_NUMBER
#define SPACE FV_UNICODE_SPACE
#define MARK FV_UNICODE_MARK
#define PUNCTUATION FV_UNICODE_PUNCTUATION
#define OTHER (FV_UNICODE_OTHER | FV_UNICODE_SYMBOL)

/* 0 outside, which is in no set of classes. */
static inline uint32_t class_at(const fv_glyph *glyphs, size_t at, size_t end) {
    return at < end ? fv_glyph_class(glyphs[at]) : 0;
}

/* UINT32_MAX outside, which is no character. */
static inline uint32_t code_at(const fv_glyph *glyphs, size_t at, size_t end) {
    return at < end ? fv_glyph_code(glyphs[at]) : UINT32_MAX;
}

static inline bool is_newline(uint32_t code) { return code == '\r' || code == '\n'; }

static inline size_t skip_classes(const fv_glyph *glyphs, size_t at, size_t end, uint32_t classes) {
    while (class_at(glyphs, at, end) & classes) at++;
    return at;
}

typedef struct code_range {
    uint32_t first, last;
} code_range;

/* Ascending. Spaces are in none: llama.cpp has taken them out before. */
static inline bool is_in(fv_glyph glyph, const code_range *ranges, size_t count) {
    uint32_t code = fv_glyph_code(glyph);
    if (fv_glyph_class(glyph) & SPACE) return false;
    for (size_t i = 0; i < count && ranges[i].first <= code; i++)
        if (code <= ranges[i].last) return true;
    return false;
}

/* \s+(?!\S)|\s+ : a run of spaces leaves its last to the word after it, if there is one. */
static inline size_t scan_spaces(const fv_glyph *glyphs, size_t begin, size_t end) {
    size_t at = skip_classes(glyphs, begin, end, SPACE);
    if (at < end && at - begin > 1) return at - 1;
    return at > begin ? at : begin + 1;
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ */
static inline size_t scan_lines(const fv_glyph *glyphs, size_t begin, size_t end) {
    size_t at = skip_classes(glyphs, begin, end, SPACE);
    while (at > begin && !is_newline(fv_glyph_code(glyphs[at - 1]))) at--;
    return at > begin ? at : scan_spaces(glyphs, begin, end);
}

#endif
