/* attention_spec.h - the text behind --attention: "name" or "name:key=value,...". */
#ifndef FOVEA_ATTENTION_SPEC_H
#define FOVEA_ATTENTION_SPEC_H

#include "fovea/message.h"
#include "fovea/policy.h"
#include "options.h"

/** Text for --help. */
extern const char cli_attention_help[];

/**
 * Reads a specification into `config` (defaults first, so that a key left out has its default).
 * returns FV_OK, FV_ERROR_ARGUMENT (unknown name or key: the message lists the right ones; a value out of range),
 *         FV_ERROR_UNSUPPORTED (a policy that this version has not). config untouched on error.
 */
fv_status cli_attention_parse(const char *text, fv_policy *config, fv_message *message);

/** A policy and the text that asked for it. */
typedef struct cli_attention {
    const char *text;
    fv_policy config;
} cli_attention;

/** Dense attention first, then each of `texts` that is not dense, at most `most` in all. CLI_GO_ON, or CLI_USAGE and
 *  one line said why. */
int cli_attention_list(const char *verb, const cli_texts *texts, cli_attention *list, size_t most, size_t *count);

#endif
