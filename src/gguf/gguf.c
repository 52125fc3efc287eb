/* gguf.c - opens GGUF files: every count, length, offset and size is checked here, once, so that all later reads are
 * plain. Memory grows with what was really read, never with what a header claims. */
#include "fovea/gguf.h"
#include "gguf/file_map.h"
#include "gguf/gguf_map.h"
#include "gguf/gguf_value.h"
#include "numeric/size.h"
#include <stdlib.h>
#include <string.h>

/* Smallest possible metadata entry (empty key, type, one byte) and tensor entry (empty name, no dimensions). */
enum { ENTRY_MIN_BYTES = 13, TENSOR_MIN_BYTES = 24 };
enum { SPLIT_NAME_BYTES = 20 }; /* "-00001-of-00003.gguf" */
enum { SHOWN_BYTES = 80 };      /* of a name from the file, in messages */

/* X(name, ggml type number, values per block, bytes per block): every type that ggml knows today, so that inspect can
 * name and measure what fovea cannot compute with. */
#define GGML_TYPE_LIST(X) \
    X("F32", 0, 1, 4) \
    X("F16", 1, 1, 2) \
    X("Q4_0", 2, 32, 18) \
    X("Q4_1", 3, 32, 20) \
    X("Q5_0", 6, 32, 22) \
    X("Q5_1", 7, 32, 24) \
    X("Q8_0", 8, 32, 34) \
    X("Q8_1", 9, 32, 36) \
    X("Q2_K", 10, 256, 84) \
    X("Q3_K", 11, 256, 110) \
    X("Q4_K", 12, 256, 144) \
    X("Q5_K", 13, 256, 176) \
    X("Q6_K", 14, 256, 210) \
    X("Q8_K", 15, 256, 292) \
    X("IQ2_XXS", 16, 256, 66) \
    X("IQ2_XS", 17, 256, 74) \
    X("IQ3_XXS", 18, 256, 98) \
    X("IQ1_S", 19, 256, 50) \
    X("IQ4_NL", 20, 32, 18) \
    X("IQ3_S", 21, 256, 110) \
    X("IQ2_S", 22, 256, 82) \
    X("IQ4_XS", 23, 256, 136) \
    X("I8", 24, 1, 1) \
    X("I16", 25, 1, 2) \
    X("I32", 26, 1, 4) \
    X("I64", 27, 1, 8) \
    X("F64", 28, 1, 8) \
    X("IQ1_M", 29, 256, 56) \
    X("BF16", 30, 1, 2) \
    X("TQ1_0", 34, 256, 54) \
    X("TQ2_0", 35, 256, 66) \
    X("MXFP4", 39, 32, 17) \
    X("NVFP4", 40, 64, 36) \
    X("Q1_0", 41, 128, 18) \
    X("Q2_0", 42, 64, 18)

typedef struct ggml_type {
    const char *name; /* NULL in the gaps that retired types left */
    uint32_t block_values, block_bytes;
} ggml_type;

#define GGML_TYPE_ROW(name, number, values, bytes) [number] = {name, values, bytes},
static const ggml_type ggml_types[] = {GGML_TYPE_LIST(GGML_TYPE_ROW)};

/* Names in order, each the first member of its entry or tensor: found by bisection, duplicates are neighbours. Not a
 * hash: a file could choose names that collide. */
typedef struct name_index {
    const fv_gguf_text **names;
    size_t count;
} name_index;

typedef struct entry_list {
    fv_gguf_entry *items;
    size_t count, capacity;
    name_index index;
} entry_list;

typedef struct tensor_list {
    fv_gguf_tensor *items;
    size_t count, capacity;
    name_index index;
} tensor_list;

struct fv_gguf {
    char *path;
    fv_file_map *maps; /* one per file; empty when opened from memory */
    size_t map_count, map_capacity;
    uint32_t version, files;
    uint64_t alignment, file_bytes;
    entry_list entries;
    tensor_list tensors;
};

/* One file being read. */
typedef struct reader {
    const uint8_t *bytes;
    size_t count, offset;
    const char *path;
    fv_message *message;
} reader;

/* What is said about one file by its own header. */
typedef struct header {
    uint32_t version;
    uint64_t tensor_count, entry_count, alignment;
    uint32_t split_number, split_count; /* 0 of 1 when the file is whole */
} header;

/* ---- Lists and names ---- */

/* `items` with room for one more; NULL (and `items` still valid) when there is no memory. */
static void *grown(void *items, size_t count, size_t *capacity, size_t item_bytes) {
    if (count < *capacity) return items;
    size_t wanted = 0, bytes = 0;
    if (!fv_size_add(&wanted, *capacity, 2, 1) || !fv_size_add(&wanted, 8, 1, 1)) return NULL;
    if (!fv_size_add(&bytes, wanted, item_bytes, 1)) return NULL;
    void *moved = realloc(items, bytes);
    if (moved) *capacity = wanted;
    return moved;
}

static int compare_text(const fv_gguf_text *a, const fv_gguf_text *b) {
    size_t shared = a->length < b->length ? a->length : b->length;
    int order = shared > 0 ? memcmp(a->bytes, b->bytes, shared) : 0;
    return order != 0 ? order : (a->length > b->length) - (a->length < b->length);
}

static int compare_names(const void *a, const void *b) {
    return compare_text(*(const fv_gguf_text *const *)a, *(const fv_gguf_text *const *)b);
}

/* Indexes `count` structures of `stride` bytes that start with their name. */
static bool index_build(name_index *index, const void *items, size_t count, size_t stride) {
    if (count == 0) return true;
    size_t bytes = 0;
    if (!fv_size_add(&bytes, count, sizeof *index->names, 1)) return false;
    index->names = malloc(bytes);
    if (!index->names) return false;
    for (size_t i = 0; i < count; i++)
        index->names[i] = (const fv_gguf_text *)(const void *)((const char *)items + i * stride);
    qsort(index->names, count, sizeof *index->names, compare_names);
    index->count = count;
    return true;
}

static const fv_gguf_text *index_duplicate(const name_index *index) {
    for (size_t i = 1; i < index->count; i++)
        if (compare_text(index->names[i - 1], index->names[i]) == 0) return index->names[i];
    return NULL;
}

static const void *index_find(const name_index *index, const char *name) {
    if (!name || index->count == 0) return NULL;
    fv_gguf_text text = {.bytes = name, .length = strlen(name)};
    const fv_gguf_text *key = &text;
    const fv_gguf_text **found = bsearch(&key, index->names, index->count, sizeof *index->names, compare_names);
    return found ? *found : NULL;
}

static void entry_list_free(entry_list *list) {
    free(list->items);
    free(list->index.names);
}

/* ---- Errors ---- */

static fv_status no_memory(const reader *in) {
    return fv_message_set(in->message, FV_ERROR_MEMORY, "%s: no memory for its list of contents", in->path);
}

static fv_status cut_short(const reader *in, const char *place, uint64_t number) {
    return fv_message_set(in->message, FV_ERROR_CORRUPT,
                          "%s: cut short or damaged in %s %llu at byte %zu of %zu; download it again", in->path, place,
                          (unsigned long long)number, in->offset, in->count);
}

static int shown(fv_gguf_text text) { return text.length < SHOWN_BYTES ? (int)text.length : (int)SHOWN_BYTES; }

/* ---- Reading, byte by byte ---- */

static bool read_bytes(reader *in, size_t bytes, const uint8_t **data) {
    if (bytes > in->count - in->offset) return false;
    *data = in->bytes + in->offset;
    in->offset += bytes;
    return true;
}

static bool read_u32(reader *in, uint32_t *value) {
    const uint8_t *data;
    if (!read_bytes(in, 4, &data)) return false;
    *value = (uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
    return true;
}

static bool read_u64(reader *in, uint64_t *value) {
    uint32_t low, high;
    if (in->count - in->offset < 8 || !read_u32(in, &low) || !read_u32(in, &high)) return false;
    *value = (uint64_t)high << 32 | low;
    return true;
}

static bool read_text(reader *in, fv_gguf_text *text) {
    uint64_t length;
    const uint8_t *data;
    if (!read_u64(in, &length) || length > SIZE_MAX || !read_bytes(in, (size_t)length, &data)) return false;
    *text = (fv_gguf_text){.bytes = (const char *)data, .length = (size_t)length};
    return true;
}

/* ---- The fixed part ---- */

/* What people hand over instead of a GGUF file. */
static const char *foreign_format(const reader *in) {
    static const struct {
        const char *start, *hint;
    } known[] = {
        {"lmgg", "this is an old GGML file; convert the model to GGUF"},
        {"fmgg", "this is an old GGML file; convert the model to GGUF"},
        {"tjgg", "this is an old GGML file; convert the model to GGUF"},
        {"PK\x03\x04", "this is a zip archive or a PyTorch checkpoint; unpack or convert it to GGUF"},
        {"version https://git-lfs", "this is a Git LFS pointer; fetch the file itself (git lfs pull)"},
        {"<", "this is a web page; the download link was wrong"},
        {"{", "this is a JSON text, perhaps the answer of a server; download the file again"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t length = strlen(known[i].start);
        if (in->count >= length && memcmp(in->bytes, known[i].start, length) == 0) return known[i].hint;
    }
    if (in->count > 8 && in->bytes[8] == '{') return "this is a safetensors file; convert the model to GGUF";
    return "name a GGUF file, or download it again";
}

static fv_status read_version(reader *in, header *out) {
    if (in->count < 4 || memcmp(in->bytes, "GGUF", 4) != 0)
        return fv_message_set(in->message, FV_ERROR_CORRUPT, "%s: is no GGUF file: %s", in->path, foreign_format(in));
    in->offset = 4;
    if (!read_u32(in, &out->version)) return cut_short(in, "header field", 1);
    if (out->version == 2 || out->version == 3) return FV_OK;
    if (out->version != 0 && (out->version & 0xFFFF) == 0)
        return fv_message_set(in->message, FV_ERROR_UNSUPPORTED, "%s: is big-endian; convert it to little-endian first",
                              in->path);
    return fv_message_set(in->message, FV_ERROR_UNSUPPORTED,
                          "%s: is GGUF version %u, only 2 and 3 are read here; convert the model again", in->path,
                          (unsigned)out->version);
}

static fv_status read_counts(reader *in, header *out) {
    if (!read_u64(in, &out->tensor_count)) return cut_short(in, "header field", 2);
    if (!read_u64(in, &out->entry_count)) return cut_short(in, "header field", 3);
    uint64_t left = in->count - in->offset;
    if (out->entry_count <= left / ENTRY_MIN_BYTES && out->tensor_count <= left / TENSOR_MIN_BYTES) return FV_OK;
    return fv_message_set(
        in->message, FV_ERROR_CORRUPT,
        "%s: claims %llu metadata entries and %llu tensors, too many for its %zu bytes; download it again", in->path,
        (unsigned long long)out->entry_count, (unsigned long long)out->tensor_count, in->count);
}

/* ---- Metadata ---- */

static bool skip_values(reader *in, uint32_t type, uint64_t count) {
    size_t bytes = fv_gguf_value_bytes(type);
    if (bytes > 0) {
        if (count > (in->count - in->offset) / bytes) return false;
        in->offset += (size_t)count * bytes;
        return true;
    }
    fv_gguf_text text; /* each takes 8 bytes at least, so the file's end bounds the loop, not `count` */
    for (uint64_t i = 0; i < count; i++)
        if (!read_text(in, &text)) return false;
    return true;
}

static fv_status check_value_type(const reader *in, const fv_gguf_entry *entry, uint32_t type, uint32_t element_type) {
    if (type == FV_GGUF_ARRAY && element_type == FV_GGUF_ARRAY)
        return fv_message_set(in->message, FV_ERROR_UNSUPPORTED,
                              "%s: metadata %.*s is an array of arrays, which is not read here", in->path,
                              shown(entry->key), entry->key.bytes);
    if (type <= FV_GGUF_FLOAT64 && element_type <= FV_GGUF_FLOAT64) return FV_OK;
    return fv_message_set(in->message, FV_ERROR_CORRUPT,
                          "%s: metadata %.*s has the unknown type %u; the file is damaged, or newer than this program",
                          in->path, shown(entry->key), entry->key.bytes,
                          (unsigned)(type > FV_GGUF_FLOAT64 ? type : element_type));
}

static fv_status read_entry(reader *in, uint64_t number, fv_gguf_entry *out) {
    fv_gguf_entry entry = {.count = 1};
    uint32_t type, element_type;
    if (!read_text(in, &entry.key) || !read_u32(in, &type)) return cut_short(in, "metadata entry", number);
    element_type = type;
    if (type == FV_GGUF_ARRAY && (!read_u32(in, &element_type) || !read_u64(in, &entry.count)))
        return cut_short(in, "metadata entry", number);
    fv_status status = check_value_type(in, &entry, type, element_type);
    if (status != FV_OK) return status;
    size_t start = in->offset;
    if (!skip_values(in, element_type, entry.count)) return cut_short(in, "metadata entry", number);
    entry.type = (fv_gguf_type)type;
    entry.element_type = (fv_gguf_type)element_type;
    entry.data = in->bytes + start;
    entry.data_bytes = in->offset - start;
    *out = entry;
    return FV_OK;
}

static fv_status read_entries(reader *in, uint64_t count, entry_list *list) {
    for (uint64_t i = 0; i < count; i++) {
        void *items = grown(list->items, list->count, &list->capacity, sizeof *list->items);
        if (!items) return no_memory(in);
        list->items = items;
        fv_status status = read_entry(in, i, &list->items[list->count]);
        if (status != FV_OK) return status;
        list->count++;
    }
    if (!index_build(&list->index, list->items, list->count, sizeof *list->items)) return no_memory(in);
    const fv_gguf_text *twice = index_duplicate(&list->index);
    if (!twice) return FV_OK;
    return fv_message_set(in->message, FV_ERROR_CORRUPT,
                          "%s: metadata %.*s appears twice; convert the model again or download it again", in->path,
                          shown(*twice), twice->bytes);
}

/* An integer that may be absent; an error if it is there and is anything else. */
static fv_status optional_u32(const reader *in, const entry_list *list, const char *key, uint32_t *value) {
    const fv_gguf_entry *entry = index_find(&list->index, key);
    if (!entry || fv_gguf_entry_u32(entry, value)) return FV_OK;
    return fv_message_set(in->message, FV_ERROR_CORRUPT,
                          "%s: metadata %s is no whole number from 0 to 4294967295; convert the model again", in->path,
                          key);
}

static fv_status read_facts(const reader *in, const entry_list *list, header *out) {
    uint32_t alignment = 32;
    out->split_number = 0;
    out->split_count = 1;
    fv_status status = optional_u32(in, list, "general.alignment", &alignment);
    if (status == FV_OK) status = optional_u32(in, list, "split.no", &out->split_number);
    if (status == FV_OK) status = optional_u32(in, list, "split.count", &out->split_count);
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

/* ---- Tensors ---- */

static const ggml_type *type_find(uint32_t number) {
    if (number >= sizeof ggml_types / sizeof *ggml_types || !ggml_types[number].name) return NULL;
    return &ggml_types[number];
}

static bool multiply_u64(uint64_t *product, uint64_t factor) {
    if (factor != 0 && *product > UINT64_MAX / factor) return false;
    *product *= factor;
    return true;
}

/* A number of values that fits in int64_t, none of the dimensions 0. */
static bool dimensions_are_valid(const fv_gguf_tensor *tensor) {
    uint64_t values = 1;
    for (int i = 0; i < 4; i++)
        if (tensor->dimensions[i] == 0 || !multiply_u64(&values, tensor->dimensions[i])) return false;
    return values <= INT64_MAX;
}

/* Sets `bytes` of a tensor of known type, whose rows must be whole blocks. */
static fv_status measure_tensor(const reader *in, fv_gguf_tensor *tensor) {
    if (!dimensions_are_valid(tensor))
        return fv_message_set(in->message, FV_ERROR_CORRUPT,
                              "%s: tensor %.*s has impossible dimensions %llu x %llu x %llu x %llu; download it again",
                              in->path, shown(tensor->name), tensor->name.bytes,
                              (unsigned long long)tensor->dimensions[0], (unsigned long long)tensor->dimensions[1],
                              (unsigned long long)tensor->dimensions[2], (unsigned long long)tensor->dimensions[3]);
    const ggml_type *type = type_find(tensor->ggml_type);
    if (!type) return FV_OK;
    if (tensor->dimensions[0] % type->block_values != 0)
        return fv_message_set(
            in->message, FV_ERROR_CORRUPT,
            "%s: tensor %.*s has rows of %llu values, type %s needs a multiple of %u; download it again", in->path,
            shown(tensor->name), tensor->name.bytes, (unsigned long long)tensor->dimensions[0], type->name,
            (unsigned)type->block_values);
    uint64_t bytes = tensor->dimensions[0] / type->block_values;
    bool fits = multiply_u64(&bytes, type->block_bytes);
    for (int i = 1; i < 4; i++) fits = fits && multiply_u64(&bytes, tensor->dimensions[i]);
    if (!fits)
        return fv_message_set(in->message, FV_ERROR_CORRUPT,
                              "%s: tensor %.*s is too large for any file; download it again", in->path,
                              shown(tensor->name), tensor->name.bytes);
    tensor->bytes = bytes;
    return FV_OK;
}

/* Leaves the offset inside the tensor data in file_offset: where that data starts is known only behind the last tensor.
 */
static fv_status read_tensor(reader *in, uint64_t number, fv_gguf_tensor *out) {
    fv_gguf_tensor tensor = {.dimensions = {1, 1, 1, 1}};
    if (!read_text(in, &tensor.name) || !read_u32(in, &tensor.dimension_count))
        return cut_short(in, "tensor entry", number);
    if (tensor.dimension_count > 4)
        return fv_message_set(in->message, FV_ERROR_CORRUPT,
                              "%s: tensor %.*s has %u dimensions, more than 4; download it again", in->path,
                              shown(tensor.name), tensor.name.bytes, (unsigned)tensor.dimension_count);
    for (uint32_t i = 0; i < tensor.dimension_count; i++)
        if (!read_u64(in, &tensor.dimensions[i])) return cut_short(in, "tensor entry", number);
    if (!read_u32(in, &tensor.ggml_type) || !read_u64(in, &tensor.file_offset))
        return cut_short(in, "tensor entry", number);
    if (tensor.dimension_count == 0) tensor.dimension_count = 1; /* a scalar */
    fv_status status = measure_tensor(in, &tensor);
    if (status == FV_OK) *out = tensor;
    return status;
}

/* Turns the offset inside the data of `data_start` into one inside the file, and checks the tensor's place: behind the
 * `used` bytes of the tensors before it, as every writer lays them out (two views of the same bytes could not be
 * packed). */
static fv_status place_tensor(const reader *in, const header *facts, size_t data_start, uint64_t *used,
                              fv_gguf_tensor *tensor) {
    uint64_t offset = tensor->file_offset;
    if (offset < *used)
        return fv_message_set(in->message, FV_ERROR_CORRUPT,
                              "%s: tensor %.*s starts at %llu, inside or before an earlier tensor; download it again",
                              in->path, shown(tensor->name), tensor->name.bytes, (unsigned long long)offset);
    if (offset % facts->alignment != 0)
        return fv_message_set(
            in->message, FV_ERROR_CORRUPT,
            "%s: tensor %.*s starts at %llu, no multiple of %llu (general.alignment); download it again", in->path,
            shown(tensor->name), tensor->name.bytes, (unsigned long long)offset, (unsigned long long)facts->alignment);
    uint64_t available = data_start < in->count ? in->count - data_start : 0;
    if (offset > available || tensor->bytes > available - offset)
        return fv_message_set(
            in->message, FV_ERROR_CORRUPT,
            "%s: tensor %.*s needs bytes %llu+%llu of the tensor data, the file has %llu; download it again", in->path,
            shown(tensor->name), tensor->name.bytes, (unsigned long long)offset, (unsigned long long)tensor->bytes,
            (unsigned long long)available);
    *used = offset + tensor->bytes;
    tensor->file_offset = data_start + offset;
    if (type_find(tensor->ggml_type)) tensor->data = in->bytes + tensor->file_offset;
    return FV_OK;
}

static fv_status read_tensors(reader *in, const header *facts, uint32_t file, tensor_list *list) {
    size_t first = list->count, data_start = 0;
    for (uint64_t i = 0; i < facts->tensor_count; i++) {
        void *items = grown(list->items, list->count, &list->capacity, sizeof *list->items);
        if (!items) return no_memory(in);
        list->items = items;
        fv_status status = read_tensor(in, i, &list->items[list->count]);
        if (status != FV_OK) return status;
        list->items[list->count++].file = file;
    }
    if (!fv_size_add(&data_start, in->offset, 1, (size_t)facts->alignment))
        return cut_short(in, "tensor entry", facts->tensor_count);
    uint64_t used = 0;
    for (size_t i = first; i < list->count; i++) {
        fv_status status = place_tensor(in, facts, data_start, &used, &list->items[i]);
        if (status != FV_OK) return status;
    }
    return FV_OK;
}

static fv_status index_tensors(const reader *in, tensor_list *list) {
    if (!index_build(&list->index, list->items, list->count, sizeof *list->items)) return no_memory(in);
    const fv_gguf_text *twice = index_duplicate(&list->index);
    if (!twice) return FV_OK;
    return fv_message_set(in->message, FV_ERROR_CORRUPT,
                          "%s: tensor %.*s appears twice; convert the model again or download it again", in->path,
                          shown(*twice), twice->bytes);
}

/* ---- One file ---- */

/* Appends the tensors of file number `file` to `gguf`; its metadata goes to `entries`. */
static fv_status read_file(fv_gguf *gguf, reader *in, uint32_t file, entry_list *entries, header *facts) {
    fv_status status = read_version(in, facts);
    if (status == FV_OK) status = read_counts(in, facts);
    if (status == FV_OK) status = read_entries(in, facts->entry_count, entries);
    if (status == FV_OK) status = read_facts(in, entries, facts);
    if (status == FV_OK) status = read_tensors(in, facts, file, &gguf->tensors);
    if (status == FV_OK) gguf->file_bytes += in->count;
    return status;
}

static fv_status read_first(fv_gguf *gguf, reader *in, header *facts) {
    fv_status status = read_file(gguf, in, 0, &gguf->entries, facts);
    if (status != FV_OK) return status;
    gguf->version = facts->version;
    gguf->alignment = facts->alignment;
    gguf->files = facts->split_count;
    return FV_OK;
}

static fv_status map_file(fv_gguf *gguf, const char *path, fv_message *message, reader *in) {
    void *maps = grown(gguf->maps, gguf->map_count, &gguf->map_capacity, sizeof *gguf->maps);
    if (!maps) return fv_message_set(message, FV_ERROR_MEMORY, "%s: no memory to open it", path);
    gguf->maps = maps;
    fv_file_map map = {0};
    fv_status status = fv_file_map_open(&map, path, message);
    if (status != FV_OK) return status;
    gguf->maps[gguf->map_count++] = map;
    *in = (reader){.bytes = map.bytes, .count = map.count, .path = path, .message = message};
    return FV_OK;
}

/* ---- Split files ---- */

static bool digits_read(const char *text, uint32_t *number) {
    uint32_t value = 0;
    for (int i = 0; i < 5; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        value = value * 10 + (uint32_t)(text[i] - '0');
    }
    *number = value;
    return true;
}

static void digits_write(char *text, uint32_t number) {
    for (int i = 4; i >= 0; i--, number /= 10) text[i] = (char)('0' + number % 10);
}

/* The part of a path that says "-00001-of-00003.gguf"; NULL if the path does not end so. */
static const char *split_suffix(const char *path, uint32_t *part, uint32_t *parts) {
    size_t length = strlen(path);
    if (length < SPLIT_NAME_BYTES) return NULL;
    const char *suffix = path + length - SPLIT_NAME_BYTES;
    bool matches = suffix[0] == '-' && digits_read(suffix + 1, part) && memcmp(suffix + 6, "-of-", 4) == 0 &&
                   digits_read(suffix + 10, parts) && strcmp(suffix + 15, ".gguf") == 0;
    return matches ? suffix : NULL;
}

/* The name must agree with what the file says of itself: otherwise the siblings' names would be a guess. */
static fv_status check_split_name(const char *path, const header *facts, fv_message *message) {
    uint32_t part = 1, parts = 1;
    bool named = split_suffix(path, &part, &parts) != NULL;
    if (!named && facts->split_count == 1) return FV_OK;
    if (named && part == facts->split_number + 1 && parts == facts->split_count) return FV_OK;
    if (facts->split_count == 1)
        return fv_message_set(message, FV_ERROR_CORRUPT,
                              "%s: is named part %u of %u but holds no split.count; rename it if it is a whole model",
                              path, (unsigned)part, (unsigned)parts);
    return fv_message_set(message, FV_ERROR_FILE,
                          "%s: is part %llu of %u of a split model; its name must end in -%05llu-of-%05u.gguf", path,
                          (unsigned long long)facts->split_number + 1, (unsigned)facts->split_count,
                          (unsigned long long)facts->split_number + 1, (unsigned)facts->split_count);
}

/* A copy of `path`, which ends in a split suffix, that names another part. NULL: no memory. */
static char *sibling_path(const char *path, uint32_t part) {
    size_t length = strlen(path);
    char *copy = malloc(length + 1);
    if (!copy) return NULL;
    memcpy(copy, path, length + 1);
    digits_write(copy + length - SPLIT_NAME_BYTES + 1, part);
    return copy;
}

static fv_status refuse_later_part(const char *path, const header *facts, fv_message *message) {
    char *first = sibling_path(path, 1);
    fv_status status = fv_message_set(message, FV_ERROR_FILE, "%s: is part %u of a split model; open %s instead", path,
                                      (unsigned)facts->split_number + 1, first ? first : "the first part");
    free(first);
    return status;
}

static fv_status read_sibling(fv_gguf *gguf, const char *path, uint32_t file, fv_message *message) {
    reader in;
    fv_status status = map_file(gguf, path, message, &in);
    if (status != FV_OK) return status;
    entry_list entries = {0};
    header facts;
    status = read_file(gguf, &in, file, &entries, &facts);
    entry_list_free(&entries);
    if (status == FV_OK && (facts.split_number != file || facts.split_count != gguf->files))
        status = fv_message_set(message, FV_ERROR_CORRUPT,
                                "%s: says it is part %u of %u, expected was %u of %u; download the parts again", path,
                                (unsigned)facts.split_number + 1, (unsigned)facts.split_count, (unsigned)file + 1,
                                (unsigned)gguf->files);
    return status;
}

/* The first part says how many tensors all parts hold together. */
static fv_status check_tensor_total(const fv_gguf *gguf, const reader *in) {
    uint32_t total = 0;
    if (!index_find(&gguf->entries.index, "split.tensors.count")) return FV_OK;
    fv_status status = optional_u32(in, &gguf->entries, "split.tensors.count", &total);
    if (status != FV_OK || total == gguf->tensors.count) return status;
    return fv_message_set(in->message, FV_ERROR_CORRUPT,
                          "%s: promises %u tensors in its parts, they hold %zu; download the parts again", in->path,
                          (unsigned)total, gguf->tensors.count);
}

static fv_status read_siblings(fv_gguf *gguf, const reader *first) {
    for (uint32_t file = 1; file < gguf->files; file++) {
        char *path = sibling_path(gguf->path, file + 1);
        if (!path) return no_memory(first);
        fv_status status = read_sibling(gguf, path, file, first->message);
        free(path);
        if (status != FV_OK) return status;
    }
    return gguf->files > 1 ? check_tensor_total(gguf, first) : FV_OK;
}

/* ---- Public ---- */

static fv_gguf *gguf_new(const char *path) {
    fv_gguf *gguf = calloc(1, sizeof *gguf);
    size_t bytes = strlen(path) + 1;
    char *copy = malloc(bytes);
    if (!gguf || !copy) {
        free(gguf);
        free(copy);
        return NULL;
    }
    memcpy(copy, path, bytes);
    gguf->path = copy;
    return gguf;
}

static fv_status open_path(fv_gguf *gguf, fv_message *message) {
    reader in;
    header facts;
    fv_status status = map_file(gguf, gguf->path, message, &in);
    if (status == FV_OK) status = read_first(gguf, &in, &facts);
    if (status == FV_OK) status = check_split_name(gguf->path, &facts, message);
    if (status == FV_OK && facts.split_number > 0) status = refuse_later_part(gguf->path, &facts, message);
    if (status == FV_OK) status = read_siblings(gguf, &in);
    if (status == FV_OK) status = index_tensors(&in, &gguf->tensors);
    return status;
}

static fv_status open_bytes(fv_gguf *gguf, reader *in) {
    header facts;
    fv_status status = read_first(gguf, in, &facts);
    if (status == FV_OK && facts.split_count > 1)
        status = fv_message_set(in->message, FV_ERROR_UNSUPPORTED,
                                "%s: is part %u of %u of a split model, which must be opened by its path", in->path,
                                (unsigned)facts.split_number + 1, (unsigned)facts.split_count);
    if (status == FV_OK) status = index_tensors(in, &gguf->tensors);
    return status;
}

static fv_status finish_open(fv_gguf **out, fv_gguf *gguf, fv_status status) {
    if (status == FV_OK)
        *out = gguf;
    else
        fv_gguf_close(gguf);
    return status;
}

fv_status fv_gguf_open(fv_gguf **gguf, const char *path, fv_message *message) {
    if (!gguf || !path) return fv_message_set(message, FV_ERROR_ARGUMENT, "no path given: name a GGUF file");
    fv_gguf *opened = gguf_new(path);
    if (!opened) return fv_message_set(message, FV_ERROR_MEMORY, "%s: no memory to open it", path);
    return finish_open(gguf, opened, open_path(opened, message));
}

fv_status fv_gguf_open_memory(fv_gguf **gguf, const void *bytes, size_t count, const char *name, fv_message *message) {
    if (!gguf || !name || (!bytes && count > 0))
        return fv_message_set(message, FV_ERROR_ARGUMENT, "no bytes or no name given for a GGUF file in memory");
    if (count == 0) return fv_message_set(message, FV_ERROR_FILE, "%s: is empty; download it again", name);
    fv_gguf *opened = gguf_new(name);
    if (!opened) return fv_message_set(message, FV_ERROR_MEMORY, "%s: no memory to open it", name);
    reader in = {.bytes = bytes, .count = count, .path = opened->path, .message = message};
    return finish_open(gguf, opened, open_bytes(opened, &in));
}

void fv_gguf_release(const fv_gguf *gguf, const void *data, size_t bytes) {
    for (size_t i = 0; i < gguf->map_count; i++) fv_file_map_release(&gguf->maps[i], data, bytes);
}

void fv_gguf_close(fv_gguf *gguf) {
    if (!gguf) return;
    entry_list_free(&gguf->entries);
    free(gguf->tensors.items);
    free(gguf->tensors.index.names);
    for (size_t i = 0; i < gguf->map_count; i++) fv_file_map_close(&gguf->maps[i]);
    free(gguf->maps);
    free(gguf->path);
    free(gguf);
}

const char *fv_gguf_path(const fv_gguf *gguf) { return gguf->path; }
uint32_t fv_gguf_version(const fv_gguf *gguf) { return gguf->version; }
uint32_t fv_gguf_files(const fv_gguf *gguf) { return gguf->files; }
uint64_t fv_gguf_file_bytes(const fv_gguf *gguf) { return gguf->file_bytes; }
uint64_t fv_gguf_alignment(const fv_gguf *gguf) { return gguf->alignment; }
size_t fv_gguf_entries(const fv_gguf *gguf) { return gguf->entries.count; }
size_t fv_gguf_tensors(const fv_gguf *gguf) { return gguf->tensors.count; }

const fv_gguf_entry *fv_gguf_entry_at(const fv_gguf *gguf, size_t index) {
    return index < gguf->entries.count ? &gguf->entries.items[index] : NULL;
}

const fv_gguf_tensor *fv_gguf_tensor_at(const fv_gguf *gguf, size_t index) {
    return index < gguf->tensors.count ? &gguf->tensors.items[index] : NULL;
}

const fv_gguf_entry *fv_gguf_entry_find(const fv_gguf *gguf, const char *key) {
    return index_find(&gguf->entries.index, key);
}

const fv_gguf_tensor *fv_gguf_tensor_find(const fv_gguf *gguf, const char *name) {
    return index_find(&gguf->tensors.index, name);
}

const char *fv_gguf_type_name(uint32_t ggml_type_number) {
    const ggml_type *type = type_find(ggml_type_number);
    return type ? type->name : NULL;
}
