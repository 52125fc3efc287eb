/* json_text.c - depth and number of values are counted before anything is built. */
#include "json_text.h"
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* The place after the text that begins at `at`. */
static size_t after_string(const char *bytes, size_t length, size_t at) {
    for (at++; at < length && bytes[at] != '"'; at++)
        if (bytes[at] == '\\') at++;
    return at;
}

static fv_status check_bounds(const char *bytes, size_t length, fv_message *message) {
    size_t depth = 0, values = 1;
    for (size_t at = 0; at < length; at++) {
        char byte = bytes[at];
        if (byte == '"') at = after_string(bytes, length, at);
        if (byte == ',' || byte == ':') values++;
        if (byte == '[' || byte == '{') {
            depth++;
            values++;
        }
        if ((byte == ']' || byte == '}') && depth > 0) depth--;
        if (depth > FV_JSON_DEPTH)
            return fv_message_set(message, FV_ERROR_ARGUMENT, "the body nests deeper than %d at byte %zu",
                                  FV_JSON_DEPTH, at);
        if (values > FV_JSON_VALUES)
            return fv_message_set(message, FV_ERROR_ARGUMENT, "the body has more than %d values", FV_JSON_VALUES);
    }
    return FV_OK;
}

json_t *fv_json_parse(const char *bytes, size_t length, fv_message *message) {
    json_error_t error;
    if (length == 0) {
        (void)fv_message_set(message, FV_ERROR_ARGUMENT, "the body is empty; it must be a JSON object");
        return NULL;
    }
    if (check_bounds(bytes, length, message) != FV_OK) return NULL;
    json_t *document = json_loadb(bytes, length, JSON_REJECT_DUPLICATES, &error);
    if (!document) {
        (void)fv_message_set(message, FV_ERROR_ARGUMENT, "the body is no JSON: line %d, column %d: %s", error.line,
                             error.column, error.text);
        return NULL;
    }
    if (json_is_object(document)) return document;
    json_decref(document);
    (void)fv_message_set(message, FV_ERROR_ARGUMENT, "the body must be a JSON object");
    return NULL;
}

json_t *fv_json_string(const char *bytes, size_t length) {
    fv_text clean = {0};
    if (fv_utf8_valid(bytes, length) == length) return json_stringn(bytes, length);
    json_t *made = NULL;
    if (fv_utf8_clean(bytes, length, &clean) == FV_OK) made = json_stringn(clean.bytes, clean.length);
    fv_text_free(&clean);
    return made;
}

json_t *fv_json_real(double value) { return isfinite(value) ? json_real(value) : json_null(); }
json_t *fv_json_count(uint64_t value) { return json_integer((json_int_t)value); }
json_t *fv_json_null(void) { return json_null(); }

static int append(const char *bytes, size_t length, void *context) {
    return fv_text_append(context, bytes, length) == FV_OK ? 0 : -1;
}

fv_status fv_json_write(json_t *document, fv_text *text) {
    size_t before = text->length;
    int failed = document ? json_dump_callback(document, append, text, JSON_COMPACT | JSON_REAL_PRECISION(9)) : -1;
    json_decref(document);
    if (failed) text->length = before;
    return failed ? FV_ERROR_MEMORY : FV_OK;
}
