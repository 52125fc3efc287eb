/* json_out.c - builds and writes JSON by jansson. */
#include "json_out.h"
#include "fovea/tokenizer.h"
#include <math.h>
#include <string.h>

static bool failed; /* something could not be put into a document */

void cli_json_set(json_t *object, const char *key, json_t *value) {
    if (json_object_set_new(object, key, value) != 0) failed = true;
}

void cli_json_add(json_t *object, const cli_json_field *fields) {
    for (; fields->key; fields++) cli_json_set(object, fields->key, fields->value);
}

void cli_json_append(json_t *array, json_t *value) {
    if (json_array_append_new(array, value) != 0) failed = true;
}

json_t *cli_json_string(const char *bytes, size_t length) {
    fv_text clean = {0};
    fv_status status = fv_utf8_clean(bytes, length, &clean);
    json_t *text = status == FV_OK ? json_stringn(clean.bytes, clean.length) : NULL;
    fv_text_free(&clean);
    return text;
}

json_t *cli_text(const char *text) { return cli_json_string(text, strlen(text)); }
json_t *cli_count(uint64_t count) { return json_integer((json_int_t)count); }
json_t *cli_real(double value) { return isfinite(value) ? json_real(value) : json_null(); }

/* What jansson leaves as it is though terminals obey it: DEL and, as UTF-8, C1. The parts it writes end at characters.
 */
static int write_part(const char *bytes, size_t length, void *context) {
    size_t done = 0;
    (void)context;
    for (size_t i = 0; i < length; i++) {
        const unsigned char *next = (const unsigned char *)bytes + i;
        bool pair = next[0] == 0xC2 && i + 1 < length && next[1] < 0xA0;
        if (next[0] != 0x7F && !pair) continue;
        cli_write(bytes + done, i - done);
        cli_print("\\u%04X", (unsigned)next[pair]);
        i += pair;
        done = i + 1;
    }
    return cli_write(bytes + done, length - done) ? 0 : -1;
}

static int print(json_t *document, size_t layout) {
    if (!document || failed) {
        json_decref(document);
        return cli_fail("no memory for the JSON document");
    }
    /* 12 digits: more than any measurement has, fewer than the tail of 0.1's binary expansion */
    json_dump_callback(document, write_part, NULL, layout | JSON_REAL_PRECISION(12));
    json_decref(document);
    return cli_write("\n", 1) && cli_flush() ? CLI_DONE : CLI_FAILED;
}

int cli_json_print(json_t *document) { return print(document, JSON_INDENT(2)); }
int cli_json_print_line(json_t *document) { return print(document, JSON_COMPACT); }
