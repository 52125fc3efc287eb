/* vector_file.c - one view of all formats: elements of a type, rows a stride apart. Nothing a file says is believed
 * before it is compared with the file's length. */
#include "fovea/vector_file.h"
#include "index/vector_view.h"
#include "llm/hash64.h"
#include "numeric/half.h"
#include "platform/array.h"
#include "platform/replacement.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_MOST = 1 << 16 }; /* bytes of a .npy's header: more is none */

typedef struct element_type {
    const char *name; /* as .npy has it */
    size_t bytes;
} element_type;

enum { TYPE_F4, TYPE_F2, TYPE_I1, TYPE_U1, TYPE_I4, TYPE_U4, TYPE_I8, TYPE_U8, TYPE_B1, TYPES };
static const element_type types[TYPES] = {{"<f4", 4}, {"<f2", 2}, {"|i1", 1}, {"|u1", 1}, {"<i4", 4},
                                          {"<u4", 4}, {"<i8", 8}, {"<u8", 8}, {"|b1", 1}};

typedef struct element_view {
    const uint8_t *first; /* element of row 0 */
    size_t rows, columns, stride;
    int type;
    size_t dimensions; /* of a .npy: 1 or 2 */
} element_view;

/* ---- formats ---- */

/* Where the value of a key of the header begins; NULL: it is not there. */
static const char *npy_value(const char *header, const char *key) {
    const char *found = strstr(header, key);
    if (!found) return NULL;
    found += strlen(key);
    return found + strspn(found, " :");
}

/* "(5, 3)", "(5,)": how many numbers; 0: it is no shape. */
static size_t npy_shape(const char *text, uint64_t shape[2]) {
    size_t count = 0;
    if (*text++ != '(') return 0;
    while (*text != ')') {
        char *end = NULL;
        if (count == 2 || *text < '0' || *text > '9') return 0;
        shape[count++] = strtoull(text, &end, 10);
        text = end + strspn(end, " ,L");
    }
    return count;
}

static const char *npy_header(const char *header, element_view *view) {
    const char *descr = npy_value(header, "'descr'"), *order = npy_value(header, "'fortran_order'");
    const char *shape = npy_value(header, "'shape'");
    uint64_t numbers[2] = {0, 1};
    if (!descr || !order || !shape) return "its header lacks descr, fortran_order or shape";
    view->dimensions = npy_shape(shape, numbers);
    if (!view->dimensions) return "it has neither one nor two dimensions";
    if (strncmp(order, "False", 5) != 0 && view->dimensions == 2) return "it is in Fortran order; save it in C order";
    view->type = TYPES;
    for (int i = 0; i < TYPES; i++)
        if (*descr == '\'' && strncmp(descr + 1, types[i].name, 3) == 0 && descr[4] == '\'') view->type = i;
    if (view->type == TYPES) return "its type is none of f4, f2, i1, u1, i4, u4, i8, u8 and b1, little-endian";
    if (numbers[0] > SIZE_MAX || numbers[1] > SIZE_MAX / 8) return "its shape is too large";
    view->rows = (size_t)numbers[0];
    view->columns = (size_t)numbers[1];
    view->stride = view->columns * types[view->type].bytes;
    return NULL;
}

static fv_status view_npy(const fv_file_map *map, const char *path, element_view *view, fv_message *message) {
    size_t at = map->bytes[6] == 1 ? 10 : 12;
    if (map->count < at) return fv_message_set(message, FV_ERROR_CORRUPT, "%s: is cut short", path);
    size_t bytes = at == 10 ? map->bytes[8] | (size_t)map->bytes[9] << 8 : fv_le32_get(map->bytes + 8);
    if (bytes > HEADER_MOST || bytes > map->count - at)
        return fv_message_set(message, FV_ERROR_CORRUPT, "%s: is cut short", path);
    char *header = fv_array_new(bytes + 1, 1);
    if (!header) return fv_message_set(message, FV_ERROR_MEMORY, "%s: no memory to read it", path);
    memcpy(header, map->bytes + at, bytes);
    const char *fault = npy_header(header, view);
    free(header);
    if (fault) return fv_message_set(message, FV_ERROR_UNSUPPORTED, "%s: %s", path, fault);
    view->first = map->bytes + at + bytes;
    size_t rest = map->count - at - bytes;
    if (view->stride && view->rows > rest / view->stride)
        return fv_message_set(message, FV_ERROR_CORRUPT,
                              "%s: has %zu bytes after its header, %zu rows of %zu want more", path, rest, view->rows,
                              view->stride);
    return FV_OK;
}

/* Each row: its length in 4 bytes, its elements. */
static fv_status view_vecs(const fv_file_map *map, const char *path, int type, element_view *view,
                           fv_message *message) {
    size_t columns = map->count < 4 ? 0 : fv_le32_get(map->bytes), stride = 4 + columns * types[type].bytes;
    if (map->count < 4 || columns > INT32_MAX || map->count % stride != 0)
        return fv_message_set(message, FV_ERROR_CORRUPT, "%s: %zu bytes are no whole rows of %zu elements", path,
                              map->count, columns);
    *view = (element_view){map->bytes + 4, map->count / stride, columns, stride, type, 2};
    for (size_t row = 0; row < view->rows; row++)
        if (fv_le32_get(map->bytes + row * stride) != columns)
            return fv_message_set(message, FV_ERROR_CORRUPT, "%s: row %zu has %" PRIu32 " elements, the first has %zu",
                                  path, row, fv_le32_get(map->bytes + row * stride), columns);
    return FV_OK;
}

static bool is_npy(const fv_file_map *map) { return map->count >= 10 && memcmp(map->bytes, "\x93NUMPY", 6) == 0; }

static fv_status view_file(const fv_file_map *map, const char *path, element_view *view, fv_message *message) {
    static const char *const endings[] = {".fvecs", ".bvecs", ".ivecs"};
    static const int of[] = {TYPE_F4, TYPE_U1, TYPE_I4};
    if (is_npy(map)) return view_npy(map, path, view, message);
    size_t length = strlen(path);
    for (size_t i = 0; i < 3; i++)
        if (length >= 6 && strcmp(path + length - 6, endings[i]) == 0)
            return view_vecs(map, path, of[i], view, message);
    return fv_message_set(message, FV_ERROR_UNSUPPORTED, "%s: is no .npy, .fvecs, .bvecs or .ivecs", path);
}

/* ---- elements ---- */

static float element_f32(int type, const uint8_t *at) {
    switch (type) {
    case TYPE_F4:
        return fv_f32_from_bits(fv_le32_get(at));
    case TYPE_F2:
        return fv_f32_from_f16((uint16_t)(at[0] | at[1] << 8));
    case TYPE_I1:
        return (float)(int8_t)at[0];
    case TYPE_I4:
        return (float)(int32_t)fv_le32_get(at);
    default:
        return (float)at[0];
    }
}

/* Negative ones have the upper bit. */
static uint64_t element_u64(int type, const uint8_t *at) {
    switch (type) {
    case TYPE_I4:
        return (uint64_t)(int32_t)fv_le32_get(at);
    case TYPE_U4:
        return fv_le32_get(at);
    case TYPE_I8:
    case TYPE_U8:
        return fv_le64_get(at);
    default:
        return at[0];
    }
}

static fv_status fill_vectors(const element_view *view, const char *path, fv_vectors *vectors, fv_message *message) {
    bool fits = view->type == TYPE_F4 || view->type == TYPE_F2 || view->type == TYPE_I1 || view->type == TYPE_U1 ||
                view->type == TYPE_I4;
    if (!fits || view->dimensions != 2)
        return fv_message_set(message, FV_ERROR_UNSUPPORTED, "%s: vectors are of two dimensions and f4, f2, i1 or u1",
                              path);
    if (!view->columns) return fv_message_set(message, FV_ERROR_CORRUPT, "%s: has vectors of dimension 0", path);
    if (view->columns > SIZE_MAX / sizeof(float))
        return fv_message_set(message, FV_ERROR_OVERFLOW, "%s: its vectors are too large", path);
    fv_vectors made = {fv_array_new(view->rows, view->columns * sizeof(float)), view->rows, view->columns};
    if (!made.data) return fv_message_set(message, FV_ERROR_MEMORY, "%s: no memory for its vectors", path);
    size_t bytes = types[view->type].bytes;
    for (size_t row = 0; row < view->rows; row++)
        for (size_t i = 0; i < view->columns; i++)
            made.data[row * view->columns + i] = element_f32(view->type, view->first + row * view->stride + i * bytes);
    *vectors = made;
    return FV_OK;
}

static fv_status fill_labels(const element_view *view, const char *path, fv_labels *labels, fv_message *message) {
    if (view->type < TYPE_U1 || view->type > TYPE_U8)
        return fv_message_set(message, FV_ERROR_UNSUPPORTED, "%s: labels are whole numbers: i4, u4, i8 or u8", path);
    if (view->columns > SIZE_MAX / sizeof(uint64_t))
        return fv_message_set(message, FV_ERROR_OVERFLOW, "%s: has too many labels", path);
    if (!view->columns) return fv_message_set(message, FV_ERROR_CORRUPT, "%s: has rows without a label", path);
    size_t bytes = types[view->type].bytes;
    fv_labels made = {fv_array_new(view->rows, view->columns * sizeof(uint64_t)), view->rows, view->columns};
    if (!made.data) return fv_message_set(message, FV_ERROR_MEMORY, "%s: no memory for its labels", path);
    for (size_t row = 0; row < view->rows; row++)
        for (size_t i = 0; i < view->columns; i++) {
            uint64_t label = element_u64(view->type, view->first + row * view->stride + i * bytes);
            made.data[row * view->columns + i] = label;
            if ((view->type != TYPE_I4 && view->type != TYPE_I8) || label <= INT64_MAX) continue;
            free(made.data);
            return fv_message_set(message, FV_ERROR_RANGE, "%s: the label of row %zu is negative", path, row);
        }
    *labels = made;
    return FV_OK;
}

/* ---- the calls ---- */

fv_status fv_vectors_take(const fv_file_map *map, const char *path, fv_vectors *vectors, fv_message *message) {
    element_view view = {0};
    fv_status status = view_file(map, path, &view, message);
    return status == FV_OK ? fill_vectors(&view, path, vectors, message) : status;
}

fv_status fv_vectors_read(fv_vectors *vectors, const char *path, fv_message *message) {
    fv_file_map map = {0};
    fv_status status = fv_file_map_open(&map, path, message);
    if (status != FV_OK) return status;
    status = fv_vectors_take(&map, path, vectors, message);
    fv_file_map_close(&map);
    return status;
}

void fv_vectors_free(fv_vectors *vectors) {
    free(vectors->data);
    *vectors = (fv_vectors){0};
}

fv_status fv_labels_take(const fv_file_map *map, const char *path, fv_labels *labels, fv_message *message) {
    element_view view = {0};
    fv_status status = view_file(map, path, &view, message);
    return status == FV_OK ? fill_labels(&view, path, labels, message) : status;
}

/* Maps the file for `take`: labels, or the bits of a filter. */
static fv_status read_by(fv_status (*take)(const fv_file_map *, const char *, fv_labels *, fv_message *),
                         fv_labels *labels, const char *path, fv_message *message) {
    fv_file_map map = {0};
    fv_status status = fv_file_map_open(&map, path, message);
    if (status != FV_OK) return status;
    status = take(&map, path, labels, message);
    fv_file_map_close(&map);
    return status;
}

fv_status fv_labels_read(fv_labels *labels, const char *path, fv_message *message) {
    return read_by(fv_labels_take, labels, path, message);
}

void fv_labels_free(fv_labels *labels) {
    free(labels->data);
    *labels = (fv_labels){0};
}

fv_status fv_filter_take(const fv_file_map *map, const char *path, fv_labels *bits, fv_message *message) {
    element_view view = {0};
    bool npy = is_npy(map);
    fv_status status = npy ? view_npy(map, path, &view, message) : FV_OK;
    if (status == FV_OK && npy && (view.dimensions != 1 || (view.type != TYPE_U1 && view.type != TYPE_B1)))
        status = fv_message_set(message, FV_ERROR_UNSUPPORTED, "%s: a filter has one dimension and bools or u1", path);
    if (status != FV_OK) return status;
    size_t count = npy ? view.rows : map->count, each = npy ? 64 : 8;
    fv_labels made = {fv_array_new(count / each + 1, sizeof(uint64_t)), count / each + 1, 1};
    if (!made.data) return fv_message_set(message, FV_ERROR_MEMORY, "%s: no memory for the filter", path);
    for (size_t i = 0; i < count; i++)
        made.data[i / each] |= npy ? (uint64_t)(view.first[i] != 0) << i % 64 : (uint64_t)map->bytes[i] << i % 8 * 8;
    *bits = made;
    return FV_OK;
}

fv_status fv_filter_read(fv_labels *bits, const char *path, fv_message *message) {
    return read_by(fv_filter_take, bits, path, message);
}

static fv_status write_npy(const char *path, int type, const void *data, size_t rows, size_t columns,
                           fv_message *message) {
    char header[128], dictionary[118];
    int length =
        snprintf(dictionary, sizeof dictionary, "{'descr': '%s', 'fortran_order': False, 'shape': (%zu, %zu), }",
                 types[type].name, rows, columns);
    memcpy(header, "\x93NUMPY\x01\x00\x76\x00", 10); /* version 1; 118 bytes follow */
    memset(header + 10, ' ', sizeof header - 10);
    memcpy(header + 10, dictionary, (size_t)length);
    header[sizeof header - 1] = '\n';
    fv_replacement replacement;
    fv_status status = fv_replacement_begin(&replacement, path, message);
    if (status != FV_OK) return status;
    size_t count = rows * columns, bytes = types[type].bytes;
    bool good = replacement.file && fwrite(header, 1, sizeof header, replacement.file) == sizeof header;
    good = good && (!count || fwrite(data, bytes, count, replacement.file) == count);
    return fv_replacement_end(&replacement, good, message);
}

fv_status fv_npy_write_f32(const char *path, const float *data, size_t rows, size_t columns, fv_message *message) {
    return write_npy(path, TYPE_F4, data, rows, columns, message);
}

fv_status fv_npy_write_u64(const char *path, const uint64_t *data, size_t rows, size_t columns, fv_message *message) {
    return write_npy(path, TYPE_U8, data, rows, columns, message);
}
