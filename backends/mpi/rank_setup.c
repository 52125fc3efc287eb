#include "rank_setup.h"
#include <stdlib.h>
#include <string.h>

/* Then texts with their zeros: the model's path, and the keys. */
typedef struct setup_head {
    uint32_t repack, exact_activations, isa_limit, key_type, value_type, batch_tokens, context_tokens;
    uint32_t keys, text_bytes;
    fv_layer_range range;
    fv_pool_config pool;
    uint64_t sum;
} setup_head;

uint8_t *fv_setup_pack(const fv_engine_config *config, const fv_layer_range *range, uint64_t sum, size_t *bytes) {
    const fv_session_config *session = &config->session;
    size_t text = strlen(config->model) + 1;
    if (config->allowed_key_count > FV_SETUP_KEYS) return NULL;
    for (uint32_t k = 0; k < config->allowed_key_count; k++) text += strlen(config->allowed_keys[k]) + 1;
    uint8_t *made = calloc(1, sizeof(setup_head) + text);
    if (!made) return NULL;
    setup_head head;
    memset(&head, 0, sizeof head);
    head.repack = config->repack;
    head.exact_activations = session->exact_activations;
    head.isa_limit = session->isa_limit;
    head.key_type = session->key_type;
    head.value_type = session->value_type;
    head.batch_tokens = session->batch_tokens;
    head.context_tokens = session->context_tokens;
    head.keys = config->allowed_key_count;
    head.text_bytes = (uint32_t)text;
    head.range = *range;
    head.pool = config->pool;
    head.sum = sum;
    memcpy(made, &head, sizeof head);
    char *at = (char *)made + sizeof head;
    for (uint32_t k = 0; k <= head.keys; k++) {
        const char *from = k == 0 ? config->model : config->allowed_keys[k - 1];
        memcpy(at, from, strlen(from) + 1);
        at += strlen(from) + 1;
    }
    *bytes = sizeof head + text;
    return made;
}

/* The texts lie between `at` and `end`, each with its zero. */
static const char *texts_find(fv_rank_setup *setup, uint32_t keys, const char *at, const char *end) {
    for (uint32_t k = 0; k <= keys; k++) {
        const char *zero = at < end ? memchr(at, '\0', (size_t)(end - at)) : NULL;
        if (!zero) return "has a text without an end";
        if (k == 0)
            setup->config.model = at;
        else
            setup->keys[k - 1] = at;
        at = zero + 1;
    }
    return at == end ? NULL : "has more texts than it says";
}

const char *fv_setup_unpack(fv_rank_setup *setup, const fv_letter *letter) {
    setup_head head;
    if (letter->length < sizeof head) return "is too short";
    memcpy(&head, letter->bytes, sizeof head);
    if (head.text_bytes != letter->length - sizeof head) return "is not as long as it says";
    if (head.keys > FV_SETUP_KEYS) return "has too many keys";
    if (head.range.count < 1 || head.range.first < 1) return "has no layers for this rank";
    if (head.repack > FV_REPACK_OFF) return "has an unknown way to repack";
    fv_engine_config_default(&setup->config);
    setup->range = head.range;
    setup->sum = head.sum;
    setup->config.repack = head.repack;
    setup->config.pool = head.pool;
    setup->config.session.exact_activations = head.exact_activations;
    setup->config.session.isa_limit = head.isa_limit;
    setup->config.session.key_type = head.key_type;
    setup->config.session.value_type = head.value_type;
    setup->config.session.batch_tokens = head.batch_tokens;
    setup->config.session.context_tokens = head.context_tokens;
    setup->config.allowed_keys = setup->keys;
    setup->config.allowed_key_count = head.keys;
    const char *texts = (const char *)letter->bytes + sizeof head;
    return texts_find(setup, head.keys, texts, texts + head.text_bytes);
}
