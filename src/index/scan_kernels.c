/* scan_kernels.c - the one place that picks. */
#include "index/scan_kernels.h"

#define FILL(name, type, set) .name = fv_##name##_##set,
static const fv_scan_kernels scalar_kernels = {.isa = FV_ISA_SCALAR, FV_SCAN_LIST(FILL, scalar)};
#if FV_BUILD_AVX2
static const fv_scan_kernels avx2_kernels = {.isa = FV_ISA_AVX2, FV_SCAN_LIST(FILL, avx2)};
#endif
#if FV_BUILD_AVX512
static const fv_scan_kernels avx512_kernels = {.isa = FV_ISA_AVX512, FV_SCAN_LIST(FILL, avx512)};
#endif
#if FV_BUILD_NEON
static const fv_scan_kernels neon_kernels = {.isa = FV_ISA_NEON, FV_SCAN_LIST(FILL, neon)};
#endif
#undef FILL

const fv_scan_kernels *fv_scan_kernels_of(fv_isa isa) {
#if FV_BUILD_AVX512
    if (fv_isa_includes(isa, FV_ISA_AVX512)) return &avx512_kernels;
#endif
#if FV_BUILD_AVX2
    if (fv_isa_includes(isa, FV_ISA_AVX2)) return &avx2_kernels;
#endif
#if FV_BUILD_NEON
    if (fv_isa_includes(isa, FV_ISA_NEON)) return &neon_kernels;
#endif
    (void)isa;
    return &scalar_kernels;
}
