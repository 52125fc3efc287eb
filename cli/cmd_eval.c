/* cmd_eval.c - `fovea eval`: questions about long documents, answered with dense attention and with every policy that
 * is named. Several questions are asked of one document, which is read once: the cache is cut back between them. */
#include "attention_spec.h"
#include "fovea/machine.h"
#include "fovea/measure/questions.h"
#include "fovea/report_sum.h"
#include "interrupt.h"
#include "json_out.h"
#include "model_options.h"
#include "progress.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POLICIES_MOST 9
#define ANSWER_TOKENS 24
#define ROOM_TOKENS 128 /* of the context, for question and answer */
#define COUNTS_FROM 0.4 /* a task that dense attention solves less often says nothing about a policy */

typedef struct eval_options {
    cli_model_options model;
    const char *tasks;
    cli_texts attention;
    int64_t questions, seed, per_document;
    int pass; /* enum eval_pass */
    bool json;
} eval_options;

static const char pass_words[] = "prompt decode";
enum eval_pass { PASS_PROMPT, PASS_DECODE };

#define FIELD(name) offsetof(eval_options, name)
static const cli_option eval_flags[] = {
    {CLI_TEXT, "--task", NULL, "LIST", NULL, NULL,
     "tasks, joined by commas: needle, needles, paraphrase, variables, counting\n(default: all)", FIELD(tasks), 0, 0},
    {CLI_INTEGER, "-n --questions", NULL, "N", NULL, NULL, "questions of each task (default: 40)", FIELD(questions), 1,
     100000},
    {CLI_INTEGER, "--per-document", NULL, "N", NULL, NULL, "most questions about one document (default: 20)",
     FIELD(per_document), 1, FV_EVAL_QUESTIONS_MAX},
    {CLI_INTEGER, "-c --ctx-size", NULL, "N", "LLAMA_ARG_CTX_SIZE", NULL,
     "tokens of document, question and answer (default: 4096)", FIELD(model.context), 256, 1073741824.0},
    {CLI_INTEGER, "-s --seed", NULL, "N", NULL, NULL, "documents and questions follow from it (default: 1)",
     FIELD(seed), 0, 4294967295.0},
    {CLI_CHOICE, "--pass", NULL, "prompt|decode", NULL, pass_words,
     "prompt, the default: the policy reads everything; decode: the document is read\n"
     "densely, question and answer with the policy",
     FIELD(pass), 0, 0},
    {CLI_TEXTS, "--attention", NULL, "SPEC", NULL, NULL, cli_attention_help, FIELD(attention), 0, 0},
    {CLI_SWITCH, "--json", NULL, NULL, NULL, NULL,
     "one JSON document, with the questions that a policy and dense attention\nanswered differently", FIELD(json), 0,
     0},
};

typedef struct task_sum {
    uint64_t questions, right, better, worse; /* the last two beside dense attention */
} task_sum;

/* One policy under test; policies[0] is dense. */
typedef struct policy_run {
    const char *text;
    fv_policy config;
    fv_session *session;
    task_sum tasks[FV_EVAL_TASK_COUNT];
    fv_report report;
    fv_text answer;
    bool right;
} policy_run;

typedef struct eval_state {
    const eval_options *options;
    cli_engine engine;
    bool tasks[FV_EVAL_TASK_COUNT];
    policy_run policies[POLICIES_MOST];
    size_t policy_count;
    fv_eval_document document;
    fv_tokens tokens; /* of the document */
    fv_tokens question;
    uint32_t context, vocabulary;
    float *logits;
    json_t *differences;
    size_t asked;
    cli_progress progress;
} eval_state;

/* ---- options ---- */

static int read_tasks(eval_state *state) {
    const char *rest = state->options->tasks;
    for (int task = 0; !rest && task < FV_EVAL_TASK_COUNT; task++) state->tasks[task] = true;
    while (rest && *rest) {
        size_t length = strcspn(rest, ",");
        int found = -1;
        for (int task = 0; task < FV_EVAL_TASK_COUNT; task++) {
            const char *name = fv_eval_task_name((fv_eval_task)task);
            if (strlen(name) == length && memcmp(name, rest, length) == 0) found = task;
        }
        if (found < 0)
            return cli_usage_error("eval",
                                   "--task: there is no '%.*s'; there are: needle, needles, paraphrase, "
                                   "variables, counting",
                                   (int)length, rest);
        state->tasks[found] = true;
        rest += length + (rest[length] == ',');
    }
    return CLI_GO_ON;
}

static int read_policies(eval_state *state) {
    cli_attention list[POLICIES_MOST];
    int result = cli_attention_list("eval", &state->options->attention, list, POLICIES_MOST, &state->policy_count);
    for (size_t i = 0; result == CLI_GO_ON && i < state->policy_count; i++)
        state->policies[i] = (policy_run){.text = list[i].text, .config = list[i].config};
    return result;
}

static int open_sessions(eval_state *state) {
    const cli_model_options *options = &state->options->model;
    state->context = options->context < 0 ? 4096 : (uint32_t)options->context;
    state->vocabulary = fv_llm_config(state->engine.llm)->vocabulary;
    cli_warn_context(state->engine.llm, state->context);
    for (size_t i = 0; i < state->policy_count; i++) {
        policy_run *policy = &state->policies[i];
        int result = cli_session_open(&policy->session, &state->engine, options, state->context, &policy->config);
        if (result != CLI_GO_ON) return result;
    }
    state->logits = malloc(state->vocabulary * sizeof *state->logits);
    state->differences = json_array();
    return state->logits && state->differences ? CLI_GO_ON : cli_fail("no memory for the logits");
}

/* ---- documents ---- */

static fv_status encode(const eval_state *state, const char *text, size_t length, uint32_t flags, fv_tokens *tokens) {
    tokens->count = 0;
    return fv_tokenizer_encode(fv_llm_tokenizer(state->engine.llm), text, length, flags, tokens);
}

/* The longest document, in steps of 2 %, that leaves room for a question. */
static fv_status make_document(eval_state *state, fv_eval_task task, uint64_t seed, size_t count) {
    size_t most = state->context - ROOM_TOKENS, sentences = state->context / 10;
    for (int tries = 0; tries < 200; tries++) {
        fv_status status = fv_eval_document_make(task, seed, sentences, count, &state->document);
        if (status == FV_OK)
            status = encode(state, state->document.text.bytes, state->document.text.length, FV_TOKENIZE_ADD_SPECIAL,
                            &state->tokens);
        if (status != FV_OK) return status;
        if (state->tokens.count <= most || sentences == 1) break;
        size_t scaled = sentences * most / state->tokens.count;
        sentences = scaled < sentences ? scaled : sentences - 1;
        if (sentences == 0) sentences = 1;
    }
    const fv_tokenizer *tokenizer = fv_llm_tokenizer(state->engine.llm);
    if (fv_tokenizer_adds_eos(tokenizer) && state->tokens.count > 0 &&
        state->tokens.ids[state->tokens.count - 1] == fv_tokenizer_eos(tokenizer))
        state->tokens.count--;
    return state->tokens.count <= most ? FV_OK : FV_ERROR_FULL;
}

static fv_status read_document(eval_state *state) {
    for (size_t i = 0; i < state->policy_count; i++) {
        policy_run *policy = &state->policies[i];
        fv_status status = FV_OK;
        if (state->options->pass == PASS_DECODE) {
            status =
                cli_session_read_dense(policy->session, i > 0 ? state->policies[0].session : NULL, state->tokens.ids,
                                       state->tokens.count, cli_progress_step, &state->progress);
        } else {
            status = fv_session_truncate(policy->session, 0);
            if (status == FV_OK && state->tokens.count > 0)
                status = fv_session_feed(policy->session, state->tokens.ids, state->tokens.count, cli_progress_step,
                                         &state->progress);
        }
        if (status == FV_OK) status = fv_session_set_policy(policy->session, &policy->config, NULL);
        if (status != FV_OK) return status;
        fv_session_report_reset(policy->session);
    }
    return FV_OK;
}

/* ---- answers ---- */

static fv_status next_token(eval_state *state, fv_session *session, int32_t *token) {
    fv_status status = fv_session_logits(session, fv_session_batch_rows(session) - 1, 1, state->logits);
    if (status != FV_OK) return status;
    *token = 0;
    for (uint32_t i = 1; i < state->vocabulary; i++)
        if (state->logits[i] > state->logits[*token]) *token = (int32_t)i;
    return FV_OK;
}

/* The likeliest words, to the end of the line. */
static fv_status write_answer(eval_state *state, policy_run *policy) {
    const fv_tokenizer *tokenizer = fv_llm_tokenizer(state->engine.llm);
    policy->answer.length = 0;
    fv_status status = fv_text_append(&policy->answer, "", 0);
    for (int n = 0; n < ANSWER_TOKENS && status == FV_OK; n++) {
        int32_t token = 0;
        status = next_token(state, policy->session, &token);
        if (status != FV_OK || fv_tokenizer_is_end(tokenizer, token)) break;
        status = fv_tokenizer_piece(tokenizer, token, false, &policy->answer);
        if (status == FV_OK && memchr(policy->answer.bytes, '\n', policy->answer.length)) break;
        if (status == FV_OK) status = fv_session_feed(policy->session, &token, 1, NULL, NULL);
    }
    return status;
}

static fv_status ask_policy(eval_state *state, policy_run *policy, const fv_eval_question *question) {
    fv_status status = fv_session_truncate(policy->session, state->tokens.count);
    if (status == FV_OK)
        status = fv_session_feed(policy->session, state->question.ids, state->question.count, NULL, NULL);
    if (status == FV_OK) status = write_answer(state, policy);
    policy->right =
        status == FV_OK && fv_eval_answer_is_right(question, policy->answer.bytes ? policy->answer.bytes : "");
    return status;
}

static void book_difference(eval_state *state, fv_eval_task task, const fv_eval_question *question,
                            const policy_run *policy) {
    const policy_run *dense = &state->policies[0];
    json_t *object = json_object();
    cli_json_text(object, "task", fv_eval_task_name(task));
    cli_json_text(object, "attention", policy->text);
    cli_json_real(object, "depth", question->depth);
    cli_json_text(object, "question", question->prompt);
    cli_json_text(object, "expected", question->expected[0]);
    if (question->expected[1][0]) cli_json_text(object, "expected_too", question->expected[1]);
    cli_json_bytes(object, "dense_answer", dense->answer.bytes, dense->answer.length);
    cli_json_bool(object, "dense_right", dense->right);
    cli_json_bytes(object, "answer", policy->answer.bytes, policy->answer.length);
    cli_json_bool(object, "right", policy->right);
    cli_json_append(state->differences, object);
}

static fv_status ask(eval_state *state, fv_eval_task task, const fv_eval_question *question) {
    fv_status status = encode(state, question->prompt, strlen(question->prompt), 0, &state->question);
    if (status == FV_OK && state->tokens.count + state->question.count + ANSWER_TOKENS > state->context)
        status = FV_ERROR_FULL;
    for (size_t i = 0; i < state->policy_count && status == FV_OK; i++) {
        status = ask_policy(state, &state->policies[i], question);
        if (status == FV_OK && cli_interrupted()) status = FV_ERROR_INTERRUPTED;
    }
    if (status != FV_OK) return status;
    for (size_t i = 0; i < state->policy_count; i++) {
        policy_run *policy = &state->policies[i];
        task_sum *sum = &policy->tasks[task];
        bool dense = state->policies[0].right;
        sum->questions++;
        sum->right += policy->right;
        sum->better += policy->right && !dense;
        sum->worse += dense && !policy->right;
        if (policy->right != dense) book_difference(state, task, question, policy);
    }
    state->asked++;
    return FV_OK;
}

static void book_reports(eval_state *state) {
    for (size_t i = 0; i < state->policy_count; i++) {
        fv_report report = fv_session_report(state->policies[i].session);
        fv_report_sum(&state->policies[i].report, &report);
    }
}

static fv_status measure_task(eval_state *state, fv_eval_task task) {
    size_t questions = (size_t)state->options->questions, most = (size_t)state->options->per_document;
    fv_status status = FV_OK;
    for (size_t done = 0, document = 0; done < questions && status == FV_OK; document++) {
        size_t count = questions - done < most ? questions - done : most;
        uint64_t seed = ((uint64_t)state->options->seed << 32) + ((uint64_t)task << 24) + document;
        status = make_document(state, task, seed, count);
        if (status == FV_OK) status = read_document(state);
        for (size_t i = 0; i < count && status == FV_OK; i++) {
            status = ask(state, task, &state->document.questions[i]);
            cli_progress_end(&state->progress);
        }
        if (status == FV_OK) book_reports(state);
        done += count;
        if (status == FV_OK) cli_note("%s: %zu of %zu questions", fv_eval_task_name(task), done, questions);
    }
    return status;
}

/* ---- results ---- */

static double share(uint64_t part, uint64_t whole) { return whole ? (double)part / (double)whole : 0; }

/* Half of the 95 % interval of the mean difference, right with the policy minus right with dense attention. */
static double difference_error(const task_sum *sum) {
    double n = (double)sum->questions, mean = ((double)sum->better - (double)sum->worse) / n;
    double squares = (double)(sum->better + sum->worse) / n;
    return n > 1 ? 1.96 * sqrt((squares - mean * mean) / (n - 1)) : 1;
}

static json_t *task_json(const eval_state *state, const policy_run *policy, fv_eval_task task) {
    const task_sum *sum = &policy->tasks[task], *dense = &state->policies[0].tasks[task];
    json_t *object = json_object();
    cli_json_text(object, "task", fv_eval_task_name(task));
    cli_json_count(object, "questions", sum->questions);
    cli_json_count(object, "right", sum->right);
    cli_json_count(object, "dense_right", dense->right);
    cli_json_bool(object, "counts", share(dense->right, dense->questions) >= COUNTS_FROM);
    cli_json_real(object, "of_dense", dense->right ? share(sum->right, dense->right) : (double)NAN);
    cli_json_real(object, "difference", share(sum->better, sum->questions) - share(sum->worse, sum->questions));
    cli_json_real(object, "difference_95", difference_error(sum));
    return object;
}

static int print_json(eval_state *state) {
    json_t *document = json_object(), *policies = json_array();
    for (size_t i = 0; i < state->policy_count; i++) {
        const policy_run *policy = &state->policies[i];
        json_t *object = json_object(), *tasks = json_array();
        cli_json_text(object, "attention", policy->text);
        cli_json_real(object, "density", fv_report_density(&policy->report));
        for (int task = 0; task < FV_EVAL_TASK_COUNT; task++)
            if (policy->tasks[task].questions > 0) cli_json_append(tasks, task_json(state, policy, (fv_eval_task)task));
        cli_json_set(object, "tasks", tasks);
        cli_json_append(policies, object);
    }
    cli_json_text(document, "model", state->options->model.model);
    cli_json_count(document, "context", state->context);
    cli_json_text(document, "pass", state->options->pass == PASS_DECODE ? "decode" : "prompt");
    cli_json_count(document, "seed", (uint64_t)state->options->seed);
    cli_json_set(document, "policies", policies);
    cli_json_set(document, "differences", json_incref(state->differences));
    return cli_json_print(document);
}

static void print_task(const eval_state *state, fv_eval_task task) {
    const task_sum *dense = &state->policies[0].tasks[task];
    bool counts = share(dense->right, dense->questions) >= COUNTS_FROM;
    for (size_t i = 0; i < state->policy_count && dense->questions > 0; i++) {
        const policy_run *policy = &state->policies[i];
        const task_sum *sum = &policy->tasks[task];
        cli_print("| %s%s | %s | %llu of %llu | ", fv_eval_task_name(task), counts ? "" : " (does not count)",
                  policy->text, (unsigned long long)sum->right, (unsigned long long)sum->questions);
        if (i == 0 || dense->right == 0)
            cli_print("| |\n");
        else
            cli_print("%.1f %% | %+.1f ± %.1f |\n", 100 * share(sum->right, dense->right),
                      100 * (share(sum->better, sum->questions) - share(sum->worse, sum->questions)),
                      100 * difference_error(sum));
    }
}

static int print_results(eval_state *state) {
    if (state->options->json) return print_json(state);
    cli_print("| task | attention | right | of dense | difference, points (95 %%) |\n"
              "| --- | --- | ---: | ---: | ---: |\n");
    for (int task = 0; task < FV_EVAL_TASK_COUNT; task++) print_task(state, (fv_eval_task)task);
    cli_print("\n");
    for (size_t i = 0; i < state->policy_count; i++)
        cli_print("%s: density %.4f\n", state->policies[i].text, fv_report_density(&state->policies[i].report));
    cli_print("A task counts where dense attention is right in at least %.0f %% of the questions.\n",
              100 * COUNTS_FROM);
    return cli_flush() ? CLI_DONE : CLI_FAILED;
}

static int measure(eval_state *state) {
    fv_status status = FV_OK;
    cli_progress_start(&state->progress, "reading", "tokens");
    for (int task = 0; task < FV_EVAL_TASK_COUNT && status == FV_OK; task++)
        if (state->tasks[task]) status = measure_task(state, (fv_eval_task)task);
    cli_progress_end(&state->progress);
    if (status == FV_ERROR_FULL)
        return cli_fail("a context of %u tokens has no room for a document with %lld questions; use a larger -c or a "
                        "smaller --per-document",
                        state->context, (long long)state->options->per_document);
    if (status != FV_OK && status != FV_ERROR_INTERRUPTED) return cli_fail_status(status, NULL);
    if (state->asked == 0) return CLI_INTERRUPTED;
    int result = print_results(state);
    return result == CLI_DONE && status == FV_ERROR_INTERRUPTED ? CLI_INTERRUPTED : result;
}

static void close_eval(eval_state *state) {
    for (size_t i = 0; i < state->policy_count; i++) {
        fv_session_close(state->policies[i].session);
        fv_text_free(&state->policies[i].answer);
    }
    free(state->logits);
    json_decref(state->differences);
    fv_text_free(&state->document.text);
    fv_tokens_free(&state->tokens);
    fv_tokens_free(&state->question);
    cli_engine_close(&state->engine);
}

int cmd_eval(int argc, char **argv) {
    static eval_state state; /* a document's questions are too much for a stack */
    eval_options options = {.model = cli_model_options_default(), .questions = 40, .seed = 1, .per_document = 20};
    state = (eval_state){.options = &options};
    const cli_option_group groups[] = {
        {"questions", eval_flags, sizeof eval_flags / sizeof eval_flags[0], &options},
        {"model", cli_model_flags, cli_model_flag_count, &options.model},
        {"weights", cli_weight_flags, cli_weight_flag_count, &options.model},
        {"cache", cli_cache_flags, cli_cache_flag_count, &options.model},
        {"where threads run", cli_thread_flags, cli_thread_flag_count, &options.model.placement},
        {"llama.cpp's flags without effect here", cli_ignored_flags, cli_ignored_flag_count, &options.model},
    };
    const cli_syntax syntax = {
        "eval",
        "-m FILE [-c N] [--task LIST] [-n N] [--attention SPEC]... [flags]",
        "Questions about facts in long documents that are made from a seed, answered with dense\n"
        "attention and with every policy that is named; the same questions for all.",
        groups,
        sizeof groups / sizeof groups[0],
        NULL};
    int result = cli_options_parse(&syntax, argc, argv);
    if (result == CLI_GO_ON) result = read_tasks(&state);
    if (result == CLI_GO_ON) result = read_policies(&state);
    if (result == CLI_GO_ON) result = cli_need_model("eval", options.model.model);
    if (result != CLI_GO_ON) return result;
    result = cli_engine_open(&state.engine, "eval", &options.model);
    if (result == CLI_GO_ON) result = open_sessions(&state);
    if (result == CLI_GO_ON) result = measure(&state);
    close_eval(&state);
    return result;
}
