/* story_board.c - a language model writes stories on a board: weights in flash (tools/model_image.py makes the
 * constants), the forward pass of fovea/model.h in static memory, greedy and seeded sampling. Prints the texts, a
 * checksum of all logits and RAM by purpose. */
#include "board.h"
#include <model_image.h>

enum { MEMORY_BYTES = 232 * 1024, VOCABULARY_MOST = 640 };
#define TEMPERATURE 0.8f /* of the drawn story */

static _Alignas(FV_CACHE_ALIGN) unsigned char memory[MEMORY_BYTES];
static float logits[VOCABULARY_MOST];

typedef struct story {
    fv_model *model;
    float temperature; /* 0: greedy */
    uint32_t random;   /* state of the draw */
    uint64_t checksum; /* of the bits of all logits */
    uint32_t tokens;
} story;

/* e^x for x <= 0: 2^n by the exponent's bits, the rest by its series; the same bits wherever floats are IEEE's. */
static float exp_negative(float x) {
    if (!(x > -80.0f)) return 0.0f;
    int32_t n = (int32_t)(x * 1.44269504f - 0.5f);
    float r = x - (float)n * 0.693145752f - (float)n * 1.42860677e-6f; /* ln 2 in two parts */
    float sum = 1.0f + r * (1.0f + r * (0.5f + r * (0.166666667f + r * (0.0416666667f + r * 0.00833333333f))));
    union {
        uint32_t bits;
        float value;
    } power = {.bits = (uint32_t)(n + 127) << 23};
    return sum * power.value;
}

/* [0, 1); xorshift (Marsaglia 2003). */
static float random_unit(uint32_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return (float)(*state >> 8) * 0x1p-24f;
}

/* The likeliest token, or one drawn in proportion to its share. */
static int32_t token_choose(story *s, uint32_t vocabulary) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < vocabulary; i++)
        if (logits[i] > logits[best]) best = i;
    if (!(s->temperature > 0.0f)) return (int32_t)best;
    float most = logits[best], sum = 0.0f;
    for (uint32_t i = 0; i < vocabulary; i++) sum += exp_negative((logits[i] - most) / s->temperature);
    float left = random_unit(&s->random) * sum;
    for (uint32_t i = 0; i < vocabulary; i++) {
        left -= exp_negative((logits[i] - most) / s->temperature);
        if (left < 0.0f) return (int32_t)i;
    }
    return (int32_t)best;
}

/* FNV-1a over 32-bit words. */
static void checksum_add(story *s, uint32_t vocabulary) {
    for (uint32_t i = 0; i < vocabulary; i++) {
        union {
            float value;
            uint32_t bits;
        } word = {.value = logits[i]};
        s->checksum = (s->checksum ^ word.bits) * UINT64_C(0x100000001B3);
    }
}

static fv_status story_write(story *s, const fv_model_config *config) {
    fv_policy dense;
    fv_policy_default(FV_SELECTOR_DENSE, &dense);
    int32_t token = fv_image.begin;
    fv_status status = fv_model_truncate(s->model, 0);
    s->checksum = UINT64_C(0xCBF29CE484222325);
    for (s->tokens = 0; status == FV_OK && s->tokens < config->cache.max_tokens; s->tokens++) {
        status = fv_model_forward(s->model, &token, 1, &dense, NULL, NULL);
        if (status == FV_OK) status = fv_model_logits(s->model, 0, 1, NULL, logits);
        if (status != FV_OK) break;
        checksum_add(s, config->vocabulary);
        token = token_choose(s, config->vocabulary);
        if (token == fv_image.end) break;
        fv_board_text(fv_image.texts + fv_image.text_offsets[token]);
    }
    fv_board_text("\n");
    return status;
}

static fv_status story_report(story *s, const fv_model_config *config) {
    uint64_t before = fv_board_instructions();
    fv_status status = story_write(s, config);
    fv_board_number("tokens ", s->tokens, "\n");
    fv_board_number("checksum ", s->checksum, "\n");
    uint64_t now = fv_board_instructions();
    if (now && s->tokens) fv_board_number("instructions a token ", (now - before) / s->tokens, "\n");
    return status;
}

int fv_board_main(void) {
    fv_model_config config = fv_image.config;
    fv_model_bytes bytes;
    story s = {.random = 1};
    fv_status status = config.vocabulary <= VOCABULARY_MOST ? FV_OK : FV_ERROR_MEMORY;
    if (status == FV_OK) status = fv_model_size(&config, 1, &bytes);
    if (status == FV_OK)
        status = fv_model_init(&s.model, &config, &fv_image.weights, fv_kernels_scalar(), 1, memory, sizeof memory);
    if (status == FV_OK) status = story_report(&s, &config);
    s.temperature = TEMPERATURE;
    if (status == FV_OK) status = story_report(&s, &config);
    if (status != FV_OK) {
        fv_board_text(fv_status_text(status));
        fv_board_text("\n");
        return 1;
    }
    fv_board_number("cache ", bytes.cache, "\n");
    fv_board_number("scratch ", bytes.scratch, "\n");
    fv_board_number("logits ", config.vocabulary * sizeof *logits, "\n");
    return 0;
}
