/* inspect_session.c - what a session file says about itself, and whether it is whole. */
#include "inspect_session.h"
#include "json_out.h"
#include <inttypes.h>
#include <stdio.h>

static const char *end_text(uint32_t end) {
    static const char *const texts[] = {"in no turn of a conversation", "in a turn of the user, which is open",
                                        "after an answer"};
    return end <= FV_SESSION_END_ANSWER ? texts[end] : "?";
}

static int print_json(const char *path, const fv_session_info *info, bool whole) {
    char model[24];
    json_t *document = json_object();
    snprintf(model, sizeof model, "%016" PRIx64, info->model);
    CLI_ADD(document, {"path", cli_text(path)}, {"kind", cli_text("session")}, {"version", cli_count(info->version)},
            {"file_bytes", cli_count(info->file_bytes)}, {"whole", json_boolean(whole)},
            {"model", cli_text(info->model_name)}, {"model_identity", cli_text(model)},
            {"tokens", cli_count(info->tokens)}, {"layers", cli_count(info->layers)},
            {"vocabulary", cli_count(info->vocabulary)}, {"kv_heads", cli_count(info->cache.kv_heads)},
            {"head_dim", cli_count(info->cache.head_dim)});
    CLI_ADD(document, {"key_type", cli_text(fv_element_name(info->cache.key_type))},
            {"value_type", cli_text(fv_element_name(info->cache.value_type))}, {"attention", cli_text(info->attention)},
            {"landmark_tokens", cli_count(info->cache.landmark_tokens)}, {"shadow", json_boolean(info->cache.shadow)},
            {"margins", json_boolean(info->cache.margins)}, {"tail", json_boolean(info->cache.tail)},
            {"exact_activations", json_boolean(info->exact_activations)}, {"ends", cli_text(end_text(info->end))});
    return cli_json_print(document);
}

static int print_text(const char *path, const fv_session_info *info, bool whole) {
    const fv_cache_config *cache = &info->cache;
    cli_print("%s: session, version %" PRIu32 ", %" PRIu64 " bytes, %s\n", path, info->version, info->file_bytes,
              whole ? "whole" : "DAMAGED");
    cli_print("model:     %s, identity %016" PRIx64 ", %" PRIu32 " layers, vocabulary %" PRIu32 "\n", info->model_name,
              info->model, info->layers, info->vocabulary);
    cli_print("tokens:    %" PRIu32 ", %.0f bytes each; the text ends %s\n", info->tokens,
              (double)info->file_bytes / info->tokens, end_text(info->end));
    cli_print("cache:     K %s, V %s, %" PRIu32 " heads of %" PRIu32 "\n", fv_element_name(cache->key_type),
              fv_element_name(cache->value_type), cache->kv_heads, cache->head_dim);
    cli_print("attention: read with %s%s; the caches have", info->attention,
              info->exact_activations ? ", exact activations" : "");
    if (cache->landmark_tokens) cli_print(" landmarks of %" PRIu32 " tokens,", cache->landmark_tokens);
    cli_print("%s%s%s%s\n", cache->shadow ? " a shadow," : "", cache->margins ? " margins," : "",
              cache->tail ? " a tail," : "", " keys and values");
    return cli_flush() ? CLI_DONE : CLI_FAILED;
}

int cli_inspect_session(const char *path, bool json) {
    fv_session_file *file = NULL;
    fv_message message = {""};
    fv_status status = fv_session_file_open(&file, path, &message);
    if (status != FV_OK) return cli_outcome(status, &message);
    status = fv_session_file_check(file, &message);
    const fv_session_info *info = fv_session_file_info(file);
    int result = json ? print_json(path, info, status == FV_OK) : print_text(path, info, status == FV_OK);
    fv_session_file_close(file);
    return result == CLI_DONE && status != FV_OK ? cli_outcome(status, &message) : result;
}
