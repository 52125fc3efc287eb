/* index_world.h - indexes for tests, and what a search must find, by looking at every vector. */
#ifndef FV_TEST_INDEX_WORLD_H
#define FV_TEST_INDEX_WORLD_H

#include "fovea/index.h"
#include "index/index_search.h"
#include "support/manifold.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define WORLD_OK(call) \
    do { \
        fv_message world_message = {""}; \
        fv_message *why = &world_message; \
        if ((call) != FV_OK) fail_msg("%s", world_message.text); \
    } while (0)

static inline fv_index *world_index(uint32_t metric, uint32_t dim, size_t rows, const float *vectors,
                                    const uint64_t *labels) {
    fv_index_config config;
    fv_index *index = NULL;
    fv_index_config_default(dim, metric, &config);
    config.seed = 77;
    WORLD_OK(fv_index_make(&index, &config, why));
    WORLD_OK(fv_index_add(index, rows, dim, vectors, labels, NULL, why));
    return index;
}

/* What is searched for. */
typedef struct world_query {
    const float *queries;
    size_t count;
    uint32_t k, beam;
} world_query;

/* labels, distances [count][k]. */
static inline fv_index_report world_search(const fv_index *index, const world_query *query, uint64_t *labels,
                                           float *distances) {
    fv_index_report report = {.struct_bytes = sizeof report};
    fv_index_info info;
    fv_index_search search;
    fv_index_info_get(index, &info);
    fv_index_search_default(info.dimension, &search);
    search.queries = query->queries;
    search.count = query->count;
    search.k = query->k;
    search.beam = query->beam;
    WORLD_OK(fv_index_nearest(index, &search, labels, distances, &report, why));
    return report;
}

/* All of a file; to be freed. */
static inline uint8_t *world_file(const char *path, size_t *count) {
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    *count = (size_t)info.st_size;
    uint8_t *bytes = malloc(*count + 1);
    FILE *file = fopen(path, "rb");
    assert_true(bytes && file && fread(bytes, 1, *count, file) == *count);
    fclose(file);
    return bytes;
}

/* Distance as an index of that metric has it; vectors as they were given. */
static inline float world_distance(uint32_t metric, uint32_t dim, const float *query, const float *vector) {
    const fv_scan_kernels *kernels = fv_scan_kernels_of(FV_ISA_SCALAR);
    if (metric == FV_INDEX_L2) return kernels->scan_distance(dim, query, vector);
    if (metric == FV_INDEX_IP) return 1 - kernels->scan_product(dim, query, vector);
    float *both = malloc(2 * dim * sizeof *both);
    fv_index_normalise(dim, query, both);
    fv_index_normalise(dim, vector, both + dim);
    float distance = 1 - kernels->scan_product(dim, both, both + dim);
    free(both);
    return distance;
}

static inline int world_order(const void *a, const void *b) {
    const fv_near *x = a, *y = b;
    if (x->distance != y->distance) return x->distance > y->distance ? 1 : -1;
    return (x->label > y->label) - (x->label < y->label);
}

/* All rows by distance; to be freed. labels: NULL = row numbers. */
static inline fv_near *world_sorted(uint32_t metric, uint32_t dim, size_t rows, const float *vectors,
                                    const uint64_t *labels, const float *query) {
    fv_near *all = malloc((rows ? rows : 1) * sizeof *all);
    for (size_t i = 0; i < rows; i++)
        all[i] = (fv_near){world_distance(metric, dim, query, vectors + i * dim), labels ? labels[i] : i};
    qsort(all, rows, sizeof *all, world_order);
    return all;
}

#endif
