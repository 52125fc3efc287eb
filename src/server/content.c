/* content.c - parts of text are put together; parts of anything else are refused. */
#include "content.h"
#include <string.h>

static fv_status part_text(const json_t *part, fv_text *text, fv_message *message) {
    const json_t *kind = json_object_get(part, "type"), *value = json_object_get(part, "text");
    bool is_text = json_is_string(kind) && strcmp(json_string_value(kind), "text") == 0;
    if (!is_text || !json_is_string(value))
        return fv_message_set(message, FV_ERROR_ARGUMENT,
                              "field 'messages': this model reads text parts only: {\"type\":\"text\",\"text\":...}");
    return fv_text_append(text, json_string_value(value), json_string_length(value));
}

fv_status fv_content_text(const json_t *content, fv_text *text, fv_message *message) {
    fv_status status = fv_text_append(text, "", 0);
    if (json_is_string(content)) return fv_text_append(text, json_string_value(content), json_string_length(content));
    if (!json_is_array(content))
        return fv_message_set(message, FV_ERROR_ARGUMENT,
                              "field 'messages': content must be a text or a list of text parts");
    for (size_t i = 0; i < json_array_size(content) && status == FV_OK; i++)
        status = part_text(json_array_get(content, i), text, message);
    return status;
}
