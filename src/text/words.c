/* words.c - finds words, and the nearest one to what fingers typed. */
#include "fovea/words.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define WORD_BYTES 64 /* longest word that is compared, with its closing zero */

size_t fv_words_next(const char **cursor) {
    *cursor += strspn(*cursor, " ");
    return strcspn(*cursor, " ");
}

int fv_words_find(const char *words, const char *word, size_t length) {
    if (!words) return -1;
    int index = 0;
    size_t bytes;
    for (const char *cursor = words; (bytes = fv_words_next(&cursor)) > 0; cursor += bytes, index++)
        if (bytes == length && memcmp(cursor, word, length) == 0) return index;
    return -1;
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* Damerau-Levenshtein (neighbours may swap): what fingers do wrong. Both shorter than WORD_BYTES. */
static size_t distance(const char *a, size_t a_length, const char *b, size_t b_length) {
    size_t rows[3][WORD_BYTES], *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= b_length; j++) last[j] = before[j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t change = last[j - 1] + (a[i - 1] != b[j - 1]);
            row[j] = smaller(change, smaller(last[j], row[j - 1]) + 1);
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped) row[j] = smaller(row[j], before[j - 2] + 1);
        }
        size_t *spare = before;
        before = last, last = row, row = spare;
    }
    return last[b_length];
}

/* The beginning of a name counts as one slip, however long the rest is. */
static size_t unlikeness(const char *typed, size_t typed_length, const char *name, size_t length) {
    if (typed_length >= 3 && typed_length < length && memcmp(typed, name, typed_length) == 0) return 1;
    return distance(typed, typed_length, name, length);
}

size_t fv_words_nearest(const char *words, const char *word, size_t best, char *nearest, size_t bytes) {
    size_t length = smaller(strlen(word), WORD_BYTES - 1), name_length;
    for (const char *cursor = words ? words : ""; (name_length = fv_words_next(&cursor)) > 0; cursor += name_length) {
        size_t value = unlikeness(word, length, cursor, smaller(name_length, WORD_BYTES - 1));
        if (value >= best) continue;
        best = value;
        snprintf(nearest, bytes, "%.*s", (int)name_length, cursor);
    }
    return best;
}
