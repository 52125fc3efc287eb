/* cmd_tokenize.c - `fovea tokenize`: text to token ids and back. Needs the vocabulary only, so that files without
 * weights do, and files whose architecture this version can't run. */
#include "cli.h"
#include "fovea/tokenizer.h"
#include "input.h"
#include "json_out.h"
#include "options.h"
#include <string.h>

typedef struct tokenize_options {
    const char *model, *prompt, *file;
    bool from_stdin, ids, no_bos, parse_special, detokenize, escape, count, json;
} tokenize_options;

#define CLI_TARGET tokenize_options
static const cli_option tokenize_flags[] = {
    CLI_FLAG(TEXT, "-m --model", model, .value = "FILE", .env = "LLAMA_ARG_MODEL",
             .help = "a GGUF file with a vocabulary"),
    CLI_FLAG(TEXT, "-p --prompt", prompt, .value = "TEXT", .help = "the text (with --detokenize: the ids)"),
    CLI_FLAG(TEXT, "-f --file", file, .value = "FILE",
             .help = "read it from a file, byte for byte, without a leading byte order mark (- is standard\ninput)"),
    CLI_FLAG(SWITCH, "--stdin", from_stdin, .help = "read it from standard input, likewise"),
    CLI_FLAG(SWITCH, "-e --escape", escape, .negated = "--no-escape",
             .help = "process \\n \\t \\xHH ... in -p (default: off; never in files)"),
    CLI_FLAG(SWITCH, "--ids", ids, .help = "print [1, 2, 3] instead of a line per token"),
    CLI_FLAG(SWITCH, "--show-count", count, .help = "print the number of tokens after them"),
    CLI_FLAG(SWITCH, "--no-bos", no_bos,
             .help = "add no beginning- or end-of-text token, whatever the model file says"),
    CLI_FLAG(SWITCH, "--parse-special", parse_special, .negated = "--no-parse-special",
             .help = "text of control tokens (<|im_start|>) becomes that token (default: off);\nwith --detokenize: "
                     "control tokens are written as their text"),
    CLI_FLAG(
        SWITCH, "--detokenize", detokenize,
        .help =
            "ids in, bytes out, exactly; ids as printed by --ids, or any numbers\nbetween blanks, commas and brackets"),
    CLI_FLAG(SWITCH, "--json", json, .help = "one JSON document: ids, pieces, count"),
    CLI_IGNORE("--log-disable", NULL, "there is no log; send standard error elsewhere"),
};

typedef struct vocabulary_file {
    fv_gguf *gguf;
    fv_tokenizer *tokenizer;
} vocabulary_file;

static int read_text(const tokenize_options *options, fv_text *text) {
    fv_message message = {""};
    const char *path = options->from_stdin ? "-" : options->file;
    fv_status status =
        path ? cli_read_file(text, path, &message) : fv_text_append(text, options->prompt, strlen(options->prompt));
    if (status != FV_OK) return cli_outcome(status, &message);
    if (!path && options->escape) fv_text_unescape(text);
    if (!options->detokenize) cli_look_at_text(path && strcmp(path, "-") != 0 ? path : "the text", text);
    return CLI_GO_ON;
}

static int open_vocabulary(vocabulary_file *file, const char *path) {
    fv_message message = {""};
    fv_status status = fv_gguf_open(&file->gguf, path, &message);
    if (status == FV_OK) status = fv_tokenizer_open(&file->tokenizer, file->gguf, &message);
    if (status == FV_OK) cli_warn_of_file(file->tokenizer);
    return cli_outcome(status, &message);
}

static void close_vocabulary(vocabulary_file *file) {
    fv_tokenizer_close(file->tokenizer);
    fv_gguf_close(file->gguf);
}

/* ---- ids to text ---- */

static int print_bytes(const fv_text *bytes, bool json) {
    if (!json) return cli_write_text(bytes->bytes, bytes->length) ? CLI_DONE : CLI_FAILED;
    json_t *document = json_object();
    cli_json_set(document, "text", cli_json_string(bytes->bytes, bytes->length));
    return cli_json_print(document);
}

/* The beginning-of-text token that encoding added is no part of the text. */
static int detokenize(const tokenize_options *options, const fv_tokenizer *tokenizer, const fv_text *text) {
    fv_tokens tokens = {0};
    fv_text bytes = {0};
    fv_message message = {""};
    fv_status status = fv_tokens_parse(&tokens, text->bytes ? text->bytes : "", text->length,
                                       fv_tokenizer_tokens(tokenizer), &message);
    int result = cli_outcome(status, &message);
    if (result == CLI_GO_ON) {
        bool skip = tokens.count > 0 && !options->no_bos && fv_tokenizer_adds_bos(tokenizer) &&
                    tokens.ids[0] == fv_tokenizer_bos(tokenizer);
        const int32_t *ids = skip ? tokens.ids + 1 : tokens.ids;
        status = fv_tokenizer_decode(tokenizer, ids, tokens.count - skip, options->parse_special, &bytes);
        result = status == FV_OK ? print_bytes(&bytes, options->json) : cli_outcome(status, NULL);
    }
    fv_text_free(&bytes);
    fv_tokens_free(&tokens);
    return result;
}

/* ---- text to ids ---- */

static int print_ids(const fv_tokens *tokens) {
    bool good = cli_write("[", 1);
    for (size_t i = 0; i < tokens->count && good; i++) good = cli_print("%s%d", i ? ", " : "", (int)tokens->ids[i]);
    return cli_write("]\n", 2) ? CLI_DONE : CLI_FAILED;
}

/* llama-tokenize's lines: "   123 -> 'piece'", the piece byte for byte. */
static int print_pieces(const fv_tokenizer *tokenizer, const fv_tokens *tokens) {
    fv_text piece = {0};
    fv_status status = FV_OK;
    bool good = true;
    for (size_t i = 0; i < tokens->count && good && status == FV_OK; i++) {
        piece.length = 0;
        status = fv_tokenizer_piece(tokenizer, tokens->ids[i], true, &piece);
        good = status != FV_OK || (cli_print("%6d -> '", (int)tokens->ids[i]) &&
                                   cli_write_text(piece.bytes, piece.length) && cli_write("'\n", 2));
    }
    fv_text_free(&piece);
    if (status != FV_OK) return cli_outcome(status, NULL);
    return good ? CLI_DONE : CLI_FAILED;
}

static int print_json(const fv_tokenizer *tokenizer, const fv_tokens *tokens) {
    json_t *document = json_object(), *ids = json_array(), *pieces = json_array();
    fv_text piece = {0};
    for (size_t i = 0; i < tokens->count; i++) {
        piece.length = 0;
        fv_status status = fv_tokenizer_piece(tokenizer, tokens->ids[i], true, &piece);
        cli_json_append(ids, json_integer(tokens->ids[i]));
        cli_json_append(pieces, status == FV_OK ? cli_json_string(piece.bytes, piece.length) : NULL);
    }
    fv_text_free(&piece);
    CLI_ADD(document, {"count", cli_count(tokens->count)}, {"ids", ids}, {"pieces", pieces});
    return cli_json_print(document);
}

static int tokenize(const tokenize_options *options, const fv_tokenizer *tokenizer, const fv_text *text) {
    fv_tokens tokens = {0};
    uint32_t flags = (options->no_bos ? 0u : (uint32_t)FV_TOKENIZE_ADD_SPECIAL) |
                     (options->parse_special ? (uint32_t)FV_TOKENIZE_PARSE_SPECIAL : 0u);
    fv_status status = fv_tokenizer_encode(tokenizer, text->length ? text->bytes : "", text->length, flags, &tokens);
    int result = CLI_DONE;
    if (status == FV_OK) cli_warn_of_bos(tokenizer, &tokens);
    if (status != FV_OK)
        result = cli_outcome(status, NULL);
    else if (options->json)
        result = print_json(tokenizer, &tokens);
    else if (options->ids)
        result = print_ids(&tokens);
    else
        result = print_pieces(tokenizer, &tokens);
    if (result == CLI_DONE && options->count && !options->json)
        result = cli_print("Total number of tokens: %zu\n", tokens.count) ? CLI_DONE : CLI_FAILED;
    fv_tokens_free(&tokens);
    return result;
}

static int check_options(const tokenize_options *options) {
    int result = options->model ? CLI_GO_ON : cli_usage_error("tokenize", "no model: name a GGUF file with -m FILE");
    int sources = (options->prompt != NULL) + (options->file != NULL) + options->from_stdin;
    if (result == CLI_GO_ON && sources != 1)
        result = cli_usage_error("tokenize", "give the text by one of -p, -f and --stdin");
    return result;
}

int cmd_tokenize(int argc, char **argv) {
    tokenize_options options = {0};
    const cli_option_group groups[] = {CLI_GROUP("flags", tokenize_flags, &options)};
    const cli_syntax syntax = {"tokenize", "-m FILE (-p TEXT | -f FILE | --stdin) [--ids] [--detokenize]",
                               "Prints the token ids of a text as the model would read it, or the text of ids.",
                               CLI_GROUPS(groups)};
    int result = cli_options_parse(&syntax, argc, argv);
    if (result == CLI_GO_ON) result = check_options(&options);
    if (result != CLI_GO_ON) return result;
    vocabulary_file file = {0};
    fv_text text = {0};
    result = open_vocabulary(&file, options.model);
    if (result == CLI_GO_ON) result = read_text(&options, &text);
    if (result == CLI_GO_ON)
        result = options.detokenize ? detokenize(&options, file.tokenizer, &text)
                                    : tokenize(&options, file.tokenizer, &text);
    fv_text_free(&text);
    close_vocabulary(&file);
    return result;
}
