/* load_architecture.c - the architectures as rows of differences. */
#include "gguf/gguf_text.h"
#include "llm/load.h"
#include <stdio.h>

static const fv_architecture ARCHITECTURES[] = {
    {.name = "llama", .rope = FV_ROPE_PAIRS, .activation = FV_ACTIVATION_SILU, .rope_factors = true},
    {.name = "qwen2", .rope = FV_ROPE_HALVES, .activation = FV_ACTIVATION_SILU},
    {.name = "qwen3", .rope = FV_ROPE_HALVES, .activation = FV_ACTIVATION_SILU, .head_norms = true},
    {.name = "gemma", .rope = FV_ROPE_HALVES, .activation = FV_ACTIVATION_GELU, .gemma = true},
    {.name = "gemma2",
     .rope = FV_ROPE_HALVES,
     .activation = FV_ACTIVATION_GELU,
     .post_norms = true,
     .gemma = true,
     .windows = FV_WINDOWS_SOME,
     .window = 4096,
     .window_period = 2,
     .wide_layers = 46,
     .attention_softcap = 50,
     .logit_softcap = 30},
    {.name = "gemma3",
     .rope = FV_ROPE_HALVES,
     .activation = FV_ACTIVATION_GELU,
     .head_norms = true,
     .post_norms = true,
     .gemma = true,
     .windows = FV_WINDOWS_SOME,
     .window_period = 6,
     .local_base = 10000,
     .wide_layers = 62},
    {.name = "granite", .rope = FV_ROPE_PAIRS, .activation = FV_ACTIVATION_SILU, .rope_factors = true, .granite = true},
    {.name = "smollm3",
     .rope = FV_ROPE_PAIRS,
     .activation = FV_ACTIVATION_SILU,
     .rope_factors = true,
     .unrotated_period = 4},
    {.name = "phi3",
     .rope = FV_ROPE_HALVES,
     .activation = FV_ACTIVATION_SILU,
     .rope_factors = true,
     .windows = FV_WINDOWS_ALL},
    {.name = "mistral3",
     .rope = FV_ROPE_PAIRS,
     .activation = FV_ACTIVATION_SILU,
     .rope_factors = true,
     .query_scales = true},
    {.name = "olmo2",
     .rope = FV_ROPE_HALVES,
     .activation = FV_ACTIVATION_SILU,
     .row_norms = true,
     .bare_blocks = true,
     .post_norms = true,
     .windows = FV_WINDOWS_SOME,
     .window_period = 4},
};
#define ARCHITECTURE_COUNT (sizeof ARCHITECTURES / sizeof *ARCHITECTURES)

fv_status fv_load_architecture(fv_load *l) {
    fv_gguf_text name;
    if (!fv_gguf_entry_find(l->gguf, "general.architecture")) return fv_key_missing(l, "general.architecture");
    fv_status status = fv_gguf_take_string(l->gguf, "general.architecture", &name, l->message);
    if (status != FV_OK) return status;
    for (size_t i = 0; i < ARCHITECTURE_COUNT; i++)
        if (fv_gguf_text_is(name, ARCHITECTURES[i].name)) l->row = &ARCHITECTURES[i];
    if (l->row) {
        l->out.architecture = l->row->name;
        return FV_OK;
    }
    char list[160] = "";
    for (size_t i = 0, at = 0; i < ARCHITECTURE_COUNT && at < sizeof list; i++)
        at += (size_t)snprintf(list + at, sizeof list - at, " %s", ARCHITECTURES[i].name);
    return fv_message_set(l->message, FV_ERROR_UNSUPPORTED, "%s: architecture %.*s is not supported; supported:%s",
                          fv_gguf_path(l->gguf), (int)(name.length < 64 ? name.length : 64), name.bytes, list);
}
