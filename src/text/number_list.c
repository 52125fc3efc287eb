/* number_list.c - lists of whole numbers as llama-bench takes them. */
#include "fovea/words.h"
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

/* Digits at *cursor; false if there are none or too many. */
static bool take_number(const char **cursor, int64_t *value) {
    char *end;
    if (!isdigit((unsigned char)**cursor)) return false;
    errno = 0;
    *value = strtoll(*cursor, &end, 10);
    *cursor = end;
    return errno == 0 && *value <= INT32_MAX;
}

/* One of "N", "A-B", "A-B+S", "A-B*M". */
static bool take_range(const char **cursor, int64_t *values, size_t *count, size_t capacity) {
    int64_t first, last, step = 1;
    bool multiply = false;
    if (!take_number(cursor, &first)) return false;
    last = first;
    if (**cursor == '-') {
        (*cursor)++;
        if (!take_number(cursor, &last)) return false;
        multiply = **cursor == '*';
        if (multiply || **cursor == '+') {
            (*cursor)++;
            if (!take_number(cursor, &step)) return false;
        }
    }
    for (int64_t value = first; value <= last;) {
        if (*count == capacity) return false;
        values[(*count)++] = value;
        int64_t next = multiply ? value * step : value + step;
        if (next <= value) return first == last;
        value = next;
    }
    return true;
}

bool fv_words_numbers(const char *text, int64_t *values, size_t *count, size_t capacity) {
    for (;;) {
        if (!take_range(&text, values, count, capacity)) return false;
        if (*text == 0) return true;
        if (*text++ != ',') return false;
    }
}
