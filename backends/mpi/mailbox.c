#include "mailbox.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct outgoing outgoing;
struct outgoing {
    outgoing *next;
    void *request;
    uint32_t to;
    fv_wire_channel channel;
    uint8_t bytes[];
};

typedef struct peer {
    uint8_t sent[FV_WIRE_CHANNELS], come[FV_WIRE_CHANNELS]; /* serials */
    size_t on_the_way[FV_WIRE_CHANNELS];
} peer;

struct fv_mailbox {
    const fv_wire_table *table;
    void *context;
    const fv_wire_self *self;
    fv_letter *first, **last; /* as they arrived */
    outgoing *out;
    size_t most_bytes, coming;
    fv_mailbox_fault fault;
    fv_mailbox_counts counts;
    peer peers[];
};

fv_mailbox *fv_mailbox_new(const fv_wire_table *table, void *context, const fv_wire_self *self) {
    fv_mailbox *made = calloc(1, sizeof *made + self->ranks * sizeof made->peers[0]);
    if (!made) return NULL;
    made->table = table;
    made->context = context;
    made->self = self;
    made->last = &made->first;
    made->most_bytes = 1 << 16;
    return made;
}

void fv_mailbox_free(fv_mailbox *mailbox) {
    if (!mailbox) return;
    while (mailbox->first) {
        fv_letter *letter = mailbox->first;
        mailbox->first = letter->next;
        fv_letter_free(letter);
    }
    while (mailbox->out) {
        outgoing *gone = mailbox->out;
        mailbox->out = gone->next;
        free(gone);
    }
    free(mailbox);
}

void fv_letter_free(fv_letter *letter) {
    if (!letter) return;
    free(letter->memory);
    free(letter);
}

void fv_mailbox_expect(fv_mailbox *mailbox, size_t most_bytes) {
    mailbox->most_bytes = most_bytes < FV_WIRE_MOST_BYTES ? most_bytes : FV_WIRE_MOST_BYTES;
}

void fv_mailbox_fail(fv_mailbox *mailbox, uint32_t rank, const char *text) {
    if (mailbox->fault.is_set) return;
    mailbox->fault.is_set = true;
    mailbox->fault.rank = rank;
    snprintf(mailbox->fault.text, sizeof mailbox->fault.text, "%s", text);
}

static bool failed(fv_mailbox *mailbox, uint32_t rank, const char *text) {
    fv_mailbox_fail(mailbox, rank, text);
    return false;
}

static bool wire_failed(fv_mailbox *mailbox) {
    return failed(mailbox, mailbox->self->rank, mailbox->table->error(mailbox->context));
}

bool fv_mailbox_send(fv_mailbox *mailbox, uint32_t to, fv_frame_kind kind, const fv_piece *pieces, size_t count) {
    fv_frame frame;
    fv_wire_channel channel = fv_frame_channel(kind);
    size_t length = 0;
    if (mailbox->fault.is_set) return false;
    for (size_t i = 0; i < count && length <= FV_WIRE_MOST_BYTES; i++)
        length = pieces[i].size <= FV_WIRE_MOST_BYTES ? length + pieces[i].size : SIZE_MAX;
    if (to >= mailbox->self->ranks || !fv_frame_make(&frame, kind, mailbox->peers[to].sent[channel], length))
        return failed(mailbox, mailbox->self->rank, "a message is too long to be sent");
    outgoing *made = malloc(sizeof *made + sizeof frame + length);
    if (!made) return failed(mailbox, mailbox->self->rank, "out of memory for a message");
    uint8_t *at = made->bytes;
    memcpy(at, &frame, sizeof frame);
    at += sizeof frame;
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].size) memcpy(at, pieces[i].bytes, pieces[i].size);
        at += pieces[i].size;
    }
    made->to = to;
    made->channel = channel;
    if (!mailbox->table->send(mailbox->context, to, channel, made->bytes, sizeof frame + length, &made->request)) {
        free(made);
        return wire_failed(mailbox);
    }
    made->next = mailbox->out;
    mailbox->out = made;
    mailbox->peers[to].sent[channel]++;
    mailbox->peers[to].on_the_way[channel]++;
    if (channel == FV_WIRE_WORK) {
        mailbox->counts.sent_letters++;
        mailbox->counts.sent_bytes += sizeof frame + length;
    }
    return true;
}

static bool settle_sent(fv_mailbox *mailbox) {
    for (outgoing **at = &mailbox->out; *at;) {
        outgoing *this = *at;
        bool done = false;
        if (!mailbox->table->done(mailbox->context, this->request, &done)) return wire_failed(mailbox);
        if (!done) {
            at = &this->next;
            continue;
        }
        mailbox->peers[this->to].on_the_way[this->channel]--;
        *at = this->next;
        free(this);
    }
    return true;
}

/* All of a letter is there: now its frame is looked at. */
static bool open_letter(fv_mailbox *mailbox, fv_letter *letter, fv_wire_channel channel) {
    fv_frame frame;
    uint8_t *serial = &mailbox->peers[letter->from].come[channel];
    const char *wrong = fv_frame_check(&frame, letter->memory, letter->size, channel, (*serial)++);
    if (wrong) {
        char text[FV_WIRE_TEXT_BYTES];
        snprintf(text, sizeof text, "a message of it %s", wrong);
        return failed(mailbox, letter->from, text);
    }
    letter->kind = frame.kind;
    letter->length = frame.length;
    letter->bytes = letter->memory + sizeof frame;
    return true;
}

/* Letters of a channel and sender are opened in the order in which they arrived: the serial says whether they did. */
static bool settle_coming(fv_mailbox *mailbox) {
    for (fv_letter *letter = mailbox->first; letter; letter = letter->next) {
        bool done = false;
        if (!letter->request) continue;
        if (!mailbox->table->done(mailbox->context, letter->request, &done)) return wire_failed(mailbox);
        if (!done) continue;
        letter->request = NULL;
        mailbox->coming--;
    }
    return true;
}

static bool settle_opened(fv_mailbox *mailbox) {
    for (fv_letter *letter = mailbox->first; letter; letter = letter->next) {
        bool is_earlier_missing = false;
        if (letter->request || letter->bytes) continue;
        for (const fv_letter *other = mailbox->first; other != letter && !is_earlier_missing; other = other->next)
            is_earlier_missing = other->from == letter->from && other->kind == letter->kind && !other->bytes;
        if (!is_earlier_missing && !open_letter(mailbox, letter, (fv_wire_channel)letter->kind)) return false;
    }
    return true;
}

/* Until a letter is opened, its kind is the channel. */
static fv_letter *letter_new(uint32_t from, fv_wire_channel channel, size_t size) {
    fv_letter *made = calloc(1, sizeof *made);
    if (!made) return NULL;
    made->memory = malloc(size ? size : 1);
    if (!made->memory) {
        free(made);
        return NULL;
    }
    made->from = from;
    made->kind = channel;
    made->size = size;
    return made;
}

static bool take_next(fv_mailbox *mailbox, fv_wire_channel channel, bool *came, bool *any) {
    uint32_t from = 0;
    size_t size = 0;
    void *message = NULL;
    *any = false;
    if (!mailbox->table->arrived(mailbox->context, channel, &from, &size, &message)) return wire_failed(mailbox);
    if (!message) return true;
    if (from >= mailbox->self->ranks) return failed(mailbox, mailbox->self->rank, "a message of no rank came");
    if (size > mailbox->most_bytes) return failed(mailbox, from, "a message of it is longer than any that is expected");
    fv_letter *letter = letter_new(from, channel, size);
    if (!letter) return failed(mailbox, mailbox->self->rank, "out of memory for a message that came");
    if (!mailbox->table->take(mailbox->context, message, letter->memory, size, &letter->request)) {
        fv_letter_free(letter);
        return wire_failed(mailbox);
    }
    *mailbox->last = letter;
    mailbox->last = &letter->next;
    mailbox->coming++;
    if (channel == FV_WIRE_WORK) {
        mailbox->counts.come_letters++;
        mailbox->counts.come_bytes += size;
    }
    if (came) came[from] = true;
    *any = true;
    return true;
}

bool fv_mailbox_turn(fv_mailbox *mailbox, bool *came) {
    if (mailbox->fault.is_set) return false;
    for (int channel = 0; channel < FV_WIRE_CHANNELS; channel++) {
        bool any = true;
        while (any)
            if (!take_next(mailbox, (fv_wire_channel)channel, came, &any)) return false;
    }
    return settle_sent(mailbox) && settle_coming(mailbox) && settle_opened(mailbox);
}

fv_letter *fv_mailbox_pick(fv_mailbox *mailbox, uint32_t from, uint32_t kinds) {
    for (fv_letter **at = &mailbox->first; *at; at = &(*at)->next) {
        fv_letter *letter = *at;
        if (!letter->bytes || (from != FV_ANY_RANK && letter->from != from)) continue;
        if (!(FV_KIND_BIT(letter->kind) & kinds)) continue;
        *at = letter->next;
        if (!letter->next) mailbox->last = at;
        letter->next = NULL;
        return letter;
    }
    return NULL;
}

size_t fv_mailbox_on_the_way(const fv_mailbox *mailbox, uint32_t to, fv_wire_channel channel) {
    return mailbox->peers[to].on_the_way[channel];
}

bool fv_mailbox_busy(const fv_mailbox *mailbox) { return mailbox->out || mailbox->coming > 0; }
const fv_mailbox_fault *fv_mailbox_fault_of(const fv_mailbox *mailbox) { return &mailbox->fault; }
const fv_mailbox_counts *fv_mailbox_counts_of(const fv_mailbox *mailbox) { return &mailbox->counts; }
