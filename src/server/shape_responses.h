/* shape_responses.h - OpenAI's words for responses: one message, and the events in which it comes. */
#ifndef FV_SHAPE_RESPONSES_H
#define FV_SHAPE_RESPONSES_H

#include "request.h"

extern const fv_shape fv_shape_responses;

#endif
