/* unicode_class.c - categories come from libutf8proc, whatever Unicode version that is (see docs/tokenizer.md), or from
 * a table that was made when the Python package was built. */
#include "text/unicode_class.h"
#include <stdbool.h>

#ifndef FV_HAVE_UTF8PROC
#define FV_HAVE_UTF8PROC 1
#endif

static bool is_space(uint32_t code) {
    if (code <= 0x20) return code == 0x20 || (code >= 0x09 && code <= 0x0D);
    if (code < 0x1680) return code == 0x85 || code == 0xA0;
    return code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F ||
           code == 0x205F || code == 0x3000;
}

/* CJK extension I came with Unicode 15.1; the library of a stable distribution may be older. */
static bool is_recent_letter(uint32_t code) { return code >= 0x2EBF0 && code <= 0x2EE5D; }

#if FV_HAVE_UTF8PROC
#include <utf8proc.h>

static fv_unicode_class class_of(uint32_t code) {
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return FV_UNICODE_LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return FV_UNICODE_NUMBER;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
        return FV_UNICODE_MARK;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
        return FV_UNICODE_PUNCTUATION;
    case UTF8PROC_CATEGORY_SM:
    case UTF8PROC_CATEGORY_SC:
    case UTF8PROC_CATEGORY_SK:
    case UTF8PROC_CATEGORY_SO:
        return FV_UNICODE_SYMBOL;
    default:
        return FV_UNICODE_OTHER;
    }
}
#else
static const struct {
    uint32_t first, last;
    fv_unicode_class class;
} ranges[] = {
#include <unicode_ranges.h> /* generated: bindings/python/unicode_ranges.py */
};

static fv_unicode_class class_of(uint32_t code) {
    size_t begin = 0, end = sizeof ranges / sizeof ranges[0];
    while (begin < end) {
        size_t middle = begin + (end - begin) / 2;
        if (code > ranges[middle].last)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin < sizeof ranges / sizeof ranges[0] && code >= ranges[begin].first ? ranges[begin].class
                                                                                   : FV_UNICODE_OTHER;
}
#endif

fv_unicode_class fv_unicode_class_of(uint32_t code) {
    if (code > 0x10FFFF) return FV_UNICODE_OTHER;
    if (is_space(code)) return FV_UNICODE_SPACE;
    fv_unicode_class class = class_of(code);
    return class == FV_UNICODE_OTHER && is_recent_letter(code) ? FV_UNICODE_LETTER : class;
}

size_t fv_utf8_read(const char *text, size_t length, uint32_t *code) {
    uint32_t first = (unsigned char)text[0];
    *code = first;
    if (first < 0x80) return 1;
    *code = 0xFFFD;
    size_t bytes = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC0 || first >= 0xF8 || bytes > length) return 1;
    uint32_t value = first & (0x7Fu >> bytes);
    for (size_t i = 1; i < bytes; i++) {
        uint32_t next = (unsigned char)text[i];
        if ((next & 0xC0) != 0x80) return 1;
        value = value << 6 | (next & 0x3F);
    }
    if (value > 0x10FFFF) return 1;
    *code = value;
    return bytes;
}

size_t fv_utf8_write(uint32_t code, char *bytes) {
    if (code < 0x80) {
        bytes[0] = (char)code;
        return 1;
    }
    size_t count = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = count - 1; i > 0; i--) {
        bytes[i] = (char)(0x80 | (code & 0x3F));
        code >>= 6;
    }
    bytes[0] = (char)((0xF00u >> count & 0xF0) | code);
    return count;
}
