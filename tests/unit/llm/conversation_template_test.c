/* conversation_template_test.c - a conversation in a template that is run, step by step: the model reads each part
 * once. */
#include "fovea/conversation.h"
#include "support/gguf_builder.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static const char OWN[] =
    "{{ bos_token }}X{% for m in messages %}<X{{ m.role }}>{{ m.content | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<Xassistant>"
    "{{ '<think></think>' if enable_thinking is false }}{% endif %}";

static fv_gguf *open_file(builder *b, const char *text) {
    fv_gguf *gguf = NULL;
    put_header(b, 3, 0, 1);
    put_key(b, "tokenizer.chat_template", FV_GGUF_STRING);
    put_text(b, text);
    assert_int_equal(fv_gguf_open_memory(&gguf, b->bytes, b->count, "test", NULL), FV_OK);
    return gguf;
}

static void check_next(const fv_conversation *conversation, const char *wanted) {
    fv_text text = {0};
    assert_int_equal(fv_conversation_render(conversation, &text), FV_OK);
    assert_string_equal(text.bytes, wanted);
    fv_text_free(&text);
}

static void test_steps(void **state) {
    (void)state;
    static builder b;
    fv_gguf *gguf = open_file(&b, OWN);
    fv_conversation *conversation = NULL;
    assert_int_equal(fv_conversation_open_template(&conversation, gguf, NULL, NULL), FV_OK);
    assert_int_equal(fv_conversation_add(conversation, "system", "Be \"brief\"\n."), FV_OK);
    assert_int_equal(fv_conversation_add(conversation, "user", " one "), FV_OK);
    check_next(conversation, "<s>X<Xsystem>Be \"brief\"\n.<|end|>\n<Xuser>one<|end|>\n<Xassistant>");
    assert_int_equal(fv_conversation_add(conversation, "assistant", " X the answer "), FV_OK);
    assert_int_equal(fv_conversation_add(conversation, "user", "two\xff"), FV_OK);
    check_next(conversation, "<|end|>\n<Xuser>two\xEF\xBF\xBD<|end|>\n<Xassistant>");
    assert_int_equal(fv_conversation_set_reasoning(conversation, FV_CHAT_REASONING_OFF), FV_OK);
    check_next(conversation, "<|end|>\n<Xuser>two\xEF\xBF\xBD<|end|>\n<Xassistant><think></think>");
    assert_string_equal(fv_conversation_explain(conversation), "");
    fv_conversation_close(conversation);
    fv_gguf_close(gguf);
}

static void test_refusals(void **state) {
    (void)state;
    static builder b;
    fv_gguf *gguf = open_file(&b, "{% for m in messages %}{% do x %}{% endfor %}");
    fv_conversation *conversation = NULL;
    fv_message why = {""};
    fv_text text = {0};
    assert_int_equal(fv_conversation_open_template(&conversation, gguf, NULL, &why), FV_ERROR_UNSUPPORTED);
    assert_string_equal(why.text, "line 1: {% do %} is not in this version");
    assert_int_equal(fv_conversation_open_template(&conversation, gguf, "{{ raise_exception('no') }}", NULL), FV_OK);
    assert_int_equal(fv_conversation_set_reasoning(conversation, FV_CHAT_REASONING_OFF), FV_ERROR_UNSUPPORTED);
    assert_int_equal(fv_conversation_add(conversation, "user", "x"), FV_OK);
    assert_int_equal(fv_conversation_render(conversation, &text), FV_ERROR_ARGUMENT);
    assert_string_equal(fv_conversation_explain(conversation), "the chat template says: no");
    fv_conversation_close(conversation);
    fv_text_free(&text);
    fv_gguf_close(gguf);
}

/* A template that leaves out what was said can't go on from the cache. */
static void test_what_is_rewritten_is_refused(void **state) {
    (void)state;
    static builder b;
    fv_gguf *gguf =
        open_file(&b, "{% for m in messages %}{% if m.role == 'user' %}<{{ m.content }}>{% endif %}{% endfor %}:");
    fv_conversation *conversation = NULL;
    fv_text text = {0};
    assert_int_equal(fv_conversation_open_template(&conversation, gguf, NULL, NULL), FV_OK);
    assert_int_equal(fv_conversation_add(conversation, "user", "one"), FV_OK);
    assert_int_equal(fv_conversation_add(conversation, "assistant", "answer"), FV_OK);
    assert_int_equal(fv_conversation_add(conversation, "user", "two"), FV_OK);
    assert_int_equal(fv_conversation_render(conversation, &text), FV_ERROR_UNSUPPORTED);
    fv_text_free(&text);
    fv_conversation_close(conversation);
    fv_gguf_close(gguf);
}

/* A template that says what its family says, and one that opens thoughts where it does not. */
static void test_families_are_compared(void **state) {
    (void)state;
    static const char chatml[] =
        "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + "
        "'\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}";
    static builder b;
    for (int thinks = 0; thinks < 2; thinks++) {
        char text[512];
        fv_template *made = NULL;
        fv_chat_family family = FV_CHAT_NONE;
        snprintf(text, sizeof text, "%s%s{%% endif %%}", chatml, thinks ? "{{ '<think>' }}" : "");
        fv_gguf *gguf = open_file(&b, text);
        assert_int_equal(fv_chat_family_detect(gguf, &family, NULL), FV_OK);
        assert_int_equal(fv_template_open(&made, text, strlen(text), NULL), FV_OK);
        assert_int_equal(fv_chat_family_agrees(family, gguf, made), !thinks);
        fv_template_close(made);
        fv_gguf_close(gguf);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_steps), cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_what_is_rewritten_is_refused),
                                       cmocka_unit_test(test_families_are_compared)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
