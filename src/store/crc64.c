/* The checksum, a table of 16. */
#include "store/crc64.h"
#include "build.h"

#if FV_BUILD_FILE

/* CRC-64/XZ (ECMA-182, reflected), four bits at a time: 128 bytes of table, for small flash. It finds any error burst
 * of up to 64 bits for certain, so each flipped bit and byte, and misses others, a cut in the middle among them, with
 * 2^-64. */
uint64_t fv_crc64_add(uint64_t sum, const unsigned char *bytes, size_t count) {
    static const uint64_t step[16] = {
        0x0000000000000000u, 0x7D9BA13851336649u, 0xFB374270A266CC92u, 0x86ACE348F355AADBu,
        0x64B62BCAEBC387A1u, 0x192D8AF2BAF0E1E8u, 0x9F8169BA49A54B33u, 0xE21AC88218962D7Au,
        0xC96C5795D7870F42u, 0xB4F7F6AD86B4690Bu, 0x325B15E575E1C3D0u, 0x4FC0B4DD24D2A599u,
        0xADDA7C5F3C4488E3u, 0xD041DD676D77EEAAu, 0x56ED3E2F9E224471u, 0x2B769F17CF112238u,
    };
    sum = ~sum;
    for (size_t i = 0; i < count; i++) {
        sum ^= bytes[i];
        sum = sum >> 4 ^ step[sum & 15];
        sum = sum >> 4 ^ step[sum & 15];
    }
    return ~sum;
}

#endif
