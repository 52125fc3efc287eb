/* exp.h - the exponential where no kernel is at work: one copy of its code. */
#ifndef FV_EXP_H
#define FV_EXP_H

/* fv_exp_scalar() */
float fv_exp_f32(float x);

#endif
