/* root.h - the square root, nearest, of integers alone: there is no sqrtf in a freestanding core. */
#ifndef FV_ROOT_H
#define FV_ROOT_H

/* Negative: 0. Infinity and NaN: themselves. */
float fv_root_f32(float x);

#endif
