/* avxvnni_list.h - the kernels of this folder, for processors with AVX2, FMA, F16C and AVX-VNNI: K(slot, set) stands
 * for fv_SLOT_SET(). Their declarations and the table are made from it. */
#ifndef FV_AVXVNNI_LIST_H
#define FV_AVXVNNI_LIST_H

#include "build.h"

#ifndef FV_BUILD_AVXVNNI
#define FV_BUILD_AVXVNNI 0
#endif

#if FV_BUILD_AVXVNNI && FV_BUILD_CHOOSE
#define FV_AVXVNNI_CHOOSE_LIST(K) K(mean_score, avxvnni)
#else
#define FV_AVXVNNI_CHOOSE_LIST(K)
#endif

#if FV_BUILD_AVXVNNI && FV_BUILD_MODEL
#define FV_AVXVNNI_MODEL_LIST(K) \
    K(product_panel, avxvnni) \
    K(product_packed, avxvnni)
#else
#define FV_AVXVNNI_MODEL_LIST(K)
#endif

#define FV_AVXVNNI_LIST(K) \
    FV_AVXVNNI_CHOOSE_LIST(K) \
    FV_AVXVNNI_MODEL_LIST(K)

#endif
