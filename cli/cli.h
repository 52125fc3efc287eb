/* cli.h - what all verbs share: exit codes, lines on stderr, and a standard output whose errors are not lost. */
#ifndef FOVEA_CLI_H
#define FOVEA_CLI_H

#include "fovea/message.h"
#include "fovea/version.h"
#include <stdbool.h>
#include <stddef.h>

#if defined(__GNUC__)
#define CLI_PRINTF(format_index, first) __attribute__((format(printf, format_index, first)))
#else
#define CLI_PRINTF(format_index, first)
#endif

#define CLI_VERSION FV_VERSION_STRING

enum cli_exit {
    CLI_GO_ON = -1, /* not an exit code: carry on */
    CLI_DONE = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2,
    CLI_INTERRUPTED = 130
};

/* One line on stderr each; the first two return the exit code that goes with it. */
CLI_PRINTF(1, 2) int cli_fail(const char *format, ...);                          /* CLI_FAILED */
CLI_PRINTF(2, 3) int cli_usage_error(const char *verb, const char *format, ...); /* CLI_USAGE; names --help */
CLI_PRINTF(1, 2) void cli_warn(const char *format, ...);
CLI_PRINTF(1, 2) void cli_note(const char *format, ...);

/** What a call of the library comes to: CLI_GO_ON, and its message, if there is one, is a warning; CLI_INTERRUPTED; or
 *  CLI_FAILED with the message (NULL or empty: the status's own text) on a line. */
int cli_outcome(fv_status status, const fv_message *message);

/* Standard output. false once anything has failed: stop working then, cli_finish() says what happened. */
bool cli_write(const char *bytes, size_t length);
bool cli_write_text(const char *bytes, size_t length); /* of a file or model: nothing in it commands a terminal */
CLI_PRINTF(1, 2) bool cli_print(const char *format, ...);
bool cli_flush(void);

/** Flushes and closes standard output; the program's exit code: `code`, or CLI_FAILED if a result was lost. */
int cli_finish(int code);

/* One function per verb; argv[0] is the verb. */
int cmd_run(int argc, char **argv);
int cmd_read(int argc, char **argv);
int cmd_ppl(int argc, char **argv);
int cmd_eval(int argc, char **argv);
int cmd_tune(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_bench_attention(int argc, char **argv);
int cmd_bench_machine(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_tokenize(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_index(int argc, char **argv);

#endif
