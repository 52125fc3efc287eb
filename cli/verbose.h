/* verbose.h - what -v and --verbose-prompt add on standard error. */
#ifndef FOVEA_VERBOSE_H
#define FOVEA_VERBOSE_H

#include "fovea/engine.h"

/** What was opened: model, tokenizer, weights, processor, limits of the process. */
void cli_verbose_engine(const fv_engine *engine);

/** The tokens of a prompt, one a line, as the model reads them. */
void cli_verbose_tokens(const fv_tokenizer *tokenizer, const fv_tokens *tokens);

#endif
