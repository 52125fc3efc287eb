/* utf8.h - what a well-formed sequence of UTF-8 is (Unicode 15, table 3-7): the one place that knows. */
#ifndef FV_UTF8_H
#define FV_UTF8_H

#include <stddef.h>

/* Bytes of the well-formed sequence at `bytes`, of which `left` >= 1 may be read; 0 if there is none. A zero byte ends
 * every sequence, so a zero-terminated text may be read with any `left`. */
static inline size_t fv_utf8_sequence(const unsigned char *bytes, size_t left) {
    unsigned char first = bytes[0], low = 0x80, high = 0xBF;
    if (first < 0x80) return 1;
    if (first < 0xC2 || first > 0xF4) return 0;
    if (first == 0xE0) low = 0xA0;  /* else an overlong form */
    if (first == 0xED) high = 0x9F; /* else a surrogate */
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F; /* else above U+10FFFF */
    size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    if (left < length || bytes[1] < low || bytes[1] > high) return 0;
    for (size_t i = 2; i < length; i++)
        if (bytes[i] < 0x80 || bytes[i] > 0xBF) return 0;
    return length;
}

#endif
