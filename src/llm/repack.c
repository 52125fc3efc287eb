#include "repack.h"
#include "gguf_map.h"
#include <stdlib.h>

/* Scratch of eight rows, grown as rows get longer. */
typedef struct pack_scratch {
    void *bytes;
    size_t count;
} pack_scratch;

static fv_status matrix_pack(fv_weight *weight, pack_scratch *scratch) {
    if (!weight->data || weight->packed || !fv_weight_is_packable(weight->type)) return FV_OK;
    size_t need = 8 * fv_weight_row_bytes(weight->type, weight->columns);
    if (need > scratch->count) {
        void *grown = realloc(scratch->bytes, need);
        if (!grown) return FV_ERROR_MEMORY;
        *scratch = (pack_scratch){grown, need};
    }
    return fv_weight_pack(weight, (void *)(uintptr_t)weight->data, scratch->bytes, scratch->count);
}

enum { LAYER_MATRICES = 7 };

static fv_weight *layer_matrix(fv_layer_weights *layer, size_t index) {
    fv_weight *const matrices[LAYER_MATRICES] = {&layer->query, &layer->key, &layer->value, &layer->output,
                                                 &layer->gate,  &layer->up,  &layer->down};
    return matrices[index];
}

static fv_status layer_pack(fv_layer_weights *layer, pack_scratch *scratch) {
    fv_status status = FV_OK;
    for (size_t i = 0; status == FV_OK && i < LAYER_MATRICES; i++)
        status = matrix_pack(layer_matrix(layer, i), scratch);
    return status;
}

static fv_status weights_pack(fv_loaded *loaded, pack_scratch *scratch) {
    fv_model_weights *weights = &loaded->weights;
    fv_layer_weights *layers = (fv_layer_weights *)(uintptr_t)weights->layers; /* the loader's own */
    fv_status status = matrix_pack(&weights->output, scratch);
    if (weights->embedding.data == weights->output.data) weights->embedding.packed = weights->output.packed;
    for (uint32_t i = 0; status == FV_OK && i < loaded->config.layers; i++) status = layer_pack(&layers[i], scratch);
    return status;
}

fv_status fv_repack(fv_loaded *loaded, const fv_gguf *gguf, fv_message *message) {
    pack_scratch scratch = {0};
    fv_status status = FV_OK;
    if (fv_gguf_writable(gguf, true)) status = weights_pack(loaded, &scratch);
    fv_gguf_writable(gguf, false);
    free(scratch.bytes);
    if (status != FV_OK)
        return fv_message_set(message, status, "%s: out of memory while packing weights", fv_gguf_path(gguf));
    return FV_OK;
}

static uint64_t matrix_bytes(const fv_weight *weight, bool packed) {
    uint32_t rows = packed ? weight->packed : fv_weight_is_packable(weight->type) ? weight->rows / 8 * 8 : 0;
    return weight->data ? (uint64_t)rows * fv_weight_row_bytes(weight->type, weight->columns) : 0;
}

uint64_t fv_repack_bytes(const fv_loaded *loaded, bool packed) {
    fv_layer_weights *layers = (fv_layer_weights *)(uintptr_t)loaded->weights.layers;
    uint64_t bytes = matrix_bytes(&loaded->weights.output, packed);
    for (uint32_t i = 0; i < loaded->config.layers; i++)
        for (size_t m = 0; m < LAYER_MATRICES; m++) bytes += matrix_bytes(layer_matrix(&layers[i], m), packed);
    return bytes;
}
