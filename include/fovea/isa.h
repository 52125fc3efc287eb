/* isa.h - which instruction set the kernels use; the table is picked once and handed in, there is no global. */
#ifndef FOVEA_ISA_H
#define FOVEA_ISA_H

#include "fovea/api.h"
#include "fovea/status.h"
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(NAME, name): scalar, then for each family of processors its levels in rising order of preference. Each level has
 * what the one before it in the same family has. New families go to the end: reports and bindings keep the numbers. */
#define FV_ISA_LIST(X) \
    X(SCALAR, scalar) \
    X(AVX2, avx2) \
    X(AVX512, avx512) \
    X(NEON, neon) \
    X(NEON_DOTPROD, neon_dotprod) \
    X(NEON_I8MM, neon_i8mm)
#define FV_ISA_ENUM(NAME, name) FV_ISA_##NAME,
typedef enum fv_isa { FV_ISA_LIST(FV_ISA_ENUM) FV_ISA_COUNT, FV_ISA_BEST = FV_ISA_COUNT - 1 } fv_isa;
#undef FV_ISA_ENUM

/** The table of kernels; opaque, lives in the caller's memory. Read-only once made, hence thread-safe. */
typedef struct fv_kernels fv_kernels;

#define FV_KERNELS_BYTES 1024 /* memory for one table is at least this long, 8-byte aligned */

/**
 * Fills a table with the best kernels that this processor and build have, up to `limit` in the order of FV_ISA_LIST:
 * FV_ISA_BEST is no limit, and FV_ISA_AVX512 leaves an Arm processor with scalar kernels.
 *
 * memory  FV_KERNELS_BYTES long, 8-byte aligned; owned by the caller, must outlive the table's use.
 * kernels out; points into `memory`; untouched on error.
 * returns FV_OK, FV_ERROR_MEMORY, FV_ERROR_ARGUMENT (limit out of range).
 */
FV_API fv_status fv_kernels_init(const fv_kernels **kernels, fv_isa limit, void *memory, size_t bytes);

/** The table of the portable kernels, in constant memory: no detection, no RAM. For processors without kernels of their
 *  own. */
FV_API const fv_kernels *fv_kernels_scalar(void);

/** The best level in the table, which may be lower than the limit. */
FV_API fv_isa fv_kernels_isa(const fv_kernels *kernels);

/** "scalar", "avx2", …, "neon", "neon_dotprod", …; NULL for an unknown value. Thread-safe. */
FV_API const char *fv_isa_name(fv_isa isa);

/** The level of that name. FV_OK; *isa untouched on FV_ERROR_ARGUMENT (no such level) and FV_ERROR_UNSUPPORTED (a level
 * of processors that this build is not for). Thread-safe. */
FV_API fv_status fv_isa_from_name(const char *name, fv_isa *isa);

#ifdef __cplusplus
}
#endif

#endif
