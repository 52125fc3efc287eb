/* shape_message.h - an answer as a message of the assistant: content, reasoning_content, tool_calls; and what of it is
 * new in a stream. */
#ifndef FV_SHAPE_MESSAGE_H
#define FV_SHAPE_MESSAGE_H

#include "request.h"

json_t *fv_shape_message(const fv_choice *choice);
/** bytes[length]: the newest of the answer's text. */
json_t *fv_shape_delta(const fv_choice *choice, const char *bytes, size_t length);
/** What waited for the end: calls, or what looked like one. */
json_t *fv_shape_last_delta(const fv_choice *choice);
const char *fv_shape_message_finish(const fv_choice *choice); /* "tool_calls" too */

#endif
