/* reads.h - which passages of the context each generated word read most (--show-reads). */
#ifndef FOVEA_READS_H
#define FOVEA_READS_H

#include "fovea/session.h"
#include <jansson.h>

#define CLI_READS_PASSAGES 3 /* of a word */

typedef struct cli_reads_word {
    fv_text text;
    struct {
        uint32_t position; /* first token of the page */
        float share;       /* of all that the word's tokens read, means over layers and heads; 0: there is no passage */
    } passages[CLI_READS_PASSAGES];
} cli_reads_word;

/** Watches one session from cli_reads_open() on. */
typedef struct cli_reads {
    const fv_tokenizer *tokenizer;
    fv_session *session;
    fv_tokens tokens; /* in the cache, in their order */
    uint32_t slots, context, workers;
    uint32_t position; /* of the row that is being watched */
    bool on;
    float *noted;    /* [slots][context]: layer and KV head each note their own */
    bool *has_noted; /* [slots] */
    float *word;     /* [context], summed over the tokens of the word that is being written */
    uint32_t word_tokens;
    float **scratch;
    cli_reads_word *words;
    size_t word_count, word_capacity;
} cli_reads;

/** FV_OK or FV_ERROR_MEMORY; free in any case. */
fv_status cli_reads_open(cli_reads *reads, fv_session *session, const fv_llm *llm, uint32_t workers);
void cli_reads_free(cli_reads *reads);

/** Tokens are about to be evaluated; what the last of them reads will be shown with the next token. */
fv_status cli_reads_feed(cli_reads *reads, const int32_t *tokens, size_t count);

/** The token that was chosen from what was read. FV_OK or FV_ERROR_MEMORY. */
fv_status cli_reads_token(cli_reads *reads, int32_t token);

/** Ends the last word. FV_OK or FV_ERROR_MEMORY. */
fv_status cli_reads_finish(cli_reads *reads);

void cli_reads_print(const cli_reads *reads);   /* on standard error */
json_t *cli_reads_json(const cli_reads *reads); /* [{"word","passages":[{"position","share","text"}]}] */

#endif
