/* Half precision for callers: the table's conversions after a check. */
#include "fovea/reference/f16.h"
#include "build.h"
#include "kernels/kernels.h"

#if FV_BUILD_F16

fv_status fv_f16_narrow(const fv_kernels *kernels, size_t n, const float *x, uint16_t *out) {
    if (!kernels || (n > 0 && (!x || !out))) return FV_ERROR_ARGUMENT;
    if (n > 0) kernels->narrow_f16(n, x, out);
    return FV_OK;
}

fv_status fv_f16_widen(const fv_kernels *kernels, size_t n, const uint16_t *x, float *out) {
    if (!kernels || (n > 0 && (!x || !out))) return FV_ERROR_ARGUMENT;
    if (n > 0) kernels->widen_f16(n, x, out);
    return FV_OK;
}

#endif
