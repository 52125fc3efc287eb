/* gguf_tensors.c - see gguf_tensors.h. */
#include "gguf/gguf_tensors.h"
#include "gguf/ggml_type.h"
#include "numeric/size.h"
#include "platform/array.h"
#include <stdlib.h>

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
static fv_status measure_tensor(const fv_gguf_reader *in, fv_gguf_tensor *tensor) {
    if (!dimensions_are_valid(tensor))
        return fv_message_set(in->message, FV_ERROR_CORRUPT,
                              "%s: tensor %.*s has impossible dimensions %llu x %llu x %llu x %llu; download it again",
                              in->path, fv_gguf_shown(tensor->name), tensor->name.bytes,
                              (unsigned long long)tensor->dimensions[0], (unsigned long long)tensor->dimensions[1],
                              (unsigned long long)tensor->dimensions[2], (unsigned long long)tensor->dimensions[3]);
    const fv_ggml_type *type = fv_ggml_type_find(tensor->ggml_type);
    if (!type) return FV_OK;
    if (tensor->dimensions[0] % type->block_values != 0)
        return fv_message_set(
            in->message, FV_ERROR_CORRUPT,
            "%s: tensor %.*s has rows of %llu values, type %s needs a multiple of %u; download it again", in->path,
            fv_gguf_shown(tensor->name), tensor->name.bytes, (unsigned long long)tensor->dimensions[0], type->name,
            (unsigned)type->block_values);
    uint64_t bytes = tensor->dimensions[0] / type->block_values;
    bool fits = multiply_u64(&bytes, type->block_bytes);
    for (int i = 1; i < 4; i++) fits = fits && multiply_u64(&bytes, tensor->dimensions[i]);
    if (!fits)
        return fv_message_set(in->message, FV_ERROR_CORRUPT,
                              "%s: tensor %.*s is too large for any file; download it again", in->path,
                              fv_gguf_shown(tensor->name), tensor->name.bytes);
    tensor->bytes = bytes;
    return FV_OK;
}

/* Leaves the offset inside the tensor data in file_offset: where that data starts is known only after the last tensor.
 */
static fv_status read_tensor(fv_gguf_reader *in, uint64_t number, fv_gguf_tensor *out) {
    fv_gguf_tensor tensor = {.dimensions = {1, 1, 1, 1}};
    if (!fv_gguf_read_text(in, &tensor.name) || !fv_gguf_read_u32(in, &tensor.dimension_count))
        return fv_gguf_cut_short(in, "tensor entry", number);
    if (tensor.dimension_count > 4)
        return fv_message_set(in->message, FV_ERROR_CORRUPT,
                              "%s: tensor %.*s has %u dimensions, more than 4; download it again", in->path,
                              fv_gguf_shown(tensor.name), tensor.name.bytes, (unsigned)tensor.dimension_count);
    for (uint32_t i = 0; i < tensor.dimension_count; i++)
        if (!fv_gguf_read_u64(in, &tensor.dimensions[i])) return fv_gguf_cut_short(in, "tensor entry", number);
    if (!fv_gguf_read_u32(in, &tensor.ggml_type) || !fv_gguf_read_u64(in, &tensor.file_offset))
        return fv_gguf_cut_short(in, "tensor entry", number);
    if (tensor.dimension_count == 0) tensor.dimension_count = 1; /* a scalar */
    fv_status status = fv_gguf_tolerated(in, measure_tensor(in, &tensor));
    if (status == FV_OK) *out = tensor;
    return status;
}

/* Turns the offset inside the data of `data_start` into one inside the file, and checks the tensor's place: after the
 * `used` bytes of the tensors before it, as every writer lays them out (two views of the same bytes could not be
 * packed). */
static fv_status place_tensor(const fv_gguf_reader *in, uint64_t alignment, size_t data_start, uint64_t *used,
                              fv_gguf_tensor *tensor) {
    uint64_t offset = tensor->file_offset;
    tensor->file_offset = offset > UINT64_MAX - data_start ? UINT64_MAX : data_start + offset;
    if (offset < *used)
        return fv_message_set(in->message, FV_ERROR_CORRUPT,
                              "%s: tensor %.*s starts at %llu, inside or before an earlier tensor; download it again",
                              in->path, fv_gguf_shown(tensor->name), tensor->name.bytes, (unsigned long long)offset);
    if (offset % alignment != 0)
        return fv_message_set(
            in->message, FV_ERROR_CORRUPT,
            "%s: tensor %.*s starts at %llu, no multiple of %llu (general.alignment); download it again", in->path,
            fv_gguf_shown(tensor->name), tensor->name.bytes, (unsigned long long)offset, (unsigned long long)alignment);
    uint64_t available = data_start < in->count ? in->count - data_start : 0;
    if (offset > available || tensor->bytes > available - offset)
        return fv_message_set(
            in->message, FV_ERROR_CORRUPT,
            "%s: tensor %.*s needs bytes %llu+%llu of the tensor data, the file has %llu; download it again", in->path,
            fv_gguf_shown(tensor->name), tensor->name.bytes, (unsigned long long)offset,
            (unsigned long long)tensor->bytes, (unsigned long long)available);
    *used = offset + tensor->bytes;
    if (fv_ggml_type_find(tensor->ggml_type)) tensor->data = in->bytes + tensor->file_offset;
    return FV_OK;
}

fv_status fv_gguf_tensors_read(fv_gguf_reader *in, uint64_t count, uint64_t alignment, uint32_t file,
                               fv_gguf_tensor_list *list) {
    size_t first = list->count, data_start = 0;
    for (uint64_t i = 0; i < count; i++) {
        void *items = fv_array_reserve(list->items, &list->capacity, list->count, 1, sizeof *list->items);
        if (!items) return fv_gguf_no_memory(in);
        list->items = items;
        fv_status status = read_tensor(in, i, &list->items[list->count]);
        if (status != FV_OK) return status;
        list->items[list->count++].file = file;
    }
    if (!fv_size_add(&data_start, in->offset, 1, (size_t)alignment))
        return fv_gguf_cut_short(in, "tensor entry", count);
    uint64_t used = 0;
    for (size_t i = first; i < list->count; i++) {
        fv_status status = fv_gguf_tolerated(in, place_tensor(in, alignment, data_start, &used, &list->items[i]));
        if (status != FV_OK) return status;
    }
    return FV_OK;
}

fv_status fv_gguf_tensors_index(const fv_gguf_reader *in, fv_gguf_tensor_list *list) {
    if (!fv_name_index_build(&list->index, list->items, list->count, sizeof *list->items)) return fv_gguf_no_memory(in);
    const fv_gguf_text *twice = fv_name_index_duplicate(&list->index);
    if (!twice) return FV_OK;
    return fv_gguf_tolerated(
        in, fv_message_set(in->message, FV_ERROR_CORRUPT,
                           "%s: tensor %.*s appears twice; convert the model again or download it again", in->path,
                           fv_gguf_shown(*twice), twice->bytes));
}

void fv_gguf_tensors_free(fv_gguf_tensor_list *list) {
    free(list->items);
    free(list->index.names);
}
