/* frame.h - what stands before every message between ranks, and what a receiver checks before it believes a byte. All
 * ranks run the same program on machines of one kind: the hello of job.h makes sure of it. */
#ifndef FV_FRAME_H
#define FV_FRAME_H

#include "wire.h"

/* X(name, channel, least bytes, most bytes of what follows the frame). */
#define FV_FRAME_LIST(X) \
    X(HELLO, WORD, 64, 4096) \
    X(PULSE, WORD, 0, 0) \
    X(FAULT, WORD, 1, 1024) \
    X(END, WORD, 4, 4) \
    X(BYE, WORD, 0, 0) \
    X(SETUP, WORK, 1, 1 << 20) \
    X(READY, WORK, 1, 1 << 16) \
    X(STAGE, WORK, 1, (1 << 30) - 8) \
    X(SHARE, WORK, 0, (1 << 30) - 8)

#define FV_FRAME_ENUM(name, channel, least, most) FV_FRAME_##name,
typedef enum fv_frame_kind { FV_FRAME_LIST(FV_FRAME_ENUM) FV_FRAME_KINDS } fv_frame_kind;
#undef FV_FRAME_ENUM

/** Before each message: with what a stage's message has beside its rows, at most 64 bytes a token. No padding. */
typedef struct fv_frame {
    uint16_t magic;
    uint8_t kind;    /* fv_frame_kind */
    uint8_t serial;  /* counts this sender's messages of the channel to this receiver, round and round */
    uint32_t length; /* bytes that follow */
} fv_frame;
_Static_assert(sizeof(fv_frame) == 8, "a frame is 8 bytes");

fv_wire_channel fv_frame_channel(fv_frame_kind kind);
const char *fv_frame_name(fv_frame_kind kind);

/** FALSE: `length` is not what messages of the kind may have. */
bool fv_frame_make(fv_frame *frame, fv_frame_kind kind, uint8_t serial, size_t length);

/** NULL: the `size` bytes that came on `channel` as message `serial` of their sender may be read as what they say; else
 *  what is wrong with them. frame: out. */
const char *fv_frame_check(fv_frame *frame, const void *bytes, size_t size, fv_wire_channel channel, uint8_t serial);

#endif
