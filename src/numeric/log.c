/* The fraction's logarithm by the series of the inverse hyperbolic tangent, the exponent's in two parts. */
#include "numeric/log.h"
#include "numeric/half.h"

float fv_log_f32(float x) {
    const float ln2_high = 0x1.62e4p-1f, ln2_low = 0x1.7f7d1cp-20f; /* the first times a whole exponent is exact */
    uint32_t bits = fv_bits_from_f32(x) - 0x3F3504F3;               /* of sqrt(1/2): the fraction is around 1 */
    float exponent = (float)((int32_t)bits >> 23), m = fv_f32_from_bits((bits & 0x007FFFFF) + 0x3F3504F3);
    float s = (m - 1.0f) / (m + 1.0f), z = s * s;
    float series = z * (1.0f / 3 + z * (1.0f / 5 + z * (1.0f / 7 + z * (1.0f / 9 + z / 11))));
    return exponent * ln2_high + (2.0f * s + (2.0f * s * series + exponent * ln2_low));
}
