/* session_layout.c - the header of a session file, to bytes and back. */
#include "llm/session_layout.h"
#include "numeric/size.h"
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

bool fv_session_places_make(const fv_session_numbers *numbers, size_t entries, fv_session_places *places) {
    size_t bytes = FV_SESSION_HEADER;
    if (!fv_size_add(&bytes, numbers->layers, FV_SESSION_LAYER, 1)) return false;
    places->ids = bytes;
    if (!fv_size_add(&bytes, numbers->tokens, 4, 1)) return false;
    if (!fv_size_add(&bytes, bytes % 8 ? 8 - bytes % 8 : 0, 1, 1)) return false;
    places->table = bytes;
    if (!fv_size_add(&bytes, entries, FV_SESSION_ENTRY, 1)) return false;
    places->texts = bytes;
    if (!fv_size_add(&bytes, numbers->name_bytes, 1, 1) || !fv_size_add(&bytes, numbers->attention_bytes, 1, 1))
        return false;
    places->bytes = 0;
    return fv_size_add(&places->bytes, bytes, 1, FV_SESSION_ALIGN);
}

void fv_session_header_put(const fv_session_numbers *numbers, uint64_t head_checksum, uint8_t *header) {
    memcpy(header, FV_SESSION_MAGIC, 8);
    fv_le32_put(header + FV_SESSION_AT_VERSION, numbers->stamp ? FV_SESSION_VERSION_STAGE : FV_SESSION_VERSION);
    fv_le32_put(header + FV_SESSION_AT_HEADER_BYTES, FV_SESSION_HEADER);
    fv_le64_put(header + FV_SESSION_AT_HEAD_BYTES, numbers->head_bytes);
    fv_le64_put(header + FV_SESSION_AT_FILE_BYTES, numbers->file_bytes);
    fv_le64_put(header + FV_SESSION_AT_MODEL, numbers->model);
    fv_le64_put(header + FV_SESSION_AT_STAMP, numbers->stamp);
    uint8_t *at = header + FV_SESSION_AT_NUMBERS;
#define NUMBER_PUT(field, least, most) \
    fv_le32_put(at, numbers->field); \
    at += 4;
    FV_SESSION_NUMBERS(NUMBER_PUT)
#undef NUMBER_PUT
    fv_le64_put(header + FV_SESSION_AT_HEAD_CHECKSUM, head_checksum);
    fv_le64_put(header + FV_SESSION_AT_CHECKSUM, fv_hash64(0, header, FV_SESSION_AT_CHECKSUM));
}

const char *fv_session_header_get(const uint8_t *header, fv_session_numbers *numbers, fv_status *status) {
    *status = FV_ERROR_CORRUPT;
    if (memcmp(header, FV_SESSION_MAGIC, 8) != 0) return "is no session file";
    if (fv_le64_get(header + FV_SESSION_AT_CHECKSUM) != fv_hash64(0, header, FV_SESSION_AT_CHECKSUM))
        return "is damaged: the header's checksum is wrong";
    *status = FV_ERROR_UNSUPPORTED;
    uint32_t version = fv_le32_get(header + FV_SESSION_AT_VERSION);
    if (version != FV_SESSION_VERSION && version != FV_SESSION_VERSION_STAGE) return "was written by a newer version";
    *status = FV_ERROR_CORRUPT;
    if (fv_le32_get(header + FV_SESSION_AT_HEADER_BYTES) != FV_SESSION_HEADER) return "has a header of another length";
    uint64_t stamp = fv_le64_get(header + FV_SESSION_AT_STAMP);
    if (stamp != 0 && version == FV_SESSION_VERSION) return "has something where nothing should be";
    if (stamp == 0 && version == FV_SESSION_VERSION_STAGE) return "has no stamp";
    *numbers = (fv_session_numbers){.head_bytes = fv_le64_get(header + FV_SESSION_AT_HEAD_BYTES),
                                    .file_bytes = fv_le64_get(header + FV_SESSION_AT_FILE_BYTES),
                                    .model = fv_le64_get(header + FV_SESSION_AT_MODEL),
                                    .stamp = stamp};
    const uint8_t *at = header + FV_SESSION_AT_NUMBERS;
    int64_t value;
#define NUMBER_GET(field, least, most) \
    value = fv_le32_get(at); \
    if (value < (int64_t)(least) || value > (int64_t)(most)) return "has a number out of range: " #field; \
    numbers->field = (uint32_t)value; \
    at += 4;
    FV_SESSION_NUMBERS(NUMBER_GET)
#undef NUMBER_GET
    *status = FV_OK;
    return NULL;
}

uint64_t fv_session_stamp_at(const char *path) {
    uint8_t header[FV_SESSION_HEADER];
    fv_session_numbers numbers;
    fv_status status;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* non-blocking: a pipe must not hang us */
    if (descriptor < 0) return 0;
    bool good = read(descriptor, header, sizeof header) == sizeof header;
    close(descriptor);
    return good && !fv_session_header_get(header, &numbers, &status) ? numbers.stamp : 0;
}
