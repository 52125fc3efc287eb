/* attention_spec.h - the text behind --attention: "name" or "name:key=value,...". */
#ifndef FOVEA_ATTENTION_SPEC_H
#define FOVEA_ATTENTION_SPEC_H

#include "fovea/message.h"
#include "fovea/select.h"

/** Text for --help. */
extern const char cli_attention_help[];

/**
 * Reads a specification into `config` (defaults first, so that a key left out has its default).
 * returns FV_OK, FV_ERROR_ARGUMENT (unknown name or key: the message lists the right ones; a value out of range),
 *         FV_ERROR_UNSUPPORTED (a policy that this version has not). config untouched on error.
 */
fv_status cli_attention_parse(const char *text, fv_select_config *config, fv_message *message);

#endif
