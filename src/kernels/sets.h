/* sets.h - the lists of all instruction sets, one line for each folder beside scalar/. A set that is not in the build
 * has an empty list. */
#ifndef FV_SETS_H
#define FV_SETS_H

#include "kernels/avx2/avx2_list.h"
#include "kernels/avx512/avx512_list.h"
#include "kernels/avx512bf16/avx512bf16_list.h"
#include "kernels/avxvnni/avxvnni_list.h"
#include "kernels/neon/neon_list.h"
#include "kernels/neon_dotprod/neon_dotprod_list.h"
#include "kernels/neon_i8mm/neon_i8mm_list.h"

/* Scalar kernels have no list of their own: every slot has one. */
#define FV_BUILD_SCALAR 1
#define FV_SCALAR_LIST(K)

#endif
