/* version.h - which fovea this is: of these headers (macros) and of the library that runs (functions). */
#ifndef FOVEA_VERSION_H
#define FOVEA_VERSION_H

#include "fovea/api.h"
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the headers that a program was compiled with. Semantic versioning: while MAJOR is 0, a new MINOR may
 * change calls. The build description refuses another number than its own. */
#define FV_VERSION_MAJOR 0
#define FV_VERSION_MINOR 1
#define FV_VERSION_PATCH 0
#define FV_VERSION_STRING "0.1.0"

/** One number that compares: 1.2.3 is 10203. */
#define FV_VERSION_NUMBER (FV_VERSION_MAJOR * 10000 + FV_VERSION_MINOR * 100 + FV_VERSION_PATCH)

/* The number in the name of the shared libraries (libfovea.so.0). It rises with the first release that breaks programs
 * compiled against the one before: a function gone or changed, a public struct of another size or order. */
#define FV_ABI_VERSION 0

/** FV_VERSION_NUMBER of the library that runs: with a shared library it may be newer than the headers were.
 *  Thread-safe. O(1). */
FV_API uint32_t fv_version_number(void);

/** FV_VERSION_STRING of the library that runs, "MAJOR.MINOR.PATCH": constant, static text. Thread-safe. O(1). */
FV_API const char *fv_version(void);

#ifdef __cplusplus
}
#endif

#endif
