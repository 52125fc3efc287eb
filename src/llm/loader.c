/* loader.c - the architectures as rows of differences over one loader. The file is hostile input: what passes here is
 * in range for the core, and a key or tensor that nobody reads is an error, for it would change the model's meaning. */
#include "llm/loader.h"
#include "gguf/gguf_text.h"
#include "llm/rope.h"
#include "numeric/half.h"
#include "numeric/size.h"
#include "platform/pages.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LAYERS 512
#define MAX_WIDTH ((uint32_t)1 << 24)
#define MAX_KV_HEADS 1024
#define MAX_HEAD_DIM 1024
#define MAX_GROUP_HEADS 64              /* query heads per KV head */
#define MAX_CONTEXT ((uint32_t)1 << 30) /* fv_cache_config.max_tokens */
#define GEMMA_LOCAL_PERIOD 6            /* neither of the two is in the files */
#define GEMMA_LOCAL_BASE 10000.0
#define GEMMA_27B_LAYERS 62

/* One architecture: how it differs. */
typedef struct architecture {
    const char *name;
    fv_rope_kind rope;
    fv_activation activation;
    bool qkv_biases; /* required; in the others they are read if present */
    bool head_norms; /* q and k normed per head */
    bool post_norms;
    bool rope_factors; /* rope_freqs.weight may be present */
    bool gemma;        /* scaled embeddings, sliding windows */
} architecture;

static const architecture ARCHITECTURES[] = {
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

/* Lengths that shapes are made of. */
typedef enum extent {
    EXTENT_ONE,
    EXTENT_WIDTH,
    EXTENT_QUERY,
    EXTENT_KV,
    EXTENT_HEAD,
    EXTENT_FEED,
    EXTENT_VOCABULARY
} extent;

typedef enum presence { ALWAYS, IF_BIASES, IF_HEAD_NORMS, IF_POST_NORMS } presence;

static const struct layer_tensor {
    const char *suffix;
    size_t offset; /* of the fv_weight in fv_layer_weights */
    presence when;
    extent rows, columns; /* rows ONE: a vector, F32 in the model */
} LAYER_TENSORS[] = {
#define AT(field) offsetof(fv_layer_weights, field)
    {"attn_norm.weight", AT(attention_norm), ALWAYS, EXTENT_ONE, EXTENT_WIDTH},
    {"attn_q.weight", AT(query), ALWAYS, EXTENT_QUERY, EXTENT_WIDTH},
    {"attn_k.weight", AT(key), ALWAYS, EXTENT_KV, EXTENT_WIDTH},
    {"attn_v.weight", AT(value), ALWAYS, EXTENT_KV, EXTENT_WIDTH},
    {"attn_output.weight", AT(output), ALWAYS, EXTENT_WIDTH, EXTENT_QUERY},
    {"attn_q.bias", AT(query_bias), IF_BIASES, EXTENT_ONE, EXTENT_QUERY},
    {"attn_k.bias", AT(key_bias), IF_BIASES, EXTENT_ONE, EXTENT_KV},
    {"attn_v.bias", AT(value_bias), IF_BIASES, EXTENT_ONE, EXTENT_KV},
    {"attn_q_norm.weight", AT(query_norm), IF_HEAD_NORMS, EXTENT_ONE, EXTENT_HEAD},
    {"attn_k_norm.weight", AT(key_norm), IF_HEAD_NORMS, EXTENT_ONE, EXTENT_HEAD},
    {"post_attention_norm.weight", AT(attention_post_norm), IF_POST_NORMS, EXTENT_ONE, EXTENT_WIDTH},
    {"ffn_norm.weight", AT(feed_norm), ALWAYS, EXTENT_ONE, EXTENT_WIDTH},
    {"ffn_gate.weight", AT(gate), ALWAYS, EXTENT_FEED, EXTENT_WIDTH},
    {"ffn_up.weight", AT(up), ALWAYS, EXTENT_FEED, EXTENT_WIDTH},
    {"ffn_down.weight", AT(down), ALWAYS, EXTENT_WIDTH, EXTENT_FEED},
    {"post_ffw_norm.weight", AT(feed_post_norm), IF_POST_NORMS, EXTENT_ONE, EXTENT_WIDTH},
#undef AT
};
#define LAYER_TENSOR_COUNT (sizeof LAYER_TENSORS / sizeof *LAYER_TENSORS)

struct fv_loader_block {
    struct fv_loader_block *next;
    max_align_t bytes[];
};

/* A load going on. */
typedef struct load {
    const fv_gguf *gguf;
    const architecture *row;
    fv_message *message;
    fv_loaded out;
    const fv_gguf_tensor **used; /* tensors that have a place in the model */
    size_t used_count;
} load;

static fv_status out_of_memory(load *l, size_t bytes) {
    return fv_message_set(l->message, FV_ERROR_MEMORY, "%s: out of memory for %zu bytes of tables",
                          fv_gguf_path(l->gguf), bytes);
}

/* `count` times `size` zeroed bytes that live as long as the model. */
static fv_status own(load *l, size_t count, size_t size, void **memory) {
    size_t bytes = sizeof(struct fv_loader_block);
    if (!fv_size_add(&bytes, count, size, 1)) return out_of_memory(l, SIZE_MAX);
    struct fv_loader_block *block = calloc(1, bytes);
    if (!block) return out_of_memory(l, bytes);
    block->next = l->out.owned;
    l->out.owned = block;
    *memory = block->bytes;
    return FV_OK;
}

/* --- metadata --------------------------------------------------------------------------------------------------- */

typedef struct key_name {
    char text[96]; /* the longest name of an architecture and of a key fit easily */
} key_name;

static key_name key_of(const load *l, const char *suffix) {
    key_name key;
    snprintf(key.text, sizeof key.text, "%s.%s", l->row->name, suffix);
    return key;
}

static fv_status key_missing(load *l, const char *key) {
    return fv_message_set(l->message, FV_ERROR_CORRUPT, "%s: metadata key %s is missing; the file is incomplete",
                          fv_gguf_path(l->gguf), key);
}

static fv_status key_unfit(load *l, const char *key, const char *wanted) {
    return fv_message_set(l->message, FV_ERROR_CORRUPT, "%s: metadata key %s must be %s", fv_gguf_path(l->gguf), key,
                          wanted);
}

/* An absent key leaves *value as it is. */
static fv_status read_u32(load *l, const char *suffix, uint32_t low, uint32_t high, uint32_t *value) {
    key_name key = key_of(l, suffix);
    if (!fv_gguf_entry_find(l->gguf, key.text)) return FV_OK;
    uint32_t read = 0;
    if (fv_gguf_u32(l->gguf, key.text, &read) && read >= low && read <= high) {
        *value = read;
        return FV_OK;
    }
    char wanted[64];
    snprintf(wanted, sizeof wanted, "one integer in %" PRIu32 "..%" PRIu32, low, high);
    return key_unfit(l, key.text, wanted);
}

static fv_status need_u32(load *l, const char *suffix, uint32_t low, uint32_t high, uint32_t *value) {
    key_name key = key_of(l, suffix);
    if (!fv_gguf_entry_find(l->gguf, key.text)) return key_missing(l, key.text);
    return read_u32(l, suffix, low, high, value);
}

static fv_status read_f32(load *l, const char *suffix, float low, float *value) {
    key_name key = key_of(l, suffix);
    if (!fv_gguf_entry_find(l->gguf, key.text)) return FV_OK;
    float read = 0;
    if (fv_gguf_f32(l->gguf, key.text, &read) && isfinite(read) && read >= low) {
        *value = read;
        return FV_OK;
    }
    char wanted[64];
    snprintf(wanted, sizeof wanted, "a finite number >= %g", (double)low);
    return key_unfit(l, key.text, wanted);
}

#define TINY 1e-30f /* "above 0" for scales: their reciprocals stay finite */

static const struct known_key *known_key_find(fv_gguf_text suffix) {
    for (size_t i = 0; i < KNOWN_KEY_COUNT; i++)
        if (fv_gguf_text_is(suffix, KNOWN_KEYS[i].suffix)) return &KNOWN_KEYS[i];
    return NULL;
}

/* A key that is understood only with one value. */
static fv_status check_fixed(load *l, const struct known_key *known, float wanted) {
    key_name key = key_of(l, known->suffix);
    bool flag = false;
    float number = 0;
    if (fv_gguf_bool(l->gguf, key.text, &flag))
        number = flag ? 1.0f : 0.0f;
    else if (!fv_gguf_f32(l->gguf, key.text, &number))
        return key_unfit(l, key.text, "a number or a truth value");
    if (number >= wanted && number <= wanted) return FV_OK;
    return fv_message_set(l->message, FV_ERROR_UNSUPPORTED,
                          "%s: metadata key %s is %g; fovea's %s knows only %g (mixtures of experts, embedding models "
                          "and the like are not supported)",
                          fv_gguf_path(l->gguf), key.text, (double)number, l->row->name, (double)wanted);
}

static fv_status check_key(load *l, fv_gguf_text full, fv_gguf_text suffix) {
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

static fv_status check_keys(load *l) {
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

static fv_status find_architecture(load *l) {
    fv_gguf_text name;
    if (!fv_gguf_string(l->gguf, "general.architecture", &name)) return key_missing(l, "general.architecture");
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

/* --- shape ------------------------------------------------------------------------------------------------------ */

static fv_status check_heads(load *l) {
    const fv_model_config *c = &l->out.config;
    if (c->query_heads % c->cache.kv_heads != 0 || c->query_heads / c->cache.kv_heads > MAX_GROUP_HEADS)
        return fv_message_set(l->message, FV_ERROR_UNSUPPORTED,
                              "%s: %" PRIu32 " query heads over %" PRIu32
                              " KV heads: it must be 1..%d whole query heads "
                              "per KV head",
                              fv_gguf_path(l->gguf), c->query_heads, c->cache.kv_heads, MAX_GROUP_HEADS);
    return FV_OK;
}

static fv_status load_head_dim(load *l) {
    fv_model_config *c = &l->out.config;
    c->cache.head_dim = c->width / c->query_heads;
    fv_status status = read_u32(l, "attention.key_length", 1, MAX_HEAD_DIM, &c->cache.head_dim);
    if (status != FV_OK) return status;
    if (c->cache.head_dim < 1 || c->cache.head_dim > MAX_HEAD_DIM)
        return fv_message_set(l->message, FV_ERROR_UNSUPPORTED, "%s: head dimension %" PRIu32 "; supported: 1..%d",
                              fv_gguf_path(l->gguf), c->cache.head_dim, MAX_HEAD_DIM);
    uint32_t value_length = c->cache.head_dim;
    status = read_u32(l, "attention.value_length", 1, UINT32_MAX, &value_length);
    if (status != FV_OK) return status;
    if (value_length != c->cache.head_dim)
        return fv_message_set(l->message, FV_ERROR_UNSUPPORTED,
                              "%s: attention.value_length %" PRIu32 " differs from key_length %" PRIu32
                              "; fovea needs them equal",
                              fv_gguf_path(l->gguf), value_length, c->cache.head_dim);
    return FV_OK;
}

static fv_status load_shape(load *l) {
    fv_model_config *c = &l->out.config;
    fv_status status = need_u32(l, "block_count", 1, MAX_LAYERS, &c->layers);
    if (status == FV_OK) status = need_u32(l, "embedding_length", 1, MAX_WIDTH, &c->width);
    if (status == FV_OK) status = need_u32(l, "feed_forward_length", 1, MAX_WIDTH, &c->feed_forward);
    if (status == FV_OK) status = need_u32(l, "context_length", 1, MAX_CONTEXT, &c->cache.max_tokens);
    if (status == FV_OK)
        status = need_u32(l, "attention.head_count", 1, MAX_KV_HEADS * MAX_GROUP_HEADS, &c->query_heads);
    if (status != FV_OK) return status;
    c->cache.kv_heads = c->query_heads < MAX_KV_HEADS ? c->query_heads : MAX_KV_HEADS;
    status = read_u32(l, "attention.head_count_kv", 1, MAX_KV_HEADS, &c->cache.kv_heads);
    if (status == FV_OK) status = check_heads(l);
    if (status == FV_OK) status = load_head_dim(l);
    return status;
}

static fv_status load_scales(load *l) {
    fv_model_config *c = &l->out.config;
    key_name epsilon = key_of(l, "attention.layer_norm_rms_epsilon");
    if (!fv_gguf_entry_find(l->gguf, epsilon.text)) return key_missing(l, epsilon.text);
    fv_status status = read_f32(l, "attention.layer_norm_rms_epsilon", 0, &c->norm_epsilon);
    /* Gemma 3 27B was trained with another scale than the others; only its depth tells it apart. */
    bool by_width = l->row->gemma && c->layers == GEMMA_27B_LAYERS;
    uint32_t scaled_by = by_width && c->width >= c->query_heads ? c->width / c->query_heads : c->cache.head_dim;
    c->attention_scale = (float)(1.0 / sqrt((double)scaled_by));
    if (l->row->gemma) c->embedding_scale = sqrtf((float)c->width);
    if (status == FV_OK) status = read_f32(l, "attention.scale", TINY, &c->attention_scale);
    if (status == FV_OK) status = read_f32(l, "attn_logit_softcapping", 0, &c->attention_softcap);
    if (status == FV_OK) status = read_f32(l, "final_logit_softcapping", 0, &c->logit_softcap);
    if (status == FV_OK) status = read_f32(l, "embedding_scale", TINY, &c->embedding_scale);
    if (status == FV_OK) status = read_f32(l, "residual_scale", TINY, &c->residual_scale);
    return status;
}

/* The pattern as a list of truth values, one a layer: only a period can be expressed. */
static fv_status period_from_array(load *l, const fv_gguf_entry *entry, uint32_t *period) {
    const fv_model_config *c = &l->out.config;
    int64_t local = 0;
    uint32_t first_global = 0;
    while (first_global < c->layers && fv_gguf_array_i64(entry, first_global, &local) && local != 0) first_global++;
    for (uint32_t i = 0; i < c->layers; i++) {
        if (fv_gguf_array_i64(entry, i, &local) && (local != 0) == ((i + 1) % (first_global + 1) != 0)) continue;
        return fv_message_set(l->message, FV_ERROR_UNSUPPORTED,
                              "%s: metadata key %s.attention.sliding_window_pattern: layer %" PRIu32
                              " breaks the period; only every n-th layer may be global",
                              fv_gguf_path(l->gguf), l->row->name, i);
    }
    *period = first_global + 1;
    return FV_OK;
}

static fv_status load_window(load *l) {
    fv_model_config *c = &l->out.config;
    if (!l->row->gemma) return FV_OK;
    uint32_t period = GEMMA_LOCAL_PERIOD;
    key_name key = key_of(l, "attention.sliding_window_pattern");
    const fv_gguf_entry *entry = fv_gguf_entry_find(l->gguf, key.text);
    fv_status status = read_u32(l, "attention.sliding_window", 0, MAX_CONTEXT, &c->local_window);
    if (status != FV_OK) return status;
    if (entry && entry->type == FV_GGUF_ARRAY)
        status = period_from_array(l, entry, &period);
    else
        status = read_u32(l, "attention.sliding_window_pattern", 1, MAX_LAYERS, &period);
    if (status != FV_OK) return status;
    if (period == 1) c->local_window = 0; /* every layer global */
    c->local_period = c->local_window ? period : 0;
    return FV_OK;
}

/* --- rope ------------------------------------------------------------------------------------------------------- */

static fv_status read_rope_type(load *l, fv_rope_scaling *scaling) {
    key_name key = key_of(l, "rope.scaling.type");
    if (!fv_gguf_entry_find(l->gguf, key.text)) return FV_OK; /* a factor alone means linear */
    fv_gguf_text name;
    if (!fv_gguf_string(l->gguf, key.text, &name)) return key_unfit(l, key.text, "a string");
    if (fv_gguf_text_is(name, "none"))
        scaling->type = FV_ROPE_SCALING_NONE;
    else if (fv_gguf_text_is(name, "linear"))
        scaling->type = FV_ROPE_SCALING_LINEAR;
    else if (fv_gguf_text_is(name, "yarn"))
        scaling->type = FV_ROPE_SCALING_YARN;
    else
        return fv_message_set(l->message, FV_ERROR_UNSUPPORTED,
                              "%s: metadata key %s: rope scaling %.*s is not supported; supported: none linear yarn",
                              fv_gguf_path(l->gguf), key.text, (int)(name.length < 64 ? name.length : 64), name.bytes);
    return FV_OK;
}

static fv_status read_rope_scaling(load *l, fv_rope_scaling *scaling) {
    uint32_t original = l->out.config.cache.max_tokens;
    fv_status status = read_rope_type(l, scaling);
    if (status == FV_OK) status = read_f32(l, "rope.scale_linear", 0, &scaling->factor); /* the key's old name */
    if (status == FV_OK) status = read_f32(l, "rope.scaling.factor", 0, &scaling->factor);
    if (status == FV_OK) status = read_f32(l, "rope.scaling.attn_factor", TINY, &scaling->magnitude);
    if (status == FV_OK) status = read_u32(l, "rope.scaling.original_context_length", 1, UINT32_MAX, &original);
    if (status == FV_OK) status = read_f32(l, "rope.scaling.yarn_log_multiplier", 0, &scaling->log_multiplier);
    if (status == FV_OK) status = read_f32(l, "rope.scaling.yarn_ext_factor", 0, &scaling->extrapolation);
    if (status == FV_OK) status = read_f32(l, "rope.scaling.yarn_attn_factor", TINY, &scaling->yarn_magnitude);
    if (status == FV_OK) status = read_f32(l, "rope.scaling.yarn_beta_fast", TINY, &scaling->beta_fast);
    if (status == FV_OK) status = read_f32(l, "rope.scaling.yarn_beta_slow", TINY, &scaling->beta_slow);
    scaling->original_tokens = original;
    if (scaling->factor < TINY) scaling->factor = 1; /* 0 is written for "none" */
    if (status == FV_OK && scaling->type == FV_ROPE_SCALING_YARN && l->out.config.local_window)
        return fv_message_set(l->message, FV_ERROR_UNSUPPORTED,
                              "%s: yarn rope scaling together with sliding-window layers is not supported",
                              fv_gguf_path(l->gguf));
    return status;
}

static fv_status read_rope_dims(load *l, float *base) {
    fv_model_config *c = &l->out.config;
    c->rope_kind = l->row->rope;
    c->rope_dims = c->cache.head_dim;
    fv_status status = read_u32(l, "rope.dimension_count", 2, c->cache.head_dim, &c->rope_dims);
    if (status == FV_OK) status = read_f32(l, "rope.freq_base", 1, base);
    if (status == FV_OK && c->rope_dims % 2 != 0)
        return fv_message_set(l->message, FV_ERROR_UNSUPPORTED, "%s: rope over %" PRIu32 " dimensions; it must be even",
                              fv_gguf_path(l->gguf), c->rope_dims);
    return status;
}

static fv_status find_vector(load *l, const char *name, uint32_t count, bool required, fv_weight *weight);

/* rope_freqs.weight (Llama 3.x): each frequency is divided by its factor. */
static fv_status divide_by_factors(load *l, float *frequencies, uint32_t count) {
    fv_weight factors = {0};
    if (!l->row->rope_factors) return FV_OK;
    fv_status status = find_vector(l, "rope_freqs.weight", count, false, &factors);
    if (status != FV_OK || !factors.data) return status;
    const float *values = factors.data;
    for (uint32_t i = 0; i < count; i++) {
        if (!(isfinite(values[i]) && values[i] >= TINY))
            return fv_message_set(l->message, FV_ERROR_CORRUPT,
                                  "%s: tensor rope_freqs.weight: factor %" PRIu32 " is not above 0",
                                  fv_gguf_path(l->gguf), i);
        frequencies[i] = (float)((double)frequencies[i] / (double)values[i]);
    }
    return FV_OK;
}

static fv_status load_rope(load *l) {
    fv_model_config *c = &l->out.config;
    float base = 10000, local_base = (float)GEMMA_LOCAL_BASE;
    fv_rope_scaling scaling = fv_rope_scaling_default();
    fv_status status = read_rope_dims(l, &base);
    if (status == FV_OK) status = read_rope_scaling(l, &scaling);
    if (status == FV_OK) status = read_f32(l, "rope.freq_base_swa", 1, &local_base);
    void *memory = NULL;
    uint32_t count = c->rope_dims / 2;
    if (status == FV_OK) status = own(l, (size_t)count * 2, sizeof(float), &memory);
    if (status != FV_OK) return status;
    float *frequencies = memory;
    fv_rope_frequencies(c->rope_dims, (double)base, &scaling, frequencies, &c->rope_magnitude);
    status = divide_by_factors(l, frequencies, count);
    l->out.weights.rope_frequencies = frequencies;
    if (status != FV_OK || !c->local_window) return status;
    fv_rope_scaling none = fv_rope_scaling_default(); /* local layers never see far: they are not scaled */
    none.type = FV_ROPE_SCALING_NONE;
    float unscaled = 1;
    fv_rope_frequencies(c->rope_dims, (double)local_base, &none, frequencies + count, &unscaled);
    l->out.weights.rope_local_frequencies = frequencies + count;
    return FV_OK;
}

/* --- tensors ---------------------------------------------------------------------------------------------------- */

typedef struct weight_layout {
    uint32_t values, bytes; /* of a block; 0 values: the type is not supported */
} weight_layout;

static weight_layout layout_of(uint32_t type) {
#define CASE(NAME, name, number, values, bytes) \
    case number: \
        return (weight_layout){values, bytes};
    switch (type) {
        FV_WEIGHT_LIST(CASE)
    default:
        return (weight_layout){0, 0};
    }
#undef CASE
}

static fv_status type_unsupported(load *l, const char *name, uint32_t type, const char *supported) {
    const char *known = fv_gguf_type_name(type);
    char number[24];
    snprintf(number, sizeof number, "number %" PRIu32, type);
    return fv_message_set(l->message, FV_ERROR_UNSUPPORTED, "%s: tensor %s: type %s is not supported; supported: %s",
                          fv_gguf_path(l->gguf), name, known ? known : number, supported);
}

#define NAME_OF(NAME, name, number, values, bytes) #NAME " "
static const char ALL_TYPES[] = FV_WEIGHT_LIST(NAME_OF);
#undef NAME_OF

static fv_status check_tensor_shape(load *l, const char *name, const fv_gguf_tensor *tensor, uint32_t rows,
                                    uint32_t columns) {
    const uint64_t *d = tensor->dimensions;
    if (d[0] == columns && d[1] == rows && d[2] == 1 && d[3] == 1) return FV_OK;
    return fv_message_set(l->message, FV_ERROR_CORRUPT,
                          "%s: tensor %s has shape [%" PRIu64 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64
                          "], the metadata asks for [%" PRIu32 ", %" PRIu32 "]",
                          fv_gguf_path(l->gguf), name, d[0], d[1], d[2], d[3], columns, rows);
}

static fv_status check_tensor_data(load *l, const char *name, const fv_gguf_tensor *tensor, weight_layout layout) {
    uint64_t columns = tensor->dimensions[0], rows = tensor->dimensions[1]; /* both below 2^32 */
    uint64_t row_bytes = columns / layout.values * layout.bytes;
    if (columns % layout.values != 0)
        return fv_message_set(l->message, FV_ERROR_CORRUPT,
                              "%s: tensor %s: rows of %" PRIu64 " values are not whole blocks of %" PRIu32,
                              fv_gguf_path(l->gguf), name, columns, layout.values);
    if (!tensor->data || row_bytes > UINT64_MAX / rows || tensor->bytes != row_bytes * rows)
        return fv_message_set(l->message, FV_ERROR_CORRUPT, "%s: tensor %s: %" PRIu64 " bytes do not fit its shape",
                              fv_gguf_path(l->gguf), name, tensor->bytes);
    if ((uintptr_t)tensor->data % 4 != 0)
        return fv_message_set(l->message, FV_ERROR_UNSUPPORTED, "%s: tensor %s is not aligned to 4 bytes",
                              fv_gguf_path(l->gguf), name);
    return FV_OK;
}

/* A tensor of the right shape and type; absent and not required: weight->data stays NULL. */
static fv_status find_tensor(load *l, const char *name, uint32_t rows, uint32_t columns, bool required,
                             fv_weight *weight) {
    const fv_gguf_tensor *tensor = fv_gguf_tensor_find(l->gguf, name);
    if (!tensor && !required) return FV_OK;
    if (!tensor)
        return fv_message_set(l->message, FV_ERROR_CORRUPT,
                              "%s: tensor %s is missing; the file is incomplete or %s "
                              "was made by a converter that fovea does not know",
                              fv_gguf_path(l->gguf), name, l->row->name);
    weight_layout layout = layout_of(tensor->ggml_type);
    if (!layout.values) return type_unsupported(l, name, tensor->ggml_type, ALL_TYPES);
    fv_status status = check_tensor_shape(l, name, tensor, rows, columns);
    if (status == FV_OK) status = check_tensor_data(l, name, tensor, layout);
    if (status != FV_OK) return status;
    l->used[l->used_count++] = tensor;
    *weight = (fv_weight){.data = tensor->data, .type = tensor->ggml_type, .rows = rows, .columns = columns};
    return FV_OK;
}

/* Vectors (norms, biases) are F32 in the model; F16 and BF16 are converted into memory of our own. */
static fv_status vector_to_f32(load *l, const char *name, fv_weight *weight) {
    if (!weight->data || weight->type == FV_WEIGHT_F32) return FV_OK;
    if (weight->type != FV_WEIGHT_F16 && weight->type != FV_WEIGHT_BF16)
        return type_unsupported(l, name, weight->type, "F32 F16 BF16 for norms and biases");
    void *memory = NULL;
    fv_status status = own(l, weight->columns, sizeof(float), &memory);
    if (status != FV_OK) return status;
    float *values = memory;
    const uint8_t *bytes = weight->data;
    for (uint32_t i = 0; i < weight->columns; i++) {
        uint16_t bits = (uint16_t)(bytes[2 * (size_t)i] | bytes[2 * (size_t)i + 1] << 8);
        values[i] = weight->type == FV_WEIGHT_F16 ? fv_f32_from_f16(bits) : fv_f32_from_bf16(bits);
    }
    weight->data = values;
    weight->type = FV_WEIGHT_F32;
    return FV_OK;
}

static fv_status find_vector(load *l, const char *name, uint32_t count, bool required, fv_weight *weight) {
    fv_status status = find_tensor(l, name, 1, count, required, weight);
    return status == FV_OK ? vector_to_f32(l, name, weight) : status;
}

static uint32_t extent_of(const fv_model_config *c, extent which) {
    switch (which) {
    case EXTENT_WIDTH:
        return c->width;
    case EXTENT_QUERY:
        return c->query_heads * c->cache.head_dim; /* <= 2^26: see the limits */
    case EXTENT_KV:
        return c->cache.kv_heads * c->cache.head_dim;
    case EXTENT_HEAD:
        return c->cache.head_dim;
    case EXTENT_FEED:
        return c->feed_forward;
    case EXTENT_VOCABULARY:
        return c->vocabulary;
    case EXTENT_ONE:
        break;
    }
    return 1;
}

/* Whether the architecture has the tensor at all, and whether it must be there. */
static bool is_expected(const architecture *row, presence when, bool *required) {
    *required = when != IF_BIASES || row->qkv_biases;
    if (when == IF_HEAD_NORMS) return row->head_norms;
    if (when == IF_POST_NORMS) return row->post_norms;
    return true;
}

static fv_status load_layer(load *l, uint32_t index, fv_layer_weights *layer) {
    for (size_t i = 0; i < LAYER_TENSOR_COUNT; i++) {
        const struct layer_tensor *entry = &LAYER_TENSORS[i];
        bool required = false;
        if (!is_expected(l->row, entry->when, &required)) continue;
        char name[64];
        snprintf(name, sizeof name, "blk.%" PRIu32 ".%s", index, entry->suffix);
        uint32_t rows = extent_of(&l->out.config, entry->rows), columns = extent_of(&l->out.config, entry->columns);
        fv_weight *weight = (fv_weight *)(void *)((char *)layer + entry->offset);
        fv_status status = entry->rows == EXTENT_ONE ? find_vector(l, name, columns, required, weight)
                                                     : find_tensor(l, name, rows, columns, required, weight);
        if (status != FV_OK) return status;
    }
    return FV_OK;
}

static fv_status load_layers(load *l) {
    void *memory = NULL;
    fv_status status = own(l, l->out.config.layers, sizeof(fv_layer_weights), &memory);
    if (status != FV_OK) return status;
    fv_layer_weights *layers = memory;
    for (uint32_t i = 0; i < l->out.config.layers; i++) {
        status = load_layer(l, i, &layers[i]);
        if (status != FV_OK) return status;
    }
    l->out.weights.layers = layers;
    return FV_OK;
}

/* The embedding's rows are the vocabulary; tokenizer and metadata must agree, else ids would run out of it. */
static fv_status load_vocabulary(load *l, int32_t tokens) {
    fv_model_config *c = &l->out.config;
    const fv_gguf_tensor *embedding = fv_gguf_tensor_find(l->gguf, "token_embd.weight");
    uint64_t rows = embedding ? embedding->dimensions[1] : 0;
    if (embedding && (tokens < 1 || rows != (uint64_t)tokens))
        return fv_message_set(l->message, FV_ERROR_CORRUPT,
                              "%s: tensor token_embd.weight has %" PRIu64 " rows, the tokenizer has %" PRId32 " tokens",
                              fv_gguf_path(l->gguf), rows, tokens);
    c->vocabulary = (uint32_t)rows;
    if (!embedding) return FV_OK; /* find_tensor() will say so */
    uint32_t stated = c->vocabulary;
    fv_status status = read_u32(l, "vocab_size", 1, INT32_MAX, &stated);
    if (status == FV_OK && stated != c->vocabulary)
        return fv_message_set(l->message, FV_ERROR_CORRUPT,
                              "%s: %s.vocab_size is %" PRIu32 ", token_embd.weight has %" PRIu32 " rows",
                              fv_gguf_path(l->gguf), l->row->name, stated, c->vocabulary);
    return status;
}

static fv_status load_tensors(load *l, int32_t tokens) {
    fv_model_config *c = &l->out.config;
    fv_model_weights *w = &l->out.weights;
    fv_status status = load_vocabulary(l, tokens);
    if (status == FV_OK) status = find_tensor(l, "token_embd.weight", c->vocabulary, c->width, true, &w->embedding);
    if (status == FV_OK) status = find_vector(l, "output_norm.weight", c->width, true, &w->output_norm);
    if (status == FV_OK) status = find_tensor(l, "output.weight", c->vocabulary, c->width, false, &w->output);
    if (status == FV_OK) status = load_layers(l);
    if (status == FV_OK && !w->output.data) w->output = w->embedding;
    return status;
}

/* Tables of angles that early converters wrote; every reader computes them. */
static bool is_harmless(fv_gguf_text name) {
    static const char SUFFIX[] = ".attn_rot_embd.weight";
    size_t length = sizeof SUFFIX - 1;
    return name.length > length && memcmp(name.bytes + name.length - length, SUFFIX, length) == 0;
}

static bool is_used(const load *l, const fv_gguf_tensor *tensor) {
    for (size_t i = 0; i < l->used_count; i++)
        if (l->used[i] == tensor) return true;
    return false;
}

static fv_status check_unused_tensors(load *l) {
    if (fv_gguf_tensors(l->gguf) == l->used_count) return FV_OK;
    for (size_t i = 0; i < fv_gguf_tensors(l->gguf); i++) {
        const fv_gguf_tensor *tensor = fv_gguf_tensor_at(l->gguf, i);
        if (is_harmless(tensor->name) || is_used(l, tensor)) continue;
        return fv_message_set(
            l->message, FV_ERROR_UNSUPPORTED,
            "%s: tensor %.*s has no place in fovea's %s: the model is of a kind that is not supported",
            fv_gguf_path(l->gguf), (int)(tensor->name.length < 128 ? tensor->name.length : 128), tensor->name.bytes,
            l->row->name);
    }
    return FV_OK;
}

static uint64_t add_capped(uint64_t a, uint64_t b) { return b > UINT64_MAX - a ? UINT64_MAX : a + b; }

static void count_weights(load *l) {
    for (size_t i = 0; i < fv_gguf_tensors(l->gguf); i++) {
        const fv_gguf_tensor *tensor = fv_gguf_tensor_at(l->gguf, i);
        uint64_t values = 1;
        for (int d = 0; d < 4; d++) {
            uint64_t length = tensor->dimensions[d];
            values = length && values > UINT64_MAX / length ? UINT64_MAX : values * length;
        }
        l->out.parameters = add_capped(l->out.parameters, values);
        l->out.weight_bytes = add_capped(l->out.weight_bytes, tensor->bytes);
    }
}

/* --- all -------------------------------------------------------------------------------------------------------- */

static fv_status load_all(load *l, int32_t tokens) {
    fv_status status = find_architecture(l);
    if (status == FV_OK) status = check_keys(l);
    if (status == FV_OK) status = load_shape(l);
    if (status == FV_OK) status = load_scales(l);
    if (status == FV_OK) status = load_window(l);
    if (status != FV_OK) return status;
    l->out.config.activation = l->row->activation;
    size_t most = (size_t)l->out.config.layers * LAYER_TENSOR_COUNT + 4; /* + embedding, output, its norm, rope_freqs */
    l->used = calloc(most, sizeof *l->used);
    if (!l->used) return out_of_memory(l, most * sizeof *l->used);
    status = load_rope(l);
    if (status == FV_OK) status = load_tensors(l, tokens);
    if (status == FV_OK) status = check_unused_tensors(l);
    if (status == FV_OK) count_weights(l);
    return status;
}

fv_status fv_loader_check_architecture(const fv_gguf *gguf, fv_message *message) {
    load l = {.gguf = gguf, .message = message};
    return find_architecture(&l);
}

fv_status fv_loader_open(fv_loaded *loaded, const fv_gguf *gguf, int32_t tokens, fv_message *message) {
    load l = {.gguf = gguf, .message = message};
    l.out.config = fv_model_config_default();
    fv_status status = load_all(&l, tokens);
    free(l.used);
    if (status != FV_OK) {
        fv_loader_close(&l.out);
        return status;
    }
    *loaded = l.out;
    return FV_OK;
}

void fv_loader_close(fv_loaded *loaded) {
    fv_pages_unmap(loaded->packed, loaded->packed_bytes);
    loaded->packed = NULL;
    while (loaded->owned) {
        struct fv_loader_block *block = loaded->owned;
        loaded->owned = block->next;
        free(block);
    }
}
