/* eval_fresh_test.c - a document is read once and asked about many times: every answer of fv_eval_run() is the one of a
 * fresh session that reads document and question alone, and the logits behind it are the same bits. On a tiny model,
 * and on SmolLM2 if it is there. */
#include "fovea/measure/eval.h"
#include "fovea/policy_text.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CONTEXT 768
#define QUESTIONS 3
#define ANSWER_TOKENS 24 /* of eval.c */

/* Of eval.c, so that the fresh sessions read the document that was asked about. */
#define SEED 3
static uint64_t document_seed(fv_eval_task task) { return ((uint64_t)SEED << 32) + ((uint64_t)task << 24); }

static const char *const policy_texts[] = {"dense", "fovea:budget=0.12,floor=8,window=32,sinks=16"};
enum { POLICIES = sizeof policy_texts / sizeof *policy_texts };

typedef struct asked {
    size_t document_tokens;
    char answers[POLICIES][QUESTIONS][256];
    size_t count;
} asked;

static bool note_tokens(void *context, size_t done, size_t total) {
    asked *all = context;
    (void)done;
    all->document_tokens = total;
    return true;
}

static void note_answers(void *context, fv_eval_task task, size_t number, const fv_eval_question *question,
                         const fv_eval_answer *answers) {
    asked *all = context;
    (void)task;
    (void)question;
    assert_true(number <= QUESTIONS);
    for (int p = 0; p < POLICIES; p++)
        snprintf(all->answers[p][number - 1], sizeof all->answers[p][0], "%s", answers[p].text.bytes);
    all->count++;
}

static void ask_all(const fv_llm *llm, const fv_policy *policies, fv_eval_task task, asked *all) {
    fv_eval *eval = NULL;
    fv_eval_config config;
    fv_eval_config_default(&config);
    config.llm = llm;
    config.policies = policies;
    config.policy_count = POLICIES;
    config.context = CONTEXT;
    config.seed = SEED;
    config.questions = config.per_document = QUESTIONS;
    config.watch = (fv_eval_watch){.context = all, .progress = note_tokens, .answered = note_answers};
    assert_int_equal(fv_eval_open(&eval, &config, NULL), FV_OK);
    assert_int_equal(fv_eval_run(eval, task), FV_OK);
    assert_int_equal(all->count, QUESTIONS);
    fv_eval_close(eval);
}

/* The document of so many tokens. */
static void make_document(const fv_llm *llm, fv_eval_task task, size_t count, fv_eval_document *document,
                          fv_tokens *tokens) {
    for (size_t sentences = CONTEXT / 10; sentences > 0; sentences--) {
        tokens->count = 0;
        assert_int_equal(fv_eval_document_make(task, document_seed(task), sentences, QUESTIONS, document), FV_OK);
        assert_int_equal(fv_tokenizer_encode(fv_llm_tokenizer(llm), document->text.bytes, document->text.length,
                                             FV_TOKENIZE_ADD_SPECIAL, tokens),
                         FV_OK);
        if (tokens->count == count) return;
    }
    fail_msg("no document has %zu tokens", count);
}

static fv_session *open_session(const fv_llm *llm, const fv_policy *policy) {
    fv_session *session = NULL;
    fv_session_config config;
    fv_session_config_default(&config);
    config.context_tokens = CONTEXT;
    config.policy = *policy;
    assert_int_equal(fv_session_open(&session, llm, &config, NULL, NULL), FV_OK);
    return session;
}

static void last_logits(fv_session *session, float *logits) {
    assert_int_equal(fv_session_logits(session, fv_session_batch_rows(session) - 1, 1, logits), FV_OK);
}

static void answer_greedily(const fv_llm *llm, fv_session *session, float *logits, fv_text *text) {
    uint32_t vocabulary = fv_llm_config(llm)->vocabulary;
    text->length = 0;
    assert_int_equal(fv_text_append(text, "", 0), FV_OK);
    for (int n = 0; n < ANSWER_TOKENS; n++) {
        int32_t token = 0;
        last_logits(session, logits);
        for (uint32_t i = 1; i < vocabulary; i++)
            if (logits[i] > logits[token]) token = (int32_t)i;
        if (fv_tokenizer_is_end(fv_llm_tokenizer(llm), token)) return;
        assert_int_equal(fv_tokenizer_piece(fv_llm_tokenizer(llm), token, false, text), FV_OK);
        if (memchr(text->bytes, '\n', text->length)) return;
        assert_int_equal(fv_session_feed(session, &token, 1, NULL, NULL), FV_OK);
    }
}

static fv_status ask(fv_session *session, const fv_tokens *whole, size_t document) {
    return fv_session_feed_prompt(session, whole->ids + document, whole->count - document, 0, NULL, NULL);
}

/* Document and question in a session of their own, beside a session that has the document and is cut back
 * to it. The first is what the answers of fv_eval_run() are compared with. */
static void check_policy(const fv_llm *llm, const fv_policy *policy, const fv_eval_document *document,
                         const fv_tokens *tokens, char answers[QUESTIONS][256]) {
    size_t bytes = fv_llm_config(llm)->vocabulary * sizeof(float);
    float *fresh_logits = malloc(bytes), *kept_logits = malloc(bytes);
    fv_session *kept = open_session(llm, policy);
    fv_text text = {0};
    assert_non_null(fresh_logits);
    assert_non_null(kept_logits);
    assert_int_equal(fv_session_feed(kept, tokens->ids, tokens->count, NULL, NULL), FV_OK);
    for (size_t i = 0; i < QUESTIONS; i++) {
        const char *prompt = document->questions[i].prompt;
        fv_tokens whole = {0};
        assert_int_equal(fv_tokens_append(&whole, tokens->ids, tokens->count), FV_OK);
        assert_int_equal(fv_tokenizer_encode(fv_llm_tokenizer(llm), prompt, strlen(prompt), 0, &whole), FV_OK);
        fv_session *fresh = open_session(llm, policy);
        assert_int_equal(fv_session_feed(fresh, whole.ids, tokens->count, NULL, NULL), FV_OK);
        assert_int_equal(ask(fresh, &whole, tokens->count), FV_OK);
        assert_int_equal(fv_session_rewind(kept, tokens->count), FV_OK);
        assert_int_equal(ask(kept, &whole, tokens->count), FV_OK);
        last_logits(fresh, fresh_logits);
        last_logits(kept, kept_logits);
        assert_memory_equal(fresh_logits, kept_logits, bytes);
        answer_greedily(llm, kept, kept_logits, &text); /* what the next question has to forget */
        answer_greedily(llm, fresh, fresh_logits, &text);
        assert_memory_equal(fresh_logits, kept_logits, bytes);
        assert_string_equal(answers[i], text.bytes);
        fv_session_close(fresh);
        fv_tokens_free(&whole);
    }
    fv_session_close(kept);
    fv_text_free(&text);
    free(fresh_logits);
    free(kept_logits);
}

/* The first `count` tasks. */
static void check_model(const char *path, size_t count) {
    static const fv_eval_task tasks[] = {FV_EVAL_TASK_VARIABLES, FV_EVAL_TASK_DEFINITION, FV_EVAL_TASK_NEEDLE,
                                         FV_EVAL_TASK_IMPORTS};
    char full[1024];
    fv_llm *llm = NULL;
    fv_policy policies[POLICIES];
    snprintf(full, sizeof full, "%s/%s", FV_SOURCE_DIR, path);
    fv_status status = fv_llm_open(&llm, full, NULL);
    if (status == FV_ERROR_FILE) {
        print_message("skip: %s is not there\n", path);
        skip();
    }
    assert_int_equal(status, FV_OK);
    for (int p = 0; p < POLICIES; p++) assert_int_equal(fv_policy_parse(&policies[p], policy_texts[p], NULL), FV_OK);
    for (size_t t = 0; t < count; t++) {
        asked all = {0};
        fv_eval_document document = {.count = 0};
        fv_tokens tokens = {0};
        ask_all(llm, policies, tasks[t], &all);
        make_document(llm, tasks[t], all.document_tokens, &document, &tokens);
        for (int p = 0; p < POLICIES; p++) check_policy(llm, &policies[p], &document, &tokens, all.answers[p]);
        fv_tokens_free(&tokens);
        fv_text_free(&document.text);
    }
    fv_llm_close(llm);
}

static void a_tiny_model_answers_as_if_asked_alone(void **state) {
    (void)state;
    check_model("tests/model/llama_f32.gguf", 4);
}

static void smollm2_answers_as_if_asked_alone(void **state) {
    (void)state;
    check_model("models/SmolLM2-135M-Instruct.Q4_1.gguf", 2); /* a second or so for each reading */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tiny_model_answers_as_if_asked_alone),
        cmocka_unit_test(smollm2_answers_as_if_asked_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
