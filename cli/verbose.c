#include "verbose.h"
#include "cli.h"
#include "fovea/machine.h"
#include <inttypes.h>
#include <stdio.h>

#define MIB (1024.0 * 1024.0)

static void note_tokenizer(const fv_llm *llm) {
    const fv_tokenizer *tokenizer = fv_llm_tokenizer(llm);
    fv_gguf_text model = {"?", 1}, pre = {"none", 4};
    fv_text shown = {0};
    (void)fv_gguf_string(fv_llm_gguf(llm), "tokenizer.ggml.model", &model);
    (void)fv_gguf_string(fv_llm_gguf(llm), "tokenizer.ggml.pre", &pre);
    bool good = fv_utf8_printable(model.bytes, model.length, "", &shown) == FV_OK &&
                fv_text_append(&shown, ", pre-tokenizer ", 16) == FV_OK &&
                fv_utf8_printable(pre.bytes, pre.length, "", &shown) == FV_OK;
    cli_note("tokenizer: %s, %" PRId32 " tokens, beginning %" PRId32 "%s, end %" PRId32, good ? shown.bytes : "?",
             fv_tokenizer_tokens(tokenizer), fv_tokenizer_bos(tokenizer),
             fv_tokenizer_adds_bos(tokenizer) ? " (added)" : "", fv_tokenizer_eos(tokenizer));
    fv_text_free(&shown);
}

static void note_limits(const fv_engine *engine) {
    fv_machine_limits limits;
    fv_isa asked, reached;
    char name[128];
    fv_machine_limits_read(&limits);
    fv_machine_processor_name(name, sizeof name);
    bool known = fv_machine_isa(&asked, &reached, NULL) == FV_OK;
    cli_note("processor: %s, %s, %" PRIu32 " threads; %" PRIu32 " of %" PRIu32 " processors (%s)", name,
             known ? fv_isa_name(reached) : "unknown", fv_engine_threads(engine), limits.processors,
             limits.processors_online, fv_machine_limit_name(limits.processors_by));
    cli_note("memory: %.1f MiB and %.1f MiB of swap (%s)", (double)limits.memory_bytes / MIB,
             (double)limits.swap_bytes / MIB, fv_machine_limit_name(limits.memory_by));
}

void cli_verbose_engine(const fv_engine *engine) {
    const fv_llm *llm = fv_engine_llm(engine);
    const fv_gguf *gguf = fv_llm_gguf(llm);
    const fv_model_config *shape = fv_llm_config(llm);
    cli_note("model: %s, GGUF version %" PRIu32 ", %zu keys, %zu tensors", fv_gguf_path(gguf), fv_gguf_version(gguf),
             fv_gguf_entries(gguf), fv_gguf_tensors(gguf));
    cli_note("model: %s, %.2f M parameters, %" PRIu32 " layers, trained on %" PRIu32 " tokens",
             fv_llm_architecture(llm), (double)fv_llm_parameters(llm) / 1e6, shape->layers, shape->cache.max_tokens);
    cli_note("weights: %.1f MiB, %.1f MiB of them repacked", (double)fv_llm_weight_bytes(llm) / MIB,
             (double)fv_llm_packed_bytes(llm) / MIB);
    note_tokenizer(llm);
    fv_session_config session;
    fv_engine_session_config(engine, &session);
    cli_note("cache: K %s, V %s", fv_element_name(session.key_type), fv_element_name(session.value_type));
    note_limits(engine);
}

void cli_verbose_tokens(const fv_tokenizer *tokenizer, const fv_tokens *tokens) {
    fv_text piece = {0}, shown = {0};
    fprintf(stderr, "number of tokens in prompt = %zu\n", tokens->count);
    for (size_t i = 0; i < tokens->count; i++) {
        piece.length = shown.length = 0;
        bool good = fv_tokenizer_piece(tokenizer, tokens->ids[i], true, &piece) == FV_OK &&
                    fv_utf8_printable(piece.bytes, piece.length, "", &shown) == FV_OK;
        fprintf(stderr, "%6" PRId32 " -> '%s'\n", tokens->ids[i], good ? shown.bytes : "?");
    }
    fv_text_free(&piece);
    fv_text_free(&shown);
}
