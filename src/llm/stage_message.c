/* stage_message.c - the bytes of a message, which grow. */
#include "fovea/stage.h"
#include <stdlib.h>

fv_status fv_stage_message_reserve(fv_stage_message *message, size_t count) {
    if (count > FV_STAGE_MESSAGE_MOST) return FV_ERROR_OVERFLOW;
    if (count <= message->room) return FV_OK;
    unsigned char *bytes = realloc(message->bytes, count);
    if (!bytes) return FV_ERROR_MEMORY;
    message->bytes = bytes;
    message->room = count;
    return FV_OK;
}

void fv_stage_message_free(fv_stage_message *message) {
    free(message->bytes);
    *message = (fv_stage_message){0};
}
