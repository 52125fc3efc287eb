/* tune_fuzz.c - any bytes as a file of `fovea tune`: refused with a message, or shares that a policy may have. */
#include "fovea/tune.h"
#include "llm/llm.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The shape that the corpus was made for; nothing else of a model is looked at. */
enum { LAYERS = 2, KV_HEADS = 3 };
static const fv_llm llm = {.loaded = {.architecture = "llama",
                                      .parameters = 12345,
                                      .weight_bytes = 49380,
                                      .config = {.layers = LAYERS, .cache = {.kv_heads = KV_HEADS, .head_dim = 8}}}};

#define REQUIRE(condition) \
    if (!(condition)) abort()

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fv_tune tune = {0};
    fv_message message = {""};
    fv_policy policy;
    fv_policy_default(FV_SELECTOR_FOVEA, &policy);
    fv_status status = fv_tune_parse(&tune, (const char *)data, size, "fuzz", &llm, &message);
    if (status != FV_OK) {
        REQUIRE(!tune.shares && !tune.path[0] && strncmp(message.text, "fuzz: ", 6) == 0);
        REQUIRE(!fv_tune_attach(&tune, &policy));
        return 0;
    }
    REQUIRE(tune.layers == LAYERS && tune.kv_heads == KV_HEADS && strcmp(tune.path, "fuzz") == 0);
    for (size_t i = 0; i < LAYERS * KV_HEADS; i++) REQUIRE(tune.shares[i] >= 1);
    REQUIRE(fv_tune_attach(&tune, &policy) && fv_policy_check(&policy) == FV_OK);
    fv_tune_free(&tune);
    return 0;
}
