/* file_kind.c - GGUF files that are no model to run: one sentence each. */
#include "llm/file_kind.h"
#include "gguf/gguf_text.h"

static const struct {
    const char *key, *value, *sentence;
} kinds[] = {
    {"general.type", "adapter",
     "an adapter (LoRA) of another model, which this version does not apply: name the model"},
    {"general.type", "imatrix", "an importance matrix, which quantisers read: name a model"},
    {"general.type", "mmproj", "the projector of a model that sees or hears, not the model itself: name the model"},
    {"general.type", "vocab", "a vocabulary only: fovea tokenize reads it, but there is no model in it"},
    {"general.architecture", "clip",
     "the projector of a model that sees or hears, not the model itself: name the model"},
    {"general.architecture", "imatrix", "an importance matrix, which quantisers read: name a model"},
    {"general.architecture", "controlvector", "a control vector, which steers a model and is none: name the model"},
};

fv_status fv_file_kind_check(const fv_gguf *gguf, fv_message *message) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        fv_gguf_text value;
        if (!fv_gguf_string(gguf, kinds[i].key, &value) || !fv_gguf_text_is(value, kinds[i].value)) continue;
        return fv_message_set(message, FV_ERROR_UNSUPPORTED, "%s: is %s", fv_gguf_path(gguf), kinds[i].sentence);
    }
    if (fv_gguf_tensors(gguf) > 0) return FV_OK;
    if (fv_gguf_entry_find(gguf, "tokenizer.ggml.tokens"))
        return fv_message_set(message, FV_ERROR_UNSUPPORTED,
                              "%s: has no tensors, so it is a vocabulary only: fovea tokenize reads it, but there is "
                              "no model in it",
                              fv_gguf_path(gguf));
    return fv_message_set(message, FV_ERROR_CORRUPT, "%s: has no tensors: there is no model in it", fv_gguf_path(gguf));
}
