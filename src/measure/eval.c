/* eval.c - documents are made, read by every policy, and asked about. Several questions are asked of one document,
 * which is read once: the cache is cut back between them. */
#include "fovea/measure/eval.h"
#include "fovea/machine.h"
#include "fovea/report_sum.h"
#include "measure/read_dense.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_TOKENS 24
#define ROOM_TOKENS 128 /* of the context, for question and answer */

/* One policy under test. */
typedef struct policy_run {
    fv_policy policy;
    fv_session *session;
    fv_eval_sum tasks[FV_EVAL_TASK_COUNT];
    fv_eval_sum *documents[FV_EVAL_TASK_COUNT]; /* [fv_eval.documents] */
    fv_report report;
    uint64_t reading_ns, answering_ns;
} policy_run;

struct fv_eval {
    fv_eval_config config; /* its policies are not used any more */
    policy_run *runs;      /* [count]; the first is dense */
    fv_eval_answer *answers;
    size_t count;
    size_t documents[FV_EVAL_TASK_COUNT]; /* that were asked about */
    fv_eval_document document;
    fv_tokens tokens, question; /* of the document; of a question */
    float *logits;
};

/* ---- sums ---- */

void fv_eval_sum_add(fv_eval_sum *sum, bool right, bool dense_right) {
    sum->questions++;
    sum->right += right;
    sum->better += right && !dense_right;
    sum->worse += dense_right && !right;
}

static double share(uint64_t part, uint64_t whole) { return whole ? (double)part / (double)whole : 0; }

bool fv_eval_counts(const fv_eval_sum *dense) { return share(dense->right, dense->questions) >= FV_EVAL_COUNTS_FROM; }

double fv_eval_of_dense(const fv_eval_sum *sum, const fv_eval_sum *dense) {
    return dense->right ? share(sum->right, dense->right) : (double)NAN;
}

double fv_eval_difference(const fv_eval_sum *sum) {
    return share(sum->better, sum->questions) - share(sum->worse, sum->questions);
}

/* A question's difference is 1, -1 or 0: its square is 1 where the answers differ. */
double fv_eval_difference_95(const fv_eval_sum *sum) {
    if (sum->questions < 2) return 1;
    double n = (double)sum->questions, mean = ((double)sum->better - (double)sum->worse) / n;
    double squares = (double)(sum->better + sum->worse) / n;
    return 1.96 * sqrt((squares - mean * mean) / (n - 1));
}

/* The 97.5 % point of Student's t: four values of the table, then the series in 1/n around the normal one (Abramowitz
 * and Stegun 26.7.5), which is within 0.2 % from 5 on. */
static double student_975(size_t freedom) {
    static const double table[] = {12.706, 4.303, 3.182, 2.776};
    const double n = (double)freedom;
    if (freedom <= sizeof table / sizeof *table) return table[freedom - 1];
    return 1.96 + (2.372 + (2.822 + 2.556 / n) / n) / n;
}

double fv_eval_documents_95(const fv_eval_sum *documents, size_t count) {
    if (count < 2) return 1;
    double questions = 0, points = 0, squares = 0, n = (double)count;
    for (size_t i = 0; i < count; i++) {
        questions += (double)documents[i].questions;
        points += (double)documents[i].better - (double)documents[i].worse;
    }
    if (!(questions > 0)) return 1;
    for (size_t i = 0; i < count; i++) {
        const fv_eval_sum *one = &documents[i];
        double apart = (double)one->better - (double)one->worse - (double)one->questions * points / questions;
        squares += apart * apart;
    }
    return student_975(count - 1) * sqrt(n / (n - 1) * squares) / questions;
}

/* ---- opening ---- */

void fv_eval_config_default(fv_eval_config *config) {
    *config = (fv_eval_config){.context = 4096, .seed = 1, .questions = 40, .per_document = FV_EVAL_QUESTIONS_MAX};
    fv_session_config_default(&config->session);
}

static fv_status check_config(const fv_eval_config *config, fv_message *message) {
    if (!config->llm || !config->policies || config->policy_count == 0)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "a model and at least one policy are needed");
    if (config->context < 2 * ROOM_TOKENS)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "a context of %u tokens; the least is %d", config->context,
                              2 * ROOM_TOKENS);
    if (config->questions == 0 || config->per_document == 0 || config->per_document > FV_EVAL_QUESTIONS_MAX)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "1 to %d questions about a document, and at least 1 in all",
                              FV_EVAL_QUESTIONS_MAX);
    return FV_OK;
}

static fv_status eval_make(fv_eval *eval, fv_message *message) {
    const fv_eval_config *config = &eval->config;
    fv_session_config session = config->session;
    fv_status status = FV_OK;
    eval->runs = calloc(config->policy_count, sizeof *eval->runs);
    eval->answers = calloc(config->policy_count, sizeof *eval->answers);
    eval->logits = malloc(fv_llm_config(config->llm)->vocabulary * sizeof *eval->logits);
    if (!eval->runs || !eval->answers || !eval->logits)
        return fv_message_set(message, FV_ERROR_MEMORY, "no memory for the logits");
    session.context_tokens = config->context;
    while (eval->count < config->policy_count && status == FV_OK) {
        policy_run *run = &eval->runs[eval->count];
        run->policy = config->policies[eval->count++];
        if (config->dense_questions) run->policy.question = FV_POLICY_MOST;
        session.policy = run->policy;
        status = fv_session_open(&run->session, config->llm, &session, config->pool, message);
    }
    return status;
}

fv_status fv_eval_open(fv_eval **eval, const fv_eval_config *config, fv_message *message) {
    fv_status status = check_config(config, message);
    if (status != FV_OK) return status;
    fv_eval *made = calloc(1, sizeof *made);
    if (!made) return fv_message_set(message, FV_ERROR_MEMORY, "no memory to start");
    made->config = *config;
    status = eval_make(made, message);
    if (status == FV_OK)
        *eval = made;
    else
        fv_eval_close(made);
    return status;
}

void fv_eval_close(fv_eval *eval) {
    if (!eval) return;
    for (size_t i = 0; i < eval->count; i++) {
        fv_session_close(eval->runs[i].session);
        for (int task = 0; task < FV_EVAL_TASK_COUNT; task++) free(eval->runs[i].documents[task]);
        fv_text_free(&eval->answers[i].text);
    }
    free(eval->runs);
    free(eval->answers);
    free(eval->logits);
    fv_text_free(&eval->document.text);
    fv_tokens_free(&eval->tokens);
    fv_tokens_free(&eval->question);
    free(eval);
}

/* ---- documents ---- */

static fv_status encode(const fv_eval *eval, const char *text, size_t length, uint32_t flags, fv_tokens *tokens) {
    tokens->count = 0;
    return fv_tokenizer_encode(fv_llm_tokenizer(eval->config.llm), text, length, flags, tokens);
}

/* The longest document, in steps of 2 %, that leaves room for a question. */
static fv_status make_document(fv_eval *eval, fv_eval_task task, uint64_t seed, size_t count) {
    size_t most = eval->config.context - ROOM_TOKENS, sentences = eval->config.context / 10;
    for (int tries = 0; tries < 200; tries++) {
        fv_status status = fv_eval_document_make(task, seed, sentences, count, &eval->document);
        if (status == FV_OK)
            status = encode(eval, eval->document.text.bytes, eval->document.text.length, FV_TOKENIZE_ADD_SPECIAL,
                            &eval->tokens);
        if (status != FV_OK) return status;
        if (eval->tokens.count <= most || sentences == 1) break;
        size_t scaled = sentences * most / eval->tokens.count;
        sentences = scaled < sentences ? scaled : sentences - 1;
        if (sentences == 0) sentences = 1;
    }
    const fv_tokenizer *tokenizer = fv_llm_tokenizer(eval->config.llm);
    if (fv_tokenizer_adds_eos(tokenizer) && eval->tokens.count > 0 &&
        eval->tokens.ids[eval->tokens.count - 1] == fv_tokenizer_eos(tokenizer))
        eval->tokens.count--;
    return eval->tokens.count <= most ? FV_OK : FV_ERROR_FULL;
}

static fv_status read_document(fv_eval *eval) {
    const fv_eval_watch *watch = &eval->config.watch;
    const int32_t *tokens = eval->tokens.ids;
    size_t count = eval->tokens.count;
    for (size_t i = 0; i < eval->count; i++) {
        policy_run *run = &eval->runs[i];
        uint64_t start_ns = fv_machine_clock_ns();
        fv_status status = FV_OK;
        if (eval->config.decode) {
            status = fv_read_dense(run->session, i > 0 ? eval->runs[0].session : NULL, tokens, count, watch->progress,
                                   watch->context);
        } else {
            status = fv_session_truncate(run->session, 0);
            if (status == FV_OK && count > 0)
                status = fv_session_feed(run->session, tokens, count, watch->progress, watch->context);
        }
        if (status == FV_OK) status = fv_session_set_policy(run->session, &run->policy, NULL);
        run->reading_ns += fv_machine_clock_ns() - start_ns;
        if (status != FV_OK) return status;
    }
    return FV_OK;
}

/* ---- answers ---- */

static fv_status next_token(fv_eval *eval, fv_session *session, int32_t *token) {
    fv_status status = fv_session_logits(session, fv_session_batch_rows(session) - 1, 1, eval->logits);
    if (status != FV_OK) return status;
    uint32_t vocabulary = fv_llm_config(eval->config.llm)->vocabulary;
    *token = 0;
    for (uint32_t i = 1; i < vocabulary; i++)
        if (eval->logits[i] > eval->logits[*token]) *token = (int32_t)i;
    return FV_OK;
}

/* The likeliest words, to the end of the line. */
static fv_status write_answer(fv_eval *eval, fv_session *session, fv_text *text) {
    const fv_tokenizer *tokenizer = fv_llm_tokenizer(eval->config.llm);
    text->length = 0;
    fv_status status = fv_text_append(text, "", 0);
    for (int n = 0; n < ANSWER_TOKENS && status == FV_OK; n++) {
        int32_t token = 0;
        status = next_token(eval, session, &token);
        if (status != FV_OK || fv_tokenizer_is_end(tokenizer, token)) break;
        status = fv_tokenizer_piece(tokenizer, token, false, text);
        if (status == FV_OK && memchr(text->bytes, '\n', text->length)) break;
        if (status == FV_OK) status = fv_session_feed(session, &token, 1, NULL, NULL);
    }
    return status;
}

static fv_status ask_policy(fv_eval *eval, size_t i, const fv_eval_question *question) {
    fv_session *session = eval->runs[i].session;
    fv_eval_answer *answer = &eval->answers[i];
    const fv_eval_watch *watch = &eval->config.watch;
    if (watch->go_on && !watch->go_on(watch->context)) return FV_ERROR_INTERRUPTED;
    fv_status status = eval->config.decode ? fv_rewind_dense(session, eval->tokens.count)
                                           : fv_session_rewind(session, eval->tokens.count);
    fv_session_report_reset(session);
    if (status == FV_OK)
        status = fv_session_feed_prompt(session, eval->question.ids, eval->question.count, 0, NULL, NULL);
    if (status == FV_OK) status = write_answer(eval, session, &answer->text);
    answer->right = status == FV_OK && fv_eval_answer_is_right(question, answer->text.bytes);
    return status;
}

/* Asks everyone; only then the question counts. */
static fv_status ask(fv_eval *eval, fv_eval_task task, size_t number, const fv_eval_question *question) {
    const fv_eval_watch *watch = &eval->config.watch;
    fv_status status = encode(eval, question->prompt, strlen(question->prompt), 0, &eval->question);
    if (status == FV_OK && eval->tokens.count + eval->question.count + ANSWER_TOKENS > eval->config.context)
        status = FV_ERROR_FULL;
    for (size_t i = 0; i < eval->count && status == FV_OK; i++) {
        uint64_t start_ns = fv_machine_clock_ns();
        status = ask_policy(eval, i, question);
        eval->runs[i].answering_ns += fv_machine_clock_ns() - start_ns;
    }
    if (status == FV_OK && watch->go_on && !watch->go_on(watch->context)) status = FV_ERROR_INTERRUPTED;
    for (size_t i = 0; i < eval->count && status == FV_OK; i++) {
        policy_run *run = &eval->runs[i];
        fv_report_sum(&run->report, fv_session_report(run->session));
        fv_eval_sum_add(&run->tasks[task], eval->answers[i].right, eval->answers[0].right);
        fv_eval_sum_add(&run->documents[task][eval->documents[task] - 1], eval->answers[i].right,
                        eval->answers[0].right);
    }
    if (status == FV_OK && watch->answered) watch->answered(watch->context, task, number, question, eval->answers);
    return status;
}

/* One more, with no question yet. */
static fv_status begin_document(fv_eval *eval, fv_eval_task task) {
    size_t count = eval->documents[task] + 1;
    for (size_t i = 0; i < eval->count; i++) {
        fv_eval_sum **sums = &eval->runs[i].documents[task], *grown = realloc(*sums, count * sizeof **sums);
        if (!grown) return FV_ERROR_MEMORY;
        *sums = grown;
        grown[count - 1] = (fv_eval_sum){0};
    }
    eval->documents[task] = count;
    return FV_OK;
}

fv_status fv_eval_run(fv_eval *eval, fv_eval_task task) {
    size_t questions = eval->config.questions, most = eval->config.per_document;
    fv_status status = FV_OK;
    for (size_t done = 0, document = 0; done < questions && status == FV_OK; document++) {
        size_t count = questions - done < most ? questions - done : most;
        uint64_t seed = ((uint64_t)eval->config.seed << 32) + ((uint64_t)task << 24) + document;
        status = make_document(eval, task, seed, count);
        if (status == FV_OK) status = read_document(eval);
        if (status == FV_OK) status = begin_document(eval, task);
        for (size_t i = 0; i < count && status == FV_OK; i++)
            status = ask(eval, task, done + i + 1, &eval->document.questions[i]);
        done += count;
    }
    return status;
}

fv_status fv_eval_explain(const fv_eval *eval, fv_status status, fv_message *message) {
    for (size_t i = 0; i < eval->count; i++) (void)fv_session_explain(eval->runs[i].session, status, message);
    return status;
}

const fv_eval_sum *fv_eval_of(const fv_eval *eval, size_t policy, fv_eval_task task) {
    return &eval->runs[policy].tasks[task];
}

size_t fv_eval_document_count(const fv_eval *eval, fv_eval_task task) {
    size_t count = eval->documents[task];
    return count - (count > 0 && eval->runs[0].documents[task][count - 1].questions == 0); /* cut short before one */
}

const fv_eval_sum *fv_eval_documents(const fv_eval *eval, size_t policy, fv_eval_task task) {
    return eval->runs[policy].documents[task];
}

void fv_eval_seconds(const fv_eval *eval, size_t policy, double *reading, double *answering) {
    *reading = (double)eval->runs[policy].reading_ns * 1e-9;
    *answering = (double)eval->runs[policy].answering_ns * 1e-9;
}

const fv_report *fv_eval_report(const fv_eval *eval, size_t policy) { return &eval->runs[policy].report; }
