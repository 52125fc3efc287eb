/* golden.h - one case of the vectors while it runs: its description, its arrays, its memory, what was compared. */
#ifndef FV_GOLDEN_H
#define FV_GOLDEN_H

#include "fovea/isa.h"
#include "fovea/parallel.h"
#include "fovea/reference/pattern.h"
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GOLDEN_DIMS = 4 };

/* An .npy file. One of the pointers is set. */
typedef struct golden_array {
    const float *f32;
    const uint8_t *u8;
    const uint16_t *u16;
    const int32_t *i32;
    size_t count, dims, shape[GOLDEN_DIMS];
} golden_array;

typedef struct golden_block golden_block; /* memory that the case frees */

typedef struct golden_case {
    const char *folder;
    json_t *json;
    const fv_kernels *kernels;
    const fv_parallel *parallel;
    golden_block *blocks;
    size_t values;
    uint64_t bits;           /* FNV-1a of every number of ours that was compared */
    double worst, tolerance; /* tolerance -1: exact */
    bool failed;
    char why[300]; /* first failure */
} golden_case;

typedef void golden_run_fn(golden_case *run);

/* The runner of a function, NULL if it is not known. */
golden_run_fn *golden_runner(const char *function);
golden_run_fn golden_errors;

/* Marks the case as failed; the first reason is kept. Always false. */
bool golden_fail(golden_case *run, const char *format, ...);

/* Memory of the case, aligned to 64 bytes, full of 0x88; never NULL. */
void *golden_take(golden_case *run, size_t bytes);
void golden_release(golden_case *run);

/* Reads NAME.npy of the case. A file that is missing, malformed or of another type is a failure: false. */
bool golden_load(golden_case *run, const char *name, char kind, golden_array *out);

/* Fields of case.json or of a row; a missing field is a failure of the case and gives 0. */
uint32_t golden_u32(golden_case *run, const json_t *object, const char *key);
float golden_f32(golden_case *run, const json_t *object, const char *key);
bool golden_bool(golden_case *run, const json_t *object, const char *key);
float golden_number(const json_t *value); /* also "nan", "inf", "-inf" */

/* The pattern policy that a case or a row describes. */
fv_policy golden_policy(golden_case *run, const json_t *object);

/* A pattern object for calls of that size. NULL: failed. */
fv_pattern *golden_pattern(golden_case *run, const fv_pattern_config *config);
fv_cache *golden_cache(golden_case *run, const fv_cache_config *config); /* NULL: failed */

void golden_tolerance(golden_case *run, const golden_array *values); /* values may be NULL */
void golden_compare(golden_case *run, const char *what, size_t count, const float *got, const float *want);
void golden_compare_exact(golden_case *run, const char *what, size_t index, int64_t got, int64_t want);
bool golden_ok(golden_case *run, const char *what, fv_status status); /* not FV_OK is a failure */

#endif
