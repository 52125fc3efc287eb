/* loader.c - a model file into what the forward pass wants. The file is hostile input. */
#include "llm/loader.h"
#include "llm/file_kind.h"
#include "llm/load.h"
#include "platform/array.h"
#include "platform/pages.h"
#include <stdlib.h>

static uint64_t add_capped(uint64_t a, uint64_t b) { return b > UINT64_MAX - a ? UINT64_MAX : a + b; }

static void count_weights(fv_load *l) {
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

static fv_status load_all(fv_load *l, int32_t tokens) {
    fv_status status = fv_load_architecture(l);
    if (status == FV_OK) status = fv_load_check_keys(l);
    if (status == FV_OK) status = fv_load_shape(l);
    if (status == FV_OK) status = fv_load_scales(l);
    if (status == FV_OK) status = fv_load_window(l);
    if (status != FV_OK) return status;
    l->out.config.activation = l->row->activation;
    size_t most = (size_t)l->out.config.layers * FV_LOAD_LAYER_TENSORS + 6; /* + embedding, output, its norm, factors */
    l->used = fv_array_new(most, sizeof *l->used);
    if (!l->used) return fv_load_no_memory(l, most * sizeof *l->used);
    status = fv_load_rope(l);
    if (status == FV_OK) status = fv_load_tensors(l, tokens);
    if (status == FV_OK) status = fv_load_check_unused(l);
    if (status == FV_OK) count_weights(l);
    return status;
}

fv_status fv_loader_check_architecture(const fv_gguf *gguf, fv_message *message) {
    fv_load l = {.gguf = gguf, .message = message};
    fv_status status = fv_file_kind_check(gguf, message);
    return status == FV_OK ? fv_load_architecture(&l) : status;
}

fv_status fv_loader_open(fv_loaded *loaded, const fv_gguf *gguf, int32_t tokens, const fv_loader_keys *allowed,
                         const fv_layer_range *range, fv_message *message) {
    fv_load l = {.gguf = gguf, .message = message};
    if (range) l.out.range = *range;
    if (allowed) l.allowed = *allowed;
    fv_model_config_default(&l.out.config);
    fv_status status = load_all(&l, tokens);
    free(l.used);
    if (status != FV_OK) {
        fv_loader_close(&l.out);
        return status;
    }
    *loaded = l.out;
    return FV_OK;
}

fv_model_weights fv_loaded_weights(const fv_loaded *loaded, uint32_t context_tokens) {
    fv_model_weights weights = loaded->weights;
    if (!loaded->long_frequencies || context_tokens <= loaded->short_tokens) return weights;
    if (weights.rope_local_frequencies == weights.rope_frequencies)
        weights.rope_local_frequencies = loaded->long_frequencies;
    weights.rope_frequencies = loaded->long_frequencies;
    return weights;
}

void fv_loader_close(fv_loaded *loaded) {
    fv_pages_unmap(loaded->packed, loaded->packed_bytes);
    loaded->packed = NULL;
    fv_load_drop(loaded);
}
