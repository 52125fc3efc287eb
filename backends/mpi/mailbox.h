/* mailbox.h - letters between this rank and the others over a wire: queues of what goes and what came. Nothing here
 * waits or knows a clock, and one thread at a time calls; job.h adds both. */
#ifndef FV_MAILBOX_H
#define FV_MAILBOX_H

#include "frame.h"

#define FV_ANY_RANK UINT32_MAX
#define FV_KIND_BIT(kind) (1u << (kind))

typedef struct fv_letter fv_letter;
struct fv_letter {
    fv_letter *next;
    uint32_t from;
    uint32_t kind;        /* fv_frame_kind */
    size_t length;        /* checked: within what letters of the kind may have */
    const uint8_t *bytes; /* [length], aligned to 8 */
    void *request;        /* NULL: it is all there */
    size_t size;          /* of memory, with the frame */
    uint8_t *memory;
};

/** A part of what is sent: letters are put together from several. */
typedef struct fv_piece {
    const void *bytes;
    size_t size;
} fv_piece;

typedef struct fv_mailbox_counts {
    uint64_t sent_letters, sent_bytes, come_letters, come_bytes; /* on the channel of work, frames included */
} fv_mailbox_counts;

/** What ended the work of a mailbox; nothing is sent or taken from then on. */
typedef struct fv_mailbox_fault {
    bool is_set;
    uint32_t rank; /* whose letter or whose silence it was; this rank itself for faults of the wire */
    char text[FV_WIRE_TEXT_BYTES];
} fv_mailbox_fault;

typedef struct fv_mailbox fv_mailbox;

/** table, context and self stay where they are. NULL: out of memory. */
fv_mailbox *fv_mailbox_new(const fv_wire_table *table, void *context, const fv_wire_self *self);
void fv_mailbox_free(fv_mailbox *mailbox); /* after its wire's end: requests are not waited for */

/** The longest letter that may come, its frame included: 64 KiB at first. A longer one is a fault before it is taken.
 */
void fv_mailbox_expect(fv_mailbox *mailbox, size_t most_bytes);

/** Copies the pieces into a letter and lets it go. false: a fault. */
bool fv_mailbox_send(fv_mailbox *mailbox, uint32_t to, fv_frame_kind kind, const fv_piece *pieces, size_t count);

/** Looks after what goes and what comes, once. came: out, ranks of which a letter began to arrive are set (NULL, or
 *  [ranks]). false: a fault. */
bool fv_mailbox_turn(fv_mailbox *mailbox, bool *came);

/** The first letter from `from` (or FV_ANY_RANK) of one of the kinds (FV_KIND_BIT), if it is all there; the caller's.
 */
fv_letter *fv_mailbox_pick(fv_mailbox *mailbox, uint32_t from, uint32_t kinds);
void fv_letter_free(fv_letter *letter); /* NULL is allowed */

size_t fv_mailbox_on_the_way(const fv_mailbox *mailbox, uint32_t to, fv_wire_channel channel); /* sent, not yet taken */
bool fv_mailbox_busy(const fv_mailbox *mailbox); /* something is on its way, in or out */

void fv_mailbox_fail(fv_mailbox *mailbox, uint32_t rank, const char *text); /* the first fault stays */
const fv_mailbox_fault *fv_mailbox_fault_of(const fv_mailbox *mailbox);
const fv_mailbox_counts *fv_mailbox_counts_of(const fv_mailbox *mailbox);

#endif
