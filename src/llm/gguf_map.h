/* gguf_map.h - the one change that a loader may make to a mapped model file: its own copy of the weights' order. */
#ifndef FV_GGUF_MAP_H
#define FV_GGUF_MAP_H

#include "fovea/gguf.h"

/* Makes the tensors' bytes writable for this process (the file itself never changes), or read-only again. False: the
 * bytes are the caller's (fv_gguf_open_memory) or the system refuses; nothing must be written then. */
bool fv_gguf_writable(const fv_gguf *gguf, bool writable);

#endif
