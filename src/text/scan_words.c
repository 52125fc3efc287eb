/* scan_words.c - the expressions that cut words, with or without case, and what stands between words, in llama.cpp's
 * reading. */
#include "text/scan_words.h"
#include "text/scan_scripts.h"
#include <string.h>

static uint32_t lower_ascii(uint32_t code) { return code >= 'A' && code <= 'Z' ? code + 32 : code; }

/* 's 't 're 've 'm 'll 'd: where it ends, or `begin` if there is none. */
static size_t skip_contraction(const fv_glyph *glyphs, size_t begin, size_t end, bool any_case) {
    if (code_at(glyphs, begin, end) != '\'') return begin;
    uint32_t first = code_at(glyphs, begin + 1, end), second = code_at(glyphs, begin + 2, end);
    if (any_case) {
        first = lower_ascii(first);
        second = lower_ascii(second);
    }
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return begin + 2;
    if ((first == 'r' || first == 'v') && second == 'e') return begin + 3;
    return first == 'l' && second == 'l' ? begin + 3 : begin;
}

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
size_t fv_scan_gpt2(const fv_glyph *glyphs, size_t begin, size_t end) {
    size_t at = skip_contraction(glyphs, begin, end, false);
    if (at > begin) return at;
    at = begin + (fv_glyph_code(glyphs[begin]) == ' ');
    uint32_t class = class_at(glyphs, at, end);
    if (class & (LETTER | NUMBER)) return skip_classes(glyphs, at, end, class);
    if (class & (MARK | PUNCTUATION | OTHER)) return skip_classes(glyphs, at, end, MARK | PUNCTUATION | OTHER);
    return scan_spaces(glyphs, begin, end);
}

/* What may follow punctuation in its piece. */
#define TAIL_NONE ""
#define TAIL_LINES "\r\n"
#define TAIL_LINES_SLASHES "\r\n/"

static bool is_tail(uint32_t code, const char *tail) { return code > 0 && code < 128 && strchr(tail, (int)code); }

/* The part after the words: \p{N}{1,digits}| ?[^\s\p{L}\p{N}]+[tail]*|\s*[\r\n]+|\s+(?!\S)|\s+
 * where `letters` are the classes of \p{L}. */
static size_t scan_rest(const fv_glyph *glyphs, size_t begin, size_t end, uint32_t letters, size_t digits,
                        const char *tail) {
    if (fv_glyph_class(glyphs[begin]) & NUMBER) {
        size_t limit = end - begin < digits ? end : begin + digits;
        return skip_classes(glyphs, begin, limit, NUMBER);
    }
    uint32_t others = (MARK | PUNCTUATION | OTHER) & ~letters;
    size_t at = begin + (fv_glyph_code(glyphs[begin]) == ' ');
    if (!(class_at(glyphs, at, end) & others)) return scan_lines(glyphs, begin, end);
    at = skip_classes(glyphs, at, end, others);
    while (is_tail(code_at(glyphs, at, end), tail)) at++;
    return at;
}

/* [^\r\n\p{L}\p{N}]?\p{L}+| and the rest */
static size_t scan_plain_words(const fv_glyph *glyphs, size_t begin, size_t end, uint32_t letters, size_t digits,
                               const char *tail) {
    uint32_t class = fv_glyph_class(glyphs[begin]);
    bool may_lead = !(class & NUMBER) && !is_newline(fv_glyph_code(glyphs[begin]));
    if (may_lead && ((class | class_at(glyphs, begin + 1, end)) & letters))
        return skip_classes(glyphs, begin + 1, end, letters);
    return scan_rest(glyphs, begin, end, letters, digits, tail);
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)| and these */
static size_t scan_words(const fv_glyph *glyphs, size_t begin, size_t end, uint32_t letters, size_t digits,
                         const char *tail) {
    size_t at = skip_contraction(glyphs, begin, end, true);
    return at > begin ? at : scan_plain_words(glyphs, begin, end, letters, digits, tail);
}

size_t fv_scan_llama3(const fv_glyph *glyphs, size_t begin, size_t end) {
    return scan_words(glyphs, begin, end, LETTER, 3, TAIL_LINES);
}

size_t fv_scan_qwen2(const fv_glyph *glyphs, size_t begin, size_t end) {
    return scan_words(glyphs, begin, end, LETTER, 1, TAIL_LINES);
}

size_t fv_scan_qwen35(const fv_glyph *glyphs, size_t begin, size_t end) {
    return scan_words(glyphs, begin, end, LETTER | MARK, 1, TAIL_LINES);
}

/* As qwen2, but punctuation keeps no newline. */
size_t fv_scan_seed_coder(const fv_glyph *glyphs, size_t begin, size_t end) {
    return scan_words(glyphs, begin, end, LETTER, 1, TAIL_NONE);
}

/* As qwen2 with \p{N}+. */
size_t fv_scan_minicpm5(const fv_glyph *glyphs, size_t begin, size_t end) {
    return scan_words(glyphs, begin, end, LETTER, SIZE_MAX, TAIL_LINES);
}

/* As qwen2 without contractions. */
size_t fv_scan_ufakzeka(const fv_glyph *glyphs, size_t begin, size_t end) {
    return scan_plain_words(glyphs, begin, end, LETTER, 1, TAIL_LINES);
}

/* As llama3, but for spaces that end no line: \s{512}(?!\S)|\s{256}(?!\S)| .. |\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1} */
size_t fv_scan_jais2(const fv_glyph *glyphs, size_t begin, size_t end) {
    size_t at = fv_scan_llama3(glyphs, begin, end), run = skip_classes(glyphs, begin, end, SPACE);
    if (at > run || is_newline(fv_glyph_code(glyphs[at - 1]))) return at;
    size_t most = run - begin - (run < end);
    for (size_t length = 512; length >= 4; length /= 2)
        if (most >= length) return begin + length;
    return begin + (most >= 2 ? 2 : 1);
}

/* (?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+ from a letter on: words with one space between are one piece. */
static size_t skip_sentence(const fv_glyph *glyphs, size_t at, size_t end) {
    while (class_at(glyphs, at, end) & LETTER) {
        at = skip_classes(glyphs, at + 1, end, MARK);
        if (code_at(glyphs, at, end) == ' ' && (class_at(glyphs, at + 1, end) & LETTER)) at++;
    }
    return at;
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]? and a sentence|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?| and spaces */
size_t fv_scan_exaone_moe(const fv_glyph *glyphs, size_t begin, size_t end) {
    size_t at = skip_contraction(glyphs, begin, end, true);
    if (at > begin) return at;
    uint32_t class = fv_glyph_class(glyphs[begin]);
    bool leads = !(class & (LETTER | NUMBER)) && !is_newline(fv_glyph_code(glyphs[begin]));
    if (class_at(glyphs, begin + leads, end) & LETTER) return skip_sentence(glyphs, begin + leads, end);
    at = scan_rest(glyphs, begin, end, LETTER, 1, TAIL_NONE);
    bool others = class_at(glyphs, at - 1, end) & (MARK | PUNCTUATION | OTHER);
    return others && is_tail(code_at(glyphs, at, end), TAIL_LINES_SLASHES) ? at + 1 : at;
}

/* [^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+ with its contraction| and the rest. A mark may lead and may stand alone. */
static size_t scan_marked_words(const fv_glyph *glyphs, size_t begin, size_t end, size_t digits) {
    uint32_t class = fv_glyph_class(glyphs[begin]);
    bool leads = !(class & (LETTER | NUMBER)) && !is_newline(fv_glyph_code(glyphs[begin]));
    size_t at = skip_classes(glyphs, begin + leads, end, LETTER | MARK);
    if (at > begin + leads || (class & MARK)) return skip_contraction(glyphs, at, end, true);
    return scan_rest(glyphs, begin, end, LETTER, digits, TAIL_LINES_SLASHES);
}

size_t fv_scan_youtu(const fv_glyph *glyphs, size_t begin, size_t end) {
    return scan_marked_words(glyphs, begin, end, 1);
}

size_t fv_scan_tiny_aya(const fv_glyph *glyphs, size_t begin, size_t end) {
    return scan_marked_words(glyphs, begin, end, 3);
}

/* Han+| [^\r\n\p{L}\p{N}]? and letters that are not Han, with their contraction| and the rest of llama3 */
size_t fv_scan_kimi_k2(const fv_glyph *glyphs, size_t begin, size_t end) {
    size_t at = begin;
    while (fv_is_han(code_at(glyphs, at, end))) at++;
    if (at > begin) return at;
    bool leads = !(fv_glyph_class(glyphs[begin]) & (LETTER | NUMBER)) && !is_newline(fv_glyph_code(glyphs[begin]));
    for (at = begin + leads; (class_at(glyphs, at, end) & LETTER) && !fv_is_han(fv_glyph_code(glyphs[at]));) at++;
    if (at > begin + leads) return skip_contraction(glyphs, at, end, true);
    return scan_rest(glyphs, begin, end, LETTER, 3, TAIL_LINES);
}

/* Only ASCII has case here: any other letter, or mark where marks are letters, is both upper and lower. */
static bool is_upper(fv_glyph glyph, uint32_t letters) {
    return (fv_glyph_class(glyph) & letters) && !(fv_glyph_code(glyph) >= 'a' && fv_glyph_code(glyph) <= 'z');
}
static bool is_lower(fv_glyph glyph, uint32_t letters) {
    return (fv_glyph_class(glyph) & letters) && !(fv_glyph_code(glyph) >= 'A' && fv_glyph_code(glyph) <= 'Z');
}

/* upper* lower+ | upper+ lower* , from a letter on. If nothing lower follows the upper run, the first alternative
 * still wins by giving back letters until the last given back is lower too. */
static size_t skip_cased_word(const fv_glyph *glyphs, size_t begin, size_t end, uint32_t letters) {
    size_t uppers = begin;
    while (uppers < end && is_upper(glyphs[uppers], letters)) uppers++;
    size_t lowers = uppers;
    while (lowers < end && is_lower(glyphs[lowers], letters)) lowers++;
    if (lowers > uppers) return lowers;
    for (size_t at = uppers; at > begin; at--)
        if (is_lower(glyphs[at - 1], letters)) return at;
    return uppers;
}

/* [^\r\n\p{L}\p{N}]? and a cased word, with its contraction if `contractions`| and the rest. A mark that may lead and
 * is a letter ends the same piece as either. */
static size_t scan_cased(const fv_glyph *glyphs, size_t begin, size_t end, uint32_t letters, size_t digits,
                         bool contractions) {
    uint32_t class = fv_glyph_class(glyphs[begin]);
    bool leads = !(class & (letters | NUMBER)) && !is_newline(fv_glyph_code(glyphs[begin]));
    if (!(class_at(glyphs, begin + leads, end) & letters))
        return scan_rest(glyphs, begin, end, LETTER, digits, TAIL_LINES_SLASHES);
    size_t at = skip_cased_word(glyphs, begin + leads, end, letters);
    return contractions ? skip_contraction(glyphs, at, end, true) : at;
}

size_t fv_scan_tekken(const fv_glyph *glyphs, size_t begin, size_t end) {
    return scan_cased(glyphs, begin, end, LETTER, 1, false);
}

size_t fv_scan_gpt4o(const fv_glyph *glyphs, size_t begin, size_t end) {
    return scan_cased(glyphs, begin, end, LETTER, 3, true);
}

size_t fv_scan_granite_embed(const fv_glyph *glyphs, size_t begin, size_t end) {
    return scan_cased(glyphs, begin, end, LETTER | MARK, 3, true);
}
