/* log.h - the natural logarithm: there is no logf in a freestanding core. */
#ifndef FV_LOG_H
#define FV_LOG_H

/* Of a positive, normal x: within 2 ulp or 1e-7, the larger. */
float fv_log_f32(float x);

#endif
