/* output.c - lines on stderr and the checked standard output. A write error is remembered at the first place where it
 * happens: a full disk or a closed pipe must never look like success. */
#include "cli.h"
#include "fovea/tokenizer.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int output_error; /* errno of the first failed write; 0 = none */

static void print_line(const char *prefix, const char *format, va_list arguments, const char *suffix) {
    fprintf(stderr, "fovea: %s", prefix);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "%s\n", suffix);
}

int cli_fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print_line("error: ", format, arguments, "");
    va_end(arguments);
    return CLI_FAILED;
}

int cli_usage_error(const char *verb, const char *format, ...) {
    va_list arguments;
    char suffix[64];
    if (verb[0])
        snprintf(suffix, sizeof suffix, " (see: fovea %s --help)", verb);
    else
        snprintf(suffix, sizeof suffix, " (see: fovea --help)");
    va_start(arguments, format);
    print_line("usage: ", format, arguments, suffix);
    va_end(arguments);
    return CLI_USAGE;
}

void cli_warn(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print_line("warning: ", format, arguments, "");
    va_end(arguments);
}

void cli_note(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print_line("note: ", format, arguments, "");
    va_end(arguments);
}

int cli_outcome(fv_status status, const fv_message *message) {
    bool said = message && message->text[0];
    if (status == FV_OK && said) cli_warn("%s", message->text);
    if (status == FV_OK) return CLI_GO_ON;
    if (status == FV_ERROR_INTERRUPTED) return CLI_INTERRUPTED;
    return cli_fail("%s", said ? message->text : fv_status_text(status));
}

/* Remembers why; what was written so far may still lie in the buffer, hence the flag and not ferror(). */
static bool check(bool good) {
    if (!good && !output_error) output_error = errno ? errno : EIO;
    return !output_error;
}

bool cli_write(const char *bytes, size_t length) {
    if (output_error) return false;
    errno = 0;
    return check(length == 0 || fwrite(bytes, 1, length, stdout) == length);
}

/* Elsewhere than on a terminal every byte counts, and none is obeyed. */
bool cli_write_text(const char *bytes, size_t length) {
    if (!isatty(STDOUT_FILENO)) return cli_write(bytes, length);
    fv_text shown = {0};
    fv_status status = fv_utf8_printable(bytes, length, "\n\t", &shown);
    bool good = status == FV_OK ? cli_write(shown.bytes, shown.length) : cli_fail("no memory for the text") == CLI_DONE;
    fv_text_free(&shown);
    return good;
}

bool cli_print(const char *format, ...) {
    if (output_error) return false;
    va_list arguments;
    va_start(arguments, format);
    errno = 0;
    int written = vfprintf(stdout, format, arguments);
    va_end(arguments);
    return check(written >= 0);
}

bool cli_flush(void) {
    if (output_error) return false;
    errno = 0;
    return check(fflush(stdout) == 0);
}

int cli_finish(int code) {
    bool lost = !cli_flush();
    errno = 0;
    if (fclose(stdout) != 0) lost = !check(false);
    if (!lost) return code;
    /* A reader that has seen enough (head, less) is no news; anything else is. */
    if (output_error != EPIPE) cli_fail("standard output: %s; the result is not complete", strerror(output_error));
    return code == CLI_DONE ? CLI_FAILED : code;
}
