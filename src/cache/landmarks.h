/* landmarks.h - the means of a cache's blocks of keys and values, as tokens come and go. */
#ifndef FV_LANDMARKS_H
#define FV_LANDMARKS_H

#include "fovea/cache.h"

/* Adds tokens of one block to its landmark; keys and values of one head. */
void fv_landmark_add(fv_cache *cache, uint32_t head, uint32_t token, uint32_t tokens, const float *keys,
                     size_t key_stride, const float *values, size_t value_stride);

/* The landmarks from that of token `first` on are built anew from what is stored. */
void fv_landmark_rebuild(fv_cache *cache, uint32_t head, uint32_t first);

#endif
