/* shadow_test.c - the coarse copies of a cache against their definitions in double: centres, codes, steps, margins;
 * from appended, restored and copied tokens, and of tokens that are not finite. */
#include "cache/margin.h"
#include "cache/rewind.h"
#include "numeric/half.h"
#include "support/choose_world.h"
#include "support/memory_store.h"
#include "support/tables.h"

enum { TOKENS = 300, HEADS = 2 };

static test_tables tables;

static attention_world world_of(uint32_t i, test_random *random) {
    static const uint32_t dims[] = {64, 24, 16, 128, 80};
    fv_cache_config shape = choose_shape(HEADS, dims[i % 5], TOKENS, i % FV_ELEMENT_COUNT);
    shape.margins = 1;
    attention_world w = world_make(tables.table[i % tables.count], shape, 1, 0, random);
    for (size_t k = 0; k < w.tokens * w.kv_stride; k++) {
        w.keys[k] += 0.4f;
        w.values[k] = w.values[k] * 1.5f - 0.5f; /* the largest magnitudes are negative */
    }
    return w;
}

/* A centre is the mean of the 64 keys before its block, as far as means of pages and it itself are held in 7 bits: half
 * a step of its own, and half of the pages' on average. */
static void test_a_centre_is_the_mean_of_four_pages(void **state) {
    (void)state;
    test_random random = test_random_make(150);
    for (uint32_t i = 0; i < 10; i++) {
        attention_world w = world_of(i, &random);
        world_append(&w, TOKENS);
        uint32_t dim = w.shape.head_dim;
        float centre[CHOOSE_MOST_DIM];
        const fv_shadow *shadow = &w.cache->shadow;
        for (uint32_t head = 0; head < HEADS; head++)
            for (uint32_t block = 0; block * 64 < TOKENS; block++) {
                double mean[CHOOSE_MOST_DIM] = {0}, key[CHOOSE_MOST_DIM], coarse = 0;
                for (uint32_t t = block * 64 - 64; block && t < block * 64; t++) {
                    rotated_key(w.cache, head, t, key);
                    for (uint32_t c = 0; c < dim; c++) mean[c] += key[c] / 64;
                    coarse += (double)fv_shadow_mean_steps(shadow, head, 0)[t / 16] / 64;
                }
                double step = (double)fv_shadow_centre_steps(shadow, head, 0)[block];
                fv_shadow_centre(w.cache, head, block * 64 + test_random_in(&random, 0, 43), centre);
                for (uint32_t c = 0; c < dim; c++)
                    if (!(fabs((double)centre[c] - mean[c]) <= 0.5 * (step + coarse) + 1e-5))
                        fail_msg("dim %u type %u head %u block %u [%u]: %g, the mean is %g, steps %g and %g", dim,
                                 w.shape.key_type, head, block, c, (double)centre[c], mean[c], step, coarse);
            }
        world_free(&w);
    }
}

/* A channel has an outer level where it is larger than the root mean square; the step is that of least squares. */
static void check_code(const attention_world *w, uint32_t head, uint32_t token) {
    uint32_t dim = w->shape.head_dim;
    float centre[CHOOSE_MOST_DIM], code[CHOOSE_MOST_DIM];
    double key[CHOOSE_MOST_DIM], square = 0, product = 0, norm = 0;
    rotated_key(w->cache, head, token, key);
    fv_shadow_centre(w->cache, head, token, centre);
    fv_shadow_code(w->cache, head, token, code);
    double step = (double)fv_f32_from_bf16(*fv_shadow_steps(&w->cache->shadow, head, token));
    for (uint32_t c = 0; c < dim; c++) {
        key[c] -= (double)centre[c];
        square += key[c] * key[c] / dim;
    }
    for (uint32_t c = 0; c < dim; c++) {
        double level = (double)code[c] / step, size = fabs(key[c]) / sqrt(square);
        product += key[c] * level;
        norm += level * level;
        if (fabs(key[c]) > 1e-5) assert_true((level > 0) == (key[c] > 0));
        if (fabs(size - 1) > 1e-4) assert_true(fabs(fabs(level) - (size > 1 ? 1.5 : 0.5)) < 1e-6);
    }
    if (!(fabs(step / (product / norm) - 1) < 0x1p-8)) /* bf16 */
        fail_msg("dim %u type %u token %u: step %g, not %g", dim, w->shape.key_type, token, step, product / norm);
}

static void test_codes_are_of_least_squares(void **state) {
    (void)state;
    test_random random = test_random_make(151);
    for (uint32_t i = 0; i < 10; i++) {
        attention_world w = world_of(i, &random);
        world_append(&w, TOKENS);
        for (uint32_t token = 0; token < TOKENS / 16 * 16; token++) check_code(&w, token % HEADS, token);
        world_free(&w);
    }
}

static double length(uint32_t dim, const double *x) {
    double square = 0;
    for (uint32_t c = 0; c < dim; c++) square += x[c] * x[c];
    return sqrt(square);
}

/* Upper bounds, and no looser than the roundings ask for. */
static void check_bound(float got, double exact, double of, const char *what) {
    if (!((double)got >= exact * (1 - 1e-7) && (double)got <= exact * 1.0015 + 2e-5 * of))
        fail_msg("%s: %.9g, it is %.9g", what, (double)got, exact);
}

/* Keys of a page that is not full have no codes, and its margin is of the values alone. */
static void check_margin(const fv_cache *cache, uint32_t head, uint32_t page) {
    uint32_t dim = cache->config.head_dim, tokens = cache->tokens - page * 16;
    double residual = 0, code = 0, centre = 0, longest = 0, most = 0, squares = 0;
    if (tokens > 16) tokens = 16;
    for (uint32_t t = page * 16; t < page * 16 + tokens; t++) {
        float part[2][CHOOSE_MOST_DIM], value[CHOOSE_MOST_DIM];
        double wide[3][CHOOSE_MOST_DIM], key[CHOOSE_MOST_DIM];
        check_status(fv_cache_read(cache, head, t, 1, NULL, value));
        for (uint32_t c = 0; c < dim; c++) {
            most = fmax(most, fabs((double)value[c]));
            squares += (double)value[c] * (double)value[c];
        }
        if (tokens < 16) continue;
        rotated_key(cache, head, t, key);
        longest = fmax(longest, length(dim, key));
        fv_shadow_centre(cache, head, t, part[0]);
        fv_shadow_code(cache, head, t, part[1]);
        for (uint32_t c = 0; c < dim; c++) {
            wide[0][c] = (double)part[0][c], wide[1][c] = (double)part[1][c];
            wide[2][c] = key[c] - wide[0][c] - wide[1][c];
        }
        centre = fmax(centre, length(dim, wide[0]));
        code = fmax(code, length(dim, wide[1]));
        residual = fmax(residual, length(dim, wide[2]));
    }
    const fv_margin *margin = fv_margin_of(&cache->margins, head, page);
    check_bound(margin->residual, residual, longest, "residual");
    check_bound(margin->code, code, 0, "code");
    check_bound(margin->centre, centre, 0, "centre");
    assert_true((double)margin->value_max == most);
    assert_true(fabs((double)margin->value_rms / sqrt(squares / (tokens * dim)) - 1) < 1e-5);
}

static void test_margins_are_of_the_stored(void **state) {
    (void)state;
    test_random random = test_random_make(152);
    for (uint32_t i = 0; i < 10; i++) {
        attention_world w = world_of(i, &random);
        world_append(&w, 37 + i * 13);
        world_append(&w, TOKENS - 37 - i * 13);
        for (uint32_t page = 0; page * 16 < TOKENS; page++) check_margin(w.cache, page % HEADS, page);
        world_free(&w);
    }
}

/* A cut within a page, a batch taken back, and a token taken out of the middle leave margins of what is left. */
static void test_margins_after_cuts(void **state) {
    (void)state;
    test_random random = test_random_make(155);
    for (uint32_t i = 0; i < 10; i++) {
        attention_world w = world_of(i, &random);
        for (size_t c = 0; c < w.kv_stride; c++) /* the largest of their page, which go */
            w.values[203 * w.kv_stride + c] = -9.0f, w.values[90 * w.kv_stride + c] = 8.0f;
        world_append(&w, TOKENS);
        check_status(fv_cache_truncate(w.cache, 202));
        for (uint32_t head = 0; head < HEADS; head++) check_margin(w.cache, head, 202 / 16);
        world_append(&w, 50); /* as a batch that comes too late */
        fv_cache_rewind(w.cache, 202, NULL);
        for (uint32_t head = 0; head < HEADS; head++) check_margin(w.cache, head, 202 / 16);
        check_status(fv_cache_remove(w.cache, 90));
        for (uint32_t head = 0; head < HEADS; head++)
            for (uint32_t page = 0; page * 16 < 201; page++) check_margin(w.cache, head, page);
        world_free(&w);
    }
}

/* Whatever a cache was made from, its copies are those of the same tokens appended. */
static void test_copies_after_restore_and_copy(void **state) {
    (void)state;
    test_random random = test_random_make(153);
    for (uint32_t i = 0; i < 10; i++) {
        attention_world w = world_of(i, &random);
        world_append(&w, TOKENS - i);
        attention_world other = w;
        other.cache_memory = NULL;
        world_cache_reset(&other);
        if (i % 2) {
            check_status(memory_store_move(w.cache, other.cache));
        } else {
            check_status(fv_cache_copy(other.cache, w.cache));
        }
        assert_int_equal(fv_cache_tokens(other.cache), TOKENS - i);
        for (uint32_t head = 0; head < HEADS; head++) {
            const fv_shadow *a = &w.cache->shadow, *b = &other.cache->shadow;
            assert_memory_equal(fv_margin_of(&w.cache->margins, head, 0), fv_margin_of(&other.cache->margins, head, 0),
                                (TOKENS - i + 15) / 16 * sizeof(fv_margin));
            assert_memory_equal(fv_shadow_steps(a, head, 0), fv_shadow_steps(b, head, 0), (TOKENS - i) / 16 * 32);
            assert_memory_equal(fv_tail_page(&w.cache->tail, head, 0), fv_tail_page(&other.cache->tail, head, 0),
                                (TOKENS - i) / 16 * fv_tail_page_bytes(&w.cache->tail));
            for (uint32_t page = 0; page * 16 < TOKENS - i; page++) check_margin(other.cache, head, page);
        }
        free(other.cache_memory);
        world_free(&w);
    }
}

/* A key that is not finite, or as large as a cache takes, has a code all the same, and spoils nothing but its own
 * page's mean: steps stay finite, and other tokens keep theirs but for the centre that follows. */
static void test_strange_keys(void **state) {
    (void)state;
    static const float strange[] = {NAN, INFINITY, -INFINITY, FV_CACHE_LARGEST, -FV_CACHE_LARGEST, 1e10f};
    test_random random = test_random_make(154);
    for (uint32_t i = 0; i < 24; i++) {
        attention_world w = world_of(0, &random);
        w.shape.key_type = i % 2 ? FV_ELEMENT_F32 : FV_ELEMENT_BF16;
        world_cache_reset(&w);
        uint32_t dim = w.shape.head_dim, token = 70 + i, all = i / 12;
        world_append(&w, 192);
        uint16_t before[192];
        memcpy(before, fv_shadow_steps(&w.cache->shadow, 1, 0), sizeof before);
        for (uint32_t c = 0; c < dim; c++)
            if (all || c == i) w.keys[token * w.kv_stride + dim + c] = strange[i % 6];
        world_cache_reset(&w);
        world_append(&w, 192);
        for (uint32_t t = 0; t < 192; t++) {
            float x[CHOOSE_MOST_DIM], step = fv_f32_from_bf16(*fv_shadow_steps(&w.cache->shadow, 1, t));
            assert_true(isfinite(step) && step >= 0.0f && step <= 0x1p100f);
            if (t / 64 < 2 && t != token) assert_int_equal(*fv_shadow_steps(&w.cache->shadow, 1, t), before[t]);
            fv_shadow_centre(w.cache, 1, t, x);
            for (uint32_t c = 0; c < dim; c++) assert_true(isfinite(x[c]));
            fv_shadow_code(w.cache, 1, t, x);
            for (uint32_t c = 0; c < dim; c++) assert_true(isfinite(x[c]));
        }
        world_free(&w);
    }
}

int main(void) {
    test_tables_make(&tables);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_centre_is_the_mean_of_four_pages),
        cmocka_unit_test(test_codes_are_of_least_squares),
        cmocka_unit_test(test_margins_are_of_the_stored),
        cmocka_unit_test(test_copies_after_restore_and_copy),
        cmocka_unit_test(test_strange_keys),
        cmocka_unit_test(test_margins_after_cuts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
