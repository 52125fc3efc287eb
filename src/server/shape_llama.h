/* shape_llama.h - llama-server's words for the answer of its own endpoint. */
#ifndef FV_SHAPE_LLAMA_H
#define FV_SHAPE_LLAMA_H

#include "request.h"

extern const fv_shape fv_shape_llama;

#endif
