/* gguf.c - opens GGUF files: every count, length, offset and size is checked when a file is opened, once, so that all
 * later reads are plain. */
#include "fovea/gguf.h"
#include "gguf/file_map.h"
#include "gguf/gguf_header.h"
#include "gguf/gguf_map.h"
#include "gguf/gguf_split.h"
#include "gguf/gguf_tensors.h"
#include "gguf/gguf_value.h"
#include "platform/array.h"
#include <stdlib.h>
#include <string.h>

struct fv_gguf {
    char *path;
    fv_file_map *maps; /* one per file; empty when opened from memory */
    size_t map_count, map_capacity;
    uint8_t **headers; /* [map_count]: a copy of what comes before the tensors: texts and values lie in it */
    uint32_t version, files;
    uint64_t alignment, file_bytes;
    fv_gguf_entry_list entries;
    fv_gguf_tensor_list tensors;
};

/* ---- One file ---- */

/* Appends the tensors of file number `file` to `gguf`; its metadata goes to `entries`. */
static fv_status read_file(fv_gguf *gguf, fv_gguf_reader *in, uint32_t file, fv_gguf_entry_list *entries,
                           fv_gguf_header *facts) {
    fv_status status = fv_gguf_header_read(in, facts);
    if (status != FV_OK) return status; /* is no GGUF file, or of a kind that can't be read */
    status = fv_gguf_entries_read(in, facts->entry_count, entries);
    if (status == FV_OK) status = fv_gguf_tolerated(in, fv_gguf_header_facts(in, entries, facts));
    if (status == FV_OK) status = fv_gguf_tensors_read(in, facts->tensor_count, facts->alignment, file, &gguf->tensors);
    gguf->file_bytes += in->count;
    return fv_gguf_tolerated(in, status);
}

static fv_status read_first(fv_gguf *gguf, fv_gguf_reader *in, fv_gguf_header *facts) {
    fv_status status = read_file(gguf, in, 0, &gguf->entries, facts);
    if (status != FV_OK) return status;
    gguf->version = facts->version;
    gguf->alignment = facts->alignment;
    gguf->files = facts->split_count;
    return FV_OK;
}

static fv_status map_file(fv_gguf *gguf, const char *path, fv_gguf_reader *in) {
    fv_message *message = in->message;
    void *maps = fv_array_reserve(gguf->maps, &gguf->map_capacity, gguf->map_count, 1, sizeof *gguf->maps);
    if (!maps) return fv_message_set(message, FV_ERROR_MEMORY, "%s: no memory to open it", path);
    gguf->maps = maps;
    fv_file_map map = {0};
    fv_status status = fv_file_map_open(&map, path, message);
    if (status != FV_OK) return status;
    gguf->maps[gguf->map_count++] = map;
    in->bytes = map.bytes;
    in->count = map.count;
    in->offset = 0;
    in->path = path;
    return FV_OK;
}

static fv_status read_sibling(fv_gguf *gguf, const char *path, uint32_t file, const fv_gguf_reader *first) {
    fv_gguf_reader in = *first;
    fv_status status = map_file(gguf, path, &in);
    if (status != FV_OK) return status;
    fv_gguf_entry_list entries = {0};
    fv_gguf_header facts;
    status = read_file(gguf, &in, file, &entries, &facts);
    fv_gguf_entries_free(&entries);
    if (status == FV_OK && (facts.split_number != file || facts.split_count != gguf->files))
        status = fv_message_set(in.message, FV_ERROR_CORRUPT,
                                "%s: says it is part %u of %u, expected was %u of %u; download the parts again", path,
                                (unsigned)facts.split_number + 1, (unsigned)facts.split_count, (unsigned)file + 1,
                                (unsigned)gguf->files);
    return status;
}

/* The first part says how many tensors all parts hold together. */
static fv_status check_tensor_total(const fv_gguf *gguf, const fv_gguf_reader *in) {
    uint32_t total = 0;
    if (!fv_name_index_find(&gguf->entries.index, "split.tensors.count")) return FV_OK;
    fv_status status = fv_gguf_entries_u32(in, &gguf->entries, "split.tensors.count", &total);
    if (status != FV_OK || total == gguf->tensors.count) return status;
    return fv_message_set(in->message, FV_ERROR_CORRUPT,
                          "%s: promises %u tensors in its parts, they hold %zu; download the parts again", in->path,
                          (unsigned)total, gguf->tensors.count);
}

static fv_status read_siblings(fv_gguf *gguf, const fv_gguf_reader *first) {
    for (uint32_t file = 1; file < gguf->files; file++) {
        char *path = fv_gguf_split_sibling(gguf->path, file + 1);
        if (!path) return fv_gguf_no_memory(first);
        fv_status status = read_sibling(gguf, path, file, first);
        free(path);
        if (status != FV_OK) return fv_gguf_tolerated(first, status); /* the others may be missing in thousands */
    }
    return gguf->files > 1 ? fv_gguf_tolerated(first, check_tensor_total(gguf, first)) : FV_OK;
}

/* ---- Texts and values in memory of our own: they outlive what is done to the file ---- */

static size_t end_within(const uint8_t *base, size_t end, const void *bytes, size_t count) {
    size_t reach = (size_t)((const uint8_t *)bytes - base) + count;
    return reach > end ? reach : end;
}

/* Bytes of file `file` that its names and values lie in. */
static size_t header_bytes(const fv_gguf *gguf, size_t file) {
    const uint8_t *base = gguf->maps[file].bytes;
    size_t end = 0;
    for (size_t i = 0; file == 0 && i < gguf->entries.count; i++) {
        const fv_gguf_entry *entry = &gguf->entries.items[i];
        end = end_within(base, end, entry->key.bytes, entry->key.length);
        end = end_within(base, end, entry->data, entry->data_bytes);
    }
    for (size_t i = 0; i < gguf->tensors.count; i++) {
        const fv_gguf_tensor *tensor = &gguf->tensors.items[i];
        if (tensor->file == file) end = end_within(base, end, tensor->name.bytes, tensor->name.length);
    }
    return end;
}

static void header_move(fv_gguf *gguf, size_t file, const uint8_t *to) {
    const uint8_t *from = gguf->maps[file].bytes;
    for (size_t i = 0; file == 0 && i < gguf->entries.count; i++) {
        fv_gguf_entry *entry = &gguf->entries.items[i];
        entry->key.bytes = (const char *)to + ((const uint8_t *)entry->key.bytes - from);
        entry->data = to + (entry->data - from);
    }
    for (size_t i = 0; i < gguf->tensors.count; i++) {
        fv_gguf_tensor *tensor = &gguf->tensors.items[i];
        if (tensor->file == file) tensor->name.bytes = (const char *)to + ((const uint8_t *)tensor->name.bytes - from);
    }
}

static fv_status headers_keep(fv_gguf *gguf, const fv_gguf_reader *in) {
    gguf->headers = fv_array_new(gguf->map_count, sizeof *gguf->headers);
    if (!gguf->headers) return fv_gguf_no_memory(in);
    for (size_t file = 0; file < gguf->map_count; file++) {
        size_t bytes = header_bytes(gguf, file);
        if (bytes == 0) continue;
        gguf->headers[file] = fv_array_new(bytes, 1);
        if (!gguf->headers[file]) return fv_gguf_no_memory(in);
        memcpy(gguf->headers[file], gguf->maps[file].bytes, bytes);
        header_move(gguf, file, gguf->headers[file]);
        fv_file_map_release(&gguf->maps[file], gguf->maps[file].bytes, bytes);
    }
    return FV_OK;
}

/* ---- Public ---- */

static fv_gguf *gguf_new(const char *path) {
    fv_gguf *gguf = fv_array_new(1, sizeof *gguf);
    size_t bytes = strlen(path) + 1;
    char *copy = fv_array_new(bytes, 1);
    if (!gguf || !copy) {
        free(gguf);
        free(copy);
        return NULL;
    }
    memcpy(copy, path, bytes);
    gguf->path = copy;
    return gguf;
}

static fv_status open_path(fv_gguf *gguf, fv_gguf_reader *in) {
    fv_gguf_header facts;
    fv_status status = map_file(gguf, gguf->path, in);
    if (status == FV_OK) status = read_first(gguf, in, &facts);
    if (status == FV_OK) status = fv_gguf_tolerated(in, fv_gguf_split_check_name(gguf->path, &facts, in->message));
    if (status == FV_OK && facts.split_number > 0)
        status = fv_gguf_tolerated(in, fv_gguf_split_refuse_later(gguf->path, &facts, in->message));
    else if (status == FV_OK)
        status = read_siblings(gguf, in);
    if (status == FV_OK) status = fv_gguf_tensors_index(in, &gguf->tensors);
    return status == FV_OK ? headers_keep(gguf, in) : status;
}

static fv_status open_bytes(fv_gguf *gguf, fv_gguf_reader *in) {
    fv_gguf_header facts;
    fv_status status = read_first(gguf, in, &facts);
    if (status == FV_OK && facts.split_count > 1)
        status = fv_message_set(in->message, FV_ERROR_UNSUPPORTED,
                                "%s: is part %u of %u of a split model, which must be opened by its path", in->path,
                                (unsigned)facts.split_number + 1, (unsigned)facts.split_count);
    if (status == FV_OK) status = fv_gguf_tensors_index(in, &gguf->tensors);
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
    fv_gguf_reader in = {.message = message};
    return finish_open(gguf, opened, open_path(opened, &in));
}

fv_status fv_gguf_open_damaged(fv_gguf **gguf, const char *path, fv_gguf_told_fn *told, void *context,
                               fv_message *message) {
    fv_message own;
    if (!gguf || !path || !told) return fv_message_set(message, FV_ERROR_ARGUMENT, "no path given: name a GGUF file");
    fv_gguf *opened = gguf_new(path);
    if (!opened) return fv_message_set(message, FV_ERROR_MEMORY, "%s: no memory to open it", path);
    fv_gguf_reader in = {.message = message ? message : &own, .told = told, .told_context = context};
    return finish_open(gguf, opened, open_path(opened, &in));
}

fv_status fv_gguf_open_memory(fv_gguf **gguf, const void *bytes, size_t count, const char *name, fv_message *message) {
    if (!gguf || !name || (!bytes && count > 0))
        return fv_message_set(message, FV_ERROR_ARGUMENT, "no bytes or no name given for a GGUF file in memory");
    if (count == 0) return fv_message_set(message, FV_ERROR_FILE, "%s: is empty; download it again", name);
    fv_gguf *opened = gguf_new(name);
    if (!opened) return fv_message_set(message, FV_ERROR_MEMORY, "%s: no memory to open it", name);
    fv_gguf_reader in = {.bytes = bytes, .count = count, .path = opened->path, .message = message};
    return finish_open(gguf, opened, open_bytes(opened, &in));
}

void fv_gguf_release(const fv_gguf *gguf, const void *data, size_t bytes) {
    for (size_t i = 0; i < gguf->map_count; i++) fv_file_map_release(&gguf->maps[i], data, bytes);
}

fv_status fv_gguf_check_unchanged(const fv_gguf *gguf, fv_message *message) {
    for (size_t i = 0; i < gguf->map_count; i++)
        if (!fv_file_map_is_unchanged(&gguf->maps[i]))
            return fv_message_set(message, FV_ERROR_FILE,
                                  "%s: was written to while it was in use: what was computed since then may be wrong; "
                                  "do it again when the file is whole",
                                  fv_file_map_path(&gguf->maps[i]));
    return FV_OK;
}

void fv_gguf_close(fv_gguf *gguf) {
    if (!gguf) return;
    fv_gguf_entries_free(&gguf->entries);
    fv_gguf_tensors_free(&gguf->tensors);
    for (size_t i = 0; i < gguf->map_count; i++) fv_file_map_close(&gguf->maps[i]);
    for (size_t i = 0; gguf->headers && i < gguf->map_count; i++) free(gguf->headers[i]);
    free(gguf->headers);
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
    return fv_name_index_find(&gguf->entries.index, key);
}

const fv_gguf_tensor *fv_gguf_tensor_find(const fv_gguf *gguf, const char *name) {
    return fv_name_index_find(&gguf->tensors.index, name);
}

bool fv_gguf_u32(const fv_gguf *gguf, const char *key, uint32_t *value) {
    return fv_gguf_entry_u32(fv_gguf_entry_find(gguf, key), value);
}

bool fv_gguf_f32(const fv_gguf *gguf, const char *key, float *value) {
    return fv_gguf_entry_f32(fv_gguf_entry_find(gguf, key), value);
}

bool fv_gguf_bool(const fv_gguf *gguf, const char *key, bool *value) {
    return fv_gguf_entry_bool(fv_gguf_entry_find(gguf, key), value);
}

bool fv_gguf_string(const fv_gguf *gguf, const char *key, fv_gguf_text *value) {
    return fv_gguf_entry_string(fv_gguf_entry_find(gguf, key), value);
}
