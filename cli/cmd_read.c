/* cmd_read.c - `fovea read`: a document is read once and kept in a file, which `fovea run --session` goes on from. */
#include "attention_option.h"
#include "fovea/conversation.h"
#include "fovea/generate.h"
#include "fovea/machine.h"
#include "fovea/session_file.h"
#include "input.h"
#include "json_out.h"
#include "model_options.h"
#include "progress.h"
#include <inttypes.h>
#include <string.h>

typedef struct read_options {
    cli_model_options model;
    const char *file, *out, *attention, *chat_template;
    bool chat, json;
} read_options;

#define CLI_TARGET read_options
static const cli_option read_flags[] = {
    CLI_FLAG(TEXT, "-f --file", file, .value = "FILE", .help = "the document (- is standard input)"),
    CLI_FLAG(TEXT, "-o --output", out, .value = "FILE",
             .help = "where it is kept; what is there is replaced, in one moment, when all is done"),
    CLI_FLAG(SWITCH, "--chat", chat,
             .help =
                 "as the beginning of the user's turn in the model's chat template, which a\nquestion will complete "
                 "(default: as plain text)"),
    CLI_FLAG(TEXT, "--chat-template", chat_template, .value = "NAME", .env = "LLAMA_ARG_CHAT_TEMPLATE",
             .help = "with --chat: the template's name (default: recognised from the model file)"),
    CLI_FLAG(TEXT, "--attention", attention, .value = "SPEC", .help = cli_attention_help),
    CLI_FLAG(INTEGER, "-c --ctx-size", model.context, .env = "LLAMA_ARG_CTX_SIZE", .high = CLI_CONTEXT_MAX,
             .standard = "", .help = "most tokens that the document may have (default: as the model was trained on)"),
    CLI_FLAG(SWITCH, "--json", json, .help = "one JSON document: tokens, seconds, bytes, file"),
};

typedef struct read_state {
    const read_options *options;
    fv_engine *engine;
    fv_session *session;
    fv_policy policy;
    fv_text text;
    fv_tokens tokens;
    uint32_t end; /* fv_session_end */
} read_state;

static int encode_chat(read_state *state) {
    const fv_llm *llm = fv_engine_llm(state->engine);
    fv_chat_family family = FV_CHAT_NONE;
    fv_conversation *conversation = NULL;
    fv_message message = {""};
    const char *name = state->options->chat_template, *bytes = state->text.bytes;
    fv_status status = name ? fv_chat_family_from_name(name, &family, &message)
                            : fv_chat_family_detect(fv_llm_gguf(llm), &family, &message);
    if (status != FV_OK) return cli_fail("%s (--chat-template NAME)", message.text);
    if (family == FV_CHAT_NONE)
        return cli_fail("%s has no chat template: name one with --chat-template", state->options->model.model);
    if (strlen(bytes) != state->text.length)
        return cli_fail("byte %zu of the document is zero, which a chat template can't carry", strlen(bytes));
    status = fv_conversation_open(&conversation, family, fv_llm_gguf(llm));
    if (status == FV_OK) status = fv_conversation_add(conversation, "user", bytes);
    if (status == FV_OK) status = fv_conversation_encode_document(conversation, fv_llm_tokenizer(llm), &state->tokens);
    fv_conversation_close(conversation);
    state->end = FV_SESSION_END_TURN;
    return status == FV_OK ? CLI_GO_ON : cli_fail("the chat template can't be filled: %s", fv_status_text(status));
}

static int encode(read_state *state) {
    const fv_tokenizer *tokenizer = fv_llm_tokenizer(fv_engine_llm(state->engine));
    int result = cli_read_text(state->options->file, NULL, false, "the document", &state->text);
    if (result != CLI_GO_ON) return result;
    if (state->text.length == 0) return cli_fail("%s: is empty", state->options->file);
    if (state->options->chat) return encode_chat(state);
    state->end = FV_SESSION_END_PLAIN;
    return cli_outcome(fv_tokenizer_encode(tokenizer, state->text.bytes, state->text.length,
                                           FV_TOKENIZE_ADD_SPECIAL | FV_TOKENIZE_PARSE_SPECIAL, &state->tokens),
                       NULL);
}

static int open_session(read_state *state) {
    const cli_model_options *model = &state->options->model;
    fv_message message = {""};
    uint32_t most = 0, context = (uint32_t)state->tokens.count;
    int64_t asked = model->context > 0 ? model->context : 0;
    if (fv_generate_context(fv_engine_llm(state->engine), asked, state->tokens.count, 0, &most, &message) != FV_OK)
        return cli_fail("%s; shorten the document or set -c", message.text);
    if (!state->options->attention) (void)cli_attention_default(state->engine, model, context, &state->policy);
    int result = cli_memory_check(state->engine, model, &state->policy, context, context);
    if (result != CLI_GO_ON) return result;
    return cli_session_open(&state->session, state->engine, model, context, &state->policy);
}

static int say(const read_state *state, double seconds) {
    fv_session_file *file = NULL;
    fv_message message = {""};
    const char *path = state->options->out;
    fv_status status = fv_session_file_open(&file, path, &message);
    if (status != FV_OK) return cli_outcome(status, &message);
    uint64_t bytes = fv_session_file_info(file)->file_bytes;
    fv_session_file_close(file);
    if (!state->options->json) {
        cli_print("%s: %zu tokens in %.2f s, %" PRIu64 " bytes\n", path, state->tokens.count, seconds, bytes);
        return cli_flush() ? CLI_DONE : CLI_FAILED;
    }
    json_t *document = json_object();
    CLI_ADD(document, {"tokens", cli_count(state->tokens.count)}, {"seconds", cli_real(seconds)},
            {"bytes", cli_count(bytes)}, {"file", cli_text(path)});
    return cli_json_print(document);
}

static int read_document(read_state *state) {
    fv_message message = {""};
    cli_progress progress;
    uint64_t start_ns = fv_machine_clock_ns();
    cli_progress_start(&progress, "reading", "tokens");
    fv_status status =
        fv_session_feed(state->session, state->tokens.ids, state->tokens.count, cli_progress_step, &progress);
    cli_progress_end(&progress);
    if (status == FV_OK) status = fv_session_save(state->session, state->options->out, state->end, &message);
    if (status != FV_OK) return cli_outcome(status, &message);
    return say(state, (double)(fv_machine_clock_ns() - start_ns) * 1e-9);
}

static void close_read(read_state *state) {
    fv_session_close(state->session);
    fv_text_free(&state->text);
    fv_tokens_free(&state->tokens);
    fv_engine_close(state->engine);
}

static int check_options(const read_options *options, fv_policy *policy) {
    if (!options->file) return cli_usage_error("read", "no document: name one with -f");
    if (!options->out) return cli_usage_error("read", "name the file that keeps it with -o");
    int result = options->attention ? cli_policy_read("read", options->attention, policy) : CLI_GO_ON;
    return result == CLI_GO_ON ? cli_need_model("read", options->model.model) : result;
}

int cmd_read(int argc, char **argv) {
    read_options options = {.model = cli_model_options_default()};
    read_state state = {.options = &options};
    const cli_option_group groups[] = {CLI_GROUP("document", read_flags, &options), CLI_MODEL_GROUPS(&options.model)};
    const cli_syntax syntax = {"read", "-m MODEL -f DOC -o FILE [flags]",
                               "Reads a document once and keeps what the model makes of it. Questions then start at\n"
                               "once: fovea run -m MODEL --session FILE -p QUESTION.",
                               CLI_GROUPS(groups)};
    int result = cli_options_parse(&syntax, argc, argv);
    if (result == CLI_GO_ON) result = check_options(&options, &state.policy);
    if (result != CLI_GO_ON) return result;
    result = cli_engine_open(&state.engine, "read", &options.model);
    if (result == CLI_GO_ON) result = encode(&state);
    if (result == CLI_GO_ON) result = open_session(&state);
    if (result == CLI_GO_ON) result = read_document(&state);
    close_read(&state);
    return result;
}
