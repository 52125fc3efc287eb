/* cmd_run.c - `fovea run`: a text is completed, or a conversation is held. The mode follows llama.cpp: a model with a
 * chat template converses unless -no-cnv is given. */
#include "attention_option.h"
#include "fovea/conversation.h"
#include "fovea/generate.h"
#include "fovea/machine.h"
#include "fovea/policy_text.h"
#include "input.h"
#include "interrupt.h"
#include "line_editor.h"
#include "progress.h"
#include "ranks_option.h"
#include "run_options.h"
#include "run_report.h"
#include "run_session.h"
#include "verbose.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ROOM_TOKENS 4096 /* kept free after the prompt when -n sets no limit, and in a conversation */

/* Everything that a run holds. */
typedef struct run_state {
    const run_options *options;
    fv_engine *engine;
    const char *attention_text;  /* NULL: nobody asked for one yet */
    fv_policy attention, caches; /* as asked for; what the caches are made for */
    cli_kept kept;
    fv_conversation *conversation; /* NULL: plain text */
    fv_session *session;
    fv_generator *generator;
    fv_reads *reads; /* NULL: nobody asks what is read */
    fv_text prompt;  /* as handed in */
    fv_tokens tokens;
    bool has_prompt, single_turn, terminal;
    bool shows_prompt; /* still to be printed, before its completion */
    fv_sampler_config sampler;
    uint32_t seed, sampling_taken; /* bit i: fv_sampling i is the file's */
    fv_stop stop;
} run_state;

static int check_options(const run_options *options) {
    if (options->prompt && options->file) return cli_usage_error("run", "give the prompt by one of -p and -f");
    if (options->chat && options->plain) return cli_usage_error("run", "-cnv and -no-cnv exclude each other");
    if (options->plain && options->system) return cli_usage_error("run", "-sys needs a conversation, not -no-cnv");
    if (options->system && options->kept.session)
        return cli_usage_error("run", "-sys belongs to the beginning, which --session has already");
    int result = cli_deadline_check("run", &options->deadline);
    return result == CLI_GO_ON ? cli_need_model("run", options->model.model) : result;
}

/* What is asked for of files and attention. */
static int open_kept(run_state *state, run_options *options) {
    state->kept.options = &options->kept;
    state->attention_text = options->attention;
    int result = cli_kept_open(&state->kept, &options->model, &state->attention_text, &state->caches);
    if (result != CLI_GO_ON || !state->attention_text) return result;
    return cli_policy_read("run", state->attention_text, &state->attention);
}

/* ---- the prompt ---- */

static int set_reasoning(run_state *state) {
    fv_status status = fv_conversation_set_reasoning(state->conversation, (fv_chat_reasoning)state->options->reasoning);
    if (status == FV_ERROR_UNSUPPORTED)
        return cli_fail(
            "%s: its chat template has no switch for thinking (enable_thinking), so --reasoning off can't be had",
            state->options->model.model);
    return cli_outcome(status, NULL);
}

static int find_template(run_state *state) {
    const run_options *options = state->options;
    const fv_gguf *gguf = fv_llm_gguf(fv_engine_llm(state->engine));
    fv_chat_family family = FV_CHAT_NONE;
    fv_message message = {""};
    fv_text text = {0};
    if (options->plain) return CLI_GO_ON;
    if (options->chat_template && fv_chat_family_from_name(options->chat_template, &family, &message) != FV_OK)
        return cli_usage_error("run", "--chat-template: %s", message.text);
    fv_status status = FV_OK;
    if (!options->chat_template) status = fv_chat_family_detect(gguf, &family, &message);
    if (options->template_file) status = fv_text_read(&text, options->template_file, &message);
    bool own = options->template_file ? status == FV_OK
                                      : !options->no_jinja && !options->chat_template &&
                                            (options->jinja || status == FV_ERROR_UNSUPPORTED);
    if (own) {
        family = FV_CHAT_NONE;
        message.text[0] = 0; /* that it is of no known family */
        status = fv_conversation_open_template(
            &state->conversation, gguf, options->template_file ? (text.bytes ? text.bytes : "") : NULL, &message);
    }
    fv_text_free(&text);
    if (status != FV_OK)
        return cli_fail("%s (--chat-template NAME, or -no-cnv to complete the prompt as plain text)", message.text);
    if (!options->system) (void)cli_outcome(status, &message);
    if (family != FV_CHAT_NONE) status = fv_conversation_open(&state->conversation, family, gguf);
    if (status != FV_OK) return cli_outcome(status, NULL);
    if (state->conversation && cli_kept_resume(&state->kept, state->conversation) != CLI_GO_ON) return CLI_FAILED;
    if (state->conversation) return set_reasoning(state);
    if (options->chat || options->system)
        return cli_fail("%s has no chat template: %s needs one, name it with --chat-template", options->model.model,
                        options->chat ? "-cnv" : "-sys");
    cli_note("the model has no chat template: the prompt is completed as plain text");
    return CLI_GO_ON;
}

/* A copy of `text` as the content of a turn, which ends at its first zero byte: there must be none inside. */
static int add_turn(run_state *state, const char *role, const fv_text *text) {
    const char *bytes = text->bytes ? text->bytes : "";
    if (strlen(bytes) != text->length)
        return cli_fail("byte %zu of the prompt is zero, which a chat template can't carry; use -no-cnv",
                        strlen(bytes));
    if (fv_conversation_add(state->conversation, role, bytes) != FV_OK) return cli_fail("no memory for the prompt");
    return CLI_GO_ON;
}

static int add_system_turn(run_state *state) {
    fv_text text = {0};
    if (!state->options->system) return CLI_GO_ON;
    int result = cli_read_text(NULL, state->options->system, state->options->escape, "the system prompt", &text);
    if (result == CLI_GO_ON) result = add_turn(state, "system", &text);
    fv_text_free(&text);
    return result;
}

/* state->tokens: what the model has to read next. */
static int encode_turns(run_state *state) {
    const fv_tokenizer *tokenizer = fv_llm_tokenizer(fv_engine_llm(state->engine));
    state->tokens.count = 0;
    fv_status status = fv_conversation_encode(state->conversation, tokenizer, state->options->special, &state->tokens);
    if (status != FV_OK) {
        const char *why = fv_conversation_explain(state->conversation);
        return cli_fail("the chat template can't be filled: %s", why[0] ? why : fv_status_text(status));
    }
    if (!state->generator) cli_warn_of_bos(tokenizer, &state->tokens); /* once, before it opens */
    return CLI_GO_ON;
}

/* As llama.cpp, control tokens in the text of a plain prompt are read as such: who writes one writes all of it. */
static int encode_plain(run_state *state) {
    const fv_tokenizer *tokenizer = fv_llm_tokenizer(fv_engine_llm(state->engine));
    const fv_text *text = &state->prompt;
    uint32_t flags = FV_TOKENIZE_PARSE_SPECIAL | (state->options->kept.session ? 0 : FV_TOKENIZE_ADD_SPECIAL);
    int result = cli_outcome(
        fv_tokenizer_encode(tokenizer, text->bytes ? text->bytes : "", text->length, flags, &state->tokens), NULL);
    if (result == CLI_GO_ON && text->length == 0 && state->kept.file) {
        state->tokens.count = 0;
        result = cli_kept_prompt(&state->kept, &state->tokens);
    }
    if (result != CLI_GO_ON) return result;
    cli_warn_of_bos(tokenizer, &state->tokens);
    return state->tokens.count > 0 ? CLI_GO_ON : cli_fail("the prompt is empty");
}

/* ---- opening ---- */

/* The file's recommendations, below what was asked for. */
static int choose_sampling(run_state *state) {
    fv_message message = {""};
    state->sampler = state->options->sampler;
    return cli_outcome(fv_sampler_config_recommended(fv_llm_gguf(fv_engine_llm(state->engine)),
                                                     state->options->sampling_given, &state->sampler,
                                                     &state->sampling_taken, &message),
                       &message);
}

/* All that comes before the answer. */
static uint64_t prompt_tokens(const run_state *state) { return state->tokens.count + cli_kept_before(&state->kept); }

/* A context that nobody asked for is no longer than what memory there is for it. */
static void keep_to_memory(const run_state *state, uint32_t *context) {
    fv_session_config config = cli_session_config(&state->options->model);
    config.context_tokens = *context;
    config.policy = state->caches;
    uint32_t fitting = fv_engine_memory_tokens(state->engine, &config);
    if (state->options->model.context < 0 && fitting > prompt_tokens(state) && fitting < *context) *context = fitting;
}

/* The default, which depends on the context. */
static void choose_attention(run_state *state, uint32_t context) {
    if (state->attention_text) return;
    state->attention_text = cli_attention_default(state->engine, &state->options->model, context, &state->attention);
    state->caches = state->attention;
}

/* -c, or what its help promises. */
static int choose_context(run_state *state, uint32_t *context) {
    const run_options *options = state->options;
    const fv_llm *llm = fv_engine_llm(state->engine);
    fv_message message = {""};
    uint32_t room = options->predict >= 0 ? (uint32_t)options->predict : ROOM_TOKENS;
    if (state->conversation && !state->single_turn && room < ROOM_TOKENS) room = ROOM_TOKENS;
    if (fv_generate_context(llm, options->model.context, prompt_tokens(state), room, context, &message) == FV_OK) {
        choose_attention(state, *context);
        keep_to_memory(state, context);
        return CLI_GO_ON;
    }
    return cli_fail("%s; shorten the prompt or set -c", message.text);
}

static bool write_text(void *context, const char *bytes, size_t length) {
    (void)context;
    return cli_write_text(bytes, length) && cli_flush();
}

static fv_status reads_evaluate(void *context, const int32_t *tokens, size_t count) {
    run_state *state = context;
    return fv_reads_evaluate(state->reads, tokens, count);
}

static fv_status reads_token(void *context, int32_t token) {
    run_state *state = context;
    return fv_reads_token(state->reads, token);
}

static int open_session(run_state *state) {
    const run_options *options = state->options;
    fv_message message = {""};
    fv_status status = FV_OK;
    uint32_t context = 0;
    int result = choose_context(state, &context);
    if (result == CLI_GO_ON)
        result = cli_memory_check(state->engine, &options->model, &state->caches, context, prompt_tokens(state));
    if (result == CLI_GO_ON)
        result = cli_session_open(&state->session, state->engine, &options->model, context, &state->caches);
    if (result == CLI_GO_ON)
        result = cli_kept_attend(&state->kept, state->engine, state->session, state->attention_text, &state->attention);
    if (result == CLI_GO_ON) result = cli_deadline_set(&options->deadline, state->session);
    if (result != CLI_GO_ON) return result;
    fv_session_time(state->session, fv_machine_clock, NULL);
    fv_generate_config config;
    fv_generate_config_default(&config);
    config.session = state->session;
    config.llm = fv_engine_llm(state->engine);
    config.sampler = state->sampler;
    config.sampler.seed = state->seed;
    config.ignore_end = options->ignore_eos;
    config.watch = (fv_generate_watch){.context = state, .go_on = cli_go_on, .text = options->json ? NULL : write_text};
    if (options->show_reads) {
        status = fv_reads_open(&state->reads, state->session, fv_engine_llm(state->engine),
                               fv_engine_threads(state->engine));
        config.watch.evaluate = reads_evaluate;
        config.watch.token = reads_token;
    }
    if (status == FV_OK) status = fv_generator_open(&state->generator, &config, &message);
    if (status == FV_OK && !options->show_reads)
        status = fv_generator_set_lookup(state->generator, (uint32_t)options->lookup);
    result = cli_outcome(status, &message);
    if (result != CLI_GO_ON) return result;
    return cli_kept_begin(&state->kept, state->session, &state->tokens, state->generator, state->reads);
}

/* ---- one step ---- */

static int show_prompt(run_state *state) {
    if (!state->shows_prompt) return CLI_GO_ON;
    state->shows_prompt = false;
    return cli_write_text(state->prompt.bytes, state->prompt.length) && cli_flush() ? CLI_GO_ON : CLI_FAILED;
}

/* Reads state->tokens and answers. state->stop says how it ended; an error has been printed. */
static int read_and_answer(run_state *state) {
    const run_options *options = state->options;
    cli_progress progress;
    fv_message message = {""};
    if (cli_kept_wake(&state->kept, state->session, &state->tokens) != CLI_GO_ON) return CLI_FAILED;
    uint32_t skip = state->kept.skip;
    cli_progress_start(&progress, "reading", "tokens");
    fv_status status = fv_generator_feed(state->generator, state->tokens.ids + skip, state->tokens.count - skip,
                                         cli_progress_step, &progress);
    cli_progress_end(&progress);
    if (status == FV_ERROR_INTERRUPTED) {
        state->stop = FV_STOP_INTERRUPTED;
        return CLI_GO_ON;
    }
    if (status == FV_OK && show_prompt(state) != CLI_GO_ON) return CLI_FAILED;
    if (status == FV_OK && cli_kept_read(&state->kept, state->session) != CLI_GO_ON) return CLI_FAILED;
    if (status == FV_OK)
        status = fv_generator_answer(state->generator, options->predict >= 0 ? options->predict : -1, &state->stop);
    if (state->reads) fv_reads_finish(state->reads);
    if (status != FV_OK)
        return cli_fault(fv_session_explain(state->session, status, &message), &message, options->model.model);
    if (state->stop == FV_STOP_OUTPUT) return CLI_FAILED; /* cli_finish() says why */
    if (!options->json && !cli_write("\n", 1)) return CLI_FAILED;
    return cli_flush() ? CLI_GO_ON : CLI_FAILED;
}

/* The bar would wipe the last line of a prompt on the same terminal: there the prompt comes when it has been read. */
static int complete(run_state *state) {
    state->shows_prompt = state->options->display_prompt && !state->options->json;
    bool shared = isatty(STDOUT_FILENO) && isatty(STDERR_FILENO);
    int result = shared ? CLI_GO_ON : show_prompt(state);
    return result == CLI_GO_ON ? read_and_answer(state) : result;
}

/* ---- conversation ---- */

/* The next turn of the user; *end at the end of input. */
static int ask(run_state *state, bool *end) {
    fv_text line = {0};
    fv_message message = {""};
    int result = CLI_GO_ON;
    *end = false;
    while (result == CLI_GO_ON && !*end && line.length == 0) { /* an empty line asks nothing */
        result = cli_outcome(cli_editor_turn(&line, end, &message), &message);
    }
    if (result == CLI_GO_ON && !*end) {
        cli_look_at_text("the line", &line);
        result = add_turn(state, "user", &line);
    }
    fv_text_free(&line);
    return result;
}

/* The answer becomes a turn; a question that was interrupted before it was read is forgotten. */
static int book_answer(run_state *state, size_t answered) {
    const fv_text *text = fv_generator_text(state->generator);
    if (answered == fv_session_tokens(state->session)) {
        fv_conversation_drop(state->conversation);
        return CLI_GO_ON;
    }
    /* Its content is never rendered again, see conversation.c: a zero byte in it does no harm. */
    fv_status status = fv_conversation_add(state->conversation, "assistant", text->bytes ? text->bytes : "");
    return status == FV_OK ? CLI_GO_ON : cli_fail("no memory for the conversation");
}

/* Reads the newest turn and answers it. *full: it does not fit any more. */
static int answer_turn(run_state *state, bool *full) {
    size_t before = fv_session_tokens(state->session);
    int result = encode_turns(state);
    if (result != CLI_GO_ON) return result;
    size_t needed = state->tokens.count - state->kept.skip + (fv_generator_pending(state->generator) >= 0);
    *full = needed > fv_session_context_tokens(state->session) - before;
    if (*full) {
        cli_warn("the context of %zu tokens is full: %zu are in use, the new turn needs %zu",
                 fv_session_context_tokens(state->session), before, needed);
        state->stop = FV_STOP_CONTEXT;
        return CLI_GO_ON;
    }
    result = read_and_answer(state);
    return result == CLI_GO_ON ? book_answer(state, before) : result;
}

/* From the first turn, which is in the conversation already. */
static int converse(run_state *state) {
    for (;;) {
        bool full = false, end = false;
        int result = answer_turn(state, &full);
        bool over = full || state->stop == FV_STOP_CONTEXT || state->stop == FV_STOP_DEADLINE;
        if (result != CLI_GO_ON || state->single_turn || over) return result;
        if (state->stop == FV_STOP_INTERRUPTED) {
            if (!state->terminal) return CLI_GO_ON;
            cli_interrupt_clear(); /* the prompt comes back */
        }
        result = ask(state, &end);
        if (result != CLI_GO_ON || end) return result;
    }
}

/* The first turn is needed before the session is opened: the context's default depends on it. */
static int first_turn(run_state *state, bool *end) {
    int result = add_system_turn(state);
    *end = false;
    if (result == CLI_GO_ON) result = state->has_prompt ? add_turn(state, "user", &state->prompt) : ask(state, end);
    if (result == CLI_GO_ON && !*end) result = encode_turns(state);
    return result;
}

/* ---- the verb ---- */

static int report(run_state *state, int result) {
    const cli_run_report report = {.engine = state->engine,
                                   .options = &state->options->model,
                                   .deadline = &state->options->deadline,
                                   .generator = state->generator,
                                   .session = state->session,
                                   .reads = state->reads,
                                   .attention = state->attention_text,
                                   .stop = state->stop,
                                   .seed = state->seed,
                                   .sampler = &state->sampler,
                                   .sampling_given = state->options->sampling_given,
                                   .sampling_taken = state->sampling_taken,
                                   .prompt_tokens = state->tokens.count,
                                   .reused_tokens = state->kept.reused,
                                   .chat = state->conversation != NULL};
    if (state->reads && !state->options->json) cli_reads_print(state->reads);
    bool interrupted = result == CLI_INTERRUPTED || cli_interrupted();
    if (result != CLI_GO_ON && result != CLI_INTERRUPTED) return result;
    if (cli_kept_end(&state->kept, state->session, state->generator, state->conversation != NULL) != CLI_GO_ON)
        return CLI_FAILED;
    cli_run_report_print(&report);
    if (state->options->json && cli_run_report_json(&report) != CLI_DONE) return CLI_FAILED;
    if (interrupted) return CLI_INTERRUPTED;
    return cli_check_file(state->engine, state->stop == FV_STOP_DEADLINE ? CLI_FAILED : CLI_DONE);
}

static int run(run_state *state) {
    const run_options *options = state->options;
    bool end = false;
    int result = cli_engine_open(&state->engine, "run", &options->model);
    state->has_prompt = options->prompt || options->file;
    if (result == CLI_GO_ON)
        result = cli_read_text(options->file, options->prompt, options->escape, "the prompt", &state->prompt);
    if (result == CLI_GO_ON) result = choose_sampling(state);
    if (result == CLI_GO_ON) result = find_template(state);
    if (result == CLI_GO_ON && state->conversation && state->has_prompt && state->prompt.length == 0)
        result = cli_fail("the prompt is empty");
    if (result != CLI_GO_ON) return result;
    state->terminal = isatty(STDIN_FILENO) != 0;
    state->single_turn = options->single_turn || options->json || (state->has_prompt && !state->terminal);
    state->seed = options->seed < 0 || options->seed == UINT32_MAX ? cli_ranks_seed() : (uint32_t)options->seed;
    if (!state->conversation && !state->has_prompt && !state->kept.file)
        return cli_usage_error("run", "no prompt: give -p TEXT or -f FILE");
    if (state->conversation && !state->single_turn) cli_editor_open();
    result = state->conversation ? first_turn(state, &end) : encode_plain(state);
    if (end) return CLI_DONE; /* no question, no answer */
    if (result == CLI_GO_ON && options->verbose_prompt)
        cli_verbose_tokens(fv_llm_tokenizer(fv_engine_llm(state->engine)), &state->tokens);
    if (result == CLI_GO_ON) result = open_session(state);
    if (result != CLI_GO_ON) return result;
    return report(state, state->conversation ? converse(state) : complete(state));
}

static void close_run(run_state *state) {
    cli_editor_close();
    fv_generator_close(state->generator);
    fv_reads_close(state->reads);
    fv_session_close(state->session);
    cli_kept_close(&state->kept);
    fv_conversation_close(state->conversation);
    fv_text_free(&state->prompt);
    fv_tokens_free(&state->tokens);
    fv_engine_close(state->engine);
}

int cmd_run(int argc, char **argv) {
    run_options options = {.model = cli_model_options_default(),
                           .kept = {.dither = -1, .limit = (int64_t)8 << 30},
                           .predict = -1,
                           .lookup = FV_GENERATE_GUESSES,
                           .seed = -1,
                           .display_prompt = true};
    fv_sampler_config_default(&options.sampler);
    run_state state = {.options = &options};
    const cli_option_group groups[] = {
        CLI_COUNTED("text", run_text_flags, &options),
        CLI_COUNTED("limits and attention", run_limit_flags, &options),
        CLI_COUNTED("what was read before", cli_kept_flags, &options.kept),
        CLI_DEADLINE_GROUP(&options.deadline),
        {"sampling", run_sampler_flags, run_sampler_flags_count, &options, &options.sampling_given},
        CLI_MODEL_GROUPS(&options.model),
    };
    const cli_syntax syntax = {
        "run", "-m FILE [-p TEXT | -f FILE] [flags]",
        "Answers or completes a text. Without a prompt a conversation is read from standard\n"
        "input, one turn a line; on a terminal a turn goes on after a \\ at a line's end, in a\n``` block and over a "
        "pasted text. The first Ctrl-C stops an answer, the second ends the program.",
        CLI_GROUPS(groups)};
    int result = cli_options_parse(&syntax, argc, argv);
    if (result == CLI_GO_ON) result = check_options(&options);
    if (result != CLI_GO_ON) return result;
    result = open_kept(&state, &options);
    if (result == CLI_GO_ON) result = run(&state);
    close_run(&state);
    return result;
}
