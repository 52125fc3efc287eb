/* reads.c - an observer that sums over the tokens of each word what was read of every page, and names the pages that
 * got most.
 */
#include "fovea/measure/reads.h"
#include "fovea/measure/read_watch.h"
#include "page_shares.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define LAST_PAGES (FV_READS_LAST_TOKENS / FV_PAGE_TOKENS)

struct fv_reads {
    const fv_tokenizer *tokenizer;
    fv_session *session;
    fv_tokens tokens; /* in the cache, in their order */
    uint32_t workers;
    bool on;
    fv_page_shares shares; /* of the row that is being watched */
    float *word;           /* [pages], summed over the tokens of the word that is being written */
    uint32_t word_tokens;
    float **scratch; /* [workers] */
    fv_reads_word *words;
    size_t word_count, word_capacity;
};

static void observe(void *context, const fv_attention_seen *seen, size_t worker) {
    fv_reads *reads = context;
    if (reads->on) fv_page_shares_note(&reads->shares, seen, reads->scratch[worker]);
}

static bool take_memory(fv_reads *reads, const fv_model_config *shape, uint32_t context) {
    if (fv_page_shares_open(&reads->shares, shape, context) != FV_OK) return false;
    reads->word = calloc(reads->shares.pages, sizeof *reads->word);
    reads->scratch = calloc(reads->workers, sizeof *reads->scratch);
    if (!reads->word || !reads->scratch) return false;
    for (uint32_t worker = 0; worker < reads->workers; worker++) {
        reads->scratch[worker] = malloc(fv_page_shares_scratch(shape, context) * sizeof(float));
        if (!reads->scratch[worker]) return false;
    }
    return true;
}

fv_status fv_reads_open(fv_reads **reads, fv_session *session, const fv_llm *llm, uint32_t workers) {
    fv_reads *made = calloc(1, sizeof *made);
    if (!made) return FV_ERROR_MEMORY;
    made->tokenizer = fv_llm_tokenizer(llm);
    made->workers = workers;
    if (!take_memory(made, fv_llm_config(llm), (uint32_t)fv_session_context_tokens(session))) {
        fv_reads_close(made);
        return FV_ERROR_MEMORY;
    }
    made->session = session;
    fv_session_observe(session, observe, made);
    *reads = made;
    return FV_OK;
}

void fv_reads_close(fv_reads *reads) {
    if (!reads) return;
    if (reads->session) fv_session_observe(reads->session, NULL, NULL);
    for (uint32_t worker = 0; reads->scratch && worker < reads->workers; worker++) free(reads->scratch[worker]);
    for (size_t i = 0; i < reads->word_count; i++) fv_text_free(&reads->words[i].text);
    fv_page_shares_close(&reads->shares);
    free(reads->scratch);
    free(reads->word);
    free(reads->words);
    fv_tokens_free(&reads->tokens);
    free(reads);
}

fv_status fv_reads_evaluate(fv_reads *reads, const int32_t *tokens, size_t count) {
    reads->tokens.count = fv_session_tokens(reads->session); /* what was cut off the cache goes here too */
    fv_status status = fv_tokens_append(&reads->tokens, tokens, count);
    reads->on = status == FV_OK;
    fv_page_shares_begin(&reads->shares, (uint32_t)(reads->tokens.count ? reads->tokens.count - 1 : 0));
    return status;
}

fv_status fv_reads_recall(fv_reads *reads, const int32_t *tokens, size_t count) {
    reads->tokens.count = 0;
    return fv_tokens_append(&reads->tokens, tokens, count);
}

/* ---- words ---- */

static bool word_add(fv_reads *reads) {
    if (reads->word_count == reads->word_capacity) {
        size_t capacity = reads->word_capacity ? 2 * reads->word_capacity : 64;
        fv_reads_word *words = realloc(reads->words, capacity * sizeof *words);
        if (!words) return false;
        reads->words = words;
        reads->word_capacity = capacity;
    }
    reads->words[reads->word_count++] = (fv_reads_word){.text = {0}};
    return true;
}

static void passage_insert(fv_reads_word *word, uint32_t position, float share) {
    int place = FV_READS_PASSAGES;
    while (place > 0 && share > word->passages[place - 1].share) place--;
    for (int i = FV_READS_PASSAGES - 1; i > place; i--) word->passages[i] = word->passages[i - 1];
    if (place == FV_READS_PASSAGES) return;
    word->passages[place].position = position;
    word->passages[place].share = share;
}

void fv_reads_finish(fv_reads *reads) {
    if (reads->word_tokens == 0) return;
    fv_reads_word *word = &reads->words[reads->word_count - 1];
    uint32_t pages = reads->shares.position / FV_PAGE_TOKENS + 1;
    for (uint32_t page = FV_FIRST_PAGES; page + LAST_PAGES < pages; page++)
        passage_insert(word, page * FV_PAGE_TOKENS, reads->word[page] / (float)reads->word_tokens);
    memset(reads->word, 0, reads->shares.pages * sizeof *reads->word);
    reads->word_tokens = 0;
}

/* Whether the word that is being written has more than white space. */
static bool word_has_letters(const fv_reads *reads) {
    const fv_text *text = &reads->words[reads->word_count - 1].text;
    return text->length > 0 && strspn(text->bytes, " \t\r\n") < text->length;
}

fv_status fv_reads_token(fv_reads *reads, int32_t token) {
    fv_text piece = {0};
    fv_status status = fv_tokenizer_piece(reads->tokenizer, token, false, &piece);
    bool begins = piece.length > 0 && isspace((unsigned char)piece.bytes[0]) &&
                  (reads->word_tokens == 0 || word_has_letters(reads));
    if (status == FV_OK && (begins || reads->word_tokens == 0)) {
        fv_reads_finish(reads);
        if (!word_add(reads)) status = FV_ERROR_MEMORY;
    }
    if (status == FV_OK) {
        fv_page_shares_add(&reads->shares, FV_READ_ALL_LAYERS, reads->word);
        reads->word_tokens++;
        if (piece.length > 0)
            status = fv_text_append(&reads->words[reads->word_count - 1].text, piece.bytes, piece.length);
    }
    fv_text_free(&piece);
    return status;
}

/* ---- results ---- */

size_t fv_reads_count(const fv_reads *reads) { return reads->word_count; }

const fv_reads_word *fv_reads_word_at(const fv_reads *reads, size_t index) {
    return index < reads->word_count ? &reads->words[index] : NULL;
}

fv_status fv_reads_passage_text(const fv_reads *reads, uint32_t position, fv_text *text) {
    size_t rest = reads->tokens.count > position ? reads->tokens.count - position : 0;
    text->length = 0;
    fv_status status = fv_tokenizer_decode(reads->tokenizer, reads->tokens.ids + position,
                                           rest < FV_PAGE_TOKENS ? rest : FV_PAGE_TOKENS, true, text);
    for (size_t i = 0; status == FV_OK && i < text->length; i++)
        if (iscntrl((unsigned char)text->bytes[i])) text->bytes[i] = ' ';
    return status;
}
