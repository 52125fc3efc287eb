/* shape_ollama.h - Ollama's words for answers: lines of JSON, durations in nanoseconds. */
#ifndef FV_SHAPE_OLLAMA_H
#define FV_SHAPE_OLLAMA_H

#include "request.h"

extern const fv_shape fv_shape_ollama_generate, fv_shape_ollama_chat;

#endif
