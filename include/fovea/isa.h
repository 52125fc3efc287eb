/* isa.h - which instruction set the kernels use; the table is picked once and handed in, there is no global. */
#ifndef FOVEA_ISA_H
#define FOVEA_ISA_H

#include "fovea/api.h"
#include "fovea/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(NAME, name, family, level): a set has what those of lower levels of its family have, and nothing of another one of
 * its own level; AVXVNNI is part of no other set. Numbers (reports and bindings keep them) are places in this list, so
 * a new line goes to the end, whatever its family and level. */
#define FV_ISA_LIST(X) \
    X(SCALAR, scalar, ANY, 0) \
    X(AVX2, avx2, X86, 1) \
    X(AVX512, avx512, X86, 2) \
    X(NEON, neon, ARM, 1) \
    X(NEON_DOTPROD, neon_dotprod, ARM, 2) \
    X(NEON_I8MM, neon_i8mm, ARM, 3) \
    X(AVXVNNI, avxvnni, X86, 2) \
    X(AVX512BF16, avx512bf16, X86, 3)

#define FV_ISA_ENUM(NAME, name, family, level) FV_ISA_##NAME,
typedef enum fv_isa { FV_ISA_LIST(FV_ISA_ENUM) FV_ISA_COUNT, FV_ISA_BEST = 255 /* no limit */ } fv_isa;
#undef FV_ISA_ENUM

typedef enum fv_isa_family { FV_ISA_FAMILY_ANY, FV_ISA_FAMILY_X86, FV_ISA_FAMILY_ARM } fv_isa_family;

/** The table of kernels; opaque, lives in the caller's memory. Read-only once made, hence thread-safe. */
typedef struct fv_kernels fv_kernels;

#define FV_KERNELS_BYTES 1024 /* memory for one table is at least this long, 8-byte aligned */

/**
 * Fills a table with the best kernels that this processor and build have, up to `limit`: FV_ISA_BEST is no limit, and a
 * set that the processor lacks leaves what both have: of another one of the same level the levels below, of another
 * family scalar kernels.
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

/** Whether processors of `isa` run kernels of `level`: the same set, one of the same family and a lower level, or
 * scalar. False for unknown values. Thread-safe. */
FV_API bool fv_isa_includes(fv_isa isa, fv_isa level);

/** "scalar", "avx2", …, "neon", "neon_dotprod", …; NULL for an unknown value. Thread-safe. */
FV_API const char *fv_isa_name(fv_isa isa);

/** The level of that name. FV_OK; *isa untouched on FV_ERROR_ARGUMENT (no such level) and FV_ERROR_UNSUPPORTED (a level
 * of processors that this build is not for). Thread-safe. */
FV_API fv_status fv_isa_from_name(const char *name, fv_isa *isa);

#ifdef __cplusplus
}
#endif

#endif
