/* sampler_file.c - what the maker of a model recommends, out of its file: general.sampling.*. */
#include "fovea/sampler.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define KEY_BYTES 64

static const char *const names[FV_SAMPLING_COUNT] = {
#define SAMPLING_NAME(NAME, key) key,
    FV_SAMPLING_LIST(SAMPLING_NAME)
#undef SAMPLING_NAME
};

const char *fv_sampling_name(fv_sampling value) { return (unsigned)value < FV_SAMPLING_COUNT ? names[value] : NULL; }

static void set(fv_sampler_config *config, fv_sampling which, double value) {
    switch (which) {
    case FV_SAMPLING_TEMPERATURE:
        config->temperature = (float)value;
        break;
    case FV_SAMPLING_TOP_K:
        config->top_k = (int32_t)value;
        break;
    case FV_SAMPLING_TOP_P:
        config->top_p = (float)value;
        break;
    case FV_SAMPLING_MIN_P:
        config->min_p = (float)value;
        break;
    case FV_SAMPLING_REPEAT_PENALTY:
        config->repeat_penalty = (float)value;
        break;
    case FV_SAMPLING_REPEAT_LAST:
        config->repeat_last_tokens = (int32_t)value;
        break;
    case FV_SAMPLING_COUNT:
        break;
    }
}

double fv_sampling_value(const fv_sampler_config *config, fv_sampling which) {
    switch (which) {
    case FV_SAMPLING_TEMPERATURE:
        return (double)config->temperature;
    case FV_SAMPLING_TOP_K:
        return config->top_k;
    case FV_SAMPLING_TOP_P:
        return (double)config->top_p;
    case FV_SAMPLING_MIN_P:
        return (double)config->min_p;
    case FV_SAMPLING_REPEAT_PENALTY:
        return (double)config->repeat_penalty;
    case FV_SAMPLING_REPEAT_LAST:
        return config->repeat_last_tokens;
    case FV_SAMPLING_COUNT:
        break;
    }
    return (double)NAN;
}

/* FV_OK with *found false: there is no such key. */
static fv_status read_number(const fv_gguf *gguf, const char *name, bool *found, double *value, fv_message *message) {
    char key[KEY_BYTES];
    fv_gguf_number number;
    snprintf(key, sizeof key, "general.sampling.%s", name);
    const fv_gguf_entry *entry = fv_gguf_entry_find(gguf, key);
    *found = entry != NULL;
    if (!entry) return FV_OK;
    bool read = entry->type != FV_GGUF_ARRAY && fv_gguf_number_at(entry, 0, &number);
    *value = !read ? (double)NAN : number.kind == FV_GGUF_FLOAT64 ? number.real : (double)number.whole;
    if (*value >= -1e9 && *value <= 1e9) return FV_OK; /* a NaN fails both */
    return fv_message_set(message, FV_ERROR_CORRUPT, "%s: %s is a %s that is no number of use; a number was wanted",
                          fv_gguf_path(gguf), key, fv_gguf_value_type_name(entry->type));
}

/* Recommended samplers that fovea has not; one whose number is 0 is switched off. */
static fv_status remark(const fv_gguf *gguf, fv_message *message) {
    static const char *const unknown[] = {"mirostat", "xtc_probability"};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        bool found;
        double value;
        fv_status status = read_number(gguf, unknown[i], &found, &value, message);
        if (status != FV_OK) return status;
        if (found && value != 0)
            return fv_message_set(message, FV_OK,
                                  "%s recommends the sampler %s, which this version has not: it is left out",
                                  fv_gguf_path(gguf), unknown[i]);
    }
    return fv_message_set(message, FV_OK, "%s", "");
}

fv_status fv_sampler_config_recommended(const fv_gguf *gguf, uint32_t kept, fv_sampler_config *config, uint32_t *taken,
                                        fv_message *message) {
    fv_sampler_config made = *config;
    uint32_t from_file = 0;
    fv_status status = remark(gguf, message);
    for (int i = 0; i < FV_SAMPLING_COUNT && status == FV_OK; i++) {
        bool found = false;
        double value = 0;
        if (kept & 1u << i) continue;
        fv_message fault = {""};
        status = read_number(gguf, names[i], &found, &value, &fault);
        if (status != FV_OK) return fv_message_set(message, status, "%s", fault.text);
        if (!found) continue;
        set(&made, (fv_sampling)i, value);
        from_file |= 1u << i;
    }
    if (status != FV_OK) return status;
    *config = made;
    *taken = from_file;
    return FV_OK;
}
