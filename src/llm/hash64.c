/* hash64.c - XXH64 as its specification says (Collet, xxHash 0.1.1). Each step is a bijection of what it is given, so
 * that one word that differs can't be lost on the way. */
#include "llm/hash64.h"

#define PRIME1 0x9E3779B185EBCA87u
#define PRIME2 0xC2B2AE3D27D4EB4Fu
#define PRIME3 0x165667B19E3779F9u
#define PRIME4 0x85EBCA77C2B2AE63u
#define PRIME5 0x27D4EB2F165667C5u

static uint64_t turn(uint64_t x, int bits) { return x << bits | x >> (64 - bits); }
static uint64_t lane_add(uint64_t lane, uint64_t word) { return turn(lane + word * PRIME2, 31) * PRIME1; }
static uint64_t lane_merge(uint64_t sum, uint64_t lane) { return (sum ^ lane_add(0, lane)) * PRIME1 + PRIME4; }

/* All whole blocks of 32 bytes; *at ends up just after them. */
static uint64_t blocks_add(uint64_t seed, const uint8_t **at, const uint8_t *end) {
    uint64_t a = seed + PRIME1 + PRIME2, b = seed + PRIME2, c = seed, d = seed - PRIME1;
    const uint8_t *x = *at;
    for (; end - x >= 32; x += 32) {
        a = lane_add(a, fv_le64_get(x));
        b = lane_add(b, fv_le64_get(x + 8));
        c = lane_add(c, fv_le64_get(x + 16));
        d = lane_add(d, fv_le64_get(x + 24));
    }
    *at = x;
    uint64_t sum = turn(a, 1) + turn(b, 7) + turn(c, 12) + turn(d, 18);
    return lane_merge(lane_merge(lane_merge(lane_merge(sum, a), b), c), d);
}

uint64_t fv_hash64(uint64_t seed, const void *bytes, size_t count) {
    static const uint8_t nothing[1];
    const uint8_t *x = count ? bytes : nothing, *end = x + count;
    uint64_t sum = (count >= 32 ? blocks_add(seed, &x, end) : seed + PRIME5) + count;
    for (; end - x >= 8; x += 8) sum = turn(sum ^ lane_add(0, fv_le64_get(x)), 27) * PRIME1 + PRIME4;
    for (; end - x >= 4; x += 4) sum = turn(sum ^ fv_le32_get(x) * PRIME1, 23) * PRIME2 + PRIME3;
    for (; x < end; x++) sum = turn(sum ^ *x * PRIME5, 11) * PRIME1;
    sum = (sum ^ sum >> 33) * PRIME2;
    sum = (sum ^ sum >> 29) * PRIME3;
    return sum ^ sum >> 32;
}
