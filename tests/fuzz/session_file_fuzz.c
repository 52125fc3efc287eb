/* session_file_fuzz.c - any bytes as a session file: refused with a message, or a session whose every segment is read
 * inside the file. The first byte says whether the checksums are made right, those of the head (1) and of the segments
 * (2): else nothing but the first of them would ever be met. */
#include "llm/session_layout.h"
#include "llm/session_segments.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) \
    if (!(condition)) abort()

/* Segments as the table has them, as far as they lie in the file. */
static void segments_mend(uint8_t *bytes, size_t count) {
    fv_session_numbers numbers;
    fv_session_places places;
    fv_status status;
    if (fv_session_header_get(bytes, &numbers, &status) || !fv_session_places_make(&numbers, 0, &places)) return;
    size_t entry = places.table;
    for (uint64_t offset = numbers.head_bytes; entry + FV_SESSION_ENTRY <= count && entry < numbers.head_bytes;
         entry += FV_SESSION_ENTRY) {
        uint64_t part = fv_le64_get(bytes + entry);
        if (offset > count || part > count - offset) return;
        fv_le64_put(bytes + entry + 8, fv_hash64(0, bytes + offset, (size_t)part));
        offset += (part + FV_SESSION_ALIGN - 1) / FV_SESSION_ALIGN * FV_SESSION_ALIGN;
    }
}

static void head_mend(uint8_t *bytes, size_t count) {
    uint64_t head = fv_le64_get(bytes + FV_SESSION_AT_HEAD_BYTES);
    if (head >= FV_SESSION_HEADER && head <= count)
        fv_le64_put(bytes + FV_SESSION_AT_HEAD_CHECKSUM,
                    fv_hash64(0, bytes + FV_SESSION_HEADER, (size_t)head - FV_SESSION_HEADER));
    fv_le64_put(bytes + FV_SESSION_AT_CHECKSUM, fv_hash64(0, bytes, FV_SESSION_AT_CHECKSUM));
}

static void read_all(const fv_session_file *file) {
    const fv_session_info *info = fv_session_file_info(file);
    REQUIRE(info->tokens > 0 && info->layers > 0 && strlen(info->model_name) <= FV_SESSION_TEXT_MOST);
    for (uint32_t i = 0; i < info->tokens; i++) REQUIRE((uint32_t)fv_session_file_tokens(file)[i] < info->vocabulary);
    bool good = fv_session_file_check(file, NULL) == FV_OK;
    for (uint32_t layer = 0; layer < info->layers; layer++) {
        size_t bytes = fv_session_file_segment_bytes(file, layer);
        void *memory = bytes <= (size_t)1 << 24 ? malloc(bytes) : NULL;
        for (uint32_t index = 0; memory && index <= info->tokens / 1024; index++) {
            const void *mapped = NULL;
            if (fv_session_file_segment(file, layer, index, &mapped, NULL) != FV_OK) {
                REQUIRE(!good);
                continue;
            }
            if (index < fv_session_file_first(file, layer)) REQUIRE(!mapped);
            if (fv_session_file_read(file, layer, index, memory, NULL) == FV_OK && mapped)
                REQUIRE(memcmp(memory, mapped, bytes) == 0);
        }
        free(memory);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fv_session_file *file = NULL;
    fv_message message = {""};
    if (size < 1) return 0;
    size_t count = size - 1;
    uint8_t *bytes = malloc(count ? count : 1);
    if (!bytes) return 0;
    memcpy(bytes, data + 1, count);
    if (count >= FV_SESSION_HEADER) {
        if (data[0] & 1) head_mend(bytes, count);
        if (data[0] & 2) segments_mend(bytes, count);
        if (data[0] & 1) head_mend(bytes, count);
    }
    if (fv_session_file_open_memory(&file, bytes, count, "fuzz", &message) == FV_OK)
        read_all(file);
    else
        REQUIRE(!file && strncmp(message.text, "fuzz: ", 6) == 0);
    fv_session_file_close(file);
    free(bytes);
    return 0;
}
