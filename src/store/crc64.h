/* crc64.h - CRC-64/XZ, the checksum of saved states. */
#ifndef FV_CRC64_H
#define FV_CRC64_H

#include <stddef.h>
#include <stdint.h>

/* Of the bytes that gave `sum` and then these; 0 before the first. */
uint64_t fv_crc64_add(uint64_t sum, const unsigned char *bytes, size_t count);

#endif
