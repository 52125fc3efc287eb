/* smoke.c - the smallest complete program: the pattern over 64 tokens, 4 heads of 32 elements, window 16, in static
 * memory only (for boards), checked against a plain computation. Prints OK and returns 0, else 1. */
#include <fovea/reference/pattern.h>
#include <math.h>
#include <stdio.h>

enum { TOKENS = 64, HEADS = 4, HEAD_DIM = 32, ROW = HEADS * HEAD_DIM, WINDOW = 16, BLOCK = 16 };

static _Alignas(FV_CACHE_ALIGN) unsigned char memory[128 * 1024];
static uint64_t kernel_memory[FV_KERNELS_BYTES / sizeof(uint64_t)];
static float query[TOKENS * ROW], keys[TOKENS * ROW], values[TOKENS * ROW], out[TOKENS * ROW];

static void fill(float *array, uint32_t *state) {
    for (uint32_t i = 0; i < TOKENS * ROW; i++) {
        *state = *state * 1664525u + 1013904223u; /* Numerical Recipes' generator */
        array[i] = (float)(*state >> 8) * 0x1p-23f - 1.0f;
    }
}

static double dot(const float *a, const float *b) {
    double sum = 0;
    for (uint32_t c = 0; c < HEAD_DIM; c++) sum += (double)a[c] * (double)b[c];
    return sum;
}

/* The mean of a block's keys or values for one head; a block of one token is that token. */
static void mean(const float *array, uint32_t first, uint32_t count, uint32_t head, float *result) {
    for (uint32_t c = 0; c < HEAD_DIM; c++) {
        float sum = 0;
        for (uint32_t t = 0; t < count; t++) sum += array[(first + t) * ROW + head * HEAD_DIM + c];
        result[c] = sum / (float)count;
    }
}

/* The largest difference of one row from softmax(scale * query . key) over the candidates that the library lists. */
static double row_difference(const fv_policy *policy, uint32_t row, uint32_t head) {
    uint32_t list[TOKENS + TOKENS / BLOCK], tokens, marks;
    if (fv_pattern_tokens(policy, TOKENS, row, FV_ORDER_RISING, TOKENS, list, &tokens) != FV_OK) return INFINITY;
    if (fv_pattern_landmarks(policy, TOKENS, row, FV_ORDER_RISING, TOKENS / BLOCK, list + tokens, &marks) != FV_OK)
        return INFINITY;
    double sum = 0, result[HEAD_DIM] = {0}, most = 0;
    for (uint32_t i = 0; i < tokens + marks; i++) {
        float key[HEAD_DIM], value[HEAD_DIM];
        uint32_t count = i < tokens ? 1 : BLOCK, first = list[i] * count;
        mean(keys, first, count, head, key);
        mean(values, first, count, head, value);
        double weight = exp(dot(query + row * ROW + head * HEAD_DIM, key) / sqrt((double)HEAD_DIM));
        sum += weight;
        for (uint32_t c = 0; c < HEAD_DIM; c++) result[c] += weight * (double)value[c];
    }
    for (uint32_t c = 0; c < HEAD_DIM; c++)
        most = fmax(most, fabs(result[c] / sum - (double)out[row * ROW + head * HEAD_DIM + c]));
    return most;
}

int main(void) {
    uint32_t state = 1;
    fill(query, &state);
    fill(keys, &state);
    fill(values, &state);

    const fv_kernels *kernels;
    fv_pattern_config config;
    fv_pattern_config_default(&config);
    config.policy.window = WINDOW;
    config.policy.block = BLOCK;
    config.max_tokens = TOKENS;
    config.query_heads = config.kv_heads = HEADS;
    config.head_dim = HEAD_DIM;
    fv_pattern *pattern;
    fv_pattern_call call = {.query = {query, TOKENS, HEADS, HEAD_DIM},
                            .keys = {keys, TOKENS, HEADS, HEAD_DIM},
                            .values = {values, TOKENS, HEADS, HEAD_DIM}};
    size_t bytes = 0;
    fv_status status = fv_kernels_init(&kernels, FV_ISA_BEST, kernel_memory, sizeof kernel_memory);
    if (status == FV_OK) status = fv_pattern_size(&config, &bytes);
    if (status == FV_OK) status = fv_pattern_init(&pattern, &config, kernels, memory, sizeof memory);
    if (status == FV_OK) status = fv_pattern_forward(pattern, &call, out);
    if (status != FV_OK) {
        printf("FAILED: %s; %zu bytes asked for\n", fv_status_text(status), bytes);
        return 1;
    }

    double checksum = 0, most = 0;
    for (uint32_t i = 0; i < TOKENS * ROW; i++) checksum += (double)out[i];
    for (uint32_t row = 0; row < TOKENS; row++)
        for (uint32_t head = 0; head < HEADS; head++) most = fmax(most, row_difference(&config.policy, row, head));
    printf("%d tokens, %d heads of %d, window %d, %s kernels, %zu bytes\n", TOKENS, HEADS, HEAD_DIM, WINDOW,
           fv_isa_name(fv_kernels_isa(kernels)), bytes);
    printf("checksum %.4f, largest difference from the plain sum %.1e\n", checksum, most);
    puts(most < 1e-5 ? "OK" : "FAILED");
    return most < 1e-5 ? 0 : 1;
}
