/* attention_option.h - the option --attention: a policy as text (fovea/policy_text.h), or several. */
#ifndef FOVEA_ATTENTION_OPTION_H
#define FOVEA_ATTENTION_OPTION_H

#include "fovea/policy.h"
#include "options.h"

/** Text for --help. */
extern const char cli_attention_help[];

/** A policy and the text that asked for it. */
typedef struct cli_attention {
    const char *text;
    fv_policy config;
} cli_attention;

/** Dense attention first, then each of `texts` that is not dense, at most `most` in all. CLI_GO_ON, or CLI_USAGE and
 *  one line said why. */
int cli_attention_list(const char *verb, const cli_texts *texts, cli_attention *list, size_t most, size_t *count);

#endif
