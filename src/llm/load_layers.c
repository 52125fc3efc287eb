/* load_layers.c - which tensors a model has: those of each layer by a table, embedding and output. */
#include "llm/load.h"
#include <inttypes.h>
#include <stdio.h>

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

typedef enum presence { ALWAYS, PERHAPS, IF_PRE_NORMS, IF_HEAD_NORMS, IF_ROW_NORMS, IF_POST_NORMS } presence;

static const struct layer_tensor {
    const char *suffix;
    size_t offset; /* of the fv_weight in fv_layer_weights */
    presence when;
    extent rows, columns; /* rows ONE: a vector, F32 in the model */
} LAYER_TENSORS[] = {
#define AT(field) offsetof(fv_layer_weights, field)
    {"attn_norm.weight", AT(attention_norm), IF_PRE_NORMS, EXTENT_ONE, EXTENT_WIDTH},
    {"attn_q.weight", AT(query), ALWAYS, EXTENT_QUERY, EXTENT_WIDTH},
    {"attn_k.weight", AT(key), ALWAYS, EXTENT_KV, EXTENT_WIDTH},
    {"attn_v.weight", AT(value), ALWAYS, EXTENT_KV, EXTENT_WIDTH},
    {"attn_output.weight", AT(output), ALWAYS, EXTENT_WIDTH, EXTENT_QUERY},
    {"attn_q.bias", AT(query_bias), PERHAPS, EXTENT_ONE, EXTENT_QUERY},
    {"attn_k.bias", AT(key_bias), PERHAPS, EXTENT_ONE, EXTENT_KV},
    {"attn_v.bias", AT(value_bias), PERHAPS, EXTENT_ONE, EXTENT_KV},
    {"attn_output.bias", AT(output_bias), PERHAPS, EXTENT_ONE, EXTENT_WIDTH},
    {"attn_q_norm.weight", AT(query_norm), IF_HEAD_NORMS, EXTENT_ONE, EXTENT_HEAD},
    {"attn_k_norm.weight", AT(key_norm), IF_HEAD_NORMS, EXTENT_ONE, EXTENT_HEAD},
    {"attn_q_norm.weight", AT(query_norm), IF_ROW_NORMS, EXTENT_ONE, EXTENT_QUERY},
    {"attn_k_norm.weight", AT(key_norm), IF_ROW_NORMS, EXTENT_ONE, EXTENT_KV},
    {"post_attention_norm.weight", AT(attention_post_norm), IF_POST_NORMS, EXTENT_ONE, EXTENT_WIDTH},
    {"ffn_norm.weight", AT(feed_norm), IF_PRE_NORMS, EXTENT_ONE, EXTENT_WIDTH},
    {"ffn_gate.weight", AT(gate), ALWAYS, EXTENT_FEED, EXTENT_WIDTH},
    {"ffn_up.weight", AT(up), ALWAYS, EXTENT_FEED, EXTENT_WIDTH},
    {"ffn_down.weight", AT(down), ALWAYS, EXTENT_WIDTH, EXTENT_FEED},
    {"ffn_gate.bias", AT(gate_bias), PERHAPS, EXTENT_ONE, EXTENT_FEED},
    {"ffn_up.bias", AT(up_bias), PERHAPS, EXTENT_ONE, EXTENT_FEED},
    {"ffn_down.bias", AT(down_bias), PERHAPS, EXTENT_ONE, EXTENT_WIDTH},
    {"post_ffw_norm.weight", AT(feed_post_norm), IF_POST_NORMS, EXTENT_ONE, EXTENT_WIDTH},
#undef AT
};
#define LAYER_TENSOR_COUNT (sizeof LAYER_TENSORS / sizeof *LAYER_TENSORS)
_Static_assert(LAYER_TENSOR_COUNT <= FV_LOAD_LAYER_TENSORS, "one number for both files");

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

/* Whether the architecture has the tensor at all. */
static bool is_expected(const fv_architecture *row, presence when) {
    if (when == IF_PRE_NORMS) return !row->bare_blocks;
    if (when == IF_HEAD_NORMS) return row->head_norms;
    if (when == IF_ROW_NORMS) return row->row_norms;
    if (when == IF_POST_NORMS) return row->post_norms;
    return true;
}

static fv_status load_layer(fv_load *l, uint32_t index, fv_layer_weights *layer) {
    fv_status status = fv_load_fused(l, index, layer);
    for (size_t i = 0; i < LAYER_TENSOR_COUNT && status == FV_OK; i++) {
        const struct layer_tensor *entry = &LAYER_TENSORS[i];
        fv_weight *weight = (fv_weight *)(void *)((char *)layer + entry->offset);
        if (weight->data || !is_expected(l->row, entry->when)) continue; /* a part of a fused one; of no use */
        char name[64];
        snprintf(name, sizeof name, "blk.%" PRIu32 ".%s", index, entry->suffix);
        uint32_t rows = extent_of(&l->out.config, entry->rows), columns = extent_of(&l->out.config, entry->columns);
        bool required = entry->when != PERHAPS;
        status = entry->rows == EXTENT_ONE ? fv_load_vector(l, name, columns, required, weight)
                                           : fv_load_tensor(l, name, rows, columns, required, weight);
    }
    return status;
}

static bool is_own(const fv_load *l, uint32_t layer) {
    return layer >= l->out.range.first && layer - l->out.range.first < l->out.range.count;
}

static fv_status load_layers(fv_load *l) {
    void *memory = NULL;
    fv_status status = fv_load_own(l, l->out.config.layers, sizeof(fv_layer_weights), &memory);
    if (status != FV_OK) return status;
    fv_layer_weights *layers = memory, skimmed;
    for (uint32_t i = 0; i < l->out.config.layers; i++) {
        l->skims = !is_own(l, i);
        if (l->skims) skimmed = (fv_layer_weights){0};
        status = load_layer(l, i, l->skims ? &skimmed : &layers[i]);
        l->skims = false;
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
    if (embedding && tokens != -1 && (tokens < 1 || rows != (uint64_t)tokens))
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

/* No layers at all were asked for: they are all wanted. */
static fv_status range_check(fv_load *l) {
    uint32_t layers = l->out.config.layers;
    fv_layer_range *range = &l->out.range;
    if (range->count == 0 && range->first == 0) range->count = layers;
    if (range->count > 0 && range->first < layers && range->count <= layers - range->first) return FV_OK;
    return fv_message_set(l->message, FV_ERROR_ARGUMENT,
                          "%s: %" PRIu32 " layers from number %" PRIu32 " on were asked for; the model has %" PRIu32,
                          fv_gguf_path(l->gguf), range->count, range->first, layers);
}

fv_status fv_load_tensors(fv_load *l, int32_t tokens) {
    fv_model_config *c = &l->out.config;
    fv_model_weights *w = &l->out.weights;
    fv_status status = range_check(l);
    if (status == FV_OK) status = load_vocabulary(l, tokens);
    if (status == FV_OK) status = fv_load_tensor(l, "token_embd.weight", c->vocabulary, c->width, true, &w->embedding);
    if (status == FV_OK) status = fv_load_vector(l, "output_norm.weight", c->width, true, &w->output_norm);
    if (status == FV_OK) status = fv_load_tensor(l, "output.weight", c->vocabulary, c->width, false, &w->output);
    if (status == FV_OK) status = load_layers(l);
    if (status == FV_OK && !w->output.data) w->output = w->embedding;
    if (status == FV_OK && l->out.range.first > 0) w->embedding = w->output = (fv_weight){0};
    return status;
}
