/* dither_test.c - noise stays within half a step of what is stored, its mean over seeds is nothing, and it depends on
 * seed, stream and position alone. */
#include "fovea/reference/dither.h"
#include "numeric/half.h"
#include "support/random.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { HEADS = 3, DIM = 37, TOKENS = 41, SEEDS = 256 };

/* A cache with `TOKENS` tokens of every size that f16 knows; the caller frees it. */
static fv_cache *cache_make(fv_element key_type, fv_element value_type) {
    static unsigned char memory_of_kernels[FV_KERNELS_BYTES + 64];
    const fv_kernels *kernels;
    fv_cache *cache = NULL;
    fv_cache_config config;
    fv_cache_config_default(&config);
    config.kv_heads = HEADS;
    config.head_dim = DIM;
    config.max_tokens = 64;
    config.key_type = key_type;
    config.value_type = value_type;
    size_t bytes;
    void *aligned = memory_of_kernels + (64 - (uintptr_t)memory_of_kernels % 64) % 64;
    assert_int_equal(fv_kernels_init(&kernels, FV_ISA_SCALAR, aligned, FV_KERNELS_BYTES), FV_OK);
    assert_int_equal(fv_cache_size(&config, &bytes), FV_OK);
    void *memory = aligned_alloc(FV_CACHE_ALIGN, (bytes + 63) / 64 * 64);
    assert_non_null(memory);
    assert_int_equal(fv_cache_init(&cache, &config, kernels, memory, bytes), FV_OK);
    static float keys[TOKENS * HEADS * DIM], values[TOKENS * HEADS * DIM];
    test_random random = test_random_make(1);
    for (size_t i = 0; i < TOKENS * HEADS * DIM; i++) {
        keys[i] = ldexpf(test_random_f32(&random), (int)test_random_in(&random, 0, 38) - 24);
        values[i] = test_random_f32(&random);
        if (i % 97 == 0) keys[i] = 0;
    }
    assert_int_equal(fv_cache_append(cache, TOKENS, keys, HEADS * DIM, values, HEADS * DIM), FV_OK);
    return cache;
}

static uint16_t f16_of(float x) {
    uint16_t half = fv_f16_from_f32(x);
    assert_true(fv_f32_from_f16(half) == x); /* x was read from f16 */
    return half;
}

/* Distance from |x| to the next larger f16. */
static double step_of_f16(float x) {
    uint16_t half = f16_of(fabsf(x));
    return half == 0x7BFF ? 32.0 : (double)fv_f32_from_f16((uint16_t)(half + 1)) - (double)fv_f32_from_f16(half);
}

/* Of a token's vector: its stored elements are whole multiples of the scale, and one is 127 of them. */
static double step_of_q8(const float *x) {
    double most = 0;
    for (size_t c = 0; c < DIM; c++) most = fmax(most, fabs((double)x[c]));
    return most / 127;
}

/* How far the means over 256 seeds are from what is stored, in steps. Of uniform noise 0.085 % of the means are more
 * than 0.06 away (512,000 positions), and none more than 0.1. */
typedef struct mean_check {
    size_t elements, outside;
    double worst;
} mean_check;

static void mean_add(mean_check *check, double sum, double exact, double step) {
    double off = step > 0 ? fabs(sum / SEEDS - exact) / step : fabs(sum / SEEDS - exact);
    check->elements++;
    check->outside += off > 0.06;
    if (off > check->worst) check->worst = off;
}

static void mean_judge(const mean_check *check, const char *what) {
    print_message("%s: mean of 256 seeds at most %.4f steps off, %.3f %% of %zu outside 0.06\n", what, check->worst,
                  100.0 * (double)check->outside / (double)check->elements, check->elements);
    assert_true(check->worst <= 0.1);
    assert_true((double)check->outside <= 0.003 * (double)check->elements);
}

/* Keys and values of one head: what is stored, what is read with noise. */
typedef struct mean_world {
    float exact[TOKENS * DIM], got[TOKENS * DIM];
    double sum[TOKENS * DIM];
} mean_world;

static double step_at(fv_element type, const float *exact, size_t i) {
    return type == FV_ELEMENT_F16 ? step_of_f16(exact[i]) : step_of_q8(exact + i / DIM * DIM);
}

static void world_add(mean_world *world, fv_element type) {
    for (size_t i = 0; i < TOKENS * DIM; i++) {
        double step = step_at(type, world->exact, i), off = fabs((double)world->got[i] - (double)world->exact[i]);
        if (!(off <= 0.5001 * step))
            fail_msg("%.9g is more than half a step %.3g from %.9g", (double)world->got[i], step,
                     (double)world->exact[i]);
        world->sum[i] += (double)world->got[i];
    }
}

static void check_cache_means(fv_element type, const char *what) {
    fv_cache *cache = cache_make(type, type);
    static mean_world keys, values;
    mean_check check = {0};
    for (uint32_t head = 0; head < HEADS; head++) {
        memset(keys.sum, 0, sizeof keys.sum);
        memset(values.sum, 0, sizeof values.sum);
        assert_int_equal(fv_cache_read(cache, head, 0, TOKENS, keys.exact, values.exact), FV_OK);
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            fv_dither dither = {.seed = seed, .stream = 5};
            assert_int_equal(fv_cache_read_dithered(cache, head, 0, TOKENS, &dither, keys.got, values.got), FV_OK);
            world_add(&keys, type);
            world_add(&values, type);
        }
        for (size_t i = 0; i < TOKENS * DIM; i++) {
            mean_add(&check, keys.sum[i], (double)keys.exact[i], step_at(type, keys.exact, i));
            mean_add(&check, values.sum[i], (double)values.exact[i], step_at(type, values.exact, i));
        }
    }
    mean_judge(&check, what);
    free(cache);
}

/* How wide the noise of some values is, in steps of `step`: half a step to either side and no less, uniform. */
static void check_width(fv_element type, const float *values, double step) {
    fv_cache *cache = cache_make(type, type);
    static float got[TOKENS * DIM];
    assert_int_equal(fv_cache_truncate(cache, 0), FV_OK);
    assert_int_equal(fv_cache_append(cache, TOKENS, values, HEADS * DIM, values, HEADS * DIM), FV_OK);
    double widest = 0, square = 0, count = 0;
    for (uint64_t seed = 0; seed < 16; seed++) {
        fv_dither dither = {.seed = seed};
        assert_int_equal(fv_cache_read_dithered(cache, 1, 0, TOKENS, &dither, NULL, got), FV_OK);
        for (size_t i = 0; i < TOKENS * DIM; i++, count++) {
            double off = fabs((double)got[i] - (double)values[i / DIM * HEADS * DIM + DIM + i % DIM]) / step;
            widest = fmax(widest, off), square += off * off;
        }
    }
    assert_true(widest > 0.499 && widest <= 0.502);
    assert_true(fabs(sqrt(square / count) - sqrt(1.0 / 12)) < 0.005);
    free(cache);
}

/* Subnormal numbers lie as far apart as the smallest normal ones, each power of two from there on twice as far. */
static void small_numbers_get_their_step(void **state) {
    (void)state;
    static float values[TOKENS * HEADS * DIM];
    for (int type = 0; type < 2; type++)
        for (int exponent = 0; exponent < 12; exponent++) {
            int first = type ? 128 : 1024;
            float step = ldexpf(type ? 0x1p-133f : 0x1p-24f, exponent ? exponent - 1 : 0);
            for (int i = 0; i < TOKENS * HEADS * DIM; i++)
                values[i] = (i % 2 ? -step : step) * (float)(i % first + (exponent ? first : 0));
            check_width(type ? FV_ELEMENT_BF16 : FV_ELEMENT_F16, values, (double)step);
        }
}

static void cached_f16_keeps_its_mean(void **state) {
    (void)state;
    check_cache_means(FV_ELEMENT_F16, "f16");
}

static void cached_q8_0_keeps_its_mean(void **state) {
    (void)state;
    check_cache_means(FV_ELEMENT_Q8_0, "q8_0");
}

static void read_one(const fv_cache *cache, uint64_t seed, uint64_t stream, float *keys, float *values) {
    fv_dither dither = {.seed = seed, .stream = stream};
    assert_int_equal(fv_cache_read_dithered(cache, 1, 0, TOKENS, &dither, keys, values), FV_OK);
}

static size_t equal_elements(const float *a, const float *b, size_t n) {
    size_t equal = 0;
    for (size_t i = 0; i < n; i++) equal += a[i] == b[i];
    return equal;
}

static void seed_stream_and_position_decide(void **state) {
    (void)state;
    enum { N = TOKENS * DIM };
    static float a[2][N], b[2][N], part[2][N];
    for (int i = 0; i < 2; i++) {
        fv_cache *cache = cache_make(i ? FV_ELEMENT_Q8_0 : FV_ELEMENT_F16, i ? FV_ELEMENT_F16 : FV_ELEMENT_Q8_0);
        read_one(cache, 42, 0, a[0], a[1]);
        read_one(cache, 42, 0, b[0], b[1]);
        assert_memory_equal(a, b, sizeof a);
        for (uint32_t first = 0, count = 1; first < TOKENS;
             first += count, count++) { /* in pieces, keys and values apart */
            if (count > TOKENS - first) count = TOKENS - first;
            fv_dither dither = {.seed = 42, .stream = 0};
            assert_int_equal(fv_cache_read_dithered(cache, 1, first, count, &dither, NULL, part[1] + first * DIM),
                             FV_OK);
            assert_int_equal(fv_cache_read_dithered(cache, 1, first, count, &dither, part[0] + first * DIM, NULL),
                             FV_OK);
        }
        assert_memory_equal(a, part, sizeof a);
        read_one(cache, 43, 0, b[0], b[1]);
        assert_true(equal_elements(a[0], b[0], N) < N / 100 && equal_elements(a[1], b[1], N) < N / 100);
        read_one(cache, 42, 1, b[0], b[1]);
        assert_true(equal_elements(a[0], b[0], N) < N / 100 && equal_elements(a[1], b[1], N) < N / 100);
        free(cache);
    }
}

/* Nothing is shared between heads, tokens, keys and values: the noises of equal vectors are uncorrelated. */
static void equal_vectors_get_different_noise(void **state) {
    (void)state;
    fv_cache *cache = cache_make(FV_ELEMENT_F16, FV_ELEMENT_F16);
    static float same[8 * HEADS * DIM], got[2 * HEADS * 8 * DIM];
    for (size_t i = 0; i < 8 * HEADS * DIM; i++) same[i] = 1.5f; /* step 2^-10 */
    assert_int_equal(fv_cache_truncate(cache, 0), FV_OK);
    assert_int_equal(fv_cache_append(cache, 8, same, HEADS * DIM, same, HEADS * DIM), FV_OK);
    fv_dither dither = {.seed = 7};
    for (uint32_t head = 0; head < HEADS; head++)
        assert_int_equal(
            fv_cache_read_dithered(cache, head, 0, 8, &dither, got + head * 8 * DIM, got + (HEADS + head) * 8 * DIM),
            FV_OK);
    enum { VECTORS = 2 * HEADS * 8 };
    for (size_t i = 0; i < VECTORS; i++)
        for (size_t j = 0; j < i; j++) {
            double product = 0;
            for (size_t c = 0; c < DIM; c++)
                product += ((double)got[i * DIM + c] - 1.5) * ((double)got[j * DIM + c] - 1.5);
            assert_true(fabs(product) * 0x1p20 * 12 / DIM < 0.9); /* a correlation; equal noise has 1 */
        }
    free(cache);
}

static void off_means_the_stored_bits(void **state) {
    (void)state;
    static float a[2][TOKENS * DIM], b[2][TOKENS * DIM];
    fv_dither dither = {.seed = 1};
    for (int type = 0; type < FV_ELEMENT_COUNT; type++) {
        fv_cache *cache = cache_make((fv_element)type, (fv_element)type);
        assert_int_equal(fv_cache_read(cache, 2, 0, TOKENS, a[0], a[1]), FV_OK);
        assert_int_equal(fv_cache_read_dithered(cache, 2, 0, TOKENS, NULL, b[0], b[1]), FV_OK);
        assert_memory_equal(a, b, sizeof a);
        assert_int_equal(fv_cache_read_dithered(cache, 2, 0, TOKENS, &dither, b[0], b[1]), FV_OK);
        assert_int_equal(memcmp(a, b, sizeof a) == 0, type == FV_ELEMENT_F32); /* exact elements have no step */
        memset(b, 0x88, sizeof b);
        memcpy(a, b, sizeof a);
        assert_int_equal(fv_cache_read_dithered(NULL, 0, 0, 1, &dither, b[0], b[1]), FV_ERROR_ARGUMENT);
        assert_int_equal(fv_cache_read_dithered(cache, HEADS, 0, 1, &dither, b[0], b[1]), FV_ERROR_ARGUMENT);
        assert_int_equal(fv_cache_read_dithered(cache, 0, TOKENS + 1, 0, &dither, b[0], b[1]), FV_ERROR_ARGUMENT);
        assert_int_equal(fv_cache_read_dithered(cache, 0, 1, TOKENS, &dither, b[0], b[1]), FV_ERROR_ARGUMENT);
        assert_int_equal(fv_cache_read_dithered(cache, 0, 1, TOKENS, NULL, b[0], b[1]), FV_ERROR_ARGUMENT);
        assert_memory_equal(a, b, sizeof a);
        free(cache);
    }
}

static void infinities_and_nan_stay(void **state) {
    (void)state;
    fv_cache *cache = cache_make(FV_ELEMENT_F16, FV_ELEMENT_F16);
    static float row[HEADS * DIM], got[DIM];
    row[0] = INFINITY;
    row[1] = -INFINITY;
    row[2] = NAN;
    row[3] = 65504;
    assert_int_equal(fv_cache_append(cache, 1, row, HEADS * DIM, row, HEADS * DIM), FV_OK);
    fv_dither dither = {.seed = 3};
    assert_int_equal(fv_cache_read_dithered(cache, 0, TOKENS, 1, &dither, got, NULL), FV_OK);
    assert_true(got[0] == INFINITY && got[1] == -INFINITY && isnan(got[2]));
    assert_true(fabsf(got[3] - 65504) <= 16 && fabsf(got[4]) <= 0x1p-25f && got[4] != 0);
    free(cache);
}

enum { ROWS = 11, COLUMNS = 512 };

/* A matrix of random blocks whose scales are 0.25..4, and in the K types' place for a minimum too. */
static fv_weight weight_make(uint32_t type, test_random *random) {
    size_t row_bytes = fv_weight_row_bytes(type, COLUMNS), block_bytes = type == FV_WEIGHT_Q4_0 ? 18 : 144;
    unsigned char *data = malloc(ROWS * row_bytes);
    assert_non_null(data);
    test_fill_bytes(random, data, ROWS * row_bytes);
    for (size_t at = 0; at < ROWS * row_bytes; at += block_bytes)
        for (size_t half = 0; half < (type == FV_WEIGHT_Q4_0 ? 1u : 2u); half++) {
            uint16_t bits = (uint16_t)(test_random_in(random, 0x3400, 0x4400) | test_random_in(random, 0, 1) << 15);
            data[at + 2 * half] = (unsigned char)bits;
            data[at + 2 * half + 1] = (unsigned char)(bits >> 8);
        }
    return (fv_weight){.data = data, .type = type, .rows = ROWS, .columns = COLUMNS};
}

/* The step of a value, by the formats' definition. */
static double weight_step(const fv_weight *weight, uint32_t row, uint32_t column) {
    const unsigned char *data =
        (const unsigned char *)weight->data + row * fv_weight_row_bytes(weight->type, weight->columns);
    data += weight->type == FV_WEIGHT_Q4_0 ? column / 32 * 18 : column / 256 * 144;
    double scale = fabs((double)fv_f32_from_f16((uint16_t)(data[0] | data[1] << 8)));
    if (weight->type == FV_WEIGHT_Q4_0) return scale;
    uint32_t group = column % 256 / 32;
    const unsigned char *scales = data + 4;
    return scale * (group < 4 ? scales[group] & 63 : (scales[group + 4] & 15) | scales[group - 4] >> 6 << 4);
}

static void check_weight_means(uint32_t type, const char *what) {
    test_random random = test_random_make(2);
    fv_weight weight = weight_make(type, &random);
    static float exact[COLUMNS], got[COLUMNS];
    static double sum[COLUMNS];
    mean_check check = {0};
    for (uint32_t row = 0; row < ROWS; row++) {
        memset(sum, 0, sizeof sum);
        assert_int_equal(fv_weight_read_dithered(&weight, row, NULL, exact), FV_OK);
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            fv_dither dither = {.seed = seed, .stream = 9};
            assert_int_equal(fv_weight_read_dithered(&weight, row, &dither, got), FV_OK);
            for (uint32_t i = 0; i < COLUMNS; i++) {
                double off = fabs((double)got[i] - (double)exact[i]), step = weight_step(&weight, row, i);
                if (!(off <= 0.5001 * step + 1e-4))
                    fail_msg("%s row %u, %u: %.9g of step %.9g", what, row, i, off, step);
                sum[i] += (double)got[i];
            }
        }
        for (uint32_t i = 0; i < COLUMNS; i++) mean_add(&check, sum[i], (double)exact[i], weight_step(&weight, row, i));
    }
    mean_judge(&check, what);
    free((void *)(uintptr_t)weight.data);
}

static void weights_keep_their_mean(void **state) {
    (void)state;
    check_weight_means(FV_WEIGHT_Q4_0, "q4_0");
    check_weight_means(FV_WEIGHT_Q4_K, "q4_k");
}

static void packed_rows_get_the_same_noise(void **state) {
    (void)state;
    test_random random = test_random_make(3);
    fv_weight weight = weight_make(FV_WEIGHT_Q4_0, &random);
    static float before[2][ROWS][COLUMNS], after[2][ROWS][COLUMNS], other[COLUMNS];
    static unsigned char scratch[8 * COLUMNS];
    fv_dither dither = {.seed = 42, .stream = 3}, next = {.seed = 43, .stream = 3};
    for (uint32_t row = 0; row < ROWS; row++) {
        assert_int_equal(fv_weight_read_dithered(&weight, row, &dither, before[0][row]), FV_OK);
        assert_int_equal(fv_weight_read_dithered(&weight, row, NULL, before[1][row]), FV_OK);
        assert_int_equal(fv_weight_read_dithered(&weight, row, &next, other), FV_OK);
        assert_true(equal_elements(before[0][row], other, COLUMNS) < 5);
    }
    assert_int_equal(fv_weight_pack(&weight, (void *)(uintptr_t)weight.data, scratch, sizeof scratch), FV_OK);
    assert_int_equal(weight.packed, 8);
    for (uint32_t row = 0; row < ROWS; row++) {
        assert_int_equal(fv_weight_read_dithered(&weight, row, &dither, after[0][row]), FV_OK);
        assert_int_equal(fv_weight_read_dithered(&weight, row, NULL, after[1][row]), FV_OK);
    }
    assert_memory_equal(before, after, sizeof before);
    free((void *)(uintptr_t)weight.data);
}

/* Off, every type gives the values recorded for it. */
static void off_means_the_recorded_values(void **state) {
    (void)state;
#define TYPE_ROW(NAME, name, number, values, bytes) {#NAME, number, values},
    static const struct {
        const char *name;
        uint32_t type, values;
    } types[] = {FV_WEIGHT_LIST(TYPE_ROW)};
#undef TYPE_ROW
    size_t read = 0;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char path[500];
        snprintf(path, sizeof path, "%s/tests/golden/dequant/%s.bin", FV_SOURCE_DIR, types[i].name);
        FILE *file = fopen(path, "rb");
        if (!file) continue; /* F32 has none */
        uint32_t header[4];
        assert_int_equal(fread(header, 4, 4, file), 4);
        unsigned char *blocks = malloc(header[3]);
        float *want = malloc(header[2] * sizeof *want), *got = malloc(header[2] * sizeof *got);
        assert_true(blocks && want && got);
        assert_int_equal(fread(blocks, 1, header[3], file), header[3]);
        assert_int_equal(fread(want, 4, header[2], file), header[2]);
        fv_weight weight = {.data = blocks, .type = header[1], .rows = 1, .columns = header[2]};
        fv_dither dither = {.seed = 4};
        assert_int_equal(fv_weight_read_dithered(&weight, 0, NULL, got), FV_OK);
        for (uint32_t v = 0; v < header[2]; v++) assert_true(got[v] == want[v] || (isnan(got[v]) && isnan(want[v])));
        bool even = types[i].values > 1 && header[1] <= FV_WEIGHT_Q6_K;
        memset(got, 0x88, header[2] * sizeof *got);
        memcpy(want, got, header[2] * sizeof *got);
        assert_int_equal(fv_weight_read_dithered(&weight, 0, &dither, got), even ? FV_OK : FV_ERROR_UNSUPPORTED);
        assert_int_equal(memcmp(got, want, header[2] * sizeof *got) != 0, even);
        free(blocks);
        free(want);
        free(got);
        fclose(file);
        read++;
    }
    assert_int_equal(read, sizeof types / sizeof *types - 1);
}

static void weight_arguments_are_checked(void **state) {
    (void)state;
    test_random random = test_random_make(4);
    fv_weight weight = weight_make(FV_WEIGHT_Q4_K, &random), bad[4] = {weight, weight, weight, weight};
    fv_dither dither = {.seed = 1};
    static float out[COLUMNS];
    out[0] = 7;
    bad[0].data = NULL;
    bad[1].type = 77;
    bad[2].columns = 300;
    bad[3].rows = 0;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(fv_weight_read_dithered(&bad[i], 0, &dither, out), FV_ERROR_ARGUMENT);
        assert_int_equal(fv_weight_read_dithered(&bad[i], 0, NULL, out), FV_ERROR_ARGUMENT);
    }
    assert_int_equal(fv_weight_read_dithered(NULL, 0, &dither, out), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_weight_read_dithered(&weight, ROWS, &dither, out), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_weight_read_dithered(&weight, 0, &dither, NULL), FV_ERROR_ARGUMENT);
    assert_true(out[0] == 7);
    free((void *)(uintptr_t)weight.data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_numbers_get_their_step),      cmocka_unit_test(cached_f16_keeps_its_mean),
        cmocka_unit_test(cached_q8_0_keeps_its_mean),        cmocka_unit_test(seed_stream_and_position_decide),
        cmocka_unit_test(equal_vectors_get_different_noise), cmocka_unit_test(off_means_the_stored_bits),
        cmocka_unit_test(infinities_and_nan_stay),           cmocka_unit_test(weights_keep_their_mean),
        cmocka_unit_test(packed_rows_get_the_same_noise),    cmocka_unit_test(off_means_the_recorded_values),
        cmocka_unit_test(weight_arguments_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
