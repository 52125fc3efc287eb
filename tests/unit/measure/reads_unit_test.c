/* reads_unit_test.c - the passages of --show-reads against sums over every key of every layer and head, made here. */
#include "fovea/measure/mass.h"
#include "fovea/measure/reads.h"
#include "numeric/splitmix.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MODEL FV_SOURCE_DIR "/tests/model/llama_f32.gguf"
#define TOKENS 150 /* of the prompt: nine whole pages and a part */
#define ANSWER 40
#define PAGES_MAX 16

/* What dense attention of one row reads of each page: all layers and heads. */
typedef struct row_sums {
    double page[PAGES_MAX], all;
    uint32_t position;
} row_sums;

static void sum_row(void *context, const fv_attention_seen *seen, size_t worker) {
    row_sums *sums = context;
    uint32_t group = seen->attend->query_heads / seen->attend->kv_heads, dim = seen->attend->head_dim;
    uint32_t row = sums->position - seen->plan->first_token, count = sums->position + 1;
    (void)worker;
    if (sums->position < seen->plan->first_token || row >= seen->plan->rows) return;
    float *mass = malloc((size_t)group * count * sizeof *mass), *scratch = malloc(FV_PAGE_TOKENS * dim * sizeof *mass);
    assert_true(mass && scratch);
    const float *query = seen->query + row * seen->query_stride + (size_t)seen->kv_head * group * dim;
    assert_int_equal(
        fv_mass_tokens(seen->attend, seen->kernels, seen->cache, seen->kv_head, sums->position, query, mass, scratch),
        FV_OK);
    for (uint32_t h = 0; h < group; h++)
        for (uint32_t t = 0; t < count; t++) {
            sums->page[t / FV_PAGE_TOKENS] += (double)mass[h * count + t];
            sums->all += (double)mass[h * count + t];
        }
    free(mass);
    free(scratch);
}

static fv_session *open_session(const fv_llm *llm) {
    fv_session *session = NULL;
    fv_session_config config;
    fv_session_config_default(&config);
    config.context_tokens = TOKENS + ANSWER;
    config.batch_tokens = 64;
    assert_int_equal(fv_session_open(&session, llm, &config, NULL, NULL), FV_OK);
    return session;
}

static uint32_t seed; /* which text */

static int32_t token_at(const fv_llm *llm, uint32_t i) {
    return (int32_t)(fv_splitmix(seed, i) % fv_llm_config(llm)->vocabulary);
}

/* shares[i][page]: what the row reads from which answer token i was chosen. */
static void sum_rows(const fv_llm *llm, row_sums *rows) {
    fv_session *session = open_session(llm);
    int32_t tokens[TOKENS];
    for (uint32_t i = 0; i < TOKENS; i++) tokens[i] = token_at(llm, i);
    for (uint32_t i = 0; i < ANSWER; i++) {
        int32_t next = token_at(llm, TOKENS + i - 1);
        rows[i] = (row_sums){.position = TOKENS + i - 1};
        fv_session_observe(session, sum_row, &rows[i]);
        assert_int_equal(fv_session_feed(session, i ? &next : tokens, i ? 1 : TOKENS, NULL, NULL), FV_OK);
    }
    fv_session_close(session);
}

static void read_all(const fv_llm *llm, fv_session *session, fv_reads *reads) {
    int32_t tokens[TOKENS];
    for (uint32_t i = 0; i < TOKENS; i++) tokens[i] = token_at(llm, i);
    for (uint32_t i = 0; i < ANSWER; i++) {
        int32_t next = token_at(llm, TOKENS + i - 1);
        const int32_t *fed = i ? &next : tokens;
        assert_int_equal(fv_reads_evaluate(reads, fed, i ? 1 : TOKENS), FV_OK);
        assert_int_equal(fv_session_feed(session, fed, i ? 1 : TOKENS, NULL, NULL), FV_OK);
        assert_int_equal(fv_reads_token(reads, token_at(llm, TOKENS + i)), FV_OK);
    }
    fv_reads_finish(reads);
}

/* Tokens of the word: its text is that of the pieces in turn. */
static uint32_t word_tokens(const fv_llm *llm, const fv_reads_word *word, uint32_t first) {
    fv_text text = {0};
    uint32_t count = 0;
    assert_int_equal(fv_text_append(&text, "", 0), FV_OK);
    while (text.length < word->text.length && first + count < ANSWER)
        assert_int_equal(
            fv_tokenizer_piece(fv_llm_tokenizer(llm), token_at(llm, TOKENS + first + count++), false, &text), FV_OK);
    assert_memory_equal(text.bytes, word->text.bytes, text.length);
    fv_text_free(&text);
    return count;
}

static void check_word(const fv_reads_word *word, const row_sums *rows, uint32_t count) {
    double mean[PAGES_MAX] = {0};
    bool taken[PAGES_MAX] = {false};
    for (uint32_t i = 0; i < count; i++)
        for (size_t page = 0; page < PAGES_MAX; page++) mean[page] += rows[i].page[page] / rows[i].all / count;
    /* the newest four pages of the last token, its own included, and the first page are left out */
    size_t end = rows[count - 1].position / FV_PAGE_TOKENS + 1 - 4;
    for (int k = 0; k < FV_READS_PASSAGES; k++) {
        size_t best = 0;
        for (size_t page = 1; page < end; page++)
            if (!taken[page] && (best == 0 || mean[page] > mean[best])) best = page;
        taken[best] = true;
        assert_int_equal(word->passages[k].position, best * FV_PAGE_TOKENS);
        assert_true(fabs((double)word->passages[k].share - mean[best]) < 1e-5);
    }
}

/* The longest word, in tokens. */
static uint32_t check_text(const fv_llm *llm) {
    fv_reads *reads = NULL;
    row_sums rows[ANSWER];
    uint32_t first = 0, longest = 0;
    sum_rows(llm, rows);
    fv_session *session = open_session(llm);
    assert_int_equal(fv_reads_open(&reads, session, llm, 1), FV_OK);
    read_all(llm, session, reads);
    for (size_t i = 0; i < fv_reads_count(reads); i++) {
        const fv_reads_word *word = fv_reads_word_at(reads, i);
        uint32_t count = word_tokens(llm, word, first);
        check_word(word, rows + first, count);
        first += count;
        longest = count > longest ? count : longest;
    }
    assert_int_equal(first, ANSWER);
    assert_null(fv_reads_word_at(reads, fv_reads_count(reads)));
    fv_reads_close(reads);
    fv_session_close(session);
    return longest;
}

static void passages_are_the_pages_that_weigh_most(void **state) {
    fv_llm *llm = NULL;
    (void)state;
    assert_int_equal(fv_llm_open(&llm, MODEL, NULL), FV_OK);
    for (seed = 0; seed < 8; seed++) assert_true(check_text(llm) > 1); /* else no mean was taken */
    fv_llm_close(llm);
}

static void the_text_of_a_page_is_one_line(void **state) {
    fv_llm *llm = NULL;
    fv_reads *reads = NULL;
    fv_text text = {0}, whole = {0};
    int32_t tokens[FV_PAGE_TOKENS];
    (void)state;
    assert_int_equal(fv_llm_open(&llm, MODEL, NULL), FV_OK);
    fv_session *session = open_session(llm);
    assert_int_equal(fv_reads_open(&reads, session, llm, 1), FV_OK);
    read_all(llm, session, reads);
    for (uint32_t i = 0; i < FV_PAGE_TOKENS; i++) tokens[i] = token_at(llm, 2 * FV_PAGE_TOKENS + i);
    assert_int_equal(fv_reads_passage_text(reads, 2 * FV_PAGE_TOKENS, &text), FV_OK);
    assert_int_equal(fv_tokenizer_decode(fv_llm_tokenizer(llm), tokens, FV_PAGE_TOKENS, true, &whole), FV_OK);
    assert_int_equal(text.length, whole.length);
    for (size_t i = 0; i < text.length; i++)
        assert_true(text.bytes[i] == whole.bytes[i] || (text.bytes[i] == ' ' && (unsigned char)whole.bytes[i] < 0x80));
    fv_text_free(&text);
    fv_text_free(&whole);
    fv_reads_close(reads);
    fv_session_close(session);
    fv_llm_close(llm);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passages_are_the_pages_that_weigh_most),
        cmocka_unit_test(the_text_of_a_page_is_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
