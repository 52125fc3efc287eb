/* shape_openai.h - OpenAI's words for answers: completions and chat completions. */
#ifndef FV_SHAPE_OPENAI_H
#define FV_SHAPE_OPENAI_H

#include "request.h"

extern const fv_shape fv_shape_completion, fv_shape_chat;

#endif
