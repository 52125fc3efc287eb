/* routes.c - the table of all endpoints, and of those that other servers have and this one does not. */
#include "routes.h"
#include "endpoints.h"
#include "page.h"
#include <stdlib.h>
#include <string.h>

/* open, quick */
#define OPEN true, true
#define QUICK false, true
#define DESK false, false

static const fv_route routes[] = {
    {"GET", "/health", fv_api_health, OPEN},
    {"GET", "/v1/health", fv_api_health, OPEN},
    {"GET", "/v1/models", fv_api_models, QUICK},
    {"GET", "/models", fv_api_models, QUICK},
    {"GET", "/props", fv_api_props, QUICK},
    {"POST", "/v1/completions", fv_api_completions, DESK},
    {"POST", "/v1/chat/completions", fv_api_chat, DESK},
    {"POST", "/chat/completions", fv_api_chat, DESK},
    {"POST", "/v1/responses", fv_api_responses, DESK},
    {"POST", "/responses", fv_api_responses, DESK},
    {"POST", "/completion", fv_api_llama, DESK},
    {"POST", "/completions", fv_api_llama, DESK},
    {"POST", "/tokenize", fv_api_tokenize, DESK},
    {"POST", "/detokenize", fv_api_detokenize, DESK},
    {"POST", "/apply-template", fv_api_template, DESK},
    {"GET", "/tokenizer_info", fv_api_tokenizer_info, QUICK},
    {"GET", "/api/version", fv_api_version, QUICK},
    {"GET", "/api/tags", fv_api_tags, QUICK},
    {"GET", "/slots", fv_api_slots, QUICK},
    {"POST", "/slots/", fv_api_slot, DESK},
    {"GET", "/metrics", fv_api_metrics, QUICK},
    {"POST", "/api/generate", fv_api_ollama_generate, DESK},
    {"POST", "/api/chat", fv_api_ollama_chat, DESK},
    {"POST", "/api/show", fv_api_show, DESK},
};

static const struct {
    const char *path, *reason;
} missing[] = {
    {"/v1/embeddings", "embeddings are not in this version: the models that it runs write text"},
    {"/embeddings", "embeddings are not in this version: the models that it runs write text"},
    {"/embedding", "embeddings are not in this version: the models that it runs write text"},
    {"/api/embed", "embeddings are not in this version: the models that it runs write text"},
    {"/api/embeddings", "embeddings are not in this version: the models that it runs write text"},
    {"/v1/messages", "Anthropic's messages are not in this version: /v1/chat/completions answers, too"},
    {"/v1/rerank", "reranking is not in this version"},
    {"/reranking", "reranking is not in this version"},
    {"/infill", "filling in is not in this version"},
    {"/lora-adapters", "adapters are not in this version"},
};

/* Whether the path is the route's, with a number after it where the route has one. */
static bool matches(const fv_route *route, const char *path, uint32_t *number) {
    size_t length = strlen(route->path);
    if (route->path[length - 1] != '/') return strcmp(route->path, path) == 0;
    if (strncmp(route->path, path, length) != 0 || path[length] == 0) return false;
    if (strspn(path + length, "0123456789") != strlen(path + length) || strlen(path + length) > 9) return false;
    *number = (uint32_t)strtoul(path + length, NULL, 10);
    return true;
}

const fv_route *fv_routes_find(const char *method, const char *path, uint32_t *number, bool *other,
                               const char **reason) {
    *other = false;
    *reason = NULL;
    const fv_route *page = fv_page_find(path, number);
    *other = page && strcmp(page->method, method) != 0;
    if (page) return *other ? NULL : page;
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        if (!matches(&routes[i], path, number)) continue;
        if (strcmp(routes[i].method, method) == 0) return &routes[i];
        *other = true;
    }
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++)
        if (strcmp(missing[i].path, path) == 0) *reason = missing[i].reason;
    return NULL;
}
