/* tensor_check.c - whether the numbers of a tensor are finite, by its elements or the scales of its blocks, without
 * computing them: types that fovea cannot run are looked at, too. */
#include "fovea/gguf.h"
#include "gguf/ggml_type.h"
#include <string.h>

/* How a number that can be infinite or NaN is written. */
typedef enum number_form { FORM_NONE, FORM_F16, FORM_BF16, FORM_F32, FORM_F64, FORM_E8M0 } number_form;

/* Where they lie in a block. */
typedef struct block_scales {
    number_form form; /* NONE: whole numbers */
    uint8_t count, offsets[2];
    bool known;
} block_scales;

static const uint8_t whole_numbers[] = {24, 25, 26, 27}; /* I8 .. I64 */

static const struct {
    uint32_t type;
    block_scales scales;
} types[] = {
    {0, {FORM_F32, 1, {0}, true}},    {1, {FORM_F16, 1, {0}, true}},     {2, {FORM_F16, 1, {0}, true}},
    {3, {FORM_F16, 2, {0, 2}, true}}, {6, {FORM_F16, 1, {0}, true}},     {7, {FORM_F16, 2, {0, 2}, true}},
    {8, {FORM_F16, 1, {0}, true}},    {9, {FORM_F16, 2, {0, 2}, true}},  {10, {FORM_F16, 2, {80, 82}, true}},
    {11, {FORM_F16, 1, {108}, true}}, {12, {FORM_F16, 2, {0, 2}, true}}, {13, {FORM_F16, 2, {0, 2}, true}},
    {14, {FORM_F16, 1, {208}, true}}, {15, {FORM_F32, 1, {0}, true}},    {16, {FORM_F16, 1, {0}, true}},
    {17, {FORM_F16, 1, {0}, true}},   {18, {FORM_F16, 1, {0}, true}},    {19, {FORM_F16, 1, {0}, true}},
    {20, {FORM_F16, 1, {0}, true}},   {21, {FORM_F16, 1, {0}, true}},    {22, {FORM_F16, 1, {0}, true}},
    {23, {FORM_F16, 1, {0}, true}},   {28, {FORM_F64, 1, {0}, true}},    {30, {FORM_BF16, 1, {0}, true}},
    {34, {FORM_F16, 1, {52}, true}},  {35, {FORM_F16, 1, {64}, true}},   {39, {FORM_E8M0, 1, {0}, true}},
};

static block_scales scales_of(uint32_t type) {
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].type == type) return types[i].scales;
    return (block_scales){.form = FORM_NONE, .known = memchr(whole_numbers, (int)(type < 256 ? type : 255), 4) != NULL};
}

/* By the bits of the exponent: all ones is infinity or NaN. */
static bool is_finite_at(number_form form, const uint8_t *bytes) {
    switch (form) {
    case FORM_F16:
        return (bytes[1] & 0x7C) != 0x7C;
    case FORM_BF16:
        return (bytes[1] & 0x7F) != 0x7F || !(bytes[0] & 0x80);
    case FORM_F32:
        return (bytes[3] & 0x7F) != 0x7F || !(bytes[2] & 0x80);
    case FORM_F64:
        return (bytes[7] & 0x7F) != 0x7F || (bytes[6] & 0xF0) != 0xF0;
    case FORM_E8M0:
        return bytes[0] != 0xFF;
    default:
        return true;
    }
}

static bool is_zero(const uint8_t *bytes, uint64_t count) {
    uint64_t i = 0;
    while (i < count && !bytes[i]) i++;
    return i == count;
}

bool fv_gguf_tensor_check(const fv_gguf_tensor *tensor, fv_gguf_check *check) {
    const fv_ggml_type *type = fv_ggml_type_find(tensor->ggml_type);
    const block_scales scales = scales_of(tensor->ggml_type);
    const uint8_t *block = tensor->data;
    if (!type || !block || !scales.known) return false;
    uint64_t blocks = tensor->bytes / type->block_bytes;
    *check =
        (fv_gguf_check){.blocks = blocks, .block_values = type->block_values, .zero = is_zero(block, tensor->bytes)};
    if (scales.form == FORM_NONE || check->zero) return true;
    for (uint64_t b = 0; b < blocks; b++, block += type->block_bytes) {
        bool good = true;
        for (size_t s = 0; s < scales.count; s++) good = good && is_finite_at(scales.form, block + scales.offsets[s]);
        if (good) continue;
        if (check->bad_blocks++ == 0) check->first_bad = b;
    }
    return true;
}

fv_status fv_gguf_check_numbers(const fv_gguf *gguf, fv_message *message) {
    for (size_t i = 0; i < fv_gguf_tensors(gguf); i++) {
        const fv_gguf_tensor *tensor = fv_gguf_tensor_at(gguf, i);
        fv_gguf_check check;
        if (!fv_gguf_tensor_check(tensor, &check) || check.bad_blocks == 0) continue;
        return fv_message_set(message, FV_ERROR_CORRUPT,
                              "%s: tensor %.*s: %llu of its %llu %s not finite, the first at %llu: the file is "
                              "damaged or badly converted",
                              fv_gguf_path(gguf), (int)(tensor->name.length < 128 ? tensor->name.length : 128),
                              tensor->name.bytes, (unsigned long long)check.bad_blocks,
                              (unsigned long long)check.blocks, check.block_values > 1 ? "blocks are" : "elements are",
                              (unsigned long long)check.first_bad);
    }
    return FV_OK;
}
