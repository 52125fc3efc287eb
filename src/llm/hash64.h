/* hash64.h - XXH64, the checksum of files with gigabytes in them: four multiplications for 32 bytes. */
#ifndef FV_HASH64_H
#define FV_HASH64_H

#include <stddef.h>
#include <stdint.h>

/* Of `count` bytes, from `seed` on: the same on every host. A change within one aligned word of 8 bytes changes it for
 * certain, any other but for one in 2^64. It finds accidents and is no signature. */
uint64_t fv_hash64(uint64_t seed, const void *bytes, size_t count);

/* Little-endian numbers at any address. */
static inline uint32_t fv_le32_get(const uint8_t *bytes) {
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static inline uint64_t fv_le64_get(const uint8_t *bytes) {
    return fv_le32_get(bytes) | (uint64_t)fv_le32_get(bytes + 4) << 32;
}

static inline void fv_le32_put(uint8_t *bytes, uint32_t value) {
    for (int i = 0; i < 4; i++) bytes[i] = (uint8_t)(value >> 8 * i);
}

static inline void fv_le64_put(uint8_t *bytes, uint64_t value) {
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(value >> 8 * i);
}

#endif
