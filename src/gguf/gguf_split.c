/* gguf_split.c - see gguf_split.h. */
#include "gguf/gguf_split.h"
#include "platform/array.h"
#include <stdlib.h>
#include <string.h>

enum { SPLIT_NAME_BYTES = 20 }; /* "-00001-of-00003.gguf" */

static bool digits_read(const char *text, uint32_t *number) {
    uint32_t value = 0;
    for (int i = 0; i < 5; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        value = value * 10 + (uint32_t)(text[i] - '0');
    }
    *number = value;
    return true;
}

static void digits_write(char *text, uint32_t number) {
    for (int i = 4; i >= 0; i--, number /= 10) text[i] = (char)('0' + number % 10);
}

/* The part of a path that says "-00001-of-00003.gguf"; NULL if the path does not end so. */
static const char *split_suffix(const char *path, uint32_t *part, uint32_t *parts) {
    size_t length = strlen(path);
    if (length < SPLIT_NAME_BYTES) return NULL;
    const char *suffix = path + length - SPLIT_NAME_BYTES;
    bool matches = suffix[0] == '-' && digits_read(suffix + 1, part) && memcmp(suffix + 6, "-of-", 4) == 0 &&
                   digits_read(suffix + 10, parts) && strcmp(suffix + 15, ".gguf") == 0;
    return matches ? suffix : NULL;
}

fv_status fv_gguf_split_check_name(const char *path, const fv_gguf_header *facts, fv_message *message) {
    uint32_t part = 1, parts = 1;
    bool named = split_suffix(path, &part, &parts) != NULL;
    if (!named && facts->split_count == 1) return FV_OK;
    if (named && part == facts->split_number + 1 && parts == facts->split_count) return FV_OK;
    if (facts->split_count == 1)
        return fv_message_set(message, FV_ERROR_CORRUPT,
                              "%s: is named part %u of %u but holds no split.count; rename it if it is a whole model",
                              path, (unsigned)part, (unsigned)parts);
    return fv_message_set(message, FV_ERROR_FILE,
                          "%s: is part %llu of %u of a split model; its name must end in -%05llu-of-%05u.gguf", path,
                          (unsigned long long)facts->split_number + 1, (unsigned)facts->split_count,
                          (unsigned long long)facts->split_number + 1, (unsigned)facts->split_count);
}

char *fv_gguf_split_sibling(const char *path, uint32_t part) {
    size_t length = strlen(path);
    char *copy = fv_array_new(length + 1, 1);
    if (!copy) return NULL;
    memcpy(copy, path, length + 1);
    digits_write(copy + length - SPLIT_NAME_BYTES + 1, part);
    return copy;
}

fv_status fv_gguf_split_refuse_later(const char *path, const fv_gguf_header *facts, fv_message *message) {
    char *first = fv_gguf_split_sibling(path, 1);
    fv_status status = fv_message_set(message, FV_ERROR_FILE, "%s: is part %u of a split model; open %s instead", path,
                                      (unsigned)facts->split_number + 1, first ? first : "the first part");
    free(first);
    return status;
}
