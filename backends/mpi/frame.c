#include "frame.h"
#include <string.h>

#define FRAME_MAGIC 0x66b7

static const struct frame_rule {
    const char *name;
    fv_wire_channel channel;
    uint32_t least, most;
} rules[] = {
#define FRAME_RULE(name, channel, least, most) {#name, FV_WIRE_##channel, least, most},
    FV_FRAME_LIST(FRAME_RULE)
#undef FRAME_RULE
};

fv_wire_channel fv_frame_channel(fv_frame_kind kind) { return rules[kind].channel; }
const char *fv_frame_name(fv_frame_kind kind) { return kind < FV_FRAME_KINDS ? rules[kind].name : "?"; }

bool fv_frame_make(fv_frame *frame, fv_frame_kind kind, uint8_t serial, size_t length) {
    if (kind >= FV_FRAME_KINDS || length < rules[kind].least || length > rules[kind].most) return false;
    if (length > FV_WIRE_MOST_BYTES - sizeof *frame) return false;
    *frame = (fv_frame){.magic = FRAME_MAGIC, .kind = (uint8_t)kind, .serial = serial, .length = (uint32_t)length};
    return true;
}

const char *fv_frame_check(fv_frame *frame, const void *bytes, size_t size, fv_wire_channel channel, uint8_t serial) {
    if (size < sizeof *frame) return "is shorter than its frame";
    memcpy(frame, bytes, sizeof *frame);
    if (frame->magic != FRAME_MAGIC) return "does not begin as fovea's messages do";
    if (frame->kind >= FV_FRAME_KINDS) return "is of an unknown kind";
    if (rules[frame->kind].channel != channel) return "came on the wrong channel";
    if (frame->length != size - sizeof *frame) return "is not as long as it says";
    if (frame->length < rules[frame->kind].least) return "is too short for its kind";
    if (frame->length > rules[frame->kind].most) return "is too long for its kind";
    if (frame->serial != serial) return "is out of turn";
    return NULL;
}
