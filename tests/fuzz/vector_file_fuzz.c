/* vector_file_fuzz.c - any bytes as a file of vectors, labels or a filter: refused with a message, or as many elements
 * as the file has. The first byte chooses the ending. */
#include "index/vector_view.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) \
    if (!(condition)) abort()

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"f.npy", "f.fvecs", "f.bvecs", "f.ivecs"};
    fv_vectors vectors = {0};
    fv_labels labels = {0}, bits = {0};
    fv_message message = {""};
    if (size < 2) return 0; /* an empty file cannot be mapped */
    const char *name = names[data[0] % 4];
    uint8_t *bytes = malloc(size - 1);
    if (!bytes) return 0;
    memcpy(bytes, data + 1, size - 1);
    fv_file_map map = {.bytes = bytes, .count = size - 1};
    fv_status status = fv_vectors_take(&map, name, &vectors, &message);
    REQUIRE((status == FV_OK) == (message.text[0] == 0));
    REQUIRE(status != FV_OK || vectors.rows * vectors.dimension <= size);
    message.text[0] = 0;
    status = fv_labels_take(&map, name, &labels, &message);
    REQUIRE((status == FV_OK) == (message.text[0] == 0));
    REQUIRE(status != FV_OK || labels.rows * labels.columns <= size);
    (void)fv_filter_take(&map, name, &bits, &message);
    fv_vectors_free(&vectors);
    fv_labels_free(&labels);
    fv_labels_free(&bits);
    free(bytes);
    return 0;
}
