/* cmd_eval.c - `fovea eval`: questions about long documents, answered with dense attention and with every policy that
 * is named. */
#include "attention_option.h"
#include "fovea/machine.h"
#include "fovea/measure/eval.h"
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

typedef struct eval_options {
    cli_model_options model;
    const char *tasks;
    cli_texts attention;
    int64_t questions, seed, per_document;
    int pass; /* index of CLI_PASS_WORDS */
    bool json, lines, dense_questions;
} eval_options;

#define CLI_TARGET eval_options
static const cli_option eval_flags[] = {
    CLI_FLAG(TEXT, "--task", tasks, .value = "LIST",
             .help = "tasks, joined by commas: needle, needles, paraphrase, variables, counting,\ndefinition, imports "
                     "(default: all)"),
    CLI_FLAG(INTEGER, "-n --questions", questions, .low = 1, .high = 100000, .help = "questions of each task"),
    CLI_FLAG(INTEGER, "--per-document", per_document, .low = 1, .high = FV_EVAL_QUESTIONS_MAX,
             .help = "most questions about one document, which is read once; their answers are those\n"
                     "that each would have alone"),
    CLI_FLAG(INTEGER, "-c --ctx-size", model.context, .env = "LLAMA_ARG_CTX_SIZE", .low = 256, .high = CLI_CONTEXT_MAX,
             .help = "tokens of document, question and answer"),
    CLI_FLAG(INTEGER, "-s --seed", seed, .high = CLI_SEED_MAX, .help = "documents and questions follow from it"),
    CLI_FLAG(CHOICE, "--pass", pass, .value = "prompt|decode", .choices = CLI_PASS_WORDS,
             .help = "prompt: the policy reads everything; decode: the document is read\ndensely, "
                     "question and answer with the policy"),
    CLI_FLAG(SWITCH, "--dense-questions", dense_questions,
             .help = "questions are read densely; document and answer are as --pass says"),
    CLI_FLAG(TEXTS, "--attention", attention, .value = "SPEC", .help = cli_attention_help),
    CLI_FLAG(SWITCH, "--json", json,
             .help = "one JSON document, with the questions that a policy and dense attention\nanswered differently"),
    CLI_FLAG(SWITCH, "--jsonl", lines,
             .help = "such a document on a line of its own for each task, as soon as it is done"),
};

typedef struct eval_state {
    const eval_options *options;
    fv_engine *engine;
    bool tasks[FV_EVAL_TASK_COUNT];
    cli_attention_list attention; /* the first is dense */
    fv_eval *eval;
    uint32_t context;
    json_t *differences;
    size_t asked, wanted; /* questions */
    uint64_t start_ns;
    cli_progress progress;
} eval_state;

/* ---- asking ---- */

static void book_difference(eval_state *state, fv_eval_task task, const fv_eval_question *question,
                            const fv_eval_answer *answers, size_t policy) {
    const fv_eval_answer *dense = &answers[0], *answer = &answers[policy];
    json_t *object = json_object();
    CLI_ADD(object, {"task", cli_text(fv_eval_task_name(task))},
            {"attention", cli_text(state->attention.texts[policy])}, {"depth", cli_real(question->depth)},
            {"question", cli_text(question->prompt)}, {"expected", cli_text(question->expected[0])});
    if (question->expected[1][0]) cli_json_set(object, "expected_too", cli_text(question->expected[1]));
    CLI_ADD(object, {"dense_answer", cli_json_string(dense->text.bytes, dense->text.length)},
            {"dense_right", json_boolean(dense->right)},
            {"answer", cli_json_string(answer->text.bytes, answer->text.length)},
            {"right", json_boolean(answer->right)});
    cli_json_append(state->differences, object);
}

static bool show_reading(void *context, size_t done, size_t total) {
    eval_state *state = context;
    return cli_progress_step(&state->progress, done, total);
}

static void answered(void *context, fv_eval_task task, size_t number, const fv_eval_question *question,
                     const fv_eval_answer *answers) {
    eval_state *state = context;
    size_t questions = (size_t)state->options->questions, most = (size_t)state->options->per_document;
    for (size_t i = 1; i < state->attention.count; i++)
        if (answers[i].right != answers[0].right) book_difference(state, task, question, answers, i);
    state->asked++;
    cli_progress_end(&state->progress);
    if (number == questions || number % most == 0) {
        double left = (double)(fv_machine_clock_ns() - state->start_ns) * 1e-9 / (double)state->asked *
                      (double)(state->wanted - state->asked);
        cli_note("%s: %zu of %zu questions, %.0f s left in all", fv_eval_task_name(task), number, questions, left);
    }
}

static int open_policies(eval_state *state) {
    const eval_options *options = state->options;
    fv_message message = {""};
    fv_eval_config config;
    fv_eval_config_default(&config);
    state->context = config.context = (uint32_t)options->model.context;
    int result = cli_attach_tune(state->engine, state->attention.policies, state->attention.count);
    for (size_t i = 0; i < state->attention.count && result == CLI_GO_ON; i++)
        result = cli_memory_check(state->engine, &options->model, &state->attention.policies[i], state->context,
                                  state->context);
    if (result != CLI_GO_ON) return result;
    config.llm = fv_engine_llm(state->engine);
    config.pool = fv_engine_pool(state->engine);
    config.session = cli_session_config(&options->model);
    config.policies = state->attention.policies;
    config.policy_count = state->attention.count;
    config.decode = (uint32_t)options->pass;
    config.seed = (uint32_t)options->seed;
    config.questions = (size_t)options->questions;
    config.per_document = (size_t)options->per_document;
    config.dense_questions = options->dense_questions;
    config.watch = (fv_eval_watch){state, show_reading, cli_go_on, answered};
    state->differences = json_array();
    return cli_outcome(fv_eval_open(&state->eval, &config, &message), &message);
}

/* ---- results ---- */

static json_t *task_json(const eval_state *state, size_t policy, fv_eval_task task) {
    const fv_eval_sum *sum = fv_eval_of(state->eval, policy, task), *dense = fv_eval_of(state->eval, 0, task);
    size_t documents = fv_eval_document_count(state->eval, task);
    double half = fv_eval_documents_95(fv_eval_documents(state->eval, policy, task), documents);
    json_t *object = json_object();
    CLI_ADD(object, {"task", cli_text(fv_eval_task_name(task))}, {"questions", cli_count(sum->questions)},
            {"right", cli_count(sum->right)}, {"dense_right", cli_count(dense->right)},
            {"counts", json_boolean(fv_eval_counts(dense))}, {"of_dense", cli_real(fv_eval_of_dense(sum, dense))},
            {"difference", cli_real(fv_eval_difference(sum))}, {"difference_95", cli_real(fv_eval_difference_95(sum))},
            {"better", cli_count(sum->better)}, {"worse", cli_count(sum->worse)},
            {"documents", cli_count((uint64_t)documents)}, {"documents_95", cli_real(half)});
    return object;
}

static json_t *policy_json(const eval_state *state, size_t policy, bool wanted[FV_EVAL_TASK_COUNT]) {
    json_t *object = json_object(), *tasks = json_array();
    CLI_ADD(object, {"attention", cli_text(state->attention.texts[policy])},
            {"density", cli_real(fv_report_density(fv_eval_report(state->eval, policy)))});
    for (int task = 0; task < FV_EVAL_TASK_COUNT; task++)
        if (wanted[task] && fv_eval_of(state->eval, policy, (fv_eval_task)task)->questions > 0)
            cli_json_append(tasks, task_json(state, policy, (fv_eval_task)task));
    cli_json_set(object, "tasks", tasks);
    return object;
}

/* Of the tasks that are wanted. */
static json_t *results_json(const eval_state *state, bool wanted[FV_EVAL_TASK_COUNT]) {
    json_t *document = json_object(), *policies = json_array();
    for (size_t i = 0; i < state->attention.count; i++) cli_json_append(policies, policy_json(state, i, wanted));
    fv_session_config types = cli_session_config(&state->options->model);
    CLI_ADD(document, {"model", cli_text(state->options->model.model)}, {"context", cli_count(state->context)},
            {"key_type", cli_text(fv_element_name(types.key_type))},
            {"value_type", cli_text(fv_element_name(types.value_type))},
            {"pass", cli_text(state->options->pass ? "decode" : "prompt")},
            {"dense_questions", json_boolean(state->options->dense_questions)},
            {"seed", cli_count((uint64_t)state->options->seed)}, {"policies", policies},
            {"differences", json_incref(state->differences)});
    return document;
}

/* A task is done, or was cut short: its line, where lines were asked for. */
static int print_line(eval_state *state, fv_eval_task task) {
    bool wanted[FV_EVAL_TASK_COUNT] = {false};
    wanted[task] = true;
    if (!state->options->lines || fv_eval_of(state->eval, 0, task)->questions == 0) return CLI_DONE;
    int result = cli_json_print_line(results_json(state, wanted));
    json_array_clear(state->differences);
    return result;
}

static void print_task(const eval_state *state, fv_eval_task task) {
    const fv_eval_sum *dense = fv_eval_of(state->eval, 0, task);
    size_t documents = fv_eval_document_count(state->eval, task);
    for (size_t i = 0; i < state->attention.count && dense->questions > 0; i++) {
        const fv_eval_sum *sum = fv_eval_of(state->eval, i, task);
        cli_print("| %s%s | %s | %llu of %llu | ", fv_eval_task_name(task),
                  fv_eval_counts(dense) ? "" : " (does not count)", state->attention.texts[i],
                  (unsigned long long)sum->right, (unsigned long long)sum->questions);
        double half = fv_eval_documents_95(fv_eval_documents(state->eval, i, task), documents);
        if (i == 0 || dense->right == 0)
            cli_print("| | | |\n");
        else
            cli_print("%.1f %% | %llu, %llu | %+.1f ± %.1f | ± %.1f, %zu |\n", 100 * fv_eval_of_dense(sum, dense),
                      (unsigned long long)sum->better, (unsigned long long)sum->worse, 100 * fv_eval_difference(sum),
                      100 * fv_eval_difference_95(sum), 100 * half, documents);
    }
}

static int print_results(eval_state *state) {
    if (state->options->lines) return CLI_DONE; /* they are there already */
    if (state->options->json) return cli_json_print(results_json(state, state->tasks));
    cli_print("| task | attention | right | of dense | only it, only dense | difference, points (95 %%) "
              "| by documents, how many |\n"
              "| --- | --- | ---: | ---: | ---: | ---: | ---: |\n");
    for (int task = 0; task < FV_EVAL_TASK_COUNT; task++) print_task(state, (fv_eval_task)task);
    cli_print("\n");
    for (size_t i = 0; i < state->attention.count; i++)
        cli_print("%s: density %.4f\n", state->attention.texts[i], fv_report_density(fv_eval_report(state->eval, i)));
    cli_print("A task counts where dense attention is right in at least %.0f %% of the questions.\n",
              100 * FV_EVAL_COUNTS_FROM);
    return cli_flush() ? CLI_DONE : CLI_FAILED;
}

/* Reading and answering, so far. */
static void say_seconds(const eval_state *state) {
    for (size_t i = 0; i < state->attention.count; i++) {
        double reading, answering;
        fv_eval_seconds(state->eval, i, &reading, &answering);
        cli_note("%s: %.1f s of reading, %.1f s of answering", state->attention.texts[i], reading, answering);
    }
}

/* Asks all that is wanted; *printed: whether the lines of it could be written. */
static fv_status ask_tasks(eval_state *state, int *printed) {
    fv_status status = FV_OK;
    *printed = CLI_DONE;
    for (int task = 0; task < FV_EVAL_TASK_COUNT; task++)
        state->wanted += state->tasks[task] ? (size_t)state->options->questions : 0;
    state->start_ns = fv_machine_clock_ns();
    cli_progress_start(&state->progress, "reading", "tokens");
    for (int task = 0; task < FV_EVAL_TASK_COUNT && status == FV_OK && *printed == CLI_DONE; task++) {
        if (!state->tasks[task]) continue;
        status = fv_eval_run(state->eval, (fv_eval_task)task);
        cli_progress_end(&state->progress);
        say_seconds(state);
        *printed = print_line(state, (fv_eval_task)task);
    }
    return status;
}

static int measure(eval_state *state) {
    fv_message message = {""};
    int printed;
    fv_status status = ask_tasks(state, &printed);
    if (printed != CLI_DONE) return printed;
    if (status == FV_ERROR_FULL)
        return cli_fail("a context of %u tokens has no room for a document with %lld questions; use a larger -c or a "
                        "smaller --per-document",
                        state->context, (long long)state->options->per_document);
    if (status != FV_OK && status != FV_ERROR_INTERRUPTED)
        return cli_fault(fv_eval_explain(state->eval, status, &message), &message, state->options->model.model);
    if (state->asked == 0) return CLI_INTERRUPTED;
    int result = print_results(state);
    return result == CLI_DONE && status == FV_ERROR_INTERRUPTED ? CLI_INTERRUPTED : result;
}

static void close_eval(eval_state *state) {
    fv_eval_close(state->eval);
    json_decref(state->differences);
    fv_engine_close(state->engine);
}

int cmd_eval(int argc, char **argv) {
    eval_options options = {.model = cli_model_options_default(), .questions = 40, .seed = 1, .per_document = 20};
    options.model.context = 4096;
    eval_state state = {.options = &options};
    fv_message message = {""};
    const cli_option_group groups[] = {
        CLI_GROUP("questions", eval_flags, &options),
        CLI_MODEL_GROUPS(&options.model),
    };
    const cli_syntax syntax = {
        "eval", "-m FILE [-c N] [--task LIST] [-n N] [--attention SPEC]... [flags]",
        "Questions about facts in long documents that are made from a seed, answered with dense\n"
        "attention and with every policy that is named; the same questions for all.",
        CLI_GROUPS(groups)};
    int result = cli_options_parse(&syntax, argc, argv);
    if (result == CLI_GO_ON && fv_eval_tasks_parse(options.tasks, state.tasks, &message) != FV_OK)
        result = cli_usage_error("eval", "--task: %s", message.text);
    if (result == CLI_GO_ON) result = cli_attention_read("eval", &options.attention, POLICIES_MOST, &state.attention);
    if (result == CLI_GO_ON && options.json && options.lines)
        result = cli_usage_error("eval", "--json and --jsonl exclude each other");
    if (result == CLI_GO_ON) result = cli_need_model("eval", options.model.model);
    if (result != CLI_GO_ON) return result;
    result = cli_engine_open(&state.engine, "eval", &options.model);
    if (result == CLI_GO_ON) result = open_policies(&state);
    if (result == CLI_GO_ON) result = cli_check_file(state.engine, measure(&state));
    close_eval(&state);
    return result;
}
