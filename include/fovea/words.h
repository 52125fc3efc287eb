/* words.h - lists of words with blanks between, the word that was most likely meant, and lists of numbers. Hosted. */
#ifndef FOVEA_WORDS_H
#define FOVEA_WORDS_H

#include "fovea/api.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Moves *cursor to the next word of a list and returns its length; 0 at the end. Add it to go on. */
FV_API size_t fv_words_next(const char **cursor);

/** Index of the word of `length` bytes in `words` (NULL: no word); -1 if it is not there. */
FV_API int fv_words_find(const char *words, const char *word, size_t length);

/**
 * Copies into nearest[bytes] the word of `words` (NULL: none) that `word` was most likely meant to be, if it is nearer
 * than `best`: by the slips of fingers (Damerau-Levenshtein) in the first 63 bytes, a beginning of at least 3 bytes
 * counting as one slip. returns the nearest distance so far: start with SIZE_MAX, hand it on from list to list. O(words
 * * 63^2).
 */
FV_API size_t fv_words_nearest(const char *words, const char *word, size_t best, char *nearest, size_t bytes);

/**
 * Whole numbers from 0 to 2^31 - 1 as llama-bench takes them: "512", "1,2,4", "1-8", "128-1024*2", "0-4096+512".
 * Appends them to values[capacity], where *count are already. returns false if `text` is anything else or they do not
 * fit; values may then have grown. O(numbers).
 */
FV_API bool fv_words_numbers(const char *text, int64_t *values, size_t *count, size_t capacity);

#ifdef __cplusplus
}
#endif

#endif
