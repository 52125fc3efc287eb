/* pool_text.c - masks and ranges of processors, as llama.cpp and taskset write them. */
#include "fovea/pool.h"
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void add_processor(fv_pool_config *config, size_t processor) {
    config->processors[processor / 64] |= (uint64_t)1 << processor % 64;
}

/* The lowest digit is the last. */
bool fv_pool_config_mask(fv_pool_config *config, const char *text) {
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) text += 2;
    size_t digits = strlen(text);
    if (digits == 0 || digits > FV_POOL_PROCESSORS / 4) return false;
    for (size_t i = 0; i < digits; i++) {
        char digit[2] = {text[digits - 1 - i], 0}, *end;
        unsigned long bits = isxdigit((unsigned char)digit[0]) ? strtoul(digit, &end, 16) : 16;
        if (bits > 15) return false;
        for (size_t bit = 0; bit < 4; bit++)
            if (bits >> bit & 1) add_processor(config, 4 * i + bit);
    }
    return true;
}

/* Digits at *text, which is moved after them. */
static bool take_processor(const char **text, size_t *processor) {
    char *end;
    if (!isdigit((unsigned char)**text)) return false;
    errno = 0;
    unsigned long value = strtoul(*text, &end, 10);
    *text = end;
    *processor = value;
    return errno == 0 && value < FV_POOL_PROCESSORS;
}

bool fv_pool_config_range(fv_pool_config *config, const char *text) {
    size_t first, last;
    if (!take_processor(&text, &first) || *text++ != '-' || !take_processor(&text, &last) || *text) return false;
    for (size_t processor = first; processor <= last; processor++) add_processor(config, processor);
    return first <= last;
}
