/* gguf.h - a GGUF file (v2, v3; one file or split), mapped and checked. Hosted. Every field is hostile input:
 * whatever fv_gguf_open() accepts is safe to read through these calls. */
#ifndef FOVEA_GGUF_H
#define FOVEA_GGUF_H

#include "fovea/api.h"
#include "fovea/message.h"
#include "fovea/weight.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** An open model file. Read-only, hence thread-safe once open. */
typedef struct fv_gguf fv_gguf;

/** Metadata value types, numbered as in the file format. */
typedef enum fv_gguf_type {
    FV_GGUF_UINT8 = 0,
    FV_GGUF_INT8 = 1,
    FV_GGUF_UINT16 = 2,
    FV_GGUF_INT16 = 3,
    FV_GGUF_UINT32 = 4,
    FV_GGUF_INT32 = 5,
    FV_GGUF_FLOAT32 = 6,
    FV_GGUF_BOOL = 7,
    FV_GGUF_STRING = 8,
    FV_GGUF_ARRAY = 9,
    FV_GGUF_UINT64 = 10,
    FV_GGUF_INT64 = 11,
    FV_GGUF_FLOAT64 = 12
} fv_gguf_type;

/** Bytes of the file, in memory that lives as long as the fv_gguf; not zero-terminated, may hold any byte. */
typedef struct fv_gguf_text {
    const char *bytes;
    size_t length;
} fv_gguf_text;

/** One metadata entry. For an array, `type` is FV_GGUF_ARRAY, `element_type` what it holds and `count` how many. */
typedef struct fv_gguf_entry {
    fv_gguf_text key;
    uint32_t type;         /* fv_gguf_type */
    uint32_t element_type; /* of an array; == type else */
    uint64_t count;        /* elements of an array; 1 else */
    const uint8_t *data;   /* first byte of the value (of the first element), unaligned, little-endian; a string
                              starts with its 8-byte length */
    size_t data_bytes;     /* bytes of the whole value, checked to lie inside the file */
} fv_gguf_entry;

/** One tensor. dimensions[0] is the row length (fastest); absent dimensions are 1. */
typedef struct fv_gguf_tensor {
    fv_gguf_text name;
    uint32_t ggml_type;       /* the file's number, whether or not fovea supports it */
    uint32_t dimension_count; /* 1..4 */
    uint64_t dimensions[4];
    const void *data; /* inside the mapped file; NULL if the type is unknown (its size is then unknown too) */
    uint64_t bytes;   /* 0 if the type is unknown */
    uint64_t file_offset;
    uint32_t file; /* index of the split file it lies in */
} fv_gguf_tensor;

/**
 * Opens and checks `path`; a name ending in -00001-of-NNNNN.gguf opens its siblings too (any other part of a split
 * is an error that names the first part).
 *
 * gguf     out; untouched on error. Close with fv_gguf_close().
 * message  may be NULL; on error: the file, the place in it, what to do.
 * returns  FV_OK, FV_ERROR_FILE, FV_ERROR_CORRUPT, FV_ERROR_UNSUPPORTED (version, big-endian file), FV_ERROR_MEMORY.
 * Cost: reads the header only; O(n log n) in its entries. Arrays of arrays are FV_ERROR_UNSUPPORTED.
 * Names and values of metadata are copied, tensors are mapped: a file that is shortened while it is open ends the
 * process by SIGBUS when a tensor is read, unless fv_file_fault_handle() (fovea/file_fault.h) was called.
 */
FV_API fv_status fv_gguf_open(fv_gguf **gguf, const char *path, fv_message *message);

/** Hears of a fault: one line that names the file and the place. */
typedef void fv_gguf_told_fn(void *context, const char *fault);

/**
 * Opens what can be read of a damaged file, to be shown: `told` hears of each fault, in the order of the file. After an
 * entry that can't be read there is nothing; a tensor whose data is not whole has data NULL.
 *
 * returns  what fv_gguf_open() returns, an error only if it is no GGUF file of a known version, can't be opened at all,
 *          or memory runs out.
 */
FV_API fv_status fv_gguf_open_damaged(fv_gguf **gguf, const char *path, fv_gguf_told_fn *told, void *context,
                                      fv_message *message);

/** The same over bytes in memory that the caller keeps alive and unchanged (tests, fuzzing); align them to 8 if tensor
 *  data is to be computed with. `name` is for messages. A part of a split model is FV_ERROR_UNSUPPORTED. */
FV_API fv_status fv_gguf_open_memory(fv_gguf **gguf, const void *bytes, size_t count, const char *name,
                                     fv_message *message);

/** Whether the file is what it was when it was opened; one that was replaced or removed as a whole is, for the old
 * bytes are still there. FV_OK, or FV_ERROR_FILE: it was written to, and its tensors may be a mixture. O(files). */
FV_API fv_status fv_gguf_check_unchanged(const fv_gguf *gguf, fv_message *message);

/** NULL is allowed. Pointers into the file die with it. */
FV_API void fv_gguf_close(fv_gguf *gguf);

FV_API const char *fv_gguf_path(const fv_gguf *gguf);    /* as given, for messages */
FV_API uint32_t fv_gguf_version(const fv_gguf *gguf);    /* 2 or 3 */
FV_API uint32_t fv_gguf_files(const fv_gguf *gguf);      /* parts of a split; 1 else */
FV_API uint64_t fv_gguf_file_bytes(const fv_gguf *gguf); /* of all parts */
FV_API uint64_t fv_gguf_alignment(const fv_gguf *gguf);  /* of tensor data */
FV_API size_t fv_gguf_entries(const fv_gguf *gguf);      /* metadata entries (of the first part) */
FV_API size_t fv_gguf_tensors(const fv_gguf *gguf);      /* of all parts */
FV_API const fv_gguf_entry *fv_gguf_entry_at(const fv_gguf *gguf, size_t index);   /* NULL out of range */
FV_API const fv_gguf_tensor *fv_gguf_tensor_at(const fv_gguf *gguf, size_t index); /* NULL out of range */

/** By exact name; NULL if absent. O(log n) whatever names the file holds (a hash could be flooded). */
FV_API const fv_gguf_entry *fv_gguf_entry_find(const fv_gguf *gguf, const char *key);
FV_API const fv_gguf_tensor *fv_gguf_tensor_find(const fv_gguf *gguf, const char *name);

/** Typed reads: false, and *value untouched, if the key is absent or does not fit (a negative or too large integer,
 *  another kind). Any integer type is accepted for an integer, any float or integer type for a float, an integer 0 or 1
 *  for a truth value. */
FV_API bool fv_gguf_u32(const fv_gguf *gguf, const char *key, uint32_t *value);
FV_API bool fv_gguf_f32(const fv_gguf *gguf, const char *key, float *value);
FV_API bool fv_gguf_bool(const fv_gguf *gguf, const char *key, bool *value);
FV_API bool fv_gguf_string(const fv_gguf *gguf, const char *key, fv_gguf_text *value);

/** The same for keys that matter if they are there: FV_OK where the key is read, or absent (*value untouched);
 *  FV_ERROR_CORRUPT where it is there and does not fit. The message names key, what was found and what was wanted. */
FV_API fv_status fv_gguf_take_u32(const fv_gguf *gguf, const char *key, uint32_t *value, fv_message *message);
FV_API fv_status fv_gguf_take_f32(const fv_gguf *gguf, const char *key, float *value, fv_message *message);
FV_API fv_status fv_gguf_take_bool(const fv_gguf *gguf, const char *key, bool *value, fv_message *message);
FV_API fv_status fv_gguf_take_string(const fv_gguf *gguf, const char *key, fv_gguf_text *value, fv_message *message);

/** Element `index` of an array of integers (bools count as 0 and 1) / of floats or integers; false as above, or if
 *  `entry` is NULL or no such array. O(1). */
FV_API bool fv_gguf_array_i64(const fv_gguf_entry *entry, uint64_t index, int64_t *value);
FV_API bool fv_gguf_array_f32(const fv_gguf_entry *entry, uint64_t index, float *value);

/** Walks an array of strings: *cursor starts at 0 and is advanced; false at the end or if it is no array of strings
 *  (or NULL). */
FV_API bool fv_gguf_array_next(const fv_gguf_entry *entry, size_t *cursor, fv_gguf_text *value);

/** Name of a ggml type ("Q4_1", "IQ1_S", …), "type 77" style fallbacks excluded: NULL if unknown. */
FV_API const char *fv_gguf_type_name(uint32_t ggml_type);

/** Name of a type that ggml has retired ("Q4_0_4_4"): no program reads it any more. NULL for all others. */
FV_API const char *fv_gguf_type_retired(uint32_t ggml_type);

/** A number of any type: `kind` says which member holds it. */
typedef struct fv_gguf_number {
    fv_gguf_type kind; /* FV_GGUF_INT64: whole; FV_GGUF_BOOL: whole, 0 or 1; FV_GGUF_FLOAT64: real */
    int64_t whole;     /* of a 64-bit unsigned value the bits */
    double real;       /* may be infinite or NaN */
} fv_gguf_number;

/** Element `index` of `entry`, an array or (index 0) a single value. False, and *number untouched, if it has no such
 *  element or is text. O(1). */
FV_API bool fv_gguf_number_at(const fv_gguf_entry *entry, uint64_t index, fv_gguf_number *number);

FV_API const char *fv_gguf_value_type_name(fv_gguf_type type); /* "u32", "string", ...; "?" if unknown; static */

/** Tensors of one type. */
typedef struct fv_gguf_type_use {
    uint32_t ggml_type;
    uint64_t tensors, bytes;
} fv_gguf_type_use;

/** Counts tensors by type, in the order of their first tensor; types beyond `capacity` are left out. How many it found.
 *  O(tensors * types). */
FV_API size_t fv_gguf_type_uses(const fv_gguf *gguf, fv_gguf_type_use *uses, size_t capacity);

/** What the numbers of a tensor are like: of its elements, where they are floats, or of the scales of its blocks. */
typedef struct fv_gguf_check {
    uint64_t blocks;     /* of `block_values` values each; 1: elements */
    uint64_t bad_blocks; /* with a number that is not finite, */
    uint64_t first_bad;  /* of which this is the first */
    uint32_t block_values;
    uint32_t zero; /* 1: all bytes are zero, as in a file that was not downloaded as a whole */
} fv_gguf_check;

/** Reads all of a tensor. False, and *check untouched, if it is of a type whose numbers are not known here. O(bytes),
 *  at the speed of memory or disk. */
FV_API bool fv_gguf_tensor_check(const fv_gguf_tensor *tensor, fv_gguf_check *check);

/** fv_gguf_tensor_check() of all tensors: FV_OK, or FV_ERROR_CORRUPT at the first with a number that is not finite; the
 *  message names it. */
FV_API fv_status fv_gguf_check_numbers(const fv_gguf *gguf, fv_message *message);

FV_API bool fv_gguf_type_is_supported(uint32_t ggml_type);           /* whether a model may have weights of it */
FV_API uint64_t fv_gguf_tensor_values(const fv_gguf_tensor *tensor); /* product of its dimensions */

#ifdef __cplusplus
}
#endif

#endif
