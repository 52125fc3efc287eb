/* attention_option.h - the option --attention: a policy as text (fovea/policy_text.h), or several. */
#ifndef FOVEA_ATTENTION_OPTION_H
#define FOVEA_ATTENTION_OPTION_H

#include "fovea/engine.h"
#include "fovea/policy.h"
#include "model_options.h"
#include "options.h"

/** Text for --help. */
extern const char cli_attention_help[];

/** The words of --pass; the index is `decode` of the library's configurations. */
#define CLI_PASS_WORDS "prompt decode"

#define CLI_ATTENTION_MOST 17 /* dense and 16 more */

/** Policies and the texts that asked for them. */
typedef struct cli_attention_list {
    const char *texts[CLI_ATTENTION_MOST];
    fv_policy policies[CLI_ATTENTION_MOST];
    size_t count;
} cli_attention_list;

/** Dense attention first, then each of `texts` that is not dense, at most `most` in all. CLI_GO_ON, or CLI_USAGE and
 *  one line said why. */
int cli_attention_read(const char *verb, const cli_texts *texts, size_t most, cli_attention_list *list);

/** fv_policy_parse() for one text; CLI_GO_ON or CLI_USAGE. */
/* The policy of a session for which none was named: its text, and read. */
const char *cli_attention_default(const fv_engine *engine, const cli_model_options *model, uint32_t context,
                                  fv_policy *policy);

int cli_policy_read(const char *verb, const char *text, fv_policy *policy);

#endif
