/* neon_dotprod_list.h - the kernels of this folder, for processors with Armv8.2 with dot products: K(slot, set) stands
 * for fv_SLOT_SET(). Their declarations and the table are made from it. */
#ifndef FV_NEON_DOTPROD_LIST_H
#define FV_NEON_DOTPROD_LIST_H

#include "build.h"

#ifndef FV_BUILD_NEON_DOTPROD
#define FV_BUILD_NEON_DOTPROD 0
#endif

#if FV_BUILD_NEON_DOTPROD && FV_BUILD_MODEL
#define FV_NEON_DOTPROD_MODEL_LIST(K) \
    K(product_panel, neon_dotprod) \
    K(product_packed, neon_dotprod)
#else
#define FV_NEON_DOTPROD_MODEL_LIST(K)
#endif

#define FV_NEON_DOTPROD_LIST(K) FV_NEON_DOTPROD_MODEL_LIST(K)

#endif
