/* cmd_serve.c - `fovea serve`: flags for a server, which runs until Ctrl-C or SIGTERM. */
#include "attention_option.h"
#include "fovea/generate.h"
#include "fovea/words.h"
#include "input.h"
#include "interrupt.h"
#include "model_options.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>
#if CLI_HAVE_SERVER
#include "server/server.h"

typedef struct serve_options {
    cli_model_options model;
    fv_server_config server;
    const char *template_file;
    bool jinja, no_jinja;
    const char *key, *key_file, *log_file, *attention, *tls_key, *tls_certificate;
    int64_t max_body_mib, grace_s, cache_mib, session_bytes;
} serve_options;

#define CLI_TARGET serve_options
static const cli_option serve_flags[] = {
    CLI_FLAG(TEXT, "--host", server.host, .value = "ADDRESS", .env = "LLAMA_ARG_HOST",
             .help = "where it listens; a path that ends in .sock is a UNIX socket (default: 127.0.0.1)"),
    CLI_FLAG(U32, "--port", server.port, .env = "LLAMA_ARG_PORT", .high = 65535, .help = "0 takes a free one"),
    CLI_FLAG(TEXT, "-a --alias", server.name, .value = "NAME", .env = "LLAMA_ARG_ALIAS",
             .help = "the model's name for clients (default: its file's)"),
    CLI_FLAG(SWITCH, "--no-webui", server.no_page, .env = "LLAMA_ARG_NO_WEBUI", .help = "no page at /"),
    CLI_FLAG(TEXT, "--api-prefix", server.prefix, .value = "PATH", .env = "LLAMA_ARG_API_PREFIX",
             .help = "what all paths begin with: /name"),
    CLI_FLAG(TEXT, "--cors-origins", server.cors_origins, .value = "ORIGIN[,ORIGIN]", .env = "LLAMA_ARG_CORS_ORIGINS",
             .help = "pages of these origins may ask from a browser; * is any (default: none may)"),
    CLI_FLAG(TEXT, "--api-key", key, .value = "KEY[,KEY]", .env = "LLAMA_API_KEY",
             .help = "who has none of these is refused (default: nobody is)"),
    CLI_FLAG(TEXT, "--api-key-file", key_file, .value = "FILE", .env = "LLAMA_ARG_API_KEY_FILE",
             .help = "more of them, one a line"),
    CLI_FLAG(U32, "--key-limit", server.key_limit, .high = 1000000, .note = "any number",
             .help = "requests at a time with the same key; more are told to come again"),
    CLI_FLAG(TEXT, "--ssl-key-file", tls_key, .value = "FILE", .env = "LLAMA_ARG_SSL_KEY_FILE",
             .help = "HTTPS: the private key, PEM"),
    CLI_FLAG(TEXT, "--ssl-cert-file", tls_certificate, .value = "FILE", .env = "LLAMA_ARG_SSL_CERT_FILE",
             .help = "HTTPS: the certificate, PEM"),
    CLI_FLAG(U32, "-to --timeout", server.timeout_s, .env = "LLAMA_ARG_TIMEOUT", .low = 1, .high = 1000000,
             .help = "seconds after which a connection without traffic is closed"),
    CLI_FLAG(INTEGER, "--grace", grace_s, .high = 1000000,
             .help = "seconds that answers have to end when the server is to stop"),
    CLI_FLAG(INTEGER, "--max-body", max_body_mib, .low = 1, .high = 4096, .help = "MiB of the largest request"),
    CLI_FLAG(TEXT, "--access-log", log_file, .value = "FILE",
             .help = "a line of JSON for each request, without any of its text; - is standard error"),
};
static const cli_option slot_flags[] = {
    CLI_FLAG(U32, "-np --parallel", server.slots, .env = "LLAMA_ARG_N_PARALLEL", .low = 1, .high = 256,
             .help = "answers at a time: slots"),
    CLI_FLAG(U32, "-c --ctx-size", server.context_tokens, .env = "LLAMA_ARG_CTX_SIZE", .high = CLI_CONTEXT_MAX,
             .standard = "",
             .help = "tokens of all slots together, as llama-server's (default: each has as\nmany as the model was "
                     "trained on; memory is taken as they fill)"),
    CLI_FLAG(U32, "--queue", server.queue, .low = 1, .high = 100000,
             .help = "answers that may wait for a slot; more are told to come again"),
    CLI_FLAG(U32, "--lookup", server.lookup, .high = FV_GENERATE_GUESSES,
             .help =
                 "most tokens that an answer guesses at a time, from where its last ones stood before in prompt\nand "
                 "answer, and keeps if they are right: same answer, sooner where it repeats; 0: none"),
    CLI_FLAG(TEXT, "--attention", attention, .value = "SPEC", .help = cli_attention_help),
    CLI_FLAG(TEXT, "--chat-template", server.chat_template, .value = "NAME", .env = "LLAMA_ARG_CHAT_TEMPLATE",
             .help = "the template's name (default: recognised from the model file)"),
    CLI_FLAG(TEXT, "--chat-template-file", template_file, .value = "FILE", .env = "LLAMA_ARG_CHAT_TEMPLATE_FILE",
             .help = "a Jinja template that is used in place of the model file's"),
    CLI_FLAG(SWITCH, "--jinja", jinja,
             .help =
                 "run the model file's template for every conversation (default: where it is\nof no known kind, and "
                 "for tools, thoughts and variables)"),
    CLI_FLAG(SWITCH, "--no-jinja", no_jinja, .help = "never run it"),
    CLI_FLAG(TEXT, "--slot-save-path", server.slot_folder, .value = "FOLDER", .env = "LLAMA_ARG_SLOT_SAVE_PATH",
             .help = "where POST /slots/ID?action=save keeps what a slot has read"),
    CLI_FLAG(TEXT, "--session-dir", server.session_folder, .value = "DIR",
             .help = "keep what slots have read, from 1,024 tokens on, in files of this folder when the server\nends, "
                     "and take it up from there when a prompt begins so. Several processes may share it"),
    CLI_FLAG(INTEGER, "--session-limit", session_bytes, .value = "BYTES", .low = 1, .high = 9e18,
             .help = "of all files in DIR; the least recently used goes first"),
    CLI_FLAG(INTEGER, "--cache-limit", cache_mib, .value = "MIB", .high = 1e9, .note = "what the process may use",
             .help = "memory of all contexts together; where it is full, what no answer needs any more goes\nfirst"),
    CLI_IGNORE("-cb --cont-batching", NULL, "always on"),
    CLI_IGNORE("--metrics", NULL, "/metrics is always there"),
    CLI_IGNORE("--slots", NULL, "/slots is always there"),
};
#undef CLI_TARGET

typedef struct serve_state {
    serve_options *options;
    fv_text keys; /* the lists, one key a line */
    fv_text tls_key, tls_certificate, template_text;
    const char *key_list[FV_SERVER_KEYS];
    fv_engine *engine;
    fv_server *server;
} serve_state;

/* ---- what was asked for ---- */

static int add_keys(serve_state *state, const char *bytes, size_t length) {
    if (fv_text_append(&state->keys, bytes, length) != FV_OK || fv_text_append(&state->keys, "\n", 1) != FV_OK)
        return cli_fail("no memory for keys");
    return CLI_GO_ON;
}

static int read_keys(serve_state *state) {
    const serve_options *options = state->options;
    fv_server_config *server = &state->options->server;
    fv_text file = {0};
    fv_message message = {""};
    int result = options->key ? add_keys(state, options->key, strlen(options->key)) : CLI_GO_ON;
    for (char *comma = state->keys.bytes; comma && (comma = strchr(comma, ',')) != NULL;) *comma = '\n';
    if (result == CLI_GO_ON && options->key_file)
        result = cli_outcome(fv_text_read(&file, options->key_file, &message), &message);
    if (result == CLI_GO_ON && options->key_file) result = add_keys(state, file.bytes ? file.bytes : "", file.length);
    fv_text_free(&file);
    char *rest = NULL, *line = state->keys.bytes ? strtok_r(state->keys.bytes, "\r\n", &rest) : NULL;
    for (; line && result == CLI_GO_ON; line = strtok_r(NULL, "\r\n", &rest)) {
        if (server->key_count == sizeof state->key_list / sizeof *state->key_list)
            return cli_fail("more than %zu API keys", server->key_count);
        state->key_list[server->key_count++] = line;
    }
    server->keys = state->key_list;
    if (result == CLI_GO_ON && (options->key || options->key_file) && server->key_count == 0)
        return cli_fail("there is no API key where --api-key and --api-key-file name some");
    return result;
}

static int read_tls(serve_state *state) {
    const serve_options *options = state->options;
    fv_server_config *server = &state->options->server;
    fv_message message = {""};
    if (!options->tls_key && !options->tls_certificate) return CLI_GO_ON;
    if (!options->tls_key || !options->tls_certificate)
        return cli_usage_error("serve", "HTTPS needs both of --ssl-key-file and --ssl-cert-file");
    int result = cli_outcome(fv_text_read(&state->tls_key, options->tls_key, &message), &message);
    if (result == CLI_GO_ON)
        result = cli_outcome(fv_text_read(&state->tls_certificate, options->tls_certificate, &message), &message);
    server->tls_key = state->tls_key.bytes ? state->tls_key.bytes : "";
    server->tls_certificate = state->tls_certificate.bytes ? state->tls_certificate.bytes : "";
    return result;
}

static int read_template(serve_state *state) {
    const serve_options *options = state->options;
    fv_server_config *server = &state->options->server;
    fv_message message = {""};
    if (options->jinja && options->no_jinja)
        return cli_usage_error("serve", "--jinja and --no-jinja exclude each other");
    if (options->template_file && (options->no_jinja || server->chat_template))
        return cli_usage_error("serve", "--chat-template-file excludes --no-jinja and --chat-template");
    server->jinja = options->jinja      ? FV_SERVER_JINJA_ON
                    : options->no_jinja ? FV_SERVER_JINJA_OFF
                                        : FV_SERVER_JINJA_AUTO;
    if (!options->template_file) return CLI_GO_ON;
    int result = cli_outcome(fv_text_read(&state->template_text, options->template_file, &message), &message);
    server->template_text = state->template_text.bytes ? state->template_text.bytes : "";
    return result;
}

static int check_options(serve_state *state) {
    serve_options *options = state->options;
    fv_server_config *server = &options->server;
    fv_policy policy;
    size_t length = strlen(server->prefix);
    if (length > 0 && (server->prefix[0] != '/' || server->prefix[length - 1] == '/'))
        return cli_usage_error("serve", "--api-prefix begins with / and does not end with one");
    int result = options->attention ? cli_policy_read("serve", options->attention, &policy) : CLI_GO_ON;
    if (result == CLI_GO_ON) result = cli_need_model("serve", options->model.model);
    if (result == CLI_GO_ON) result = read_keys(state);
    if (result == CLI_GO_ON) result = read_tls(state);
    if (result == CLI_GO_ON) result = read_template(state);
    server->attention = options->attention;
    server->max_body_bytes = (uint64_t)options->max_body_mib << 20;
    server->cache_bytes = (uint64_t)options->cache_mib << 20;
    server->session_bytes = (uint64_t)options->session_bytes;
    if (result == CLI_GO_ON && server->key_limit > 0 && server->key_count == 0)
        return cli_usage_error("serve", "--key-limit needs keys: --api-key, --api-key-file");
    if (result == CLI_GO_ON && server->slot_folder && access(server->slot_folder, W_OK | X_OK) != 0)
        return cli_fail("--slot-save-path %s: %s", server->slot_folder, strerror(errno));
    if (result != CLI_GO_ON || !options->log_file) return result;
    server->access_log = strcmp(options->log_file, "-") == 0 ? stderr : fopen(options->log_file, "a");
    if (!server->access_log) return cli_fail("%s: %s", options->log_file, strerror(errno));
    return CLI_GO_ON;
}

/* ---- serving ---- */

static int serve(serve_state *state) {
    serve_options *options = state->options;
    fv_message message = {""};
    int result = cli_outcome(fv_server_open(&state->server, &options->server, &message), &message);
    if (result == CLI_GO_ON) result = cli_engine_open(&state->engine, "serve", &options->model);
    if (result == CLI_GO_ON && !cli_interrupted())
        result = cli_outcome(fv_server_start(state->server, state->engine, &message), &message);
    if (result != CLI_GO_ON) return result;
    fprintf(stderr, "listening on %s\n", fv_server_url(state->server));
    (void)cli_interrupt_wait(-1);
    cli_note("stopping: answers have %lld s to end", (long long)options->grace_s);
    fv_status kept = fv_server_stop(state->server, (uint32_t)options->grace_s, &message);
    return kept == FV_OK ? CLI_DONE : cli_fail("%s", message.text);
}

static void close_serve(serve_state *state) {
    FILE *log_file = state->options->server.access_log;
    fv_server_close(state->server);
    fv_engine_close(state->engine);
    fv_text_free(&state->keys);
    fv_text_free(&state->tls_key);
    fv_text_free(&state->tls_certificate);
    fv_text_free(&state->template_text);
    if (log_file && log_file != stderr) fclose(log_file);
}

int cmd_serve(int argc, char **argv) {
    serve_options options = {
        .model = cli_model_options_default(), .max_body_mib = 64, .grace_s = 10, .session_bytes = (int64_t)8 << 30};
    fv_server_config_default(&options.server);
    serve_state state = {.options = &options};
    const cli_option_group groups[] = {CLI_GROUP("server", serve_flags, &options),
                                       CLI_GROUP("slots and attention", slot_flags, &options),
                                       CLI_MODEL_GROUPS(&options.model)};
    const cli_syntax syntax = {
        "serve", "-m MODEL [--port N] [flags]",
        "Serves a model by HTTP: OpenAI's endpoints, llama-server's and Ollama's, docs/serve.md.\n"
        "Ctrl-C and SIGTERM let running answers end.",
        CLI_GROUPS(groups)};
    int result = cli_options_parse(&syntax, argc, argv);
    if (result != CLI_GO_ON) return result;
    cli_interrupt_on_terminate();
    result = check_options(&state);
    if (result == CLI_GO_ON) result = serve(&state);
    close_serve(&state);
    return result;
}

#else

#define MISSING \
    "this program was built without a server: libmicrohttpd was missing (Debian: libmicrohttpd-dev); install it and " \
    "build again"

int cmd_serve(int argc, char **argv) {
    const cli_syntax syntax = {"serve", "-m MODEL [--port N] [flags]", MISSING, NULL, 0, NULL, NULL};
    if (argc == 2 && fv_words_find("-h --help --usage", argv[1], strlen(argv[1])) >= 0)
        return cli_options_parse(&syntax, argc, argv);
    return cli_fail(MISSING);
}

#endif
