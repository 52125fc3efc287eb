/* scan_chameleon.c - the expressions of chameleon, in llama.cpp's reading: what the names of images and of other things
 * that are no text look like, indentation, and signs one by one. */
#include "text/scan_chameleon.h"

/* Where what is looked for ends if it begins at `at`, or `at`. */
typedef size_t finder(const fv_glyph *glyphs, size_t at, size_t end);

static size_t scan_finds(const fv_glyph *glyphs, size_t begin, size_t end, finder *find) {
    size_t found = find(glyphs, begin, end);
    if (found > begin) return found;
    size_t at = begin + 1;
    while (at < end && find(glyphs, at, end) == at) at++;
    return at;
}

/* Where `text` ends, or `at`. */
static size_t skip_text(const fv_glyph *glyphs, size_t at, size_t end, const char *text) {
    size_t length = 0;
    for (; text[length]; length++)
        if (code_at(glyphs, at + length, end) != (uint32_t)text[length]) return at;
    return at + length;
}

static size_t skip_range(const fv_glyph *glyphs, size_t at, size_t end, uint32_t first, uint32_t last) {
    while (code_at(glyphs, at, end) >= first && code_at(glyphs, at, end) <= last) at++;
    return at;
}

static size_t find_sentinel(const fv_glyph *glyphs, size_t at, size_t end) {
    size_t number = skip_text(glyphs, at, end, "<sentinel:");
    size_t after = number > at ? skip_range(glyphs, number, end, '0', '9') : number;
    return after > number && code_at(glyphs, after, end) == '>' ? after + 1 : at;
}

static size_t find_image_code(const fv_glyph *glyphs, size_t at, size_t end) {
    size_t code = skip_text(glyphs, at, end, "IMGIMG");
    size_t limit = end - code < 4 ? end : code + 4;
    size_t after = code > at ? skip_range(glyphs, code, limit, 'A', 'I') : code;
    return after > code && code_at(glyphs, after, end) == 'Z' ? after + 1 : at;
}

static size_t find_indentation(const fv_glyph *glyphs, size_t at, size_t end) {
    if (code_at(glyphs, at, end) == '\t' || code_at(glyphs, at, end) == '\n') return at + 1;
    size_t four = skip_text(glyphs, at, end, "    ");
    return four > at ? four : skip_text(glyphs, at, end, "  ");
}

static size_t find_sign(const fv_glyph *glyphs, size_t at, size_t end) {
    uint32_t code = code_at(glyphs, at, end);
    bool ascii = code < 128 && (class_at(glyphs, at, end) & (PUNCTUATION | FV_UNICODE_SYMBOL));
    return at + (ascii || (class_at(glyphs, at, end) & PUNCTUATION));
}

size_t fv_scan_sentinel(const fv_glyph *glyphs, size_t begin, size_t end) {
    return scan_finds(glyphs, begin, end, find_sentinel);
}

size_t fv_scan_image_code(const fv_glyph *glyphs, size_t begin, size_t end) {
    return scan_finds(glyphs, begin, end, find_image_code);
}

size_t fv_scan_indentation(const fv_glyph *glyphs, size_t begin, size_t end) {
    return scan_finds(glyphs, begin, end, find_indentation);
}

size_t fv_scan_each_sign(const fv_glyph *glyphs, size_t begin, size_t end) {
    return scan_finds(glyphs, begin, end, find_sign);
}
