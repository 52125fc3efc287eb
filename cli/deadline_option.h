/* deadline_option.h - --deadline: how soon each token of an answer must be there. */
#ifndef FOVEA_DEADLINE_OPTION_H
#define FOVEA_DEADLINE_OPTION_H

#include "fovea/session.h"
#include "json_out.h"
#include "options.h"

typedef struct cli_deadline_options {
    double milliseconds; /* 0: none */
    int on_deadline;     /* index into the flag's choices */
    uint32_t given;      /* bit i: flag i of the table */
} cli_deadline_options;

extern const cli_option cli_deadline_flags[]; /* targets a cli_deadline_options */
extern const size_t cli_deadline_flags_count;
#define CLI_DEADLINE_GROUP(OPTIONS) \
    { "deadline", cli_deadline_flags, cli_deadline_flags_count, OPTIONS, &(OPTIONS)->given }

int cli_deadline_check(const char *verb, const cli_deadline_options *options); /* CLI_GO_ON or CLI_USAGE */
/** Sets what was asked for. CLI_GO_ON or CLI_FAILED. */
int cli_deadline_set(const cli_deadline_options *options, fv_session *session);

/* Nothing if there is none. */
void cli_deadline_print(const cli_deadline_options *options, const fv_session *session); /* a line on stderr */
void cli_deadline_json(const cli_deadline_options *options, const fv_session *session, json_t *document);

#endif
