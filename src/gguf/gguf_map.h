/* gguf_map.h - what a loader may say about a mapped model file: which bytes it has copied. */
#ifndef FV_GGUF_MAP_H
#define FV_GGUF_MAP_H

#include "fovea/gguf.h"

/* Gives the memory of tensor bytes back that are not read again soon (the file stays mapped). Nothing happens to bytes
 * that are the caller's (fv_gguf_open_memory). */
void fv_gguf_release(const fv_gguf *gguf, const void *data, size_t bytes);

#endif
