/* status.h - what a call can return. */
#ifndef FOVEA_STATUS_H
#define FOVEA_STATUS_H

#include "fovea/api.h"

#ifdef __cplusplus
extern "C" {
#endif

/* X(name, value, text): the one list; enum, texts, bindings and docs are made from it.
 * Values are pinned: never renumber, only append. */
#define FV_STATUS_LIST(X) \
    X(FV_OK, 0, "success") \
    X(FV_ERROR_ARGUMENT, -1, "an argument is out of its range") \
    X(FV_ERROR_OVERFLOW, -2, "a size overflows") \
    X(FV_ERROR_MEMORY, -3, "memory too small, misaligned or not available") \
    X(FV_ERROR_FULL, -4, "no room left") \
    X(FV_ERROR_UNSUPPORTED, -5, "not supported by this build, processor or version") \
    X(FV_ERROR_CORRUPT, -6, "malformed input") \
    X(FV_ERROR_FILE, -7, "a file cannot be opened, read or written") \
    X(FV_ERROR_INTERRUPTED, -8, "stopped by the caller") \
    X(FV_ERROR_PROTECTED, -9, "cache full, every token protected") \
    X(FV_ERROR_DEADLINE, -10, "the deadline passed") \
    X(FV_ERROR_NOT_FINITE, -11, "NaN or infinity in the input") \
    X(FV_ERROR_SHAPE, -12, "sizes of arrays do not fit") \
    X(FV_ERROR_POLICY, -13, "this cache cannot serve the policy") \
    X(FV_ERROR_RANGE, -14, "value too large for the cache's type")

#define FV_STATUS_ENUM(name, value, text) name = value,
typedef enum fv_status { FV_STATUS_LIST(FV_STATUS_ENUM) } fv_status;
#undef FV_STATUS_ENUM

/** Constant, static text for `status`; never NULL, also for unknown values. Thread-safe. */
FV_API const char *fv_status_text(fv_status status);

#ifdef __cplusplus
}
#endif

#endif
