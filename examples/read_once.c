/* read_once.c - a text is read once and kept in a file; two conversations wake from it and ask different things. They
 * share the file's memory, and what each of them adds is its own.
 *
 *   read_once MODEL.gguf TEXT FILE
 */
#include "fovea/fovea.h"
#include <stdio.h>
#include <string.h>

enum { CONTEXT_TOKENS = 4096 };

static int fail(const char *what, fv_status status, const fv_message *message) {
    fprintf(stderr, "%s: %s\n", what, message->text[0] ? message->text : fv_status_text(status));
    return 1;
}

/* Tokens of `text` into the session. begins: nothing was read before. */
static fv_status feed(const fv_llm *llm, fv_session *session, const char *text, bool begins) {
    fv_tokens tokens = {0};
    fv_status status =
        fv_tokenizer_encode(fv_llm_tokenizer(llm), text, strlen(text), begins ? FV_TOKENIZE_ADD_SPECIAL : 0, &tokens);
    if (status == FV_OK) status = fv_session_feed(session, tokens.ids, tokens.count, NULL, NULL);
    fv_tokens_free(&tokens);
    return status;
}

static fv_status keep(const fv_engine *engine, const fv_session_config *config, const char *text, const char *path,
                      fv_message *message) {
    fv_session *session = NULL;
    fv_status status = fv_engine_session_open(engine, config, &session, message);
    if (status == FV_OK) status = feed(fv_engine_llm(engine), session, text, true);
    if (status == FV_OK) status = fv_session_save(session, path, FV_SESSION_END_PLAIN, message);
    fv_session_close(session);
    return status;
}

static fv_status ask(const fv_engine *engine, const fv_session_config *config, fv_session_file *file,
                     const char *question, fv_message *message) {
    fv_session *session = NULL;
    uint32_t kept = fv_session_file_info(file)->tokens;
    fv_status status = fv_engine_session_open(engine, config, &session, message);
    if (status == FV_OK) status = fv_session_wake(session, file, kept, message);
    if (status == FV_OK) status = feed(fv_engine_llm(engine), session, question, false);
    if (status == FV_OK)
        printf("%zu tokens, %u of them from the file, %llu bytes of memory of its own\n", fv_session_tokens(session),
               kept, (unsigned long long)fv_sequence_own_bytes(fv_session_sequence(session)));
    fv_session_close(session);
    return status;
}

int main(int argc, char **argv) {
    fv_engine *engine = NULL;
    fv_engine_config config;
    fv_session_config session;
    fv_session_file *file = NULL;
    fv_text text = {0};
    fv_message message = {""};
    if (argc != 4) return fail("usage: read_once MODEL.gguf TEXT FILE", FV_ERROR_ARGUMENT, &message);
    fv_engine_config_default(&config);
    config.model = argv[1];
    fv_status status = fv_engine_open(&engine, &config, &message);
    if (status != FV_OK) return fail("the model", status, &message);
    fv_engine_session_config(engine, &session);
    session.context_tokens = CONTEXT_TOKENS;
    status = fv_text_read(&text, argv[2], &message);
    if (status == FV_OK) status = keep(engine, &session, text.bytes ? text.bytes : "", argv[3], &message);
    if (status == FV_OK) status = fv_session_file_open(&file, argv[3], &message);
    if (status == FV_OK) status = ask(engine, &session, file, "\nWho?", &message);
    if (status == FV_OK) status = ask(engine, &session, file, "\nWhen and where?", &message);
    fv_session_file_close(file);
    fv_text_free(&text);
    fv_engine_close(engine);
    return status == FV_OK ? 0 : fail("the session", status, &message);
}
