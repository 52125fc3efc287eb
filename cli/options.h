/* options.h - command lines from tables: llama.cpp's spellings (also -ctk, -no-cnv), its environment names, one help.
 * An argument wins over the environment. */
#ifndef FOVEA_OPTIONS_H
#define FOVEA_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** What a flag writes at `offset` of its group's target. */
typedef enum cli_option_kind {
    CLI_SWITCH,  /* bool: true, or false by a name from `negated` */
    CLI_INTEGER, /* int64_t, low..high */
    CLI_U32,     /* uint32_t, likewise */
    CLI_I32,     /* int32_t, likewise */
    CLI_REAL,    /* double, low..high */
    CLI_F32,     /* float, likewise */
    CLI_TEXT,    /* const char *, borrowed from argv or the environment */
    CLI_TEXTS,   /* cli_texts: each use appends one */
    CLI_CHOICE,  /* int or uint32_t: index of the value in `choices` */
    CLI_MODE,    /* likewise, but the value may be missing: then `low`, and by a name from `negated` `high` */
    CLI_IGNORED  /* nothing: accepted so that pasted lines work; a note on stderr says so */
} cli_option_kind;

typedef struct cli_option {
    cli_option_kind kind;
    const char *names;   /* "-c --ctx-size": one blank between */
    const char *negated; /* likewise; NULL = none */
    const char *value;   /* its name in the help; NULL = N or X for a number, else the flag takes none */
    const char *env;     /* NULL = none */
    const char *choices; /* "f32 f16"; for CLI_IGNORED: a value is taken only if it is one of these */
    const char *help; /* lines separated by \n; the default follows by itself, if the kind has a number or a choice */
    const char *standard; /* what the help says of the default in place of the target's value; "": nothing */
    const char *note;     /* what that value means */
    size_t offset;
    double low, high;
} cli_option;

/* One flag that writes FIELD of CLI_TARGET, which a table's file defines; then any of the other members by name. */
#define CLI_FLAG(KIND, NAMES, FIELD, ...) \
    { .kind = CLI_##KIND, .names = NAMES, .offset = offsetof(CLI_TARGET, FIELD), __VA_ARGS__ }
#define CLI_IGNORE(NAMES, VALUE, HELP) \
    { .kind = CLI_IGNORED, .names = NAMES, .value = VALUE, .help = HELP }
#define CLI_CONTEXT_MAX 1073741824.0
#define CLI_COUNT_MAX 2147483647.0
#define CLI_SEED_MAX 4294967295.0

#define CLI_TEXTS_MOST 64
typedef struct cli_texts {
    const char *items[CLI_TEXTS_MOST];
    size_t count;
} cli_texts;

typedef struct cli_option_group {
    const char *title;
    const cli_option *options;
    size_t count;
    void *target;
    uint32_t
        *given; /* NULL, or out: bit i where flag i, of at most 32, came from the command line or the environment */
} cli_option_group;
/* A table of this file; one that another file exports with its FLAGS_count. */
#define CLI_COUNTED(TITLE, FLAGS, TARGET) \
    { TITLE, FLAGS, FLAGS##_count, TARGET, NULL }
#define CLI_GROUP(TITLE, FLAGS, TARGET) \
    { TITLE, FLAGS, sizeof FLAGS / sizeof FLAGS[0], TARGET, NULL }
#define CLI_GROUP_GIVEN(TITLE, FLAGS, TARGET, GIVEN) \
    { TITLE, FLAGS, sizeof FLAGS / sizeof FLAGS[0], TARGET, GIVEN }
#define CLI_GROUPS(GROUPS) .groups = GROUPS, .group_count = sizeof GROUPS / sizeof GROUPS[0]

/** One verb's command line. */
typedef struct cli_syntax {
    const char *verb;     /* "run" */
    const char *synopsis; /* what follows "fovea run" */
    const char *about;    /* lines of the help above the flags */
    const cli_option_group *groups;
    size_t group_count;
    const char **operand; /* where one argument without a flag goes; NULL = there is none */
    const char **second;  /* likewise, another after it */
} cli_syntax;

/** Reads the environment, then argv[1..]. CLI_GO_ON, CLI_DONE (help was printed) or CLI_USAGE (and one line said why).
 */
int cli_options_parse(const cli_syntax *syntax, int argc, char **argv);

#endif
