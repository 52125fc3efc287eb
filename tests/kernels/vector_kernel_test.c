/* vector_kernel_test.c - conversions, norms, activation functions and dot products of every instruction set, each
 * against its bound; and the walk over the lists: no slot may be without a check. */
#include "kernel_slots.h"
#include "kernels/kernels.h"
#include "numeric/half.h"
#include "support/fence.h"
#include "support/random.h"
#include "support/tables.h"
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>

#include <cmocka.h>

enum { MAX_N = 2048 };

static test_tables tables;
static test_fence x_fence, y_fence, out_fence;

/* All up to 131, then widths of real models and one odd. */
static size_t next_n(size_t n) {
    return n < 131 ? n + 1 : n < 256 ? 256 : n < 300 ? 300 : n < 576 ? 576 : n < MAX_N ? MAX_N : MAX_N + 1;
}

static void check_near(const char *slot, const fv_kernels *table, size_t n, size_t i, double got, double want,
                       double bound) {
    if (!(fabs(got - want) <= bound))
        fail_msg("%s %s n=%zu at [%zu]: got %.9g, want %.9g, error %.3g > %.3g", slot, test_table_name(table), n, i,
                 got, want, fabs(got - want), bound);
}

static double ulp_of(double x) {
    int exponent;
    frexp(x, &exponent);
    return ldexp(1, (exponent > -125 ? exponent : -125) - 24);
}

static void check_softcap_f32(const fv_kernels *table) {
    test_random random = test_random_make(1);
    double worst = 0;
    for (size_t n = 1; n <= MAX_N; n = next_n(n))
        for (int kind = 0; kind < 4; kind++) {
            float *x = fence_place(&x_fence, n * 4), before[MAX_N], cap = kind & 1 ? 30.0f : 50.0f;
            float scale = kind == 3 ? 1.0f : 0.125f;
            test_fill_f32(&random, x, n, kind == 0 ? 8.0f : kind == 1 ? 500.0f : kind == 2 ? 5000.0f : 3e38f);
            memcpy(before, x, n * 4);
            table->softcap_f32(n, scale, cap, x);
            for (size_t i = 0; i < n; i++) {
                double want = (double)cap * tanh((double)(before[i] * scale / cap));
                check_near("softcap_f32", table, n, i, (double)x[i], want, 4 * ulp_of((double)cap));
                worst = fmax(worst, fabs((double)x[i] - want) / ulp_of((double)cap));
            }
            assert_true(fence_is_whole(&x_fence, 1, 0, 0));
        }
    printf("softcap %s: worst error %.2f ulp of cap\n", test_table_name(table), worst);
}

/* Values that f16 rounds, overflows, keeps as subnormals; zeros, infinities, NaNs. */
static float half_candidate(test_random *random) {
    uint32_t dice = test_random_in(random, 0, 9);
    if (dice == 0) return fv_f32_from_bits(test_random_u32(random));
    if (dice == 1) return fv_f32_from_f16((uint16_t)test_random_u32(random)) * 1.0000001f;
    return test_random_f32(random) * ldexpf(1.0f, (int)test_random_in(random, 0, 44) - 27);
}

static void check_narrow(fv_narrow_f16_fn *tested, fv_narrow_f16_fn *scalar) {
    test_random random = test_random_make(2);
    for (size_t n = 1; n <= MAX_N; n = next_n(n))
        for (int run = 0; run < 20; run++) {
            float *x = fence_place(&x_fence, n * 4);
            uint16_t *out = fence_place(&out_fence, n * 2), want[MAX_N];
            for (size_t i = 0; i < n; i++) x[i] = half_candidate(&random);
            tested(n, x, out);
            scalar(n, x, want);
            assert_memory_equal(out, want, n * 2);
            assert_true(fence_is_whole(&out_fence, 1, 0, 0));
        }
}

static void check_widen(fv_widen_f16_fn *tested, fv_widen_f16_fn *scalar) {
    for (uint32_t first = 0; first < 65536; first += 256) { /* all of them */
        uint16_t *x = fence_place(&x_fence, 512);
        float *out = fence_place(&out_fence, 1024), want[256];
        for (uint32_t i = 0; i < 256; i++) x[i] = (uint16_t)(first + i);
        tested(256, x, out);
        scalar(256, x, want);
        assert_memory_equal(out, want, 1024);
    }
    for (size_t n = 1; n <= MAX_N; n = next_n(n)) {
        test_random random = test_random_make((uint32_t)n);
        uint16_t *x = fence_place(&x_fence, n * 2);
        float *out = fence_place(&out_fence, n * 4), want[MAX_N];
        test_fill_bytes(&random, x, n * 2);
        tested(n, x, out);
        scalar(n, x, want);
        assert_memory_equal(out, want, n * 4);
        assert_true(fence_is_whole(&out_fence, 1, 0, 0));
    }
}

static void check_narrow_f16(const fv_kernels *table) { check_narrow(table->narrow_f16, tables.table[0]->narrow_f16); }
static void check_narrow_bf16(const fv_kernels *table) {
    check_narrow(table->narrow_bf16, tables.table[0]->narrow_bf16);
}
static void check_widen_f16(const fv_kernels *table) { check_widen(table->widen_f16, tables.table[0]->widen_f16); }

static void check_rms_norm_f32(const fv_kernels *table) {
    test_random random = test_random_make(3);
    static const float sizes[] = {1.0f, 1e-4f, 1e-12f, 3e3f, 1e17f, 0.0f};
    for (size_t n = 1; n <= MAX_N; n = next_n(n))
        for (size_t kind = 0; kind < sizeof sizes / sizeof *sizes; kind++) {
            float *x = fence_place(&x_fence, n * 4), *weight = fence_place(&y_fence, n * 4), in_place[MAX_N];
            float *out = fence_place(&out_fence, n * 4), epsilon = kind % 2 ? 1e-6f : 1e-5f;
            test_fill_f32(&random, x, n, sizes[kind]);
            test_fill_f32(&random, weight, n, 2.0f);
            memcpy(in_place, x, n * 4);
            table->rms_norm_f32(n, x, weight, epsilon, out);
            table->rms_norm_f32(n, in_place, weight, epsilon, in_place);
            assert_memory_equal(in_place, out, n * 4);
            assert_true(fence_is_whole(&out_fence, 1, 0, 0));
            double sum = 0;
            for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
            for (size_t i = 0; i < n; i++) {
                double want = (double)x[i] * (double)weight[i] / sqrt(sum / (double)n + (double)epsilon);
                check_near("rms_norm_f32", table, n, i, (double)out[i], want,
                           (double)(n + 4) * 0x1p-23 * fabs(want) + (double)FLT_TRUE_MIN);
            }
        }
}

/* A row of zeros, or one that overflows, gives no NaN, with any epsilon. */
static void test_rms_norm_extremes(void **state) {
    (void)state;
    for (size_t k = 0; k < tables.count; k++) {
        const float rows[][3] = {{0, 0, 0}, {1e-30f, 0, 0}, {3e38f, -3e38f, 1}, {1e-45f, 1e-45f, 0}};
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
            for (int e = 0; e < 2; e++) {
                float weight[3] = {1, 1, 1}, out[3];
                tables.table[k]->rms_norm_f32(3, rows[r], weight, e ? 1e-6f : 0.0f, out);
                for (size_t i = 0; i < 3; i++)
                    if (isnan(out[i])) fail_msg("%s row %zu epsilon %d: NaN", test_table_name(tables.table[k]), r, e);
            }
    }
}

static void gated_check(const char *slot, bool gelu, fv_gated_f32_fn *tested, const fv_kernels *table) {
    test_random random = test_random_make(4);
    double worst = 0;
    static const float sizes[] = {1.0f, 8.0f, 100.0f, 1e-3f, 1e30f, 1e-30f};
    for (size_t n = 1; n <= MAX_N; n = next_n(n))
        for (size_t kind = 0; kind < sizeof sizes / sizeof *sizes; kind++) {
            float *gate = fence_place(&x_fence, n * 4), *up = fence_place(&y_fence, n * 4);
            float *out = fence_place(&out_fence, n * 4), over_gate[MAX_N], over_up[MAX_N];
            test_fill_f32(&random, gate, n, sizes[kind]);
            test_fill_f32(&random, up, n, 3.0f);
            memcpy(over_gate, gate, n * 4);
            memcpy(over_up, up, n * 4);
            tested(n, gate, up, out);
            tested(n, over_gate, up, over_gate);
            tested(n, gate, over_up, over_up);
            assert_memory_equal(over_gate, out, n * 4);
            assert_memory_equal(over_up, out, n * 4);
            assert_true(fence_is_whole(&out_fence, 1, 0, 0));
            for (size_t i = 0; i < n; i++) {
                double x = (double)gate[i], u = (double)up[i];
                double want = gelu ? 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))) * u
                                   : x / (1 + exp(-x)) * u;
                check_near(slot, table, n, i, (double)out[i], want, 8 * ulp_of(want) + 0x1p-23 * fabs(u));
                worst = fmax(worst, (fabs((double)out[i] - want) - 8 * ulp_of(want)) / (0x1p-23 * fabs(u) + 1e-45));
            }
        }
    printf("%s %s: %.3f of 2^-23 * |up| left over 8 ulp\n", slot, test_table_name(table), worst > 0 ? worst : 0);
}

static void check_silu_f32(const fv_kernels *table) { gated_check("silu_f32", false, table->silu_f32, table); }

static void check_gelu_f32(const fv_kernels *table) { gated_check("gelu_f32", true, table->gelu_f32, table); }

static void check_dot_f32(const fv_kernels *table) {
    test_random random = test_random_make(5);
    for (size_t n = 0; n <= MAX_N; n = n < 300 ? n + 1 : next_n(n))
        for (int run = 0; run < 20; run++) {
            float *x = fence_place(&x_fence, n * 4), *y = fence_place(&y_fence, n * 4);
            test_fill_f32(&random, x, n, 1.0f);
            test_fill_f32(&random, y, n, 1.0f);
            double sum = 0, mass = 0;
            for (size_t i = 0; i < n; i++) {
                sum += (double)x[i] * (double)y[i];
                mass += fabs((double)x[i] * (double)y[i]);
            }
            double got = (double)table->dot_f32(n, x, y);
            check_near("dot_f32", table, n, 0, got, sum, (double)n * 0x1p-24 * mass);
            check_near("dot_f32 twin", table, n, 0, got, (double)tables.table[0]->dot_f32(n, x, y),
                       (double)n * 0x1p-23 * mass);
        }
}

/* The bits of plain C. */
static void check_mix_f32(const fv_kernels *table) {
    test_random random = test_random_make(6);
    for (size_t n = 0; table->mix_f32 && n <= MAX_N; n = n < 131 ? n + 1 : next_n(n)) {
        float *into = fence_place(&out_fence, n * 4), *from = fence_place(&x_fence, n * 4), want[MAX_N];
        const float keep = ldexpf(1.0f, -(int)(n % 5)), add = ldexpf(1.0f, -(int)(n % 3));
        test_fill_f32(&random, into, n, 1.0f);
        test_fill_f32(&random, from, n, n % 2 ? 1.0f : 1e-37f);
        for (size_t i = 0; i < n; i++) {
            const float kept = into[i] * keep, added = from[i] * add;
            want[i] = kept + added;
        }
        table->mix_f32(n, keep, into, add, from);
        assert_memory_equal(into, want, n * 4);
        assert_true(fence_is_whole(&out_fence, 1, 0, 0));
    }
}

static void check_copy_rows_f32(const fv_kernels *table) {
    test_random random = test_random_make(7);
    for (size_t n = 1; table->copy_rows_f32 && n <= 300; n = next_n(n)) {
        const uint32_t most = MAX_N / (uint32_t)n;
        size_t rows = test_random_in(&random, 0, most < 17 ? most : 17), stride = MAX_N / (rows ? rows : 1);
        uint32_t *x = fence_place(&x_fence, (rows ? (rows - 1) * stride + n : 0) * 4);
        uint32_t *out = fence_place(&out_fence, rows * n * 4);
        test_fill_bytes(&random, x, (rows ? (rows - 1) * stride + n : 0) * 4); /* also what no number is */
        table->copy_rows_f32(rows, n, (const float *)(const void *)x, stride, (float *)(void *)out);
        assert_true(fence_is_whole(&out_fence, 1, 0, 0));
        for (size_t t = 0; t < rows; t++) assert_memory_equal(out + t * n, x + t * stride, n * 4);
    }
}

/* The bits of plain C, and zeros where nothing was read. */
static void check_finish16_f32(const fv_kernels *table) {
    enum { ROWS = 16, GROUPS = 3, MAX_DIM = 128 };
    static float sum[ROWS * GROUPS * FV_SUM_LANES], x[ROWS * GROUPS * MAX_DIM], out[ROWS * GROUPS * MAX_DIM],
        want[ROWS * GROUPS * MAX_DIM];
    test_random random = test_random_make(8);
    for (size_t dim = 1; table->finish16_f32 && dim <= MAX_DIM; dim++)
        for (size_t group = 1; group <= GROUPS; group++) {
            const size_t head = test_random_in(&random, 0, (uint32_t)group - 1), stride = group * dim;
            test_fill_f32(&random, sum, ROWS * group * FV_SUM_LANES, 1.0f);
            test_fill_f32(&random, x, ROWS * group * dim, 1.0f);
            test_fill_f32(&random, out, ROWS * stride, 1.0f);
            for (size_t i = 0; i < ROWS * group * FV_SUM_LANES; i++) sum[i] = fabsf(sum[i]);
            memset(sum, 0, FV_SUM_LANES * sizeof *sum);
            memcpy(want, out, ROWS * stride * 4);
            for (size_t t = 0; t < ROWS; t++) {
                float all = 0.0f;
                for (size_t i = 0; i < FV_SUM_LANES; i++) all += sum[(t * group + head) * FV_SUM_LANES + i];
                const float factor = all > 0.0f ? 1.0f / all : 0.0f;
                for (size_t c = 0; c < dim; c++)
                    want[t * stride + head * dim + c] = x[(t * group + head) * dim + c] * factor;
            }
            table->finish16_f32(group, dim, sum + head * FV_SUM_LANES, x + head * dim, out + head * dim, stride);
            assert_memory_equal(out, want, ROWS * stride * 4);
        }
}

/* The bits of plain C, however the rows are cut. */
static void check_mean_add_f32(const fv_kernels *table) {
    test_random random = test_random_make(9);
    for (size_t n = 1; table->mean_add_f32 && n <= 300; n = next_n(n)) {
        uint32_t rows = test_random_in(&random, 1, MAX_N / (uint32_t)n < 16 ? MAX_N / (uint32_t)n : 16),
                 first = test_random_in(&random, 0, rows), before = n % 3 ? (uint32_t)n * 7 : 0;
        float *x = fence_place(&x_fence, rows * n * 4), *mean = fence_place(&out_fence, n * 4), want[300], start[300];
        test_fill_f32(&random, x, rows * n, 1.0f);
        test_fill_f32(&random, start, n, 1.0f);
        for (size_t i = 0; i < n; i++) {
            float held = before ? start[i] : 0.0f;
            for (uint32_t t = 0; t < rows; t++) {
                const float share = 1.0f / (float)(before + t + 1), step = (x[t * n + i] - held) * share;
                held = held + step;
            }
            want[i] = held;
        }
        memcpy(mean, start, n * 4);
        table->mean_add_f32(before, first, n, x, n, mean);
        table->mean_add_f32(before + first, rows - first, n, x + first * n, n, mean);
        assert_memory_equal(mean, want, n * 4);
        assert_true(fence_is_whole(&out_fence, 1, 0, 0));
    }
}

static void check_largest_f32(const fv_kernels *table) {
    test_random random = test_random_make(10);
    for (size_t n = 0; table->largest_f32 && n <= MAX_N; n = n < 300 ? n + 1 : next_n(n)) {
        uint32_t *x = fence_place(&x_fence, n * 4), most = 0;
        test_fill_bytes(&random, x, n * 4);
        for (size_t i = 0; i < n; i++) {
            if (n % 2) x[i] &= 0xBFFFFFFF; /* with and without NaN and infinity */
            most = most > (x[i] & INT32_MAX) ? most : x[i] & INT32_MAX;
        }
        assert_int_equal(table->largest_f32(n, (const float *)(const void *)x), most);
    }
}

/* A slot that no program checks. */
static void test_no_slot_is_forgotten(void **state) {
    (void)state;
#define SLOT_NAME(slot) #slot,
#define LIST_NAME(slot, type) #slot,
    const char *checked[] = {ATTENTION_SLOTS(SLOT_NAME) LIST_SLOTS(SLOT_NAME) VECTOR_SLOTS(SLOT_NAME)
                                 PRODUCT_SLOTS(SLOT_NAME) PRODUCT_FLOAT_SLOTS(SLOT_NAME) SHADOW_SLOTS(SLOT_NAME)};
    const char *slots[] = {FV_KERNEL_LIST(LIST_NAME) FV_KERNEL_OPTIONAL_LIST(LIST_NAME)};
    for (size_t i = 0; i < sizeof slots / sizeof *slots; i++) {
        bool found = false;
        for (size_t j = 0; j < sizeof checked / sizeof *checked; j++)
            found = found || strcmp(slots[i], checked[j]) == 0;
        if (!found) fail_msg("%s has no check: add it to kernel_slots.h", slots[i]);
    }
}

static void test_init_arguments(void **state) {
    (void)state;
    uint64_t memory[FV_KERNELS_BYTES / 8 + 1];
    const fv_kernels *made = NULL;
    assert_int_equal(fv_kernels_init(NULL, FV_ISA_SCALAR, memory, FV_KERNELS_BYTES), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_kernels_init(&made, FV_ISA_COUNT, memory, FV_KERNELS_BYTES), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_kernels_init(&made, FV_ISA_SCALAR, NULL, FV_KERNELS_BYTES), FV_ERROR_MEMORY);
    assert_int_equal(fv_kernels_init(&made, FV_ISA_SCALAR, memory, FV_KERNELS_BYTES - 1), FV_ERROR_MEMORY);
    assert_int_equal(fv_kernels_init(&made, FV_ISA_SCALAR, (char *)memory + 4, FV_KERNELS_BYTES), FV_ERROR_MEMORY);
    assert_null(made);
    assert_int_equal(fv_kernels_init(&made, FV_ISA_SCALAR, memory, FV_KERNELS_BYTES), FV_OK);
    assert_int_equal(fv_kernels_isa(made), FV_ISA_SCALAR);
    assert_string_equal(fv_isa_name(FV_ISA_AVX2), "avx2");
    assert_null(fv_isa_name(FV_ISA_COUNT));
}

/* Every slot that is not optional is filled in every table. */
static void test_tables_are_full(void **state) {
    (void)state;
#define SLOT_FILLED(slot, type) assert_non_null(tables.table[k]->slot);
    for (size_t k = 0; k < tables.count; k++) {
        FV_KERNEL_LIST(SLOT_FILLED)
    }
}

/* A kernel that a table takes from the one before it was checked there. */
#define SLOT_TEST(slot) \
    static void test_##slot(void **state) { \
        (void)state; \
        for (size_t k = 0; k < tables.count; k++) \
            if (k == 0 || tables.table[k]->slot != tables.table[k - 1]->slot) check_##slot(tables.table[k]); \
    }
VECTOR_SLOTS(SLOT_TEST)

int main(void) {
    test_tables_make(&tables);
    test_fence *fences[] = {&x_fence, &y_fence, &out_fence};
    for (size_t i = 0; i < sizeof fences / sizeof *fences; i++) *fences[i] = fence_open(4 * MAX_N);
#define SLOT_ENTRY(slot) cmocka_unit_test(test_##slot),
    const struct CMUnitTest tests[] = {
        VECTOR_SLOTS(SLOT_ENTRY) //
        cmocka_unit_test(test_rms_norm_extremes),
        cmocka_unit_test(test_no_slot_is_forgotten),
        cmocka_unit_test(test_init_arguments),
        cmocka_unit_test(test_tables_are_full),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (size_t i = 0; i < sizeof fences / sizeof *fences; i++) fence_close(fences[i]);
    return failed;
}
