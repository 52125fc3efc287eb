/* scan_deepseek.c - the expressions of deepseek-llm, deepseek-v3 and their kin, in llama.cpp's reading. What lies
 * between two finds is a piece too. */
#include "text/scan_deepseek.h"

#define COUNT(ranges) (sizeof(ranges) / sizeof *(ranges))

static size_t skip_ranges(const fv_glyph *glyphs, size_t at, size_t end, const code_range *ranges, size_t count) {
    while (at < end && is_in(glyphs[at], ranges, count)) at++;
    return at;
}

/* \s?C+ begins here, for a set of code points C. */
static bool has_spaced(const fv_glyph *glyphs, size_t at, size_t end, const code_range *ranges, size_t count) {
    at += (fv_glyph_class(glyphs[at]) & SPACE) != 0;
    return at < end && is_in(glyphs[at], ranges, count);
}

static size_t scan_spaced_ranges(const fv_glyph *glyphs, size_t begin, size_t end, const code_range *ranges,
                                 size_t count) {
    if (has_spaced(glyphs, begin, end, ranges, count)) return skip_ranges(glyphs, begin + 1, end, ranges, count);
    size_t at = begin + 1;
    while (at < end && !has_spaced(glyphs, at, end, ranges, count)) at++;
    return at;
}

size_t fv_scan_cased_letters(const fv_glyph *glyphs, size_t begin, size_t end) {
    static const code_range cased[] = {
        {0x41, 0x5A},       {0x61, 0x7A},       {0xB5, 0xB5},       {0xC0, 0xD6},       {0xD8, 0xF6},
        {0xF8, 0x1BA},      {0x1BC, 0x1BF},     {0x1C4, 0x293},     {0x295, 0x2AF},     {0x370, 0x373},
        {0x376, 0x377},     {0x37B, 0x37D},     {0x37F, 0x37F},     {0x386, 0x386},     {0x388, 0x38A},
        {0x38C, 0x38C},     {0x38E, 0x3A1},     {0x3A3, 0x3F5},     {0x3F7, 0x481},     {0x48A, 0x52F},
        {0x531, 0x556},     {0x10A0, 0x10C5},   {0x13A0, 0x13F5},   {0x13F8, 0x13FD},   {0x1C90, 0x1CBA},
        {0x1CBD, 0x1CBF},   {0x1D00, 0x1D2B},   {0x1D6B, 0x1D77},   {0x1D79, 0x1D9A},   {0x1E00, 0x1F15},
        {0x1F18, 0x1F1D},   {0x1F20, 0x1F45},   {0x1F48, 0x1F4D},   {0x1F50, 0x1F57},   {0x1F59, 0x1F59},
        {0x1F5B, 0x1F5B},   {0x1F5D, 0x1F5D},   {0x1F5F, 0x1F7D},   {0x1F80, 0x1FB4},   {0x1FB6, 0x1FBC},
        {0x1FBE, 0x1FBE},   {0x1FC2, 0x1FC4},   {0x1FC6, 0x1FCC},   {0x1FD0, 0x1FD3},   {0x1FD6, 0x1FDB},
        {0x1FE0, 0x1FEC},   {0x1FF2, 0x1FF4},   {0x1FF6, 0x1FFC},   {0x2102, 0x2102},   {0x2107, 0x2107},
        {0x210A, 0x2113},   {0x2115, 0x2115},   {0x2119, 0x211D},   {0x2124, 0x2124},   {0x2126, 0x2126},
        {0x2128, 0x2128},   {0x212A, 0x212D},   {0x212F, 0x2134},   {0x2139, 0x2139},   {0x213C, 0x213F},
        {0x2145, 0x2149},   {0x214E, 0x214E},   {0x2183, 0x2184},   {0x2C00, 0x2C7B},   {0x2C7E, 0x2CE4},
        {0x2CEB, 0x2CEE},   {0x2CF2, 0x2CF3},   {0xA640, 0xA66D},   {0xA680, 0xA69B},   {0xA722, 0xA76F},
        {0xA771, 0xA787},   {0xA78B, 0xA78E},   {0xAB70, 0xABBF},   {0xFB00, 0xFB06},   {0xFB13, 0xFB17},
        {0xFF21, 0xFF3A},   {0xFF41, 0xFF5A},   {0x10400, 0x1044F}, {0x104B0, 0x104D3}, {0x104D8, 0x104FB},
        {0x10C80, 0x10CB2}, {0x10CC0, 0x10CF2}, {0x118A0, 0x118DF}, {0x1E900, 0x1E943}};
    return scan_spaced_ranges(glyphs, begin, end, cased, COUNT(cased));
}

size_t fv_scan_wide_punctuation(const fv_glyph *glyphs, size_t begin, size_t end) {
    static const code_range marks[] = {{0x21, 0x2F},     {0x3A, 0x7E},     {0x2018, 0x201F},
                                       {0x3000, 0x3002}, {0xFF01, 0xFF0F}, {0xFF1A, 0xFF5E}};
    return scan_spaced_ranges(glyphs, begin, end, marks, COUNT(marks));
}

size_t fv_scan_last_spaces(const fv_glyph *glyphs, size_t begin, size_t end) {
    size_t last = end;
    while (last > begin && (fv_glyph_class(glyphs[last - 1]) & SPACE)) last--;
    return last > begin ? last : end;
}

size_t fv_scan_three_numbers(const fv_glyph *glyphs, size_t begin, size_t end) {
    size_t limit = end - begin < 3 ? end : begin + 3;
    if (fv_glyph_class(glyphs[begin]) & NUMBER) return skip_classes(glyphs, begin, limit, NUMBER);
    return skip_classes(glyphs, begin, end, ~(uint32_t)NUMBER);
}

/* [一-龥぀-ゟ゠-ヿ]+ */
size_t fv_scan_cjk_kana(const fv_glyph *glyphs, size_t begin, size_t end) {
    static const code_range east[] = {{0x3040, 0x30FF}, {0x4E00, 0x9FA5}};
    bool wanted = is_in(glyphs[begin], east, COUNT(east));
    while (begin < end && is_in(glyphs[begin], east, COUNT(east)) == wanted) begin++;
    return begin;
}

static bool is_ascii_letter(uint32_t code) { return (code | 32) >= 'a' && (code | 32) <= 'z'; }
static bool is_ascii_mark(uint32_t code) {
    return code > ' ' && code < 127 && !is_ascii_letter(code) && !(code >= '0' && code <= '9');
}

#define WRITTEN (LETTER | MARK)
#define SIGNS (PUNCTUATION | FV_UNICODE_SYMBOL)

/* Whether anything but a gap begins here: a gap is of numbers, control characters and the like, no letter after them.
 */
static bool begins_piece(const fv_glyph *glyphs, size_t at, size_t end) {
    return (fv_glyph_class(glyphs[at]) & (WRITTEN | SIGNS | SPACE)) || (class_at(glyphs, at + 1, end) & WRITTEN);
}

/* [ASCII punctuation][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+ ; `begin`: neither. */
static size_t skip_written(const fv_glyph *glyphs, size_t begin, size_t end) {
    size_t at = begin + 1;
    if (is_ascii_mark(fv_glyph_code(glyphs[begin])) && is_ascii_letter(code_at(glyphs, at, end))) {
        while (is_ascii_letter(code_at(glyphs, at, end))) at++;
        return at;
    }
    uint32_t class = fv_glyph_class(glyphs[begin]);
    bool leads = !(class & (LETTER | SIGNS)) && !is_newline(fv_glyph_code(glyphs[begin]));
    bool found = (class & WRITTEN) || (leads && (class_at(glyphs, at, end) & WRITTEN));
    return found ? skip_classes(glyphs, at, end, WRITTEN) : begin;
}

/* The above| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ ; without `lines`, ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+ */
static size_t scan_left(const fv_glyph *glyphs, size_t begin, size_t end, bool lines) {
    size_t at = skip_written(glyphs, begin, end);
    if (at > begin) return at;
    at = begin + (fv_glyph_code(glyphs[begin]) == ' ');
    if (class_at(glyphs, at, end) & SIGNS) {
        at = skip_classes(glyphs, at, end, SIGNS);
        while (lines && is_newline(code_at(glyphs, at, end))) at++;
        return at;
    }
    if (fv_glyph_class(glyphs[begin]) & SPACE) {
        if (lines) return scan_lines(glyphs, begin, end);
        return is_newline(fv_glyph_code(glyphs[begin])) ? begin + 1 : scan_spaces(glyphs, begin, end);
    }
    for (at = begin + 1; at < end && !begins_piece(glyphs, at, end);) at++;
    return at;
}

size_t fv_scan_deepseek_v3(const fv_glyph *glyphs, size_t begin, size_t end) {
    return scan_left(glyphs, begin, end, true);
}

size_t fv_scan_spark(const fv_glyph *glyphs, size_t begin, size_t end) { return scan_left(glyphs, begin, end, false); }
