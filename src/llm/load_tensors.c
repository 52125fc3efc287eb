/* load_tensors.c - the tensors of a model: each has its place, shape and type, and one that has no place is an error.
 */
#include "llm/load.h"
#include "numeric/half.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

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
_Static_assert(LAYER_TENSOR_COUNT == FV_LOAD_LAYER_TENSORS, "one number for both files");

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

static fv_status type_unsupported(fv_load *l, const char *name, uint32_t type, const char *supported) {
    const char *known = fv_gguf_type_name(type);
    char number[24];
    snprintf(number, sizeof number, "number %" PRIu32, type);
    return fv_message_set(l->message, FV_ERROR_UNSUPPORTED, "%s: tensor %s: type %s is not supported; supported: %s",
                          fv_gguf_path(l->gguf), name, known ? known : number, supported);
}

#define NAME_OF(NAME, name, number, values, bytes) #NAME " "
static const char ALL_TYPES[] = FV_WEIGHT_LIST(NAME_OF);
#undef NAME_OF

static fv_status check_tensor_shape(fv_load *l, const char *name, const fv_gguf_tensor *tensor, uint32_t rows,
                                    uint32_t columns) {
    const uint64_t *d = tensor->dimensions;
    if (d[0] == columns && d[1] == rows && d[2] == 1 && d[3] == 1) return FV_OK;
    return fv_message_set(l->message, FV_ERROR_CORRUPT,
                          "%s: tensor %s has shape [%" PRIu64 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64
                          "], the metadata asks for [%" PRIu32 ", %" PRIu32 "]",
                          fv_gguf_path(l->gguf), name, d[0], d[1], d[2], d[3], columns, rows);
}

static fv_status check_tensor_data(fv_load *l, const char *name, const fv_gguf_tensor *tensor, weight_layout layout) {
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

fv_status fv_load_tensor(fv_load *l, const char *name, uint32_t rows, uint32_t columns, bool required,
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

/* Norms and biases. */
static fv_status vector_to_f32(fv_load *l, const char *name, fv_weight *weight) {
    if (!weight->data || weight->type == FV_WEIGHT_F32) return FV_OK;
    if (weight->type != FV_WEIGHT_F16 && weight->type != FV_WEIGHT_BF16)
        return type_unsupported(l, name, weight->type, "F32 F16 BF16 for norms and biases");
    void *memory = NULL;
    fv_status status = fv_load_own(l, weight->columns, sizeof(float), &memory);
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

fv_status fv_load_vector(fv_load *l, const char *name, uint32_t count, bool required, fv_weight *weight) {
    fv_status status = fv_load_tensor(l, name, 1, count, required, weight);
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
static bool is_expected(const fv_architecture *row, presence when, bool *required) {
    *required = when != IF_BIASES || row->qkv_biases;
    if (when == IF_HEAD_NORMS) return row->head_norms;
    if (when == IF_POST_NORMS) return row->post_norms;
    return true;
}

static fv_status load_layer(fv_load *l, uint32_t index, fv_layer_weights *layer) {
    for (size_t i = 0; i < LAYER_TENSOR_COUNT; i++) {
        const struct layer_tensor *entry = &LAYER_TENSORS[i];
        bool required = false;
        if (!is_expected(l->row, entry->when, &required)) continue;
        char name[64];
        snprintf(name, sizeof name, "blk.%" PRIu32 ".%s", index, entry->suffix);
        uint32_t rows = extent_of(&l->out.config, entry->rows), columns = extent_of(&l->out.config, entry->columns);
        fv_weight *weight = (fv_weight *)(void *)((char *)layer + entry->offset);
        fv_status status = entry->rows == EXTENT_ONE ? fv_load_vector(l, name, columns, required, weight)
                                                     : fv_load_tensor(l, name, rows, columns, required, weight);
        if (status != FV_OK) return status;
    }
    return FV_OK;
}

static fv_status load_layers(fv_load *l) {
    void *memory = NULL;
    fv_status status = fv_load_own(l, l->out.config.layers, sizeof(fv_layer_weights), &memory);
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
static fv_status load_vocabulary(fv_load *l, int32_t tokens) {
    fv_model_config *c = &l->out.config;
    const fv_gguf_tensor *embedding = fv_gguf_tensor_find(l->gguf, "token_embd.weight");
    uint64_t rows = embedding ? embedding->dimensions[1] : 0;
    if (embedding && (tokens < 1 || rows != (uint64_t)tokens))
        return fv_message_set(l->message, FV_ERROR_CORRUPT,
                              "%s: tensor token_embd.weight has %" PRIu64 " rows, the tokenizer has %" PRId32 " tokens",
                              fv_gguf_path(l->gguf), rows, tokens);
    c->vocabulary = (uint32_t)rows;
    if (!embedding) return FV_OK; /* fv_load_tensor() will say so */
    uint32_t stated = c->vocabulary;
    fv_status status = fv_load_u32(l, "vocab_size", 1, INT32_MAX, &stated);
    if (status == FV_OK && stated != c->vocabulary)
        return fv_message_set(l->message, FV_ERROR_CORRUPT,
                              "%s: %s.vocab_size is %" PRIu32 ", token_embd.weight has %" PRIu32 " rows",
                              fv_gguf_path(l->gguf), l->row->name, stated, c->vocabulary);
    return status;
}

fv_status fv_load_tensors(fv_load *l, int32_t tokens) {
    fv_model_config *c = &l->out.config;
    fv_model_weights *w = &l->out.weights;
    fv_status status = load_vocabulary(l, tokens);
    if (status == FV_OK) status = fv_load_tensor(l, "token_embd.weight", c->vocabulary, c->width, true, &w->embedding);
    if (status == FV_OK) status = fv_load_vector(l, "output_norm.weight", c->width, true, &w->output_norm);
    if (status == FV_OK) status = fv_load_tensor(l, "output.weight", c->vocabulary, c->width, false, &w->output);
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

static bool is_used(const fv_load *l, const fv_gguf_tensor *tensor) {
    for (size_t i = 0; i < l->used_count; i++)
        if (l->used[i] == tensor) return true;
    return false;
}

fv_status fv_load_check_unused(fv_load *l) {
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
