/* gguf_entries.c - see gguf_entries.h. Memory grows with what was really read, never with what a header claims. */
#include "gguf/gguf_entries.h"
#include "gguf/gguf_value.h"
#include "platform/array.h"
#include <stdlib.h>

static bool skip_values(fv_gguf_reader *in, uint32_t type, uint64_t count) {
    size_t bytes = fv_gguf_value_bytes(type);
    if (bytes > 0) {
        if (count > (in->count - in->offset) / bytes) return false;
        in->offset += (size_t)count * bytes;
        return true;
    }
    fv_gguf_text text; /* each takes 8 bytes at least, so the file's end bounds the loop, not `count` */
    for (uint64_t i = 0; i < count; i++)
        if (!fv_gguf_read_text(in, &text)) return false;
    return true;
}

static fv_status check_value_type(const fv_gguf_reader *in, const fv_gguf_entry *entry, uint32_t type,
                                  uint32_t element_type) {
    if (type == FV_GGUF_ARRAY && element_type == FV_GGUF_ARRAY)
        return fv_message_set(in->message, FV_ERROR_UNSUPPORTED,
                              "%s: metadata %.*s is an array of arrays, which is not read here", in->path,
                              fv_gguf_shown(entry->key), entry->key.bytes);
    if (type <= FV_GGUF_FLOAT64 && element_type <= FV_GGUF_FLOAT64) return FV_OK;
    return fv_message_set(in->message, FV_ERROR_CORRUPT,
                          "%s: metadata %.*s has the unknown type %u; the file is damaged, or newer than this program",
                          in->path, fv_gguf_shown(entry->key), entry->key.bytes,
                          (unsigned)(type > FV_GGUF_FLOAT64 ? type : element_type));
}

static fv_status read_entry(fv_gguf_reader *in, uint64_t number, fv_gguf_entry *out) {
    fv_gguf_entry entry = {.count = 1};
    uint32_t type, element_type;
    if (!fv_gguf_read_text(in, &entry.key) || !fv_gguf_read_u32(in, &type))
        return fv_gguf_cut_short(in, "metadata entry", number);
    element_type = type;
    if (type == FV_GGUF_ARRAY && (!fv_gguf_read_u32(in, &element_type) || !fv_gguf_read_u64(in, &entry.count)))
        return fv_gguf_cut_short(in, "metadata entry", number);
    fv_status status = check_value_type(in, &entry, type, element_type);
    if (status != FV_OK) return status;
    size_t start = in->offset;
    if (!skip_values(in, element_type, entry.count)) return fv_gguf_cut_short(in, "metadata entry", number);
    entry.type = (fv_gguf_type)type;
    entry.element_type = (fv_gguf_type)element_type;
    entry.data = in->bytes + start;
    entry.data_bytes = in->offset - start;
    *out = entry;
    return FV_OK;
}

fv_status fv_gguf_entries_read(fv_gguf_reader *in, uint64_t count, fv_gguf_entry_list *list) {
    fv_status broken = FV_OK; /* what follows an entry that can't be read can't be found */
    for (uint64_t i = 0; i < count && broken == FV_OK; i++) {
        void *items = fv_array_reserve(list->items, &list->capacity, list->count, 1, sizeof *list->items);
        if (!items) return fv_gguf_no_memory(in);
        list->items = items;
        broken = read_entry(in, i, &list->items[list->count]);
        if (broken == FV_OK) list->count++;
    }
    if (broken != FV_OK && !in->told) return broken;
    if (!fv_name_index_build(&list->index, list->items, list->count, sizeof *list->items)) return fv_gguf_no_memory(in);
    const fv_gguf_text *twice = fv_name_index_duplicate(&list->index);
    if (broken != FV_OK || !twice) return broken;
    return fv_gguf_tolerated(
        in, fv_message_set(in->message, FV_ERROR_CORRUPT,
                           "%s: metadata %.*s appears twice; convert the model again or download it again", in->path,
                           fv_gguf_shown(*twice), twice->bytes));
}

fv_status fv_gguf_entries_u32(const fv_gguf_reader *in, const fv_gguf_entry_list *list, const char *key,
                              uint32_t *value) {
    const fv_gguf_entry *entry = fv_name_index_find(&list->index, key);
    if (!entry || fv_gguf_entry_u32(entry, value)) return FV_OK;
    return fv_message_set(in->message, FV_ERROR_CORRUPT,
                          "%s: metadata %s is no whole number from 0 to 4294967295; convert the model again", in->path,
                          key);
}

void fv_gguf_entries_free(fv_gguf_entry_list *list) {
    free(list->items);
    free(list->index.names);
}
