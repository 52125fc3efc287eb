/* input.c - reads what the user hands in, byte for byte. */
#include "input.h"
#include "cli.h"
#include "fovea/text_look.h"
#include "standard_input.h"
#include <stdio.h>
#include <string.h>

static bool begun; /* a line was handed out */

fv_status cli_read_line(fv_text *line, bool *end, fv_message *message) {
    for (;;) {
        int byte;
        fv_status status = cli_input_byte(&byte, message);
        if (status != FV_OK) return status;
        *end = byte < 0 && line->length == 0;
        if (byte < 0 || byte == '\n') {
            if (byte == '\n' && line->length > 0 && line->bytes[line->length - 1] == '\r')
                line->bytes[--line->length] = 0;
            if (!begun && fv_text_drop_mark(line))
                cli_warn("standard input begins with a byte order mark: it is dropped");
            begun = true;
            return FV_OK;
        }
        char text = (char)byte;
        if (fv_text_append(line, &text, 1) != FV_OK)
            return fv_message_set(message, FV_ERROR_MEMORY, "no memory for a line of %zu bytes", line->length);
    }
}

static void warn(void *context, const char *sentence) {
    (void)context;
    cli_warn("%s", sentence);
}

void cli_look_at_text(const char *name, const fv_text *text) {
    fv_text_look(text->bytes, text->length, name, warn, NULL);
}

fv_status cli_read_file(fv_text *text, const char *path, fv_message *message) {
    fv_status status = fv_text_read(text, path, message);
    const char *name = strcmp(path, "-") == 0 ? "standard input" : path;
    if (status == FV_OK && fv_text_drop_mark(text)) cli_warn("%s begins with a byte order mark: it is dropped", name);
    return status;
}

/* LF or CR LF, as llama.cpp with -f: editors put it there. */
static void drop_line_end(fv_text *text) {
    if (text->length == 0 || text->bytes[text->length - 1] != '\n') return;
    text->length -= text->length > 1 && text->bytes[text->length - 2] == '\r' ? 2 : 1;
    text->bytes[text->length] = 0;
}

int cli_read_text(const char *file, const char *given, bool escape, const char *name, fv_text *text) {
    fv_message message = {""};
    fv_status status = FV_OK;
    if (file) status = cli_read_file(text, file, &message);
    if (!file && given) status = fv_text_append(text, given, strlen(given));
    if (status != FV_OK) return cli_outcome(status, &message);
    if (file) drop_line_end(text);
    if (!file && escape) fv_text_unescape(text);
    cli_look_at_text(file ? file : name, text);
    return CLI_GO_ON;
}

void cli_warn_of_file(const fv_tokenizer *tokenizer) {
    const char *remark;
    for (size_t i = 0; (remark = fv_tokenizer_remark(tokenizer, i)) != NULL; i++) cli_warn("%s", remark);
}

void cli_warn_of_bos(const fv_tokenizer *tokenizer, const fv_tokens *tokens) {
    if (fv_tokenizer_doubles_bos(tokenizer, tokens->ids, tokens->count))
        cli_warn("the text begins with two beginning-of-text tokens: the model file adds one, and the text has one");
}
