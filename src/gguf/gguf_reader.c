/* gguf_reader.c - see gguf_reader.h. */
#include "gguf/gguf_reader.h"

static bool read_bytes(fv_gguf_reader *in, size_t bytes, const uint8_t **data) {
    if (bytes > in->count - in->offset) return false;
    *data = in->bytes + in->offset;
    in->offset += bytes;
    return true;
}

bool fv_gguf_read_u32(fv_gguf_reader *in, uint32_t *value) {
    const uint8_t *data;
    if (!read_bytes(in, 4, &data)) return false;
    *value = (uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
    return true;
}

bool fv_gguf_read_u64(fv_gguf_reader *in, uint64_t *value) {
    uint32_t low, high;
    if (in->count - in->offset < 8 || !fv_gguf_read_u32(in, &low) || !fv_gguf_read_u32(in, &high)) return false;
    *value = (uint64_t)high << 32 | low;
    return true;
}

bool fv_gguf_read_text(fv_gguf_reader *in, fv_gguf_text *text) {
    uint64_t length;
    const uint8_t *data;
    if (!fv_gguf_read_u64(in, &length) || length > SIZE_MAX || !read_bytes(in, (size_t)length, &data)) return false;
    *text = (fv_gguf_text){.bytes = (const char *)data, .length = (size_t)length};
    return true;
}

fv_status fv_gguf_tolerated(const fv_gguf_reader *in, fv_status status) {
    if (status == FV_OK || status == FV_ERROR_MEMORY || !in->told) return status;
    in->told(in->told_context, in->message->text);
    return FV_OK;
}

fv_status fv_gguf_no_memory(const fv_gguf_reader *in) {
    return fv_message_set(in->message, FV_ERROR_MEMORY, "%s: no memory for its list of contents", in->path);
}

fv_status fv_gguf_cut_short(const fv_gguf_reader *in, const char *place, uint64_t number) {
    return fv_message_set(in->message, FV_ERROR_CORRUPT,
                          "%s: cut short or damaged in %s %llu at byte %zu of %zu; download it again", in->path, place,
                          (unsigned long long)number, in->offset, in->count);
}
