/* The exponential outside of kernels. */
#include "numeric/exp.h"
#include "numeric/exp_scalar.h"

float fv_exp_f32(float x) { return fv_exp_scalar(x); }
