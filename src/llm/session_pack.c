/* session_pack.c - the number of runs, then first unit and units of each, up to a whole unit; then the runs' bytes. */
#include "llm/session_pack.h"
#include <string.h>

static bool is_zero(const uint8_t *bytes, size_t count) {
    uint8_t all = 0;
    for (size_t i = 0; i < count; i++) all |= bytes[i];
    return all == 0;
}

/* The run from unit *first on, or after it: its length in units; 0: there is none. */
static size_t run_next(const uint8_t *segment, size_t units, size_t *first) {
    size_t end;
    while (*first < units && is_zero(segment + *first * FV_SESSION_UNIT, FV_SESSION_UNIT)) ++*first;
    for (end = *first; end < units && !is_zero(segment + end * FV_SESSION_UNIT, FV_SESSION_UNIT);) end++;
    return end - *first;
}

static size_t table_bytes(size_t runs) {
    return (4 + 8 * runs + FV_SESSION_UNIT - 1) / FV_SESSION_UNIT * FV_SESSION_UNIT;
}

static size_t runs_count(const uint8_t *segment, size_t units, size_t *used) {
    size_t runs = 0;
    *used = 0;
    for (size_t first = 0, length; (length = run_next(segment, units, &first)) > 0; first += length) {
        *used += length;
        runs++;
    }
    return runs;
}

size_t fv_session_packed_bytes(const uint8_t *segment, size_t bytes) {
    size_t used, runs = runs_count(segment, bytes / FV_SESSION_UNIT, &used);
    return table_bytes(runs) + used * FV_SESSION_UNIT;
}

void fv_session_pack(const uint8_t *segment, size_t bytes, uint8_t *packed) {
    size_t units = bytes / FV_SESSION_UNIT, used, runs = runs_count(segment, units, &used);
    uint8_t *entry = packed + 4, *data = packed + table_bytes(runs);
    memset(packed, 0, table_bytes(runs));
    fv_le32_put(packed, (uint32_t)runs);
    for (size_t first = 0, length; (length = run_next(segment, units, &first)) > 0; first += length, entry += 8) {
        fv_le32_put(entry, (uint32_t)first);
        fv_le32_put(entry + 4, (uint32_t)length);
        memcpy(data, segment + first * FV_SESSION_UNIT, length * FV_SESSION_UNIT);
        data += length * FV_SESSION_UNIT;
    }
}

bool fv_session_unpack(const uint8_t *packed, size_t packed_bytes, uint8_t *segment, size_t bytes) {
    size_t units = bytes / FV_SESSION_UNIT, next = 0;
    if (packed_bytes < FV_SESSION_UNIT || packed_bytes % FV_SESSION_UNIT != 0) return false;
    size_t runs = fv_le32_get(packed);
    if (runs > units || table_bytes(runs) > packed_bytes) return false;
    const uint8_t *entry = packed + 4, *data = packed + table_bytes(runs);
    size_t left = (packed_bytes - table_bytes(runs)) / FV_SESSION_UNIT;
    if (segment) memset(segment, 0, bytes);
    for (size_t i = 0; i < runs; i++, entry += 8) {
        size_t first = fv_le32_get(entry), length = fv_le32_get(entry + 4);
        if (first < next || first > units || length == 0 || length > units - first || length > left) return false;
        if (segment) memcpy(segment + first * FV_SESSION_UNIT, data, length * FV_SESSION_UNIT);
        data += length * FV_SESSION_UNIT;
        left -= length;
        next = first + length;
    }
    return left == 0;
}
