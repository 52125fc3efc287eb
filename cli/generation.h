/* generation.h - tokens in, tokens out of one session: the prompt, then one token after the other, counted and timed.
 */
#ifndef FOVEA_GENERATION_H
#define FOVEA_GENERATION_H

#include "fovea/sampler.h"
#include "fovea/session.h"
#include "reads.h"

/* X(NAME, name): why a generation stopped; the name is what --json says. */
#define CLI_STOP_LIST(X) \
    X(END, end) X(LIMIT, limit) X(CONTEXT, context) X(INTERRUPTED, interrupted) X(OUTPUT, output) X(FAILED, failed)
#define CLI_STOP_ENUM(NAME, name) CLI_STOP_##NAME,
typedef enum cli_stop {
    CLI_STOP_LIST(CLI_STOP_ENUM)
} cli_stop; /* END: an end-of-generation token; LIMIT: -n;
                OUTPUT: standard output failed */
#undef CLI_STOP_ENUM

/** What one phase (prompts, decoding) did. */
typedef struct cli_phase {
    uint64_t tokens, ns; /* evaluated; time in the model and the sampler */
    fv_report report;
} cli_phase;

/** Borrows session, tokenizer and sampler. Start from {0} with these, vocabulary, limit and stream set. */
typedef struct cli_generation {
    fv_session *session;
    const fv_tokenizer *tokenizer;
    fv_sampler *sampler;
    uint32_t vocabulary; /* the model's: rows of the output matrix */
    int64_t limit;       /* tokens per answer; negative: none */
    bool ignore_end;     /* end-of-generation tokens are forbidden: none ends the answer */
    bool stream;         /* write the text as it comes */
    cli_reads *reads;    /* NULL: nobody asks what was read */
    float *logits;       /* [vocabulary] of the last position; owned */
    int32_t pending;     /* chosen but not evaluated; -1: none */
    fv_text text;        /* the last answer */
    fv_tokens tokens;    /* its ids, end token excluded */
    cli_phase prompt, decode;
} cli_generation;

fv_status cli_generation_init(cli_generation *generation);
void cli_generation_free(cli_generation *generation);

/** Evaluates `tokens` behind what is there, with a bar; at an error or Ctrl-C the cache is as it was before. */
fv_status cli_generation_feed(cli_generation *generation, const int32_t *tokens, size_t count);

/** Chooses and evaluates tokens until something stops it. *status says what failed with CLI_STOP_FAILED. */
cli_stop cli_generation_answer(cli_generation *generation, fv_status *status);

const char *cli_stop_name(cli_stop stop);
double cli_phase_rate(const cli_phase *phase);        /* tokens per second; 0 if there were none */
double cli_phase_density(const cli_phase *phase);     /* keys read / visible; 1 if none was visible */
double cli_phase_token_bytes(const cli_phase *phase); /* cache bytes read per token */

/** Adds counters; of a certificate's figures the worse one stays. */
void cli_report_add(fv_report *into, const fv_report *from);

/** keys read / visible; 1 where dense attention has nothing to read either. */
double cli_report_density(const fv_report *report);

#endif
