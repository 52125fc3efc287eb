/* load_metadata.c - numbers of a model from the metadata under its architecture's prefix. */
#include "llm/load.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

fv_key_name fv_key_of(const fv_load *l, const char *suffix) {
    fv_key_name key;
    snprintf(key.text, sizeof key.text, "%s.%s", l->row->name, suffix);
    return key;
}

fv_status fv_key_missing(fv_load *l, const char *key) {
    return fv_message_set(l->message, FV_ERROR_CORRUPT, "%s: metadata key %s is missing; the file is incomplete",
                          fv_gguf_path(l->gguf), key);
}

fv_status fv_key_unfit(fv_load *l, const char *key, const char *wanted) {
    return fv_message_set(l->message, FV_ERROR_CORRUPT, "%s: metadata key %s must be %s", fv_gguf_path(l->gguf), key,
                          wanted);
}

fv_status fv_load_u32(fv_load *l, const char *suffix, uint32_t low, uint32_t high, uint32_t *value) {
    fv_key_name key = fv_key_of(l, suffix);
    if (!fv_gguf_entry_find(l->gguf, key.text)) return FV_OK;
    uint32_t read = 0;
    if (fv_gguf_u32(l->gguf, key.text, &read) && read >= low && read <= high) {
        *value = read;
        return FV_OK;
    }
    char wanted[64];
    snprintf(wanted, sizeof wanted, "one integer in %" PRIu32 "..%" PRIu32, low, high);
    return fv_key_unfit(l, key.text, wanted);
}

fv_status fv_load_needed_u32(fv_load *l, const char *suffix, uint32_t low, uint32_t high, uint32_t *value) {
    fv_key_name key = fv_key_of(l, suffix);
    if (!fv_gguf_entry_find(l->gguf, key.text)) return fv_key_missing(l, key.text);
    return fv_load_u32(l, suffix, low, high, value);
}

fv_status fv_load_f32(fv_load *l, const char *suffix, float low, float *value) {
    fv_key_name key = fv_key_of(l, suffix);
    if (!fv_gguf_entry_find(l->gguf, key.text)) return FV_OK;
    float read = 0;
    if (fv_gguf_f32(l->gguf, key.text, &read) && isfinite(read) && read >= low) {
        *value = read;
        return FV_OK;
    }
    char wanted[64];
    snprintf(wanted, sizeof wanted, "a finite number >= %g", (double)low);
    return fv_key_unfit(l, key.text, wanted);
}
