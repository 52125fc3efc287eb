/* index_file_fuzz.c - any bytes as the file of an index: refused with a message, or an index that is searched inside
 * the file. The first byte says whether the checksums are made right, those of the header (1) and of sections (2): else
 * nothing but the first of them would ever be met; and whether it is searched without a check (4). */
#include "index/index_file.h"
#include "index/index_graph.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) \
    if (!(condition)) abort()

enum { MOST_DIM = 4096, K = 5 };

static void header_mend(uint8_t *bytes) {
    fv_le64_put(bytes + FV_INDEX_AT_CHECKSUM, fv_hash64(0, bytes, FV_INDEX_AT_CHECKSUM));
}

/* Sections as far as they lie in the file. */
static void sections_mend(uint8_t *bytes, size_t count) {
    fv_index index = {.config = {.dimension = fv_le32_get(bytes + FV_INDEX_AT_DIMENSION),
                                 .metric = fv_le32_get(bytes + FV_INDEX_AT_METRIC),
                                 .row_type = fv_le32_get(bytes + FV_INDEX_AT_ROW_TYPE),
                                 .refine_bits = fv_le32_get(bytes + FV_INDEX_AT_REFINE)},
                      .is_lean = fv_le32_get(bytes + FV_INDEX_AT_LEAN) > 0,
                      .is_packed = fv_le32_get(bytes + FV_INDEX_AT_LEAN) == 2};
    fv_index_sections at;
    if (index.config.dimension > FV_INDEX_DIMENSIONS || !fv_row_type_is(index.config.row_type) ||
        !fv_refine_bits_are(&index.config))
        return;
    index.rotated = (index.config.dimension + 63u) / 64 * 64;
    index.kept_bytes = fv_kept_bytes(&index);
    index.fine_bytes = fv_fine_bytes(&index);
    index.rows = (size_t)fv_le64_get(bytes + FV_INDEX_AT_ROWS);
    uint32_t degree = fv_le32_get(bytes + FV_INDEX_AT_DEGREE);
    if (degree > 256) return;
    index.row_bytes = fv_graph_row_bytes(&index, degree / 32 * 32);
    if (!fv_index_sections_make(&index, &at)) return;
    for (size_t i = 0; i < fv_index_section_count(&index) && at.offset[i + 1] <= count; i++) {
        size_t end = at.offset[i] + at.bytes[i];
        uint64_t checksum =
            fv_hash64(fv_hash64(0, bytes + at.offset[i], at.bytes[i]), bytes + end, at.offset[i + 1] - end);
        fv_le64_put(bytes + FV_INDEX_AT_CHECKSUMS + 8 * i, checksum);
    }
}

static void search_all(const fv_index *index) {
    static float query[MOST_DIM] = {1, -2, 3};
    uint64_t labels[K];
    float distances[K];
    fv_index_info info;
    fv_index_search search;
    fv_index_info_get(index, &info);
    if (info.dimension > MOST_DIM) return;
    fv_index_search_default(info.dimension, &search);
    search.queries = query;
    search.count = 1;
    search.k = K;
    REQUIRE(fv_index_nearest(index, &search, labels, distances, NULL, NULL) == FV_OK);
    for (size_t i = 1; i < K; i++) REQUIRE(distances[i - 1] <= distances[i]);
    search.beam = info.degree ? 7 : 0;
    REQUIRE(fv_index_nearest(index, &search, labels, distances, NULL, NULL) == FV_OK);
    for (size_t i = 1; i < K; i++) REQUIRE(distances[i - 1] <= distances[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fv_index *index = NULL;
    fv_message message = {""};
    if (size < 1) return 0;
    size_t count = size - 1;
    uint8_t *bytes = malloc(count ? count : 1);
    if (!bytes) return 0;
    memcpy(bytes, data + 1, count);
    if (count >= FV_INDEX_HEADER && data[0] & 2) sections_mend(bytes, count);
    if (count >= FV_INDEX_HEADER && data[0] & 1) header_mend(bytes);
    fv_status status = fv_index_open_memory(&index, bytes, count, "fuzz", &message);
    REQUIRE(status == FV_OK || (!index && strncmp(message.text, "fuzz: ", 6) == 0));
    if (status == FV_OK && (data[0] & 4 || fv_index_check(index, NULL) == FV_OK)) search_all(index);
    fv_index_close(index);
    free(bytes);
    return 0;
}
