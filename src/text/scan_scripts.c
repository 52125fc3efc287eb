/* scan_scripts.c - the expressions of kimi-k2, youtu, afmoe, tiny_aya and superbpe that look for scripts and for digits
 * in threes, in llama.cpp's reading. */
#include "text/scan_scripts.h"

#define COUNT(ranges) (sizeof(ranges) / sizeof *(ranges))

bool fv_is_han(uint32_t code) {
    static const code_range han[] = {{0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFAFF},
                                     {0x20000, 0x2A6DF}, {0x2A700, 0x2EBEF}, {0x2F800, 0x2FA1F}};
    return code <= 0x10FFFF && is_in(code, han, COUNT(han));
}

/* Which of Hangul, wide punctuation, bopomofo and, as one, ideographs and kana; 0: none. */
static unsigned youtu_script(fv_glyph glyph) {
    static const code_range hangul[] = {{0x3131, 0x318E}, {0xAC00, 0xD7A3}};
    static const code_range marks[] = {{0x2014, 0x2014}, {0x2018, 0x2019}, {0x201C, 0x201D},
                                       {0x2026, 0x2026}, {0x3001, 0x303F}, {0xFE30, 0xFE4F},
                                       {0xFF01, 0xFF01}, {0xFF0C, 0xFF0C}, {0xFF1A, 0xFF1B}};
    static const code_range bopomofo[] = {{0x3105, 0x312F}};
    static const code_range east[] = {{0x3040, 0x30FF}, {0x4E00, 0x9FA5}};
    if (is_in(glyph, hangul, COUNT(hangul))) return 1;
    if (is_in(glyph, marks, COUNT(marks))) return 2;
    if (is_in(glyph, bopomofo, COUNT(bopomofo))) return 3;
    return is_in(glyph, east, COUNT(east)) ? 4 : 0;
}

size_t fv_scan_youtu_scripts(const fv_glyph *glyphs, size_t begin, size_t end) {
    unsigned script = youtu_script(glyphs[begin]);
    while (begin < end && youtu_script(glyphs[begin]) == script) begin++;
    return begin;
}

/* Thai, Lao, Khmer, Burmese, Hangul, kana and ideographs. The last block's first sign stands in llama.cpp in its
 * normal form, so that the block begins at U+8C48, not U+F900, and takes in Hangul and more. */
size_t fv_scan_afmoe_scripts(const fv_glyph *glyphs, size_t begin, size_t end) {
    static const code_range scripts[] = {{0x0E40, 0x0EFF}, {0x1000, 0x109F}, {0x1100, 0x11FF},
                                         {0x1780, 0x17FF}, {0x2F00, 0x2FDF}, {0x3040, 0x30FF},
                                         {0x3400, 0x4DBF}, {0x4E00, 0xFAFF}, {0xFF65, 0xFF9F}};
    bool wanted = is_in(glyphs[begin], scripts, COUNT(scripts));
    while (begin < end && is_in(glyphs[begin], scripts, COUNT(scripts)) == wanted) begin++;
    return begin;
}

/* How much of a run of `length` digits comes before the rest can be cut in threes; all three of a last three. */
static size_t first_of(size_t length) { return length % 3 ? length % 3 : 3; }

/* What stands before a number stays with its first digits. A number that was cut before `begin` goes on in threes. */
size_t fv_scan_thousands(const fv_glyph *glyphs, size_t begin, size_t end) {
    if (begin > 0 && (class_at(glyphs, begin, end) & fv_glyph_class(glyphs[begin - 1]) & NUMBER)) return begin + 3;
    size_t number = skip_classes(glyphs, begin, end, ~(uint32_t)NUMBER);
    size_t after = skip_classes(glyphs, number, end, NUMBER);
    return after > number ? number + first_of(after - number) : end;
}

static bool is_digit(const fv_glyph *glyphs, size_t at, size_t end) {
    return code_at(glyphs, at, end) >= '0' && code_at(glyphs, at, end) <= '9';
}

/* (?=(\d{3})+(?!\d)) */
size_t fv_scan_superbpe(const fv_glyph *glyphs, size_t begin, size_t end) {
    size_t at = begin;
    if (begin > 0 && is_digit(glyphs, begin - 1, end) && is_digit(glyphs, begin, end)) at = begin + 3;
    if (at > begin && is_digit(glyphs, at, end)) return at;
    while (at < end) {
        size_t after = at;
        while (is_digit(glyphs, after, end)) after++;
        size_t cut = at + (at > begin ? (after - at) % 3 : first_of(after - at));
        if (after - at >= 3 && cut < after) return cut;
        at = after + (after < end);
    }
    return end;
}
