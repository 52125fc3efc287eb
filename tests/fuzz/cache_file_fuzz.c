/* cache_file_fuzz.c - any bytes as a saved cache: refused with the cache untouched, or a state that saves and comes
 * back. An input is one byte that says which configuration and whether the checksums are made right, two headers of 72
 * bytes, the data of slot 0, and of slot 1 the same with one bit more set. */
#include "fovea/cache.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) \
    if (!(condition)) abort()

enum { HEADER = 72, SECTOR = 4096, DATA = 2 * SECTOR, STORE_BYTES = 65536, CACHE_BYTES = 65536 };

static uint8_t image[2][STORE_BYTES];

static fv_status image_read(void *context, uint64_t offset, void *bytes, size_t count) {
    REQUIRE(count <= 256 && offset <= STORE_BYTES - count);
    memcpy(bytes, (uint8_t *)context + offset, count);
    return FV_OK;
}

static fv_status image_write(void *context, uint64_t offset, const void *bytes, size_t count) {
    REQUIRE(count <= 256 && offset <= STORE_BYTES - count);
    memcpy((uint8_t *)context + offset, bytes, count);
    return FV_OK;
}

static uint64_t crc64(const uint8_t *bytes, size_t count) {
    uint64_t sum = UINT64_MAX;
    for (size_t i = 0; i < count; i++) {
        sum ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) sum = sum >> 1 ^ (sum & 1 ? 0xC96C5795D7870F42u : 0);
    }
    return ~sum;
}

static void number_put(uint8_t *bytes, uint64_t number) {
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(number >> (8 * i));
}

static size_t vector_bytes(uint32_t type, size_t dim) {
    static const size_t element[] = {4, 2, 1, 2};
    if (type == FV_ELEMENT_Q4_0) return (dim + 31) / 32 * 18;
    return dim * element[type] + (type == FV_ELEMENT_Q8_0 ? 4 : 0);
}

/* As many bytes of data as the header's tokens need; tokens that are too many need none. */
static size_t data_bytes(const fv_cache_config *config, const uint8_t *header) {
    size_t tokens = header[48] | (size_t)header[49] << 8, dim = config->head_dim, marks = 0;
    if (tokens > config->max_tokens) return 0;
    if (config->landmark_tokens) marks = (tokens + config->landmark_tokens - 1) / config->landmark_tokens;
    size_t token = vector_bytes(config->key_type, dim) + vector_bytes(config->value_type, dim);
    return config->kv_heads * (tokens * token + marks * dim * 8);
}

static fv_cache *cache_make(const fv_cache_config *config, const fv_kernels *kernels, void *memory, size_t bytes) {
    static const float row[2 * 9] = {1, -2, 3, -4, 5};
    fv_cache *cache = NULL;
    REQUIRE(fv_cache_init(&cache, config, kernels, memory, bytes) == FV_OK);
    REQUIRE(fv_cache_append(cache, 1, row, 18, row, 18) == FV_OK);
    return cache;
}

/* 0..35: the types of version 1, each with each; 36..63: those of version 2. */
static void config_choose(fv_cache_config *config, unsigned choice) {
    static const uint8_t pairs[7][2] = {{FV_ELEMENT_Q4_0, FV_ELEMENT_Q4_0}, {FV_ELEMENT_BF16, FV_ELEMENT_BF16},
                                        {FV_ELEMENT_Q4_0, FV_ELEMENT_BF16}, {FV_ELEMENT_BF16, FV_ELEMENT_Q4_0},
                                        {FV_ELEMENT_Q8_0, FV_ELEMENT_Q4_0}, {FV_ELEMENT_Q4_0, FV_ELEMENT_F16},
                                        {FV_ELEMENT_F32, FV_ELEMENT_BF16}};
    bool is_first = choice < 36;
    config->key_type = is_first ? choice / 2 % 3 : pairs[(choice - 36) / 2 % 7][0];
    config->value_type = is_first ? choice / 6 % 3 : pairs[(choice - 36) / 2 % 7][1];
    config->landmark_tokens = (is_first ? choice / 18 : (choice - 36) / 14) % 2 * 7;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint64_t table[FV_KERNELS_BYTES / 8];
    static _Alignas(FV_CACHE_ALIGN) uint8_t memory[2][CACHE_BYTES];
    const fv_kernels *kernels = NULL;
    REQUIRE(fv_kernels_init(&kernels, FV_ISA_SCALAR, table, sizeof table) == FV_OK);
    if (size < 1 + 2 * HEADER) return 0;
    fv_cache_config config = {.kv_heads = 1 + data[0] % 2, .head_dim = 9, .max_tokens = 40};
    config_choose(&config, data[0] & 63);
    uint64_t store_bytes = 0;
    REQUIRE(fv_cache_save_size(&config, &store_bytes) == FV_OK && store_bytes <= STORE_BYTES);
    size_t slot_bytes = (size_t)(store_bytes - DATA) / 2, given = size - 1 - 2 * HEADER;
    if (given > slot_bytes) given = slot_bytes;
    memset(image, 0, sizeof image);
    for (size_t slot = 0; slot < 2; slot++) {
        uint8_t *header = image[0] + slot * SECTOR, *start = image[0] + DATA + slot * slot_bytes;
        memcpy(header, data + 1 + slot * HEADER, HEADER);
        memcpy(start, data + 1 + 2 * HEADER, given);
        if (slot == 1) start[0] ^= 1;
        if (data[0] & 64) number_put(header + 56, crc64(start, data_bytes(&config, header)));
        if (data[0] & 128) number_put(header + 64, crc64(header, 64));
    }
    fv_store store = {.context = image[0], .read = image_read, .write = image_write};
    fv_store other = {.context = image[1], .read = image_read, .write = image_write};
    fv_cache *cache = cache_make(&config, kernels, memory[0], CACHE_BYTES);
    fv_cache *second = cache_make(&config, kernels, memory[1], CACHE_BYTES);
    fv_cache_config shape;
    uint64_t sequence = 0, saved = 0;
    if (fv_cache_save_shape(&store, &shape) == FV_OK) REQUIRE(fv_cache_size(&shape, &(size_t){0}) == FV_OK);
    fv_status status = fv_cache_restore(cache, &store, &sequence);
    REQUIRE(fv_cache_tokens(cache) <= 40 && (status == FV_OK || (fv_cache_tokens(cache) == 1 && sequence == 0)));
    REQUIRE(fv_cache_save(cache, &other, &saved) == FV_OK && saved == 1);
    REQUIRE(fv_cache_restore(second, &other, &saved) == FV_OK && fv_cache_tokens(second) == fv_cache_tokens(cache));
    uint8_t *again = image[1] + DATA; /* what was restored saves as the same bytes in the second slot */
    REQUIRE(fv_cache_save(second, &other, &saved) == FV_OK && saved == 2);
    REQUIRE(memcmp(again, again + slot_bytes, data_bytes(&config, image[1])) == 0);
    status = fv_cache_save(cache, &store, &saved);
    if (status == FV_OK) REQUIRE(fv_cache_restore(second, &store, &sequence) == FV_OK && sequence == saved);
    if (status == FV_OK && fv_cache_save_forget(&store, saved - 1) == FV_OK)
        REQUIRE(fv_cache_restore(second, &store, &sequence) == FV_OK && sequence < saved);
    return 0;
}
