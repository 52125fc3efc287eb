/* load_metadata.c - numbers of a model from the metadata under its architecture's prefix. */
#include "fovea/session.h"
#include "gguf/gguf_text.h"
#include "gguf/gguf_value.h"
#include "gguf/known_key.h"
#include "llm/load.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

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
    return fv_gguf_unreadable(l->gguf, key, wanted, l->message);
}

/* What other converters call the same number. */
static const struct alias {
    const char *suffix, *other;
} ALIASES[] = {
    {"attention.key_length", "attention.head_dim"},
    {"attention.key_length", "attention.key_length_swa"},
    {"attention.value_length", "attention.value_length_swa"},
    {"attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"},
    {"embedding_length", "embedding_length_out"},
    {"rope.freq_base", "rope.global.freq_base"},
    {"rope.freq_base_swa", "rope.local.freq_base"},
    {"rope.dimension_count", "rope.dimension_count_swa"},
    {"rope.scaling.factor", "rope.scale_linear"},
    {"rope.scaling.yarn_ext_factor", "rope.scaling.extrapolation_factor"},
    {"rope.scaling.yarn_beta_fast", "rope.scaling.beta_fast"},
    {"rope.scaling.yarn_beta_slow", "rope.scaling.beta_slow"},
};
#define ALIAS_COUNT (sizeof ALIASES / sizeof *ALIASES)

bool fv_load_allows(const fv_load *l, fv_gguf_text key) {
    for (size_t i = 0; i < l->allowed.count; i++)
        if (fv_gguf_text_is(key, l->allowed.names[i])) return true;
    return false;
}

static const fv_gguf_entry *entry_of(const fv_load *l, const char *suffix, fv_key_name *key) {
    *key = fv_key_of(l, suffix);
    const fv_gguf_entry *entry = fv_gguf_entry_find(l->gguf, key->text);
    return entry && fv_load_allows(l, entry->key) ? NULL : entry;
}

static bool entries_agree(const fv_gguf_entry *a, const fv_gguf_entry *b) {
    float one = 0, other = 0;
    return fv_entry_equal_f32(a, &one) && fv_entry_equal_f32(b, &other) && one >= other && one <= other;
}

/* The entry of a key under any of its names; NULL if there is none. Names that contradict each other are an error. */
static fv_status find_entry(fv_load *l, const char *suffix, const fv_gguf_entry **entry, fv_key_name *key) {
    *entry = entry_of(l, suffix, key);
    for (size_t i = 0; i < ALIAS_COUNT; i++) {
        fv_key_name name;
        if (strcmp(ALIASES[i].suffix, suffix) != 0) continue;
        const fv_gguf_entry *other = entry_of(l, ALIASES[i].other, &name);
        if (!other) continue;
        if (*entry && !entries_agree(*entry, other))
            return fv_message_set(
                l->message, FV_ERROR_CORRUPT,
                "%s: metadata keys %s and %s mean the same and differ; to pass over one, " FV_LLM_ALLOW_ADVICE,
                fv_gguf_path(l->gguf), key->text, name.text);
        if (!*entry) *key = name;
        *entry = other;
    }
    return FV_OK;
}

bool fv_load_has(const fv_load *l, const char *suffix) {
    fv_key_name key;
    if (entry_of(l, suffix, &key)) return true;
    for (size_t i = 0; i < ALIAS_COUNT; i++)
        if (strcmp(ALIASES[i].suffix, suffix) == 0 && entry_of(l, ALIASES[i].other, &key)) return true;
    return false;
}

bool fv_entry_equal_f32(const fv_gguf_entry *entry, float *value) {
    fv_gguf_number first, other;
    if (!entry || !fv_gguf_number_at(entry, 0, &first)) return false;
    for (uint64_t i = 1; i < entry->count; i++)
        if (!fv_gguf_number_at(entry, i, &other) || other.whole != first.whole ||
            memcmp(&other.real, &first.real, sizeof other.real) != 0)
            return false;
    *value = first.kind == FV_GGUF_FLOAT64 ? (float)first.real : (float)first.whole;
    return true;
}

/* Of a list of equal whole numbers the first. */
static bool entry_u32(const fv_gguf_entry *entry, uint32_t *value) {
    int64_t whole = 0;
    float any = 0;
    if (fv_gguf_entry_u32(entry, value)) return true;
    if (!fv_entry_equal_f32(entry, &any) || !fv_gguf_array_i64(entry, 0, &whole)) return false;
    if (whole < 0 || whole > UINT32_MAX) return false;
    *value = (uint32_t)whole;
    return true;
}

fv_status fv_load_u32(fv_load *l, const char *suffix, uint32_t low, uint32_t high, uint32_t *value) {
    fv_key_name key;
    const fv_gguf_entry *entry;
    fv_status status = find_entry(l, suffix, &entry, &key);
    if (status != FV_OK || !entry) return status;
    uint32_t read = 0;
    if (entry_u32(entry, &read) && read >= low && read <= high) {
        *value = read;
        return FV_OK;
    }
    char wanted[96];
    snprintf(wanted, sizeof wanted, "one integer in %" PRIu32 "..%" PRIu32 ", the same for all layers", low, high);
    return fv_key_unfit(l, key.text, wanted);
}

fv_status fv_load_needed_u32(fv_load *l, const char *suffix, uint32_t low, uint32_t high, uint32_t *value) {
    if (!fv_load_has(l, suffix)) return fv_key_missing(l, fv_key_of(l, suffix).text);
    return fv_load_u32(l, suffix, low, high, value);
}

fv_status fv_load_f32(fv_load *l, const char *suffix, float low, float *value) {
    fv_key_name key;
    const fv_gguf_entry *entry;
    fv_status status = find_entry(l, suffix, &entry, &key);
    if (status != FV_OK || !entry) return status;
    float read = 0;
    bool found = fv_gguf_entry_f32(entry, &read) || (entry->type == FV_GGUF_ARRAY && fv_entry_equal_f32(entry, &read));
    if (found && isfinite(read) && read >= low) {
        *value = read;
        return FV_OK;
    }
    char wanted[64];
    snprintf(wanted, sizeof wanted, "a finite number >= %g", (double)low);
    return fv_key_unfit(l, key.text, wanted);
}

fv_status fv_load_flag(fv_load *l, const char *suffix, bool *value) {
    fv_key_name key;
    const fv_gguf_entry *entry;
    float number = 0;
    fv_status status = find_entry(l, suffix, &entry, &key);
    if (status != FV_OK || !entry) return status;
    if (!fv_entry_equal_f32(entry, &number) || (number != 0.0f && number != 1.0f))
        return fv_key_unfit(l, key.text, "a truth value");
    *value = number != 0.0f;
    return FV_OK;
}
