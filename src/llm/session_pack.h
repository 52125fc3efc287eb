/* session_pack.h - a segment without its zeros: what a session file holds of one that is filled in part. */
#ifndef FV_SESSION_PACK_H
#define FV_SESSION_PACK_H

#include "llm/session_layout.h"

/* Bytes of segment[bytes], a multiple of FV_SESSION_UNIT, when it is packed. */
size_t fv_session_packed_bytes(const uint8_t *segment, size_t bytes);

/* packed: out, [fv_session_packed_bytes()]. */
void fv_session_pack(const uint8_t *segment, size_t bytes, uint8_t *packed);

/* segment: out, [bytes], or NULL: only checks. false: `packed` is not what packing makes. */
bool fv_session_unpack(const uint8_t *packed, size_t packed_bytes, uint8_t *segment, size_t bytes);

#endif
