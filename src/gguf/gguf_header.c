/* gguf_header.c - see gguf_header.h. */
#include "gguf/gguf_header.h"
#include "gguf/gguf_tensors.h"
#include <string.h>

static bool is_all(const fv_gguf_reader *in, uint8_t byte, size_t count) {
    for (size_t i = 0; i < count && i < in->count; i++)
        if (in->bytes[i] != byte) return false;
    return true;
}

/* Without a leading byte order mark and white space: web pages begin with them. */
static fv_gguf_reader text_start(const fv_gguf_reader *in) {
    fv_gguf_reader text = *in;
    if (in->count > 3 && memcmp(in->bytes, "\xEF\xBB\xBF", 3) == 0) text.bytes += 3, text.count -= 3;
    while (text.count > 0 && (*text.bytes == ' ' || (*text.bytes >= '\t' && *text.bytes <= '\r')))
        text.bytes++, text.count--;
    return text;
}

/* What people hand over instead of a GGUF file. */
static const char *foreign_format(const fv_gguf_reader *in) {
    static const struct {
        const char *start, *hint;
    } known[] = {
        {"lmgg", "this is an old GGML file; convert the model to GGUF"},
        {"fmgg", "this is an old GGML file; convert the model to GGUF"},
        {"tjgg", "this is an old GGML file; convert the model to GGUF"},
        {"PK\x03\x04", "this is a zip archive or a PyTorch checkpoint; unpack or convert it to GGUF"},
        {"version https://git-lfs", "this is a Git LFS pointer; fetch the file itself (git lfs pull)"},
        {"ggla", "this is an old GGML adapter; convert it to GGUF and merge it into its model"},
        {"algg", "this is an old GGML adapter; convert it to GGUF and merge it into its model"},
        {"\x1F\x8B", "this is compressed with gzip; unpack it first (gunzip)"},
        {"\x28\xB5\x2F\xFD", "this is compressed with zstd; unpack it first (unzstd)"},
        {"\xFD"
         "7zXZ",
         "this is compressed with xz; unpack it first (unxz)"},
        {"BZh", "this is compressed with bzip2; unpack it first (bunzip2)"},
        {"7z\xBC\xAF", "this is a 7z archive; unpack it first"},
        {"Rar!", "this is a RAR archive; unpack it first"},
        {"\x80\x02", "this is a pickled PyTorch file; convert the model to GGUF"},
        {"\x89HDF", "this is an HDF5 file; convert the model to GGUF"},
        {"<", "this is a web page; the download link was wrong, or wanted a login"},
        {"{", "this is a JSON text, perhaps the answer of a server; download the file again"},
    };
    const fv_gguf_reader text = text_start(in);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t length = strlen(known[i].start);
        const fv_gguf_reader *from = strchr("<{", known[i].start[0]) ? &text : in;
        if (from->count >= length && memcmp(from->bytes, known[i].start, length) == 0) return known[i].hint;
    }
    if (in->count > 8 && in->bytes[8] == '{') return "this is a safetensors file; convert the model to GGUF";
    if (in->count > 262 && memcmp(in->bytes + 257, "ustar", 5) == 0) return "this is a tar archive; unpack it first";
    if (is_all(in, 0, 64)) return "it begins with zeros: the download is not finished; download it again";
    return "name a GGUF file, or download it again";
}

static fv_status read_version(fv_gguf_reader *in, fv_gguf_header *out) {
    if (in->count < 4 || memcmp(in->bytes, "GGUF", 4) != 0)
        return fv_message_set(in->message, FV_ERROR_CORRUPT, "%s: is no GGUF file: %s", in->path, foreign_format(in));
    in->offset = 4;
    if (!fv_gguf_read_u32(in, &out->version)) return fv_gguf_cut_short(in, "header field", 1);
    if (out->version == 2 || out->version == 3) return FV_OK;
    if (out->version != 0 && (out->version & 0xFFFF) == 0)
        return fv_message_set(in->message, FV_ERROR_UNSUPPORTED, "%s: is big-endian; convert it to little-endian first",
                              in->path);
    return fv_message_set(in->message, FV_ERROR_UNSUPPORTED,
                          "%s: is GGUF version %u, only 2 and 3 are read here; convert the model again", in->path,
                          (unsigned)out->version);
}

static fv_status read_counts(fv_gguf_reader *in, fv_gguf_header *out) {
    if (!fv_gguf_read_u64(in, &out->tensor_count)) return fv_gguf_cut_short(in, "header field", 2);
    if (!fv_gguf_read_u64(in, &out->entry_count)) return fv_gguf_cut_short(in, "header field", 3);
    uint64_t left = in->count - in->offset;
    if (out->entry_count <= left / FV_GGUF_ENTRY_MIN_BYTES && out->tensor_count <= left / FV_GGUF_TENSOR_MIN_BYTES)
        return FV_OK;
    return fv_gguf_tolerated(
        in, fv_message_set(
                in->message, FV_ERROR_CORRUPT,
                "%s: claims %llu metadata entries and %llu tensors, too many for its %zu bytes; download it again",
                in->path, (unsigned long long)out->entry_count, (unsigned long long)out->tensor_count, in->count));
}

fv_status fv_gguf_header_read(fv_gguf_reader *in, fv_gguf_header *out) {
    *out = (fv_gguf_header){.alignment = 32, .split_count = 1};
    fv_status status = read_version(in, out);
    return status == FV_OK ? read_counts(in, out) : status;
}

fv_status fv_gguf_header_facts(const fv_gguf_reader *in, const fv_gguf_entry_list *list, fv_gguf_header *out) {
    uint32_t alignment = 32;
    fv_status status = fv_gguf_entries_u32(in, list, "general.alignment", &alignment);
    if (status == FV_OK) status = fv_gguf_entries_u32(in, list, "split.no", &out->split_number);
    if (status == FV_OK) status = fv_gguf_entries_u32(in, list, "split.count", &out->split_count);
    if (status != FV_OK) return status;
    if (out->split_count == 0) out->split_count = 1; /* some writers say 0 for a whole file */
    if (out->split_number >= out->split_count)
        return fv_message_set(in->message, FV_ERROR_CORRUPT,
                              "%s: claims to be part %llu of %u (split.no, split.count); split the model again",
                              in->path, (unsigned long long)out->split_number + 1, (unsigned)out->split_count);
    if (alignment < 8 || (alignment & (alignment - 1)) != 0)
        return fv_message_set(
            in->message, FV_ERROR_CORRUPT,
            "%s: general.alignment is %u, it must be a power of two from 8 up; convert the model again", in->path,
            (unsigned)alignment);
    out->alignment = alignment;
    return FV_OK;
}
