/* The exponential outside of kernels. */
#include "kernels/exp.h"
#include "kernels/scalar/exp_scalar.h"

float fv_exp_f32(float x) { return fv_exp_scalar(x); }
