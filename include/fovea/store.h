/* store.h - where states are saved: a file, a partition of flash, memory. */
#ifndef FOVEA_STORE_H
#define FOVEA_STORE_H

#include "fovea/status.h"
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The caller's functions. They move `count` bytes, at most 256 and never across a multiple of 256, at an `offset`
 * below the size that whoever saves there asks for (fv_cache_save_size()). They return FV_OK, or a status that ends the
 * call and is what it returns; only restoring tries the other slot before it does. */
typedef struct fv_store {
    void *context; /* handed to the functions */
    /** Bytes never written, past the end of a file too, read as zeros and FV_OK. */
    fv_status (*read)(void *context, uint64_t offset, void *bytes, size_t count);
    fv_status (*write)(void *context, uint64_t offset, const void *bytes, size_t count);
    /** Returns when all that was written before will survive a loss of power (fsync); NULL: writes survive in order. */
    fv_status (*sync)(void *context);
} fv_store;

#ifdef __cplusplus
}
#endif

#endif
