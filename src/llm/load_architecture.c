/* load_architecture.c - the architectures as rows of differences, and the metadata keys that are understood: a key that
 * nobody reads is an error, for it would change the model's meaning. */
#include "gguf/gguf_text.h"
#include "llm/load.h"
#include <stdio.h>
#include <string.h>

static const fv_architecture ARCHITECTURES[] = {
    {.name = "llama", .rope = FV_ROPE_PAIRS, .activation = FV_ACTIVATION_SILU, .rope_factors = true},
    {.name = "qwen2", .rope = FV_ROPE_HALVES, .activation = FV_ACTIVATION_SILU, .qkv_biases = true},
    {.name = "qwen3", .rope = FV_ROPE_HALVES, .activation = FV_ACTIVATION_SILU, .head_norms = true},
    {.name = "gemma3",
     .rope = FV_ROPE_HALVES,
     .activation = FV_ACTIVATION_GELU,
     .head_norms = true,
     .post_norms = true,
     .gemma = true},
};
#define ARCHITECTURE_COUNT (sizeof ARCHITECTURES / sizeof *ARCHITECTURES)

/* Metadata keys under the architecture's prefix. Every other one is an error. */
typedef enum key_rule {
    KEY_READ, /* read below, or harmless */
    KEY_ZERO, /* understood only as 0 or false */
    KEY_ONE,  /* understood only as 1 or true */
    KEY_GEMMA /* read for gemma3; 0 elsewhere */
} key_rule;

static const struct known_key {
    const char *suffix;
    key_rule rule;
} KNOWN_KEYS[] = {
    {"block_count", KEY_READ},
    {"context_length", KEY_READ},
    {"embedding_length", KEY_READ},
    {"feed_forward_length", KEY_READ},
    {"vocab_size", KEY_READ},
    {"embedding_scale", KEY_READ},
    {"residual_scale", KEY_READ},
    {"attn_logit_softcapping", KEY_READ},
    {"final_logit_softcapping", KEY_READ},
    {"attention.head_count", KEY_READ},
    {"attention.head_count_kv", KEY_READ},
    {"attention.key_length", KEY_READ},
    {"attention.value_length", KEY_READ},
    {"attention.layer_norm_rms_epsilon", KEY_READ},
    {"attention.scale", KEY_READ},
    {"attention.sliding_window", KEY_GEMMA},
    {"attention.sliding_window_pattern", KEY_GEMMA},
    {"rope.freq_base", KEY_READ},
    {"rope.freq_base_swa", KEY_GEMMA},
    {"rope.dimension_count", KEY_READ},
    {"rope.scale_linear", KEY_READ},
    {"rope.scaling.type", KEY_READ},
    {"rope.scaling.factor", KEY_READ},
    {"rope.scaling.attn_factor", KEY_READ},
    {"rope.scaling.original_context_length", KEY_READ},
    {"rope.scaling.yarn_log_multiplier", KEY_READ},
    {"rope.scaling.yarn_ext_factor", KEY_READ},
    {"rope.scaling.yarn_attn_factor", KEY_READ},
    {"rope.scaling.yarn_beta_fast", KEY_READ},
    {"rope.scaling.yarn_beta_slow", KEY_READ},
    /* harmless: they say how the file was made */
    {"rope.scaling.finetuned", KEY_READ},
    {"tensor_data_layout", KEY_READ},
    /* of other kinds of model */
    {"expert_count", KEY_ZERO},
    {"expert_used_count", KEY_ZERO},
    {"pooling_type", KEY_ZERO},
    {"use_parallel_residual", KEY_ZERO},
    {"attention.max_alibi_bias", KEY_ZERO},
    {"attention.clamp_kqv", KEY_ZERO},
    {"attention.causal", KEY_ONE},
    {"logit_scale", KEY_ONE}, /* some architectures multiply by it, some divide: no guess */
};
#define KNOWN_KEY_COUNT (sizeof KNOWN_KEYS / sizeof *KNOWN_KEYS)

static const struct known_key *known_key_find(fv_gguf_text suffix) {
    for (size_t i = 0; i < KNOWN_KEY_COUNT; i++)
        if (fv_gguf_text_is(suffix, KNOWN_KEYS[i].suffix)) return &KNOWN_KEYS[i];
    return NULL;
}

/* A key that is understood only with one value. */
static fv_status check_fixed(fv_load *l, const struct known_key *known, float wanted) {
    fv_key_name key = fv_key_of(l, known->suffix);
    bool flag = false;
    float number = 0;
    if (fv_gguf_bool(l->gguf, key.text, &flag))
        number = flag ? 1.0f : 0.0f;
    else if (!fv_gguf_f32(l->gguf, key.text, &number))
        return fv_key_unfit(l, key.text, "a number or a truth value");
    if (number >= wanted && number <= wanted) return FV_OK;
    return fv_message_set(l->message, FV_ERROR_UNSUPPORTED,
                          "%s: metadata key %s is %g; fovea's %s knows only %g (mixtures of experts, embedding models "
                          "and the like are not supported)",
                          fv_gguf_path(l->gguf), key.text, (double)number, l->row->name, (double)wanted);
}

static fv_status check_key(fv_load *l, fv_gguf_text full, fv_gguf_text suffix) {
    const struct known_key *known = known_key_find(suffix);
    if (!known)
        return fv_message_set(l->message, FV_ERROR_UNSUPPORTED,
                              "%s: metadata key %.*s is not known to fovea, which might compute something else than "
                              "the model means; please report it",
                              fv_gguf_path(l->gguf), (int)(full.length < 200 ? full.length : 200), full.bytes);
    if (known->rule == KEY_ONE) return check_fixed(l, known, 1);
    if (known->rule == KEY_ZERO || (known->rule == KEY_GEMMA && !l->row->gemma)) return check_fixed(l, known, 0);
    return FV_OK;
}

fv_status fv_load_check_keys(fv_load *l) {
    size_t prefix = strlen(l->row->name) + 1;
    for (size_t i = 0; i < fv_gguf_entries(l->gguf); i++) {
        fv_gguf_text key = fv_gguf_entry_at(l->gguf, i)->key;
        if (key.length < prefix || memcmp(key.bytes, l->row->name, prefix - 1) != 0 || key.bytes[prefix - 1] != '.')
            continue;
        fv_status status = check_key(l, key, (fv_gguf_text){key.bytes + prefix, key.length - prefix});
        if (status != FV_OK) return status;
    }
    return FV_OK;
}

fv_status fv_load_architecture(fv_load *l) {
    fv_gguf_text name;
    if (!fv_gguf_string(l->gguf, "general.architecture", &name)) return fv_key_missing(l, "general.architecture");
    for (size_t i = 0; i < ARCHITECTURE_COUNT; i++)
        if (fv_gguf_text_is(name, ARCHITECTURES[i].name)) l->row = &ARCHITECTURES[i];
    if (l->row) {
        l->out.architecture = l->row->name;
        return FV_OK;
    }
    char list[128] = "";
    for (size_t i = 0, at = 0; i < ARCHITECTURE_COUNT && at < sizeof list; i++)
        at += (size_t)snprintf(list + at, sizeof list - at, " %s", ARCHITECTURES[i].name);
    return fv_message_set(l->message, FV_ERROR_UNSUPPORTED, "%s: architecture %.*s is not supported; supported:%s",
                          fv_gguf_path(l->gguf), (int)(name.length < 64 ? name.length : 64), name.bytes, list);
}
