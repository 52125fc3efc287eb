/* input.c - reads what the user hands in, byte for byte. */
#include "input.h"
#include "cli.h"
#include "interrupt.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static fv_status read_error(const char *name, fv_message *message) {
    if (cli_interrupted()) return fv_message_set(message, FV_ERROR_INTERRUPTED, "interrupted while reading %s", name);
    return fv_message_set(message, FV_ERROR_FILE, "%s: %s", name, strerror(errno));
}

/* Bytes of standard input that are read but not yet handed out. Not stdio's buffer: that can't be asked, and a line
 * must be waited for together with Ctrl-C. */
static struct {
    char bytes[4096];
    size_t next, count;
} pending;

/* The next byte; -1 at the end of input. */
static fv_status next_byte(int *byte, fv_message *message) {
    *byte = -1;
    if (pending.next == pending.count) {
        bool ready = cli_interrupt_wait(STDIN_FILENO);
        errno = 0;
        ssize_t count = ready ? read(STDIN_FILENO, pending.bytes, sizeof pending.bytes) : -1;
        if (count < 0) return read_error("standard input", message);
        pending.next = 0;
        pending.count = (size_t)count;
        if (count == 0) return FV_OK;
    }
    *byte = (unsigned char)pending.bytes[pending.next++];
    return FV_OK;
}

fv_status cli_read_line(fv_text *line, bool *end, fv_message *message) {
    for (;;) {
        int byte;
        fv_status status = next_byte(&byte, message);
        if (status != FV_OK) return status;
        *end = byte < 0 && line->length == 0;
        if (byte < 0 || byte == '\n') return FV_OK;
        char text = (char)byte;
        if (fv_text_append(line, &text, 1) != FV_OK)
            return fv_message_set(message, FV_ERROR_MEMORY, "no memory for a line of %zu bytes", line->length);
    }
}

void cli_warn_unless_utf8(const char *name, const fv_text *text) {
    size_t offset = fv_utf8_valid(text->bytes, text->length);
    if (offset < text->length)
        cli_warn("%s is not UTF-8: byte %zu is 0x%02X; it is read as it is", name, offset,
                 (unsigned)(unsigned char)text->bytes[offset]);
}

int cli_read_text(const char *file, const char *given, bool escape, const char *name, fv_text *text) {
    fv_message message = {""};
    fv_status status = FV_OK;
    if (file) status = fv_text_read(text, file, &message);
    if (!file && given) status = fv_text_append(text, given, strlen(given));
    if (status != FV_OK) return cli_outcome(status, &message);
    /* as llama.cpp with -f: editors put it there */
    if (file && text->length > 0 && text->bytes[text->length - 1] == '\n') text->bytes[--text->length] = 0;
    if (!file && escape) fv_text_unescape(text);
    cli_warn_unless_utf8(file ? file : name, text);
    return CLI_GO_ON;
}
