/* A model whose caches several ranks hold. */
#include "build.h"
#include "model/model_state.h"

#if FV_BUILD_MODEL

fv_status fv_model_exchange_size(const fv_model *model, uint32_t ranks, size_t *bytes) {
    return model ? fv_attention_exchange_size(model->attention, ranks, bytes) : FV_ERROR_ARGUMENT;
}

uint64_t fv_model_exchanged_bytes(const fv_model *model) { return fv_attention_exchanged_bytes(model->attention); }

fv_status fv_model_set_exchange(fv_model *model, const fv_exchange *exchange, void *memory, size_t bytes) {
    if (!model) return FV_ERROR_ARGUMENT;
    if (exchange && model->caches) return FV_ERROR_UNSUPPORTED;
    fv_status status = fv_attention_set_exchange(model->attention, exchange, memory, bytes);
#if FV_BUILD_EXCHANGE
    if (status == FV_OK) model->exchange = exchange;
#endif
    return status;
}

#endif
