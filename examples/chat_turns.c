/* chat_turns.c - a conversation: each line of standard input is a turn, the answer is printed as it comes.
 *
 *   chat_turns MODEL.gguf */
#include <fovea/conversation.h>
#include <fovea/engine.h>
#include <fovea/generate.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static fv_message message;
static void must(fv_status status) {
    if (status == FV_OK) return;
    fprintf(stderr, "%s\n", message.text[0] ? message.text : fv_status_text(status));
    exit(1);
}
static bool show(void *context, const char *bytes, size_t length) {
    return !context && fwrite(bytes, 1, length, stdout) == length && fflush(stdout) == 0;
}

int main(int argc, char **argv) {
    fv_engine *engine;
    fv_session *session;
    fv_engine_config config;
    fv_generate_config generate;
    fv_generator *generator;
    fv_chat_family family;
    fv_conversation *conversation;
    char line[4096];
    if (argc != 2) return fprintf(stderr, "usage: chat_turns MODEL.gguf\n"), 2;
    fv_engine_config_default(&config);
    config.model = argv[1];
    config.session.context_tokens = 4096;
    fv_policy_default(FV_SELECTOR_FOVEA, &config.session.policy);
    must(fv_engine_open(&engine, &config, &message));
    must(fv_engine_session_open(engine, NULL, &session, &message));
    fv_generate_config_default(&generate);
    generate.session = session;
    generate.llm = fv_engine_llm(engine);
    generate.watch.text = show;
    must(fv_generator_open(&generator, &generate, &message));
    must(fv_chat_family_detect(fv_llm_gguf(generate.llm), &family, &message));
    must(fv_conversation_open(&conversation, family ? family : FV_CHAT_CHATML, fv_llm_gguf(generate.llm)));
    for (fv_stop stop = FV_STOP_END; stop == FV_STOP_END && fgets(line, sizeof line, stdin);) {
        fv_tokens tokens = {0}; /* only what the model has not read yet */
        line[strcspn(line, "\n")] = '\0';
        must(fv_conversation_add(conversation, "user", line));
        must(fv_conversation_encode(conversation, fv_llm_tokenizer(generate.llm), false, &tokens));
        must(fv_generator_feed(generator, tokens.ids, tokens.count, NULL, NULL));
        must(fv_generator_answer(generator, -1, &stop)); /* until the model ends its turn, or the context is full */
        must(fv_conversation_add(conversation, "assistant", fv_generator_text(generator)->bytes));
        printf("\n[%zu tokens in the context]\n", fv_session_tokens(session));
        fv_tokens_free(&tokens);
    }
    fv_conversation_close(conversation);
    fv_generator_close(generator);
    fv_session_close(session);
    fv_engine_close(engine);
    return 0;
}
