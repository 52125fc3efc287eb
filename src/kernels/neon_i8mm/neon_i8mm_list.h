/* neon_i8mm_list.h - the kernels of this folder, for processors with Armv8.6 with matrix products of bytes: K(slot,
 * set) stands for fv_SLOT_SET(). Their declarations and the table are made from it. */
#ifndef FV_NEON_I8MM_LIST_H
#define FV_NEON_I8MM_LIST_H

#include "build.h"

#ifndef FV_BUILD_NEON_I8MM
#define FV_BUILD_NEON_I8MM 0
#endif

#if FV_BUILD_NEON_I8MM && FV_BUILD_MODEL
#define FV_NEON_I8MM_MODEL_LIST(K) K(product_panel, neon_i8mm)
#else
#define FV_NEON_I8MM_MODEL_LIST(K)
#endif

#define FV_NEON_I8MM_LIST(K) FV_NEON_I8MM_MODEL_LIST(K)

#endif
