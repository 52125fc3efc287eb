#include "standard_input.h"
#include "interrupt.h"
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#define MOMENT_MS 50

/* What is read but not yet handed out. Not stdio's buffer: that can't be asked. */
static struct {
    char bytes[4096];
    size_t next, count;
    bool ended; /* the last read found the end */
} pending;

/* Reads more and appends it to what is there. FV_OK also at the end of the input. */
static fv_status fill(fv_message *message) {
    memmove(pending.bytes, pending.bytes + pending.next, pending.count - pending.next);
    pending.count -= pending.next;
    pending.next = 0;
    bool ready = cli_interrupt_wait(STDIN_FILENO);
    errno = 0;
    ssize_t count =
        ready ? read(STDIN_FILENO, pending.bytes + pending.count, sizeof pending.bytes - pending.count) : -1;
    if (count < 0 && cli_interrupted())
        return fv_message_set(message, FV_ERROR_INTERRUPTED, "interrupted while reading standard input");
    if (count < 0) return fv_message_set(message, FV_ERROR_FILE, "standard input: %s", strerror(errno));
    pending.count += (size_t)count;
    pending.ended = count == 0;
    return FV_OK;
}

fv_status cli_input_byte(int *byte, fv_message *message) {
    *byte = -1;
    if (pending.next == pending.count) {
        fv_status status = fill(message);
        if (status != FV_OK || pending.count == 0) return status;
    }
    *byte = (unsigned char)pending.bytes[pending.next++];
    return FV_OK;
}

size_t cli_input_peek(size_t wanted, const char **bytes) {
    size_t have;
    while ((have = pending.count - pending.next) < wanted) {
        struct pollfd file = {.fd = STDIN_FILENO, .events = POLLIN};
        if (have > 0 && poll(&file, 1, MOMENT_MS) <= 0) break;
        if (fill(NULL) != FV_OK || pending.ended) break;
    }
    *bytes = pending.bytes + pending.next;
    have = pending.count - pending.next;
    return have < wanted ? have : wanted;
}

void cli_input_skip(size_t count) { pending.next += count; }
