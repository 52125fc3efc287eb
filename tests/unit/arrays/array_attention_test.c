/* array_attention_test.c - attention over arrays against sums in double: types, layouts, ratios of heads, masks, sizes;
 * what is refused, and that nothing is written then. */
#include "fovea/array_attention.h"
#include "fovea/pool.h"
#include "numeric/half.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum layout { BY_TOKEN, BY_HEAD, WITH_GAPS, LAYOUTS };

typedef struct case_shape {
    uint32_t batches, queries, keys, query_heads, kv_heads, head_dim, causal, window;
    float scale, softcap;
    uint32_t query_type, key_type, value_type, out_type, layout;
} case_shape;

typedef struct arrays {
    fv_array_attention call;
    float *lse;
} arrays;

static uint64_t random_state;

static float random_float(void) { /* -1..1, with few enough bits that bf16 holds it exactly */
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (float)((int)(random_state >> 57) - 64) / 64.0f;
}

static size_t bytes_of(const fv_array *a) {
    size_t last =
        (a->batches - 1) * a->batch_stride + (a->tokens - 1) * a->token_stride + (a->heads - 1) * a->head_stride;
    return (last + a->head_dim) * (a->type == FV_ELEMENT_F32 ? 4 : 2);
}

static size_t place(const fv_array *a, uint32_t b, uint32_t t, uint32_t h) {
    return b * a->batch_stride + t * a->token_stride + h * a->head_stride;
}

static double get(const fv_array *a, uint32_t b, uint32_t t, uint32_t h, uint32_t c) {
    size_t at = place(a, b, t, h) + c;
    if (a->type == FV_ELEMENT_F32) return (double)((const float *)a->data)[at];
    uint16_t half = ((const uint16_t *)a->data)[at];
    return (double)(a->type == FV_ELEMENT_F16 ? fv_f32_from_f16(half) : fv_f32_from_bf16(half));
}

static void set(const fv_array *a, uint32_t b, uint32_t t, uint32_t h, uint32_t c, float value) {
    size_t at = place(a, b, t, h) + c;
    if (a->type == FV_ELEMENT_F32)
        ((float *)a->data)[at] = value;
    else
        ((uint16_t *)a->data)[at] = a->type == FV_ELEMENT_F16 ? fv_f16_from_f32(value) : fv_bf16_from_f32(value);
}

/* An array of the layout, filled with random elements; what lies in its gaps is NaN. */
static fv_array make(uint32_t layout, uint32_t type, uint32_t batches, uint32_t tokens, uint32_t heads,
                     uint32_t head_dim) {
    fv_array a = layout == BY_HEAD ? fv_array_by_head(NULL, (fv_element)type, tokens, heads, head_dim)
                                   : fv_array_by_token(NULL, (fv_element)type, tokens, heads, head_dim);
    a.batches = batches;
    if (layout == WITH_GAPS) {
        a.head_stride += 3;
        a.token_stride = heads * a.head_stride + 5;
        a.batch_stride = tokens * a.token_stride + 7;
    }
    size_t bytes = bytes_of(&a);
    a.data = malloc(bytes);
    assert_non_null(a.data);
    memset(a.data, 0xFF, bytes); /* NaN in each type */
    for (uint32_t b = 0; b < batches; b++)
        for (uint32_t t = 0; t < tokens; t++)
            for (uint32_t h = 0; h < heads; h++)
                for (uint32_t c = 0; c < head_dim; c++) set(&a, b, t, h, c, random_float());
    return a;
}

static arrays make_all(const case_shape *s) {
    arrays made = {0};
    fv_array_attention_default(&made.call);
    made.call.query = make(s->layout, s->query_type, s->batches, s->queries, s->query_heads, s->head_dim);
    made.call.keys = make((s->layout + 1) % LAYOUTS, s->key_type, s->batches, s->keys, s->kv_heads, s->head_dim);
    made.call.values = make((s->layout + 2) % LAYOUTS, s->value_type, s->batches, s->keys, s->kv_heads, s->head_dim);
    made.call.out = make(s->layout, s->out_type, s->batches, s->queries, s->query_heads, s->head_dim);
    made.lse = malloc((size_t)s->batches * s->queries * s->query_heads * sizeof *made.lse);
    made.call.lse = made.lse;
    made.call.causal = s->causal;
    made.call.window = s->window;
    made.call.scale = s->scale;
    made.call.softcap = s->softcap;
    return made;
}

static void drop_all(arrays *a) {
    free(a->call.query.data);
    free(a->call.keys.data);
    free(a->call.values.data);
    free(a->call.out.data);
    free(a->lse);
}

/* The row by its definition; `out` gets head_dim doubles. Returns the log-sum-exp. */
static double naive_row(const fv_array_attention *call, uint32_t b, uint32_t i, uint32_t h, double *out) {
    const fv_array *q = &call->query, *k = &call->keys, *v = &call->values;
    uint32_t group = h / (q->heads / k->heads), position = k->tokens - q->tokens + i;
    double sum = 0, scale = call->scale > 0 ? (double)call->scale : 1 / sqrt((double)q->head_dim);
    for (uint32_t c = 0; c < q->head_dim; c++) out[c] = 0;
    for (uint32_t t = 0; t < k->tokens; t++) {
        if (call->causal && (t > position || (call->window && t + call->window <= position))) continue;
        double score = 0;
        for (uint32_t c = 0; c < q->head_dim; c++) score += get(q, b, i, h, c) * get(k, b, t, group, c);
        score *= scale;
        if (call->softcap > 0) score = (double)call->softcap * tanh(score / (double)call->softcap);
        double weight = exp(score); /* scores of these tests are small */
        sum += weight;
        for (uint32_t c = 0; c < q->head_dim; c++) out[c] += weight * get(v, b, t, group, c);
    }
    for (uint32_t c = 0; c < q->head_dim; c++) out[c] /= sum;
    return log(sum);
}

/* Half a unit of the type's last place for results below 1, and the sums' own error. */
static double tolerance(uint32_t type) {
    return 2e-6 + (type == FV_ELEMENT_F16 ? 0x1p-11 : type == FV_ELEMENT_BF16 ? 0x1p-8 : 0) / 2;
}

/* What processors that multiply pairs of bf16 may round queries and weights by, of scores and values of these sizes. */
static double narrowing(const fv_array_attention *call) {
    static _Alignas(8) unsigned char memory[FV_KERNELS_BYTES];
    static const fv_kernels *best;
    if (!best) assert_int_equal(fv_kernels_init(&best, FV_ISA_BEST, memory, sizeof memory), FV_OK);
    bool pairs = call->keys.type == FV_ELEMENT_BF16 || call->values.type == FV_ELEMENT_BF16;
    return pairs && fv_isa_includes(fv_kernels_isa(best), FV_ISA_AVX512BF16) ? 0x1p-8 : 0;
}

static void compare(const fv_array_attention *call, const char *what) {
    double row[256];
    for (uint32_t b = 0; b < call->query.batches; b++)
        for (uint32_t i = 0; i < call->query.tokens; i++)
            for (uint32_t h = 0; h < call->query.heads; h++) {
                double lse = naive_row(call, b, i, h, row);
                double got_lse = (double)call->lse[((size_t)b * call->query.tokens + i) * call->query.heads + h];
                if (fabs(got_lse - lse) > 4e-6 + narrowing(call))
                    fail_msg("%s: lse[%u][%u][%u] %g, not %g", what, b, i, h, got_lse, lse);
                for (uint32_t c = 0; c < call->query.head_dim; c++) {
                    double got = get(&call->out, b, i, h, c);
                    if (!(fabs(got - row[c]) <= tolerance(call->out.type) + narrowing(call)))
                        fail_msg("%s: out[%u][%u][%u][%u] %g, not %g", what, b, i, h, c, got, row[c]);
                }
            }
}

/* What lies between the rows is still NaN: as many elements as before are finite. */
static size_t finite_elements(const fv_array *a) {
    size_t count = 0, all = bytes_of(a) / (a->type == FV_ELEMENT_F32 ? 4 : 2);
    fv_array flat = {.data = a->data, .type = a->type};
    for (size_t i = 0; i < all; i++) {
        flat.head_stride = i;
        count += isfinite(get(&flat, 0, 0, 1, 0)) ? 1 : 0;
    }
    return count;
}

static void run_case(const case_shape *shape, const char *what) {
    arrays a = make_all(shape);
    fv_message message = {0};
    size_t before = finite_elements(&a.call.out);
    fv_status status = fv_array_attention_run(&a.call, &message);
    if (status != FV_OK) fail_msg("%s: %d %s", what, status, message.text);
    compare(&a.call, what);
    assert_int_equal(finite_elements(&a.call.out), before);
    drop_all(&a);
}

static void test_equals_the_definition(void **state) {
    (void)state;
    static const uint32_t types[] = {FV_ELEMENT_F32, FV_ELEMENT_F16, FV_ELEMENT_BF16};
    random_state = 7;
    for (uint32_t round = 0; round < 54; round++) {
        uint32_t kv_heads = 1 + round % 3, group = 1 + round / 3 % 4;
        case_shape shape = {.batches = 1 + round % 2,
                            .keys = 1 + round * 37 % 301,
                            .query_heads = kv_heads * group,
                            .kv_heads = kv_heads,
                            .head_dim = (uint32_t[]){1, 7, 16, 40, 64, 65, 128}[round % 7],
                            .causal = round % 4 != 3,
                            .window = round % 8 == 6 ? 20 : 0,
                            .scale = round % 5 == 0 ? 0.5f : 0.0f,
                            .softcap = round % 6 == 0 ? 2.0f : 0.0f,
                            .query_type = types[round % 3],
                            .key_type = types[round / 3 % 3],
                            .value_type = types[round / 9 % 3],
                            .out_type = types[(round / 2 + 1) % 3],
                            .layout = round / 2 % LAYOUTS};
        shape.queries = round % 3 == 1 ? 1 : shape.keys - round % shape.keys;
        char what[32];
        snprintf(what, sizeof what, "case %u", round);
        run_case(&shape, what);
    }
}

/* Longer than a segment and than what is widened at a time; more queries than keys without a mask. */
static void test_long_and_wide(void **state) {
    (void)state;
    random_state = 11;
    case_shape longer = {
        1, 700, 2100, 2, 1, 16, 1, 0, 0, 0, FV_ELEMENT_F32, FV_ELEMENT_F16, FV_ELEMENT_F32, FV_ELEMENT_F32, BY_HEAD};
    run_case(&longer, "2,100 keys");
    case_shape cross = {
        2, 300, 50, 4, 2, 32, 0, 0, 0, 0, FV_ELEMENT_F32, FV_ELEMENT_F32, FV_ELEMENT_F32, FV_ELEMENT_F32, BY_TOKEN};
    run_case(&cross, "more queries than keys");
}

static arrays small(uint32_t keys) {
    case_shape shape = {
        2, 5, keys, 4, 2, 32, 1, 0, 0, 0, FV_ELEMENT_F32, FV_ELEMENT_F32, FV_ELEMENT_F32, FV_ELEMENT_F32, BY_TOKEN};
    random_state = 3;
    return make_all(&shape);
}

/* All pages chosen is dense, bit for bit; a part of them is not, and is what the report says; threads change nothing.
 */
static void test_policies_and_threads(void **state) {
    (void)state;
    case_shape shape = {
        1, 600, 2000, 4, 2, 64, 1, 0, 0, 0, FV_ELEMENT_F32, FV_ELEMENT_F16, FV_ELEMENT_F16, FV_ELEMENT_F32, BY_TOKEN};
    static const char *const policies[] = {NULL, "fovea:budget=1,dense-below=0", "fovea:budget=0.1,dense-below=0"};
    arrays a = make_all(&shape);
    size_t bytes = bytes_of(&a.call.out);
    float *first = malloc(bytes), *dense = malloc(bytes);
    fv_pool *pool = NULL;
    assert_int_equal(fv_pool_open(&pool, 3, NULL), FV_OK);
    for (int p = 0; p < 3; p++) {
        fv_report report = {.struct_bytes = sizeof report};
        a.call.policy = policies[p];
        a.call.report = &report;
        a.call.parallel = NULL;
        assert_int_equal(fv_array_attention_run(&a.call, NULL), FV_OK);
        memcpy(first, a.call.out.data, bytes);
        a.call.parallel = fv_pool_parallel(pool);
        memset(a.call.out.data, 0xFF, bytes);
        a.call.report = NULL;
        assert_int_equal(fv_array_attention_run(&a.call, NULL), FV_OK);
        assert_memory_equal(first, a.call.out.data, bytes);
        double density = (double)report.keys_read / (double)report.keys_visible;
        if (p == 0) memcpy(dense, first, bytes);
        if (p == 1) assert_memory_equal(first, dense, bytes);
        if (p < 2)
            assert_true(report.keys_read == report.keys_visible);
        else
            assert_true(density > 0.08 && density < 0.25 && memcmp(first, dense, bytes) != 0);
    }
    fv_pool_close(pool);
    free(first);
    free(dense);
    drop_all(&a);
}

static void refuse(arrays *a, fv_status expected, const char *says) {
    fv_message message = {0};
    fv_report report = {.struct_bytes = sizeof report};
    if (a->call.report) report = *a->call.report;
    const fv_report untouched = report;
    size_t bytes = bytes_of(&a->call.out), lses = 2 * 5 * 4 * sizeof(float);
    unsigned char *before = malloc(bytes);
    memcpy(before, a->call.out.data, bytes);
    memset(a->lse, 0x55, lses);
    a->call.report = &report;
    fv_status status = fv_array_attention_run(&a->call, &message);
    if (status != expected) fail_msg("%s: %d, not %d", message.text, status, expected);
    if (!strstr(message.text, says)) fail_msg("\"%s\" does not say \"%s\"", message.text, says);
    assert_memory_equal(before, a->call.out.data, bytes);
    assert_memory_equal(&report, &untouched, sizeof report);
    for (size_t i = 0; i < lses; i++) assert_int_equal(((unsigned char *)a->lse)[i], 0x55);
    free(before);
    drop_all(a);
}

/* Changes one field of a fine call and expects it to be refused. */
#define REFUSED(change, status, says) \
    do { \
        arrays a = small(40); \
        fv_array_attention *call = &a.call; \
        change; \
        refuse(&a, status, says); \
    } while (0)

static void test_refused_shapes(void **state) {
    (void)state;
    REFUSED(call->keys.tokens = 39, FV_ERROR_SHAPE, "39");
    REFUSED(call->values.heads = 1, FV_ERROR_SHAPE, "values");
    REFUSED(call->query.heads = 3, FV_ERROR_SHAPE, "3 heads");
    REFUSED(call->query.head_dim = 31, FV_ERROR_SHAPE, "31");
    REFUSED(call->keys.batches = 1, FV_ERROR_SHAPE, "batches");
    REFUSED((call->keys.tokens = call->values.tokens = 4), FV_ERROR_SHAPE, "5 queries and 4 keys");
    REFUSED(call->out.token_stride = 32, FV_ERROR_SHAPE, "one place");
    REFUSED(call->out.token_stride = 4 * 32 - 1, FV_ERROR_SHAPE, "one place");
    REFUSED(call->out.batch_stride = 0, FV_ERROR_SHAPE, "one place");
    REFUSED((call->keys.heads = call->values.heads = 3), FV_ERROR_SHAPE, "divide");
    REFUSED(call->keys.token_stride = SIZE_MAX / 8, FV_ERROR_OVERFLOW, "keys");
    REFUSED(call->query.head_dim = 0, FV_ERROR_SHAPE, "query");
}

static void test_refused_fields(void **state) {
    (void)state;
    REFUSED(call->query.type = FV_ELEMENT_Q8_0, FV_ERROR_ARGUMENT, "query");
    REFUSED(call->scale = -1.0f, FV_ERROR_ARGUMENT, "scale");
    REFUSED(call->scale = NAN, FV_ERROR_ARGUMENT, "scale");
    REFUSED(call->softcap = INFINITY, FV_ERROR_ARGUMENT, "softcap");
    REFUSED(call->causal = 2, FV_ERROR_ARGUMENT, "causal");
    REFUSED((call->causal = 0, call->window = 4), FV_ERROR_ARGUMENT, "window");
    REFUSED(call->reserved[0] = 1, FV_ERROR_ARGUMENT, "reserved");
    REFUSED(call->reserved[7] = 1, FV_ERROR_ARGUMENT, "reserved");
    REFUSED(call->query.reserved = 1, FV_ERROR_ARGUMENT, "query: reserved");
    REFUSED(call->keys.reserved = 1, FV_ERROR_ARGUMENT, "keys: reserved");
    REFUSED(call->values.reserved = 1, FV_ERROR_ARGUMENT, "values: reserved");
    REFUSED(call->out.reserved = 1, FV_ERROR_ARGUMENT, "out: reserved");
    fv_report unset = {0}, cut = {.struct_bytes = FV_REPORT_LEAST - 1};
    REFUSED(call->report = &unset, FV_ERROR_ARGUMENT, "sizeof(fv_report)");
    REFUSED(call->report = &cut, FV_ERROR_ARGUMENT, "sizeof(fv_report)");
    REFUSED(call->policy = "fovea:budgte=0.1", FV_ERROR_POLICY, "budgte");
    REFUSED((call->policy = "fovea", call->causal = 0), FV_ERROR_POLICY, "causal");
    REFUSED((call->policy = "fovea:tail=codes", call->softcap = 5.0f), FV_ERROR_POLICY, "cap");
    arrays a = small(40);
    void *data = a.call.keys.data;
    a.call.keys.data = NULL;
    fv_message message;
    assert_int_equal(fv_array_attention_run(&a.call, &message), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_array_attention_run(NULL, &message), FV_ERROR_ARGUMENT);
    a.call.keys.data = data;
    drop_all(&a);
}

static void test_refused_elements(void **state) {
    (void)state;
    REFUSED(set(&call->query, 1, 4, 3, 31, NAN), FV_ERROR_NOT_FINITE,
            "query: NaN at batch 1, token 4, head 3, element 31");
    REFUSED(set(&call->keys, 0, 39, 1, 0, INFINITY), FV_ERROR_NOT_FINITE, "keys: infinity at batch 0, token 39");
    REFUSED(set(&call->values, 1, 0, 0, 5, -INFINITY), FV_ERROR_NOT_FINITE, "values");
    REFUSED(set(&call->values, 1, 0, 0, 5, 3e38f), FV_ERROR_RANGE, "values");
    REFUSED(set(&call->query, 0, 0, 0, 0, 1e30f), FV_ERROR_RANGE, "query");
    arrays a = small(40);
    a.call.out.type = FV_ELEMENT_F16; /* the room is more than enough */
    set(&a.call.values, 1, 2, 1, 3, 65505.0f);
    refuse(&a, FV_ERROR_RANGE, "65504");
}

/* Strides of 0: one sequence of keys for all batches, as it lies. */
static void test_shared_keys(void **state) {
    (void)state;
    arrays a = small(40);
    a.call.keys.batch_stride = a.call.values.batch_stride = 0;
    assert_int_equal(fv_array_attention_run(&a.call, NULL), FV_OK);
    compare(&a.call, "shared keys");
    a.call.query.token_stride = a.call.keys.token_stride = a.call.values.head_stride = 0;
    assert_int_equal(fv_array_attention_run(&a.call, NULL), FV_OK);
    compare(&a.call, "one key, one value a head");
    drop_all(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_the_definition), cmocka_unit_test(test_long_and_wide),
        cmocka_unit_test(test_policies_and_threads),  cmocka_unit_test(test_refused_shapes),
        cmocka_unit_test(test_refused_fields),        cmocka_unit_test(test_refused_elements),
        cmocka_unit_test(test_shared_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
