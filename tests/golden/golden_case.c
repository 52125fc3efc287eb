/* Files, fields, memory and comparison of a case. */
#include "golden/golden.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct golden_block {
    golden_block *next;
};

bool golden_fail(golden_case *run, const char *format, ...) {
    if (!run->failed) {
        va_list list;
        va_start(list, format);
        vsnprintf(run->why, sizeof run->why, format, list);
        va_end(list);
    }
    run->failed = true;
    return false;
}

void *golden_take(golden_case *run, size_t bytes) {
    size_t total = (64 + bytes + 64) / 64 * 64;
    golden_block *block = aligned_alloc(64, total);
    if (!block) {
        fprintf(stderr, "golden: no memory for %zu bytes\n", bytes);
        exit(1);
    }
    memset(block, 0x88, total);
    block->next = run->blocks;
    run->blocks = block;
    return (unsigned char *)block + 64;
}

void golden_release(golden_case *run) {
    while (run->blocks) {
        golden_block *next = run->blocks->next;
        free(run->blocks);
        run->blocks = next;
    }
}

/* Reads "(3, 4, )" after "'shape':". */
static bool shape_parse(const char *header, golden_array *out) {
    const char *at = strstr(header, "'shape':");
    at = at ? strchr(at, '(') : NULL;
    if (!at) return false;
    out->count = 1;
    for (at++; *at && *at != ')';) {
        char *end;
        unsigned long long size = strtoull(at, &end, 10);
        if (end == at) return false;
        if (out->dims == GOLDEN_DIMS || size > 1u << 30) return false;
        out->shape[out->dims++] = (size_t)size;
        if (size && out->count > SIZE_MAX / 8 / (size_t)size) return false;
        out->count *= (size_t)size;
        for (at = end; *at == ',' || *at == ' '; at++) {
        }
    }
    return *at == ')';
}

static bool npy_read(golden_case *run, FILE *file, char kind, golden_array *out) {
    unsigned char start[10];
    char header[1000];
    static const struct {
        char kind;
        const char *text;
        size_t bytes;
    } kinds[] = {{'f', "'<f4'", 4}, {'b', "'|u1'", 1}, {'h', "'<u2'", 2}, {'i', "'<i4'", 4}};
    if (fread(start, 1, sizeof start, file) != sizeof start || memcmp(start, "\x93NUMPY\1", 7) != 0) return false;
    size_t length = (size_t)start[8] | (size_t)start[9] << 8, bytes = 0;
    if (length >= sizeof header || fread(header, 1, length, file) != length) return false;
    header[length] = '\0';
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (kinds[i].kind == kind && strstr(header, kinds[i].text)) bytes = kinds[i].bytes;
    if (!bytes || !strstr(header, "'fortran_order': False") || !shape_parse(header, out)) return false;
    void *data = golden_take(run, out->count * bytes);
    if (fread(data, bytes, out->count, file) != out->count || fgetc(file) != EOF) return false;
    if (kind == 'f') out->f32 = data;
    if (kind == 'b') out->u8 = data;
    if (kind == 'h') out->u16 = data;
    if (kind == 'i') out->i32 = data;
    return true;
}

bool golden_load(golden_case *run, const char *name, char kind, golden_array *out) {
    char path[2000];
    snprintf(path, sizeof path, "%s/%s.npy", run->folder, name);
    *out = (golden_array){0};
    FILE *file = fopen(path, "rb");
    if (!file) return golden_fail(run, "%s cannot be read", path);
    bool good = npy_read(run, file, kind, out);
    fclose(file);
    return good || golden_fail(run, "%s is not an .npy file of the expected type", path);
}

float golden_number(const json_t *value) {
    if (json_is_number(value)) return (float)json_number_value(value);
    const char *text = json_string_value(value);
    if (text && strcmp(text, "inf") == 0) return INFINITY;
    if (text && strcmp(text, "-inf") == 0) return -INFINITY;
    return NAN;
}

static const json_t *field(golden_case *run, const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    if (!value) golden_fail(run, "there is no \"%s\"", key);
    return value;
}

/* Numbers beyond 32 bits (a huge window) are as large as can be. */
uint32_t golden_u32(golden_case *run, const json_t *object, const char *key) {
    json_int_t value = json_integer_value(field(run, object, key));
    return value < 0 ? 0 : value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

float golden_f32(golden_case *run, const json_t *object, const char *key) {
    return golden_number(field(run, object, key));
}

bool golden_bool(golden_case *run, const json_t *object, const char *key) {
    return json_is_true(field(run, object, key));
}

fv_policy golden_policy(golden_case *run, const json_t *object) {
    fv_policy policy;
    fv_policy_default(FV_SELECTOR_PATTERN, &policy);
    policy.window = golden_u32(run, object, "window");
    policy.block = golden_u32(run, object, "block_size");
    policy.causal = golden_bool(run, object, "causal");
    policy.log_stride = golden_bool(run, object, "use_log_stride");
    policy.landmarks = golden_bool(run, object, "use_landmarks");
    const json_t *globals = field(run, object, "global_tokens");
    policy.globals_count = (uint32_t)json_array_size(globals);
    for (uint32_t i = 0; i < policy.globals_count && i < FV_POLICY_GLOBALS; i++)
        policy.globals[i] = (uint32_t)json_integer_value(json_array_get(globals, i));
    return policy;
}

bool golden_ok(golden_case *run, const char *what, fv_status status) {
    return status == FV_OK || golden_fail(run, "%s: %s", what, fv_status_text(status));
}

fv_pattern *golden_pattern(golden_case *run, const fv_pattern_config *config) {
    size_t bytes = 0;
    fv_pattern *pattern = NULL;
    if (!golden_ok(run, "fv_pattern_size", fv_pattern_size(config, &bytes))) return NULL;
    fv_status status = fv_pattern_init(&pattern, config, run->kernels, golden_take(run, bytes), bytes);
    return golden_ok(run, "fv_pattern_init", status) ? pattern : NULL;
}

fv_cache *golden_cache(golden_case *run, const fv_cache_config *config) {
    size_t bytes = 0;
    fv_cache *cache = NULL;
    if (!golden_ok(run, "fv_cache_size", fv_cache_size(config, &bytes))) return NULL;
    fv_status status = fv_cache_init(&cache, config, run->kernels, golden_take(run, bytes), bytes);
    return golden_ok(run, "fv_cache_init", status) ? cache : NULL;
}

/* From the data, not from names. */
void golden_tolerance(golden_case *run, const golden_array *values) {
    const json_t *scale = json_object_get(run->json, "qk_scale");
    bool wide = scale && golden_number(scale) > 1.0f;
    for (size_t i = 0; values && i < values->count; i++)
        if (fabsf(values->f32[i]) > 16.0f) wide = true;
    run->tolerance = wide ? 5e-5 : 2e-6;
}

static void bits_add(golden_case *run, const void *data, size_t bytes) {
    const unsigned char *x = data;
    for (size_t i = 0; i < bytes; i++) run->bits = (run->bits ^ x[i]) * 0x100000001B3u;
}

void golden_compare(golden_case *run, const char *what, size_t count, const float *got, const float *want) {
    for (size_t i = 0; i < count; i++) {
        double difference = fabs((double)got[i] - (double)want[i]);
        if (got[i] == want[i] || (isnan(got[i]) && isnan(want[i]))) difference = 0.0;
        if (difference > run->worst) run->worst = difference;
        if (!(difference <= run->tolerance))
            golden_fail(run, "%s[%zu] is %.9g, not %.9g", what, i, (double)got[i], (double)want[i]);
    }
    run->values += count;
    bits_add(run, got, count * sizeof *got);
}

void golden_compare_exact(golden_case *run, const char *what, size_t index, int64_t got, int64_t want) {
    if (got != want) golden_fail(run, "%s %zu: %lld, not %lld", what, index, (long long)got, (long long)want);
    run->values++;
    bits_add(run, &got, sizeof got);
}
