/* stage_wire.h - what messages between stages hold: a head, and a body by kind. Numbers are as this build has them on
 * this kind of processor; the first message says which that is. Private to src/llm. */
#ifndef FV_STAGE_WIRE_H
#define FV_STAGE_WIRE_H

#include "fovea/stage.h"

typedef enum fv_stage_kind {
    FV_STAGE_HELLO = 1, /* fv_stage_hello */
    FV_STAGE_END,
    FV_STAGE_STEPPER_OPEN, /* fv_stage_opening; count: shares */
    FV_STAGE_STEPPER_CLOSE,
    FV_STAGE_SEQUENCE_OPEN, /* fv_stage_opening; count: shares */
    FV_STAGE_SEQUENCE_CLOSE,
    FV_STAGE_SEQUENCE_FILL,   /* count: the number of the sequence that it holds then what this one holds */
    FV_STAGE_SEQUENCE_CUT,    /* count: tokens that stay */
    FV_STAGE_SEQUENCE_POLICY, /* fv_stage_opening; count: shares */
    FV_STAGE_REPORT,          /* fv_report, a sum */
    FV_STAGE_REPORT_RESET,
    FV_STAGE_STEP, /* fv_stage_part [count], then rows of those that did not fail: all, in the answer the last of each
                    */
    FV_STAGE_ROWS, /* fv_stage_row [count] of the stepper's last step; in the answer the normed rows */
    FV_STAGE_CALL, /* to ranks that hold contexts together: fv_stage_part [count], then the ids of all of them */
    FV_STAGE_CALL_EACH,    /* likewise, of parts that fail alone */
    FV_STAGE_LAYERS,       /* uint32_t [count]: layers of each stage, count: stages */
    FV_STAGE_SESSION_SAVE, /* fv_stage_session of a sequence, then what FV_STAGE_LAYERS found; count: stages */
    FV_STAGE_SESSION_WAKE, /* likewise */
    FV_STAGE_SESSION_DROP, /* likewise: files of the stamp go */
    FV_STAGE_KINDS
} fv_stage_kind;

typedef struct fv_stage_head {
    uint32_t mark;           /* FV_STAGE_MARK + fv_stage_kind */
    int32_t status;          /* of what is not told part by part: the first stage's that failed */
    uint64_t ticket;         /* counts messages */
    uint32_t subject, count; /* a stepper's or a sequence's number; by kind */
} fv_stage_head;

#define FV_STAGE_MARK 0x46765300u

typedef struct fv_stage_hello {
    uint64_t outline;            /* fv_llm_outline() */
    uint64_t build;              /* fv_stage_build() */
    uint32_t next_layer, stages; /* after those of the stages before; how many those are */
    uint32_t of_stages, reserved;
    char text[FV_MESSAGE_BYTES];
} fv_stage_hello;

typedef struct fv_stage_opening {
    fv_session_config config; /* without pointers; then uint16_t shares [count] of its policy */
    uint32_t parts, reserved;
    char text[FV_MESSAGE_BYTES];
} fv_stage_opening;

typedef struct fv_stage_part {
    uint32_t sequence, count, position; /* rows; tokens before them */
    int32_t status;                     /* FV_ERROR_INTERRUPTED: rows before them failed */
    union {
        struct {
            uint32_t dense_rows, output_rows; /* FV_OK: as of an fv_step_part */
        };
        fv_model_fault fault; /* else; `row` is the part's own */
    };
} fv_stage_part;

typedef struct fv_stage_row {
    uint32_t part, row; /* of those that were sent; the part's own */
} fv_stage_row;

#define FV_STAGE_PATH 4096

typedef struct fv_stage_session {
    uint64_t stamp;           /* of the save */
    uint64_t kept;            /* of the save before it, whose files stay until it is done; 0: there is none */
    uint32_t tokens, end;     /* end: fv_session_end */
    char path[FV_STAGE_PATH]; /* the first stage's file, zero-terminated */
    char text[FV_MESSAGE_BYTES];
} fv_stage_session;

_Static_assert(sizeof(fv_stage_head) + sizeof(fv_stage_part) <= FV_STAGE_OVERHEAD, "of a step of one token");
_Static_assert(sizeof(fv_stage_head) % 8 == 0 && sizeof(fv_stage_part) % 8 == 0, "bodies are aligned");

static inline fv_stage_head *fv_stage_head_of(const fv_stage_message *message) {
    return (fv_stage_head *)(void *)message->bytes;
}
static inline void *fv_stage_body(const fv_stage_message *message) { return message->bytes + sizeof(fv_stage_head); }
static inline fv_stage_kind fv_stage_kind_of(const fv_stage_message *message) {
    return (fv_stage_kind)(fv_stage_head_of(message)->mark - FV_STAGE_MARK);
}

/* Of a step's parts. */
static inline float *fv_stage_rows(const fv_stage_message *message) {
    fv_stage_part *parts = fv_stage_body(message);
    return (float *)(void *)(parts + fv_stage_head_of(message)->count);
}

/* A head, and a body of zeros. FV_OK, FV_ERROR_MEMORY, FV_ERROR_OVERFLOW. */
fv_status fv_stage_begin(fv_stage_message *message, fv_stage_kind kind, uint32_t subject, uint32_t count, size_t bytes);

/* Whether it has as many bytes as a message of its kind has; a step as `answer` says. width: of rows, elements. */
bool fv_stage_is_whole(const fv_stage_message *message, size_t width, bool answer);

/* Settings of a sequence or a stepper into a message. FV_ERROR_UNSUPPORTED: they have arrays besides shares. */
fv_status fv_stage_opening_put(fv_stage_message *message, fv_stage_kind kind, uint32_t subject, uint32_t parts,
                               const fv_session_config *config);

/* Its settings as they come out of it; `shares` [count] are its policy's, of malloc(). FV_OK, FV_ERROR_MEMORY. */
fv_status fv_stage_opening_get(const fv_stage_message *message, fv_session_config *config, uint16_t **shares);

/* What must be the same where two processes understand each other. */
uint64_t fv_stage_build(void);

#endif
