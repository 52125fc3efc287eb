/* shape_parts.h - what the answers of several APIs have in common: names of ends, figures, log-probabilities. */
#ifndef FV_SHAPE_PARTS_H
#define FV_SHAPE_PARTS_H

#include "request.h"

const char *fv_shape_finish(const fv_choice *choice); /* OpenAI's and Ollama's word: "stop", "length" */
json_t *fv_shape_text(const fv_choice *choice);       /* all of the answer, after the prompt where it is echoed */
json_t *fv_shape_model(const fv_request *request);
json_t *fv_shape_usage(const fv_request *request); /* OpenAI's usage */
json_t *fv_shape_timings(const fv_choice *choice); /* llama-server's timings */
json_t *fv_shape_reads(const fv_choice *choice);   /* fovea's own: density, bytes, reused tokens */
/** Passages of tokens from `first` on: adds "reads" where they are wanted. */
void fv_shape_passages(const fv_choice *choice, size_t first, json_t *document);
json_t *fv_shape_tokens(const fv_choice *choice, size_t first);

/** Entries first..end-1, as {"token","logprob","bytes","top_logprobs"}, with "id" where llama-server has it. */
json_t *fv_shape_entries(const fv_choice *choice, size_t first, size_t end, bool with_id);
json_t *fv_shape_piece(const fv_choice *choice, int32_t token); /* a token's text */
double fv_shape_ms(uint64_t begin_ns, uint64_t end_ns);

#endif
