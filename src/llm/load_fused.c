/* load_fused.c - tensors that hold several matrices one below the other: attn_qkv is query, key and value, an ffn_up of
 * twice the length gate and up. Each matrix is a view of its rows. */
#include "llm/load.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A matrix that starts at no multiple of 4 bytes is copied to one. */
static fv_status cut_rows(fv_load *l, const fv_weight *whole, uint32_t first, uint32_t rows, fv_weight *part) {
    size_t row_bytes = fv_weight_row_bytes(whole->type, whole->columns); /* all of it lies in the file */
    const unsigned char *begin = (const unsigned char *)whole->data + first * row_bytes;
    void *copy = NULL;
    if ((uintptr_t)begin % 4 != 0 && !l->skims) {
        fv_status status = fv_load_own(l, rows, row_bytes, &copy);
        if (status != FV_OK) return status;
        memcpy(copy, begin, rows * row_bytes);
    }
    *part = (fv_weight){.data = copy ? copy : begin, .type = whole->type, .rows = rows, .columns = whole->columns};
    return FV_OK;
}

static fv_weight cut_values(const fv_weight *whole, uint32_t first, uint32_t count) {
    return (fv_weight){.data = (const float *)whole->data + first, .type = whole->type, .rows = 1, .columns = count};
}

static bool has_tensor(const fv_load *l, uint32_t layer, const char *suffix, char *name, size_t bytes) {
    snprintf(name, bytes, "blk.%" PRIu32 ".%s", layer, suffix);
    return fv_gguf_tensor_find(l->gguf, name) != NULL;
}

static fv_status load_qkv(fv_load *l, uint32_t index, fv_layer_weights *layer) {
    const fv_model_config *c = &l->out.config;
    uint32_t queries = c->query_heads * c->cache.head_dim, keys = c->cache.kv_heads * c->cache.head_dim;
    char name[64];
    fv_weight whole = {0}, bias = {0};
    if (has_tensor(l, index, "attn_q.weight", name, sizeof name)) return FV_OK;
    if (!has_tensor(l, index, "attn_qkv.weight", name, sizeof name)) return FV_OK;
    fv_status status = fv_load_tensor(l, name, queries + 2 * keys, c->width, true, &whole);
    if (status == FV_OK) status = cut_rows(l, &whole, 0, queries, &layer->query);
    if (status == FV_OK) status = cut_rows(l, &whole, queries, keys, &layer->key);
    if (status == FV_OK) status = cut_rows(l, &whole, queries + keys, keys, &layer->value);
    if (status != FV_OK || !has_tensor(l, index, "attn_qkv.bias", name, sizeof name)) return status;
    status = fv_load_vector(l, name, queries + 2 * keys, true, &bias);
    if (status != FV_OK) return status;
    if (l->skims) return FV_OK; /* not f32 yet */
    layer->query_bias = cut_values(&bias, 0, queries);
    layer->key_bias = cut_values(&bias, queries, keys);
    layer->value_bias = cut_values(&bias, queries + keys, keys);
    return FV_OK;
}

static fv_status load_gate_up(fv_load *l, uint32_t index, fv_layer_weights *layer) {
    uint32_t feed = l->out.config.feed_forward;
    char name[64];
    fv_weight whole = {0};
    if (has_tensor(l, index, "ffn_gate.weight", name, sizeof name)) return FV_OK;
    snprintf(name, sizeof name, "blk.%" PRIu32 ".ffn_up.weight", index);
    const fv_gguf_tensor *tensor = fv_gguf_tensor_find(l->gguf, name);
    if (!tensor || tensor->dimensions[1] != 2 * (uint64_t)feed) return FV_OK; /* the gate is missing: it will be said */
    fv_status status = fv_load_tensor(l, name, 2 * feed, l->out.config.width, true, &whole);
    if (status == FV_OK) status = cut_rows(l, &whole, 0, feed, &layer->gate);
    return status == FV_OK ? cut_rows(l, &whole, feed, feed, &layer->up) : status;
}

fv_status fv_load_fused(fv_load *l, uint32_t index, fv_layer_weights *layer) {
    fv_status status = load_qkv(l, index, layer);
    return status == FV_OK ? load_gate_up(l, index, layer) : status;
}
