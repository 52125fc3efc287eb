/* reads.c - an observer that sums the softmax weights of what was read, token by token, and names the pages that got
 * most. The first page and the last four are left out: sinks and neighbours would always come first. */
#include "reads.h"
#include "fovea/mass.h"
#include "json_out.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_PAGES 1
#define LAST_PAGES 4

/* Weights of the tokens that the watched row read: the dense shares, of which only those that were read stay. */
static void observe(void *context, const fv_attention_seen *seen, size_t worker) {
    cli_reads *reads = context;
    const fv_plan *plan = seen->plan;
    if (!reads->on || seen->local_window || reads->position < plan->first_token ||
        reads->position >= plan->first_token + plan->rows)
        return;
    uint32_t group = seen->attend->query_heads / seen->attend->kv_heads, dim = seen->attend->head_dim;
    uint32_t row = reads->position - plan->first_token, slot = seen->layer * seen->attend->kv_heads + seen->kv_head;
    size_t count = (size_t)reads->position + 1;
    const float *query = seen->query + row * seen->query_stride + (size_t)seen->kv_head * group * dim;
    float *scratch = reads->scratch[worker], *mass = scratch + FV_PAGE_TOKENS * (size_t)dim;
    float *noted = reads->noted + (size_t)slot * reads->context;
    if (fv_mass_tokens(seen->attend, seen->kernels, seen->cache, seen->kv_head, reads->position, query, mass,
                       scratch) != FV_OK)
        return;
    memset(noted, 0, count * sizeof *noted);
    for (uint32_t s = 0; s < plan->count; s++) {
        const fv_step *step = &plan->steps[s];
        if (step->kind != FV_STEP_SPAN || row < step->row_begin || row >= step->row_end) continue;
        for (uint32_t t = step->begin; t < step->end && t < count; t++)
            for (uint32_t h = 0; h < group; h++) noted[t] += mass[h * count + t];
    }
    reads->has_noted[slot] = true;
}

fv_status cli_reads_open(cli_reads *reads, fv_session *session, const fv_llm *llm, uint32_t workers) {
    const fv_model_config *shape = fv_llm_config(llm);
    size_t context = fv_session_context_tokens(session), group = shape->query_heads / shape->cache.kv_heads;
    *reads = (cli_reads){.tokenizer = fv_llm_tokenizer(llm),
                         .session = session,
                         .slots = shape->layers * shape->cache.kv_heads,
                         .context = (uint32_t)context,
                         .workers = workers};
    reads->noted = calloc(reads->slots * context, sizeof *reads->noted);
    reads->has_noted = calloc(reads->slots, sizeof *reads->has_noted);
    reads->word = calloc(context, sizeof *reads->word);
    reads->scratch = calloc(workers, sizeof *reads->scratch);
    if (!reads->noted || !reads->has_noted || !reads->word || !reads->scratch) return FV_ERROR_MEMORY;
    for (uint32_t worker = 0; worker < workers; worker++) {
        reads->scratch[worker] =
            malloc((FV_PAGE_TOKENS * (size_t)shape->cache.head_dim + group * context) * sizeof(float));
        if (!reads->scratch[worker]) return FV_ERROR_MEMORY;
    }
    fv_session_observe(session, observe, reads);
    return FV_OK;
}

void cli_reads_free(cli_reads *reads) {
    for (uint32_t worker = 0; reads->scratch && worker < reads->workers; worker++) free(reads->scratch[worker]);
    for (size_t i = 0; i < reads->word_count; i++) fv_text_free(&reads->words[i].text);
    free(reads->scratch);
    free(reads->noted);
    free(reads->has_noted);
    free(reads->word);
    free(reads->words);
    fv_tokens_free(&reads->tokens);
    *reads = (cli_reads){0};
}

fv_status cli_reads_feed(cli_reads *reads, const int32_t *tokens, size_t count) {
    reads->tokens.count = fv_session_tokens(reads->session); /* what was cut off the cache goes here too */
    fv_status status = fv_tokens_append(&reads->tokens, tokens, count);
    reads->position = (uint32_t)(reads->tokens.count ? reads->tokens.count - 1 : 0);
    reads->on = status == FV_OK;
    memset(reads->has_noted, 0, reads->slots * sizeof *reads->has_noted);
    return status;
}

/* ---- words ---- */

static bool word_add(cli_reads *reads) {
    if (reads->word_count == reads->word_capacity) {
        size_t capacity = reads->word_capacity ? 2 * reads->word_capacity : 64;
        cli_reads_word *words = realloc(reads->words, capacity * sizeof *words);
        if (!words) return false;
        reads->words = words;
        reads->word_capacity = capacity;
    }
    reads->words[reads->word_count++] = (cli_reads_word){.text = {0}};
    return true;
}

static void passage_insert(cli_reads_word *word, uint32_t position, float share) {
    int place = CLI_READS_PASSAGES;
    while (place > 0 && share > word->passages[place - 1].share) place--;
    for (int i = CLI_READS_PASSAGES - 1; i > place; i--) word->passages[i] = word->passages[i - 1];
    if (place == CLI_READS_PASSAGES) return;
    word->passages[place].position = position;
    word->passages[place].share = share;
}

fv_status cli_reads_finish(cli_reads *reads) {
    if (reads->word_tokens == 0) return FV_OK;
    cli_reads_word *word = &reads->words[reads->word_count - 1];
    uint32_t pages = reads->position / FV_PAGE_TOKENS + 1;
    for (uint32_t page = FIRST_PAGES; page + LAST_PAGES < pages; page++) {
        float share = 0.0f;
        for (uint32_t t = 0; t < FV_PAGE_TOKENS; t++) share += reads->word[page * FV_PAGE_TOKENS + t];
        passage_insert(word, page * FV_PAGE_TOKENS, share / (float)reads->word_tokens);
    }
    memset(reads->word, 0, reads->context * sizeof *reads->word);
    reads->word_tokens = 0;
    return FV_OK;
}

/* The shares of one row, summed in a fixed order: the same for any number of threads. */
static void word_read(cli_reads *reads) {
    double total = 0;
    for (uint32_t slot = 0; slot < reads->slots; slot++)
        for (uint32_t t = 0; reads->has_noted[slot] && t <= reads->position; t++)
            total += (double)reads->noted[(size_t)slot * reads->context + t];
    float factor = total > 0 ? (float)(1 / total) : 0.0f;
    for (uint32_t slot = 0; slot < reads->slots; slot++)
        for (uint32_t t = 0; reads->has_noted[slot] && t <= reads->position; t++)
            reads->word[t] += factor * reads->noted[(size_t)slot * reads->context + t];
    reads->word_tokens++;
}

/* Whether the word that is being written has more than white space. */
static bool word_has_letters(const cli_reads *reads) {
    const fv_text *text = &reads->words[reads->word_count - 1].text;
    return text->length > 0 && strspn(text->bytes, " \t\r\n") < text->length;
}

fv_status cli_reads_token(cli_reads *reads, int32_t token) {
    fv_text piece = {0};
    fv_status status = fv_tokenizer_piece(reads->tokenizer, token, false, &piece);
    bool begins = piece.length > 0 && isspace((unsigned char)piece.bytes[0]) &&
                  (reads->word_tokens == 0 || word_has_letters(reads));
    if (status == FV_OK && (begins || reads->word_tokens == 0)) {
        status = cli_reads_finish(reads);
        if (status == FV_OK && !word_add(reads)) status = FV_ERROR_MEMORY;
    }
    if (status == FV_OK) {
        word_read(reads);
        if (piece.length > 0)
            status = fv_text_append(&reads->words[reads->word_count - 1].text, piece.bytes, piece.length);
    }
    fv_text_free(&piece);
    return status;
}

/* ---- results ---- */

/* The page's text in one line. */
static fv_status passage_text(const cli_reads *reads, uint32_t position, fv_text *text) {
    size_t rest = reads->tokens.count > position ? reads->tokens.count - position : 0;
    text->length = 0;
    fv_status status = fv_tokenizer_decode(reads->tokenizer, reads->tokens.ids + position,
                                           rest < FV_PAGE_TOKENS ? rest : FV_PAGE_TOKENS, true, text);
    for (size_t i = 0; status == FV_OK && i < text->length; i++)
        if (iscntrl((unsigned char)text->bytes[i])) text->bytes[i] = ' ';
    return status;
}

void cli_reads_print(const cli_reads *reads) {
    fv_text text = {0};
    fprintf(stderr, "\nwhat each word read most, of what is neither the beginning nor the last %d tokens:\n",
            LAST_PAGES * FV_PAGE_TOKENS);
    for (size_t i = 0; i < reads->word_count; i++) {
        const cli_reads_word *word = &reads->words[i];
        const char *bytes = word->text.bytes ? word->text.bytes : "";
        size_t skip = strspn(bytes, " \t\r\n");
        fprintf(stderr, "%-16.*s", (int)(word->text.length - skip), bytes + skip);
        for (int k = 0; k < CLI_READS_PASSAGES && word->passages[k].share > 0; k++) {
            if (passage_text(reads, word->passages[k].position, &text) != FV_OK) break;
            fprintf(stderr, "%s%6.2f %% at %-6u %.*s\n", k ? "                " : "",
                    100 * (double)word->passages[k].share, word->passages[k].position, (int)text.length, text.bytes);
        }
        if (word->passages[0].share <= 0) fprintf(stderr, "  nothing else\n");
    }
    fv_text_free(&text);
}

json_t *cli_reads_json(const cli_reads *reads) {
    json_t *words = json_array();
    fv_text text = {0};
    for (size_t i = 0; i < reads->word_count; i++) {
        const cli_reads_word *word = &reads->words[i];
        json_t *object = json_object(), *passages = json_array();
        cli_json_bytes(object, "word", word->text.bytes ? word->text.bytes : "", word->text.length);
        for (int k = 0; k < CLI_READS_PASSAGES && word->passages[k].share > 0; k++) {
            json_t *passage = json_object();
            if (passage_text(reads, word->passages[k].position, &text) != FV_OK) text.length = 0;
            cli_json_count(passage, "position", word->passages[k].position);
            cli_json_real(passage, "share", (double)word->passages[k].share);
            cli_json_bytes(passage, "text", text.bytes ? text.bytes : "", text.length);
            cli_json_append(passages, passage);
        }
        cli_json_set(object, "passages", passages);
        cli_json_append(words, object);
    }
    fv_text_free(&text);
    return words;
}
