/* session_image.h - sessions of made-up segments, for tests of their files. */
#ifndef FV_TEST_SESSION_IMAGE_H
#define FV_TEST_SESSION_IMAGE_H

#include "fovea/session_file.h"
#include "llm/session_segments.h"
#include <stdlib.h>
#include <string.h>

enum { IMAGE_LAYERS = 2, IMAGE_SEGMENT_BYTES = 512, IMAGE_VOCABULARY = 1000, IMAGE_TOKENS_MOST = 4096 };

typedef struct test_image {
    fv_session_info info;
    fv_session_image image;
    int32_t tokens[IMAGE_TOKENS_MOST];
    uint32_t first[IMAGE_LAYERS]; /* segment of each layer; those before it are not there */
    size_t segment_bytes[IMAGE_LAYERS];
    unsigned seed;
    _Alignas(64) uint8_t segment[IMAGE_SEGMENT_BYTES];
} test_image;

/* The bytes of a segment; the last, filled in part, has zeros in two places. */
static inline void image_segment_fill(const test_image *image, uint32_t layer, uint32_t index, uint8_t *segment) {
    uint32_t tokens = image->info.tokens, held = tokens - index * 1024 < 1024 ? tokens - index * 1024 : 1024;
    memset(segment, 0, IMAGE_SEGMENT_BYTES);
    for (uint32_t i = 0; i < IMAGE_SEGMENT_BYTES; i++)
        if (i % 256 < held / 4) segment[i] = (uint8_t)(1 + (i * 7 + layer * 31 + index * 101 + image->seed) % 255);
}

static inline const void *image_segment_at(void *context, uint32_t layer, uint32_t index) {
    test_image *image = context;
    if (index < image->first[layer]) return NULL;
    image_segment_fill(image, layer, index, image->segment);
    return image->segment;
}

static inline test_image *image_make(uint32_t tokens, unsigned seed) {
    test_image *image = calloc(1, sizeof *image);
    if (!image) abort();
    image->seed = seed;
    for (int i = 0; i < IMAGE_LAYERS; i++) image->segment_bytes[i] = IMAGE_SEGMENT_BYTES;
    image->first[1] = tokens > 1024 ? 1 : 0; /* as a sliding window */
    image->info = (fv_session_info){.model = 0x0123456789abcdef + seed,
                                    .cache = {.kv_heads = 1, .head_dim = 8, .key_type = 1, .value_type = 2},
                                    .vocabulary = IMAGE_VOCABULARY,
                                    .layers = IMAGE_LAYERS,
                                    .tokens = tokens,
                                    .end = FV_SESSION_END_TURN,
                                    .model_name = "tiny.gguf",
                                    .attention = "dense"};
    for (uint32_t i = 0; i < tokens && i < IMAGE_TOKENS_MOST; i++)
        image->tokens[i] = (int32_t)((i * 37 + seed) % IMAGE_VOCABULARY);
    image->image = (fv_session_image){.info = &image->info,
                                      .segment_bytes = image->segment_bytes,
                                      .tokens = image->tokens,
                                      .segment = image_segment_at,
                                      .context = image};
    return image;
}

/* Whether the file holds exactly what the image does. */
static inline bool image_is_in(const test_image *image, const fv_session_file *file) {
    const fv_session_info *info = fv_session_file_info(file);
    uint8_t want[IMAGE_SEGMENT_BYTES], got[IMAGE_SEGMENT_BYTES];
    if (info->model != image->info.model || info->tokens != image->info.tokens || info->layers != IMAGE_LAYERS)
        return false;
    if (memcmp(fv_session_file_tokens(file), image->tokens, info->tokens * sizeof *image->tokens) != 0) return false;
    for (uint32_t layer = 0; layer < IMAGE_LAYERS; layer++)
        for (uint32_t index = image->first[layer]; index < (info->tokens + 1023) / 1024; index++) {
            const void *mapped = NULL;
            image_segment_fill(image, layer, index, want);
            if (fv_session_file_read(file, layer, index, got, NULL) != FV_OK) return false;
            if (memcmp(got, want, sizeof got) != 0) return false;
            if (fv_session_file_segment(file, layer, index, &mapped, NULL) != FV_OK) return false;
            if (mapped && memcmp(mapped, want, sizeof want) != 0) return false;
        }
    return true;
}

#endif
