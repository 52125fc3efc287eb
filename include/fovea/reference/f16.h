/* f16.h - half precision to and from f32: the rounding that a cache of FV_ELEMENT_F16 uses. */
#ifndef FOVEA_F16_H
#define FOVEA_F16_H

#include "fovea/api.h"
#include "fovea/isa.h"

#ifdef __cplusplus
extern "C" {
#endif

/** out[i] = x[i] rounded to nearest even as IEEE binary16 bits: overflow to infinity, subnormals kept, NaN quiet. The
 *  same bits on every processor. FV_OK or FV_ERROR_ARGUMENT (a NULL with n > 0). No overlap. O(n). */
FV_API fv_status fv_f16_narrow(const fv_kernels *kernels, size_t n, const float *x, uint16_t *out);

/** out[i] = x[i], exactly. FV_OK or FV_ERROR_ARGUMENT (a NULL with n > 0). No overlap. O(n). */
FV_API fv_status fv_f16_widen(const fv_kernels *kernels, size_t n, const uint16_t *x, float *out);

#ifdef __cplusplus
}
#endif

#endif
