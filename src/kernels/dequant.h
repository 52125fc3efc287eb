/* dequant.h - weight blocks as they lie in a GGUF file to f32. */
#ifndef FV_DEQUANT_H
#define FV_DEQUANT_H

#include "build.h"
#include "fovea/weight.h"
#include <stddef.h>

/* out[i] = value i of `blocks`, with the bits that ggml's reference (gguf-py) gives.
 * values  a multiple of the type's values per block; 0 is allowed.
 * blocks  any alignment.  out [values] f32, no overlap. Any bytes are allowed: scales may be infinite or NaN, and then
 * so are the values. */
typedef void fv_dequant_fn(size_t values, const void *blocks, float *out);

/* What is built in of FV_WEIGHT_LIST. */
#if FV_BUILD_GRIDS
#define FV_WEIGHT_BUILT_LIST(X) FV_WEIGHT_LIST(X)
#else
#define FV_WEIGHT_BUILT_LIST(X) FV_WEIGHT_PLAIN_LIST(X)
#endif

#define FV_DEQUANT_DECLARE(NAME, name, number, values, bytes) fv_dequant_fn fv_dequant_##name##_scalar;
FV_WEIGHT_LIST(FV_DEQUANT_DECLARE)
#undef FV_DEQUANT_DECLARE

#endif
