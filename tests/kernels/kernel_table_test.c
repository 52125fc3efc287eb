/* kernel_table_test.c - which kernels run: each level's table holds the level's own, no slot is left to scalar code
 * without a reason that is named here, and prompts, decodes and choices call every slot of the table. */
#include "fovea/measure/mass.h"
#include "fovea/model.h"
#include "fovea/reference/pattern.h"
#include "support/choose_world.h"
#include "support/recording.h"
#include "support/tables.h"

/* Slots without a kernel of their own, by family. X86: what rounds to bf16 and caps scores is rare. ARM: the rest is
 * not written yet (docs/kernels.md). */
#define SCALAR_ON_X86(X) \
    X(softcap_f32) \
    X(narrow_bf16)
#define SCALAR_ON_ARM(X) \
    X(softcap_f32) \
    X(narrow_bf16) \
    X(product_f32) \
    X(product_f16) \
    X(product_bf16) \
    X(list_least) \
    X(key_score) \
    X(tail_sum)
#define SCALAR_ON_ANY(X)

static bool is_named(const char *slot, const char *const *names) {
    while (*names && strcmp(*names, slot) != 0) names++;
    return *names != NULL;
}

/* Slots that family `family` may leave to scalar code, NULL after them. */
static const char *const *scalar_slots(fv_isa_family family) {
#define SLOT_NAME(slot) #slot,
    static const char *const any[] = {SCALAR_ON_ANY(SLOT_NAME) NULL}, *const x86[] = {SCALAR_ON_X86(SLOT_NAME) NULL},
                             *const arm[] = {SCALAR_ON_ARM(SLOT_NAME) NULL};
#undef SLOT_NAME
    return family == FV_ISA_FAMILY_X86 ? x86 : family == FV_ISA_FAMILY_ARM ? arm : any;
}

static void test_a_level_has_its_own_kernels(void **state) {
    (void)state;
    fv_kernels table;
#define OWN_SLOT(slot, set) assert_ptr_equal(table.slot, fv_##slot##_##set);
#define OWN_SET(NAME, name, family, level) \
    if (FV_BUILD_##NAME) { \
        fv_kernels_fill(&table, FV_ISA_##NAME); \
        assert_int_equal(fv_kernels_isa(&table), FV_ISA_##NAME); \
        FV_##NAME##_LIST(OWN_SLOT) \
    }
    FV_ISA_LIST(OWN_SET)
}

/* What a level does not have comes from the level below it: a slot that is not scalar there is not scalar here. */
static void test_a_level_keeps_the_lower_ones(void **state) {
    (void)state;
    const fv_kernels *scalar = fv_kernels_scalar();
    for (int isa = 0; isa < FV_ISA_COUNT; isa++)
        for (int lower = 0; lower < FV_ISA_COUNT; lower++) {
            fv_kernels table, below;
            if (!fv_isa_includes((fv_isa)isa, (fv_isa)lower)) continue;
            fv_kernels_fill(&table, (fv_isa)isa);
            fv_kernels_fill(&below, (fv_isa)lower);
#define KEPT_SLOT(slot, type) \
    if (below.slot != scalar->slot && table.slot == scalar->slot) \
        fail_msg("%s loses %s of %s", fv_isa_name((fv_isa)isa), #slot, fv_isa_name((fv_isa)lower));
            FV_KERNEL_LIST(KEPT_SLOT)
            FV_KERNEL_OPTIONAL_LIST(KEPT_SLOT)
        }
}

static void check_no_slot_is_scalar(fv_isa isa, fv_isa_family family) {
    const fv_kernels *scalar = fv_kernels_scalar();
    const char *const *named = scalar_slots(family);
    fv_kernels table;
    fv_kernels_fill(&table, isa);
#define FAST_SLOT(slot, type) \
    if ((table.slot == scalar->slot) != is_named(#slot, named)) \
        fail_msg("%s: %s is %s", fv_isa_name(isa), #slot, \
                 table.slot == scalar->slot ? "left to scalar code" : "named as scalar and is not");
    FV_KERNEL_LIST(FAST_SLOT)
}

static void test_no_slot_is_left_scalar(void **state) {
    (void)state;
#define FAST_SET(NAME, name, family, level) \
    if (FV_BUILD_##NAME && FV_ISA_##NAME != FV_ISA_SCALAR) \
        check_no_slot_is_scalar(FV_ISA_##NAME, FV_ISA_FAMILY_##family);
    FV_ISA_LIST(FAST_SET)
}

/* Numbers are in reports and bindings. */
static void test_numbers_stay(void **state) {
    (void)state;
    assert_int_equal(FV_ISA_SCALAR, 0);
    assert_int_equal(FV_ISA_AVX2, 1);
    assert_int_equal(FV_ISA_AVX512, 2);
    assert_int_equal(FV_ISA_NEON, 3);
    assert_int_equal(FV_ISA_NEON_DOTPROD, 4);
    assert_int_equal(FV_ISA_NEON_I8MM, 5);
    assert_int_equal(FV_ISA_AVXVNNI, 6);
    assert_int_equal(FV_ISA_AVX512BF16, 7);
    assert_int_equal(FV_ISA_BEST, 255);
}

static void test_families_and_levels(void **state) {
    (void)state;
    assert_true(fv_isa_includes(FV_ISA_AVX512, FV_ISA_AVX2) && fv_isa_includes(FV_ISA_AVX2, FV_ISA_AVX2));
    assert_false(fv_isa_includes(FV_ISA_AVX2, FV_ISA_AVX512));
    assert_false(fv_isa_includes(FV_ISA_NEON_I8MM, FV_ISA_AVX2) || fv_isa_includes(FV_ISA_AVX512, FV_ISA_NEON));
    assert_true(fv_isa_includes(FV_ISA_NEON_I8MM, FV_ISA_NEON));
    assert_true(fv_isa_includes(FV_ISA_AVXVNNI, FV_ISA_AVX2) && fv_isa_includes(FV_ISA_AVXVNNI, FV_ISA_AVXVNNI));
    assert_false(fv_isa_includes(FV_ISA_AVX512, FV_ISA_AVXVNNI) || fv_isa_includes(FV_ISA_AVXVNNI, FV_ISA_AVX512));
    assert_true(fv_isa_includes(FV_ISA_AVX512BF16, FV_ISA_AVX512) && fv_isa_includes(FV_ISA_AVX512BF16, FV_ISA_AVX2));
    assert_false(fv_isa_includes(FV_ISA_AVX512BF16, FV_ISA_AVXVNNI));
    for (int isa = 0; isa < FV_ISA_COUNT; isa++) assert_true(fv_isa_includes((fv_isa)isa, FV_ISA_SCALAR));
    assert_false(fv_isa_includes(FV_ISA_COUNT, FV_ISA_AVX2) || fv_isa_includes(FV_ISA_AVX2, FV_ISA_COUNT));
    uint64_t memory[FV_KERNELS_BYTES / 8];
    const fv_kernels *made = NULL;
    fv_isa other = FV_BUILD_NEON ? FV_ISA_AVX512 : FV_ISA_NEON_I8MM; /* no limit of this family: none of its kernels */
    assert_int_equal(fv_kernels_init(&made, other, memory, sizeof memory), FV_OK);
    assert_int_equal(fv_kernels_isa(made), FV_ISA_SCALAR);
}

/* A set that the processor lacks leaves what both have, and not more. */
static void test_a_limit_leaves_what_both_have(void **state) {
    (void)state;
    uint64_t memory[FV_KERNELS_BYTES / 8];
    const fv_kernels *made = NULL;
    assert_int_equal(fv_kernels_init(&made, FV_ISA_BEST, memory, sizeof memory), FV_OK);
    fv_isa best = fv_kernels_isa(made);
    for (int limit = 0; limit < FV_ISA_COUNT; limit++) {
        assert_int_equal(fv_kernels_init(&made, (fv_isa)limit, memory, sizeof memory), FV_OK);
        fv_isa isa = fv_kernels_isa(made);
        assert_true(fv_isa_includes((fv_isa)limit, isa));
        for (int both = 0; both < FV_ISA_COUNT; both++)
            if (fv_isa_includes(best, (fv_isa)both) && fv_isa_includes((fv_isa)limit, (fv_isa)both))
                assert_true(fv_isa_includes(isa, (fv_isa)both));
    }
}

/* ---- what runs ---- */

enum {
    WIDTH = 256,
    FEED = 512,
    HEAD_DIM = 64,
    QUERY_HEADS = 4,
    KV_HEADS = 2,
    VOCABULARY = 16,
    PROMPT = 200,
    MAX_TOKENS = 512,
    LAYERS = 6
};

/* Every way through the products: floats, packed rows, rows in the file's layout. */
static const uint32_t layer_types[LAYERS] = {FV_WEIGHT_F32,  FV_WEIGHT_F16,  FV_WEIGHT_BF16,
                                             FV_WEIGHT_Q4_0, FV_WEIGHT_Q8_0, FV_WEIGHT_IQ3_S};

typedef struct workload {
    fv_layer_weights layers[LAYERS];
    fv_model_weights weights;
    void *blocks[LAYERS * 7 + 8];
    size_t block_count;
    fv_model *model;
    void *memory;
    test_random random;
} workload;

static void *block_of(workload *w, size_t bytes) {
    void *block = world_memory(bytes);
    memset(block, 0, bytes); /* only the calls count, so that numbers may be 0 */
    w->blocks[w->block_count++] = block;
    return block;
}

static fv_weight weight_of(workload *w, uint32_t type, uint32_t rows, uint32_t columns) {
    size_t bytes = fv_weight_row_bytes(type, columns);
    void *data = block_of(w, rows * bytes), *scratch = malloc(8 * bytes);
    fv_weight weight = {.data = data, .type = type, .rows = rows, .columns = columns};
    if (type == FV_WEIGHT_F32) test_fill_f32(&w->random, data, (size_t)rows * columns, 0.1f);
    assert_int_equal(fv_weight_pack(&weight, data, scratch, 8 * bytes), FV_OK);
    free(scratch);
    return weight;
}

static void weights_make(workload *w) {
    for (size_t i = 0; i < LAYERS; i++) {
        uint32_t type = layer_types[i];
        w->layers[i] = (fv_layer_weights){.attention_norm = weight_of(w, FV_WEIGHT_F32, 1, WIDTH),
                                          .query = weight_of(w, type, QUERY_HEADS * HEAD_DIM, WIDTH),
                                          .key = weight_of(w, type, KV_HEADS * HEAD_DIM, WIDTH),
                                          .value = weight_of(w, type, KV_HEADS * HEAD_DIM, WIDTH),
                                          .output = weight_of(w, type, WIDTH, QUERY_HEADS * HEAD_DIM),
                                          .gate = weight_of(w, type, FEED, WIDTH),
                                          .up = weight_of(w, type, FEED, WIDTH),
                                          .down = weight_of(w, type, WIDTH, FEED)};
        w->layers[i].feed_norm = w->layers[i].attention_norm;
    }
    fv_weight embedding = weight_of(w, FV_WEIGHT_F32, VOCABULARY, WIDTH);
    w->weights = (fv_model_weights){.embedding = embedding,
                                    .output_norm = weight_of(w, FV_WEIGHT_F32, 1, WIDTH),
                                    .output = embedding,
                                    .layers = w->layers};
}

static void forward(const workload *w, uint32_t count, const fv_policy *policy) {
    int32_t tokens[PROMPT];
    for (uint32_t i = 0; i < count; i++) tokens[i] = (int32_t)(i * 7 % VOCABULARY);
    assert_int_equal(fv_model_forward(w->model, tokens, count, policy, NULL, NULL), FV_OK);
}

/* A prompt and decodes: dense, a window, and all that chooses. */
static void run_policies(const workload *w) {
    fv_policy dense, window;
    fv_policy_default(FV_SELECTOR_DENSE, &dense);
    fv_policy_default(FV_SELECTOR_WINDOW, &window);
    window.window = 40;
    forward(w, PROMPT, &dense);
    forward(w, 20, &window);
    forward(w, 1, &dense);
    for (uint32_t selector = FV_SELECTOR_FOVEA; selector <= FV_SELECTOR_CASCADE; selector++) {
        fv_policy policy = choose_policy((fv_selector)selector, 0.4f, 16);
        forward(w, 20, &policy);
        forward(w, 1, &policy);
    }
}

static void run_model(const fv_kernels *kernels, uint32_t layers, uint32_t element, uint32_t activation, float cap) {
    workload w = {.random = test_random_make(1)};
    fv_model_config config;
    fv_model_config_default(&config);
    config.vocabulary = VOCABULARY, config.width = WIDTH, config.feed_forward = FEED, config.layers = layers;
    config.query_heads = QUERY_HEADS, config.cache.kv_heads = KV_HEADS, config.cache.head_dim = HEAD_DIM;
    config.cache.max_tokens = MAX_TOKENS, config.batch_tokens = PROMPT;
    config.cache.key_type = config.cache.value_type = element;
    config.cache.shadow = 1;
    config.activation = activation;
    config.attention_scale = 0.125f;
    config.attention_softcap = cap;
    weights_make(&w);
    fv_model_bytes bytes;
    assert_int_equal(fv_model_size(&config, 1, &bytes), FV_OK);
    w.memory = world_memory(bytes.total);
    assert_int_equal(fv_model_init(&w.model, &config, &w.weights, kernels, 1, w.memory, bytes.total), FV_OK);
    run_policies(&w);
    fv_attend_config attend = {.query_heads = QUERY_HEADS, .kv_heads = KV_HEADS, .head_dim = HEAD_DIM, .scale = 0.125f};
    float query[QUERY_HEADS * HEAD_DIM] = {0}, mass[QUERY_HEADS / KV_HEADS * 16], scratch[FV_PAGE_TOKENS * HEAD_DIM];
    assert_int_equal(fv_mass_tokens(&attend, kernels, fv_model_cache(w.model, 0), 0, 15, query, mass, scratch), FV_OK);
    free(w.memory);
    for (size_t i = 0; i < w.block_count; i++) free(w.blocks[i]);
}

/* Keys that differ, so that 2-bit copies say something and a tail is read. */
static void run_tail(const fv_kernels *kernels) {
    enum { TOKENS = 1300, DIM = 64, GROUP = 2 };
    test_random random = test_random_make(2);
    attention_world w = world_make(kernels, choose_shape(1, DIM, TOKENS, FV_ELEMENT_F16), GROUP, 0, &random);
    fv_policy policy = choose_policy(FV_SELECTOR_FOVEA, 0.3f, 32);
    policy.tail = 1;
    fv_attention *attention;
    void *memory = choose_attention_open(&w, 1, 0, &attention);
    float out[GROUP * DIM];
    world_append(&w, TOKENS);
    check_status(test_attention_run(attention, w.cache, &policy, 0, 1, w.queries + (TOKENS - 1) * w.query_stride,
                                    w.query_stride, out, GROUP * DIM, NULL, NULL));
    free(memory);
    world_free(&w);
}

/* Strided keys of whole tiles. */
static void run_pattern(const fv_kernels *kernels) {
    enum { TOKENS = 320, DIM = 64 };
    static float rows[TOKENS * DIM], out[TOKENS * DIM];
    fv_pattern_config config;
    fv_pattern *pattern;
    size_t bytes;
    fv_pattern_config_default(&config);
    config.max_tokens = TOKENS;
    config.query_heads = config.kv_heads = 1;
    config.head_dim = DIM;
    assert_int_equal(fv_pattern_size(&config, &bytes), FV_OK);
    void *memory = world_memory(bytes);
    assert_int_equal(fv_pattern_init(&pattern, &config, kernels, memory, bytes), FV_OK);
    fv_tensor shape = {rows, TOKENS, 1, DIM};
    fv_pattern_call call = {.query = shape, .keys = shape, .values = shape};
    assert_int_equal(fv_pattern_forward(pattern, &call, out), FV_OK);
    free(memory);
}

static void test_every_slot_runs(void **state) {
    (void)state;
    test_tables tables;
    test_tables_make(&tables);
    for (size_t k = 0; k < tables.count; k++) {
        fv_kernels table;
        recording_begin(&table, tables.table[k]);
        for (uint32_t element = 0; element < FV_ELEMENT_COUNT; element++)
            run_model(&table, element == FV_ELEMENT_F32 ? LAYERS : 1, element,
                      element % 2 ? FV_ACTIVATION_GELU : FV_ACTIVATION_SILU, element == FV_ELEMENT_F32 ? 20.0f : 0.0f);
        run_tail(&table);
        run_pattern(&table);
#define RUN_SLOT(slot, type) \
    if (tables.table[k]->slot && recorded_calls[RECORDED_##slot] == 0) \
        fail_msg("%s: nothing calls %s", test_table_name(tables.table[k]), #slot);
        FV_KERNEL_LIST(RUN_SLOT)
        FV_KERNEL_OPTIONAL_LIST(RUN_SLOT)
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_level_has_its_own_kernels),
        cmocka_unit_test(test_a_level_keeps_the_lower_ones),
        cmocka_unit_test(test_no_slot_is_left_scalar),
        cmocka_unit_test(test_numbers_stay),
        cmocka_unit_test(test_families_and_levels),
        cmocka_unit_test(test_a_limit_leaves_what_both_have),
        cmocka_unit_test(test_every_slot_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
