/* known_key.c - keys that a reader knows have three answers: absent, read, or unreadable, which is an error that says
 * what was found and what was wanted. */
#include "gguf/known_key.h"
#include "gguf/gguf_value.h"
#include <inttypes.h>
#include <stdio.h>

enum { SHOWN_BYTES = 40 }; /* of a text */

static const char *type_name(uint32_t type) { return fv_gguf_value_type_name((fv_gguf_type)type); }

fv_gguf_found fv_gguf_found_of(const fv_gguf_entry *entry) {
    fv_gguf_found found;
    fv_gguf_number number;
    fv_gguf_text text;
    char *out = found.text;
    size_t bytes = sizeof found.text;
    if (entry->type == FV_GGUF_ARRAY)
        snprintf(out, bytes, "an array of %" PRIu64 " %s", entry->count, type_name(entry->element_type));
    else if (fv_gguf_entry_string(entry, &text))
        snprintf(out, bytes, "the string '%.*s%s'", text.length < SHOWN_BYTES ? (int)text.length : SHOWN_BYTES,
                 text.bytes, text.length > SHOWN_BYTES ? "..." : "");
    else if (!fv_gguf_number_at(entry, 0, &number))
        snprintf(out, bytes, "a %s", type_name(entry->type));
    else if (number.kind == FV_GGUF_FLOAT64)
        snprintf(out, bytes, "the %s %g", type_name(entry->type), number.real);
    else if (entry->type == FV_GGUF_UINT64)
        snprintf(out, bytes, "the u64 %" PRIu64, (uint64_t)number.whole);
    else
        snprintf(out, bytes, "the %s %" PRId64, type_name(entry->type), number.whole);
    return found;
}

fv_status fv_gguf_unreadable(const fv_gguf *gguf, const char *key, const char *wanted, fv_message *message) {
    const fv_gguf_entry *entry = fv_gguf_entry_find(gguf, key);
    if (!entry)
        return fv_message_set(message, FV_ERROR_CORRUPT, "%s: metadata key %s must be %s", fv_gguf_path(gguf), key,
                              wanted);
    return fv_message_set(message, FV_ERROR_CORRUPT, "%s: metadata key %s is %s, it must be %s", fv_gguf_path(gguf),
                          key, fv_gguf_found_of(entry).text, wanted);
}

fv_status fv_gguf_take_u32(const fv_gguf *gguf, const char *key, uint32_t *value, fv_message *message) {
    if (fv_gguf_u32(gguf, key, value) || !fv_gguf_entry_find(gguf, key)) return FV_OK;
    return fv_gguf_unreadable(gguf, key, "a whole number from 0 to 4294967295", message);
}

fv_status fv_gguf_take_f32(const fv_gguf *gguf, const char *key, float *value, fv_message *message) {
    if (fv_gguf_f32(gguf, key, value) || !fv_gguf_entry_find(gguf, key)) return FV_OK;
    return fv_gguf_unreadable(gguf, key, "a number", message);
}

fv_status fv_gguf_take_bool(const fv_gguf *gguf, const char *key, bool *value, fv_message *message) {
    if (fv_gguf_bool(gguf, key, value) || !fv_gguf_entry_find(gguf, key)) return FV_OK;
    return fv_gguf_unreadable(gguf, key, "a truth value (bool, or an integer 0 or 1)", message);
}

fv_status fv_gguf_take_string(const fv_gguf *gguf, const char *key, fv_gguf_text *value, fv_message *message) {
    if (fv_gguf_string(gguf, key, value) || !fv_gguf_entry_find(gguf, key)) return FV_OK;
    return fv_gguf_unreadable(gguf, key, "a string", message);
}
