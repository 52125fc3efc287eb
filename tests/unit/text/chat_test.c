/* chat_test.c - rendering against strings that jinja2 3.1.6 made from the same templates (tables below, BOS left out):
 * whole conversations, and the same in steps as a dialogue grows. */
#include "fovea/chat.h"
#include "support/gguf_builder.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { QUESTION, TALK, SYSTEM, ANSWERED, CONVERSATIONS };

typedef struct conversation {
    size_t count;
    fv_chat_turn turns[4];
} conversation;

static const conversation CONVERSATION[CONVERSATIONS] = {
    [QUESTION] = {1, {{"user", "Hello"}}},
    [TALK] = {3, {{"user", "Hello"}, {"assistant", "Hi there"}, {"user", " Who are you? \n"}}},
    [SYSTEM] = {4, {{"system", "Be kind"}, {"user", "Hello"}, {"assistant", "Hi there"}, {"user", "Bye"}}},
    [ANSWERED] = {2, {{"user", "Hello"}, {"assistant", "Hi there"}}},
};

/* A template, written for this test in the manner of the model that it is named after. */
typedef struct chat_case {
    const char *name;
    fv_chat_family family;
    const char *template_text;
    const char *expected[CONVERSATIONS]; /* NULL: the template can't express it */
} chat_case;

static const chat_case CASES[] = {
    {"smollm2",
     FV_CHAT_CHATML,
     "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_"
     "start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
     "' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' +"
     " '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
     {
         "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_"
         "end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n", /* question */
         "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_"
         "end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nHi there<|im_end|>\n<|im_start|>"
         "user\n Who are you? \n<|im_end|>\n<|im_start|>assistant\n", /* talk */
         "<|im_start|>system\nBe kind<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
         "Hi there<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n", /* system */
         "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_"
         "end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nHi there<|im_end|>\n", /* answered */
     }},
    {"escaped",
     FV_CHAT_CHATML,
     "{%- if messages[0]['role'] == 'system' %}{{- '<|im_start|>system\\n' + messages[0]['content'] "
     "+ '<|im_end|>\\n' }}{%- else %}{{- '<|im_start|>system\\nIt\\\\s \\'quoted\\'.\\n<|im_end|>\\n' }}{%-"
     " endif %}{%- for m in messages %}{%- if not (loop.first and m.role == 'system') %}{{- '<|im_s"
     "tart|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endif %}{%- endfor %}{%- if add_ge"
     "neration_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}",
     {
         "<|im_start|>system\nIt\\s 'quoted'.\n<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>as"
         "sistant\n", /* question */
         "<|im_start|>system\nIt\\s 'quoted'.\n<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>as"
         "sistant\nHi there<|im_end|>\n<|im_start|>user\n Who are you? \n<|im_end|>\n<|im_start|>assistant\n", /* talk
                                                                                                                */
         "<|im_start|>system\nBe kind<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
         "Hi there<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n", /* system */
         "<|im_start|>system\nIt\\s 'quoted'.\n<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>as"
         "sistant\nHi there<|im_end|>\n", /* answered */
     }},
    {"plain_chatml",
     FV_CHAT_CHATML,
     "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\"
     "n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
     {
         "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n", /* question */
         "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nHi there<|im_end|>\n<|im_start|>user\n "
         "Who are you? \n<|im_end|>\n<|im_start|>assistant\n", /* talk */
         "<|im_start|>system\nBe kind<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
         "Hi there<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n",   /* system */
         "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nHi there<|im_end|>\n", /* answered */
     }},
    {"llama3",
     FV_CHAT_LLAMA3,
     "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id"
     "|>\\n\\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}{{ '"
     "<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
     {
         "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|><|start_header_id|>assistant<|end_h"
         "eader_id|>\n\n", /* question */
         "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|><|start_header_id|>assistant<|end_h"
         "eader_id|>\n\nHi there<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nWho are you?<|eot_id"
         "|><|start_header_id|>assistant<|end_header_id|>\n\n", /* talk */
         "<|start_header_id|>system<|end_header_id|>\n\nBe kind<|eot_id|><|start_header_id|>user<|end_he"
         "ader_id|>\n\nHello<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHi there<|eot_id|><"
         "|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|><|start_header_id|>assistant<|end_head"
         "er_id|>\n\n", /* system */
         "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|><|start_header_id|>assistant<|end_h"
         "eader_id|>\n\nHi there<|eot_id|>", /* answered */
     }},
    {"llama31",
     FV_CHAT_LLAMA3,
     "{{- bos_token }}{%- if messages[0]['role'] == 'system' %}{%- set text = messages[0]['content'"
     "]|trim %}{%- set messages = messages[1:] %}{%- else %}{%- set text = '' %}{%- endif %}{{- '<|"
     "start_header_id|>system<|end_header_id|>\\n\\n' }}{{- \"Cutting Knowledge Date: December 2023\\n\""
     " }}{{- \"Today Date: \" + \"26 Jul 2024\" + \"\\n\\n\" }}{{- text + '<|eot_id|>' }}{%- for m in messa"
     "ges %}{{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n'+ m['content'] | trim + "
     "'<|eot_id|>' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<"
     "|end_header_id|>\\n\\n' }}{%- endif %}",
     {
         "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date"
         ": 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|><|start_he"
         "ader_id|>assistant<|end_header_id|>\n\n", /* question */
         "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date"
         ": 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|><|start_he"
         "ader_id|>assistant<|end_header_id|>\n\nHi there<|eot_id|><|start_header_id|>user<|end_header_i"
         "d|>\n\nWho are you?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n", /* talk */
         "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date"
         ": 26 Jul 2024\n\nBe kind<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|><|s"
         "tart_header_id|>assistant<|end_header_id|>\n\nHi there<|eot_id|><|start_header_id|>user<|end_h"
         "eader_id|>\n\nBye<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n", /* system */
         "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date"
         ": 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|><|start_he"
         "ader_id|>assistant<|end_header_id|>\n\nHi there<|eot_id|>", /* answered */
     }},
    {"gemma",
     FV_CHAT_GEMMA,
     "{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}{%- set prefix = messages[0]['conten"
     "t'] + '\\n\\n' -%}{%- set rest = messages[1:] -%}{%- else -%}{%- set prefix = '' -%}{%- set res"
     "t = messages -%}{%- endif -%}{%- for m in rest -%}{{ '<start_of_turn>' + ('model' if m['role'"
     "] == 'assistant' else m['role']) + '\\n' + (prefix if loop.first else '') }}{{ m['content'] | "
     "trim }}{{ '<end_of_turn>\\n' }}{%- endfor -%}{%- if add_generation_prompt -%}{{ '<start_of_tur"
     "n>model\\n' }}{%- endif -%}",
     {
         "<start_of_turn>user\nHello<end_of_turn>\n<start_of_turn>model\n", /* question */
         "<start_of_turn>user\nHello<end_of_turn>\n<start_of_turn>model\nHi there<end_of_turn>\n<start_of_"
         "turn>user\nWho are you?<end_of_turn>\n<start_of_turn>model\n", /* talk */
         "<start_of_turn>user\nBe kind\n\nHello<end_of_turn>\n<start_of_turn>model\nHi there<end_of_turn>\n<"
         "start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n",                           /* system */
         "<start_of_turn>user\nHello<end_of_turn>\n<start_of_turn>model\nHi there<end_of_turn>\n", /* answered */
     }},
    {"mistral_old",
     FV_CHAT_MISTRAL,
     "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content']"
     " + ' [/INST]' }}{% else %}{{ m['content'] + eos_token + ' ' }}{% endif %}{% endfor %}",
     {
         "[INST] Hello [/INST]",                                             /* question */
         "[INST] Hello [/INST]Hi there</s> [INST]  Who are you? \n [/INST]", /* talk */
         NULL,                                                               /* system */
         "[INST] Hello [/INST]Hi there</s> ",                                /* answered */
     }},
    {"mistral_v1",
     FV_CHAT_MISTRAL,
     "{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content'] %}{%"
     "- set messages = messages[1:] %}{%- endif %}{{- bos_token }}{%- for m in messages %}{%- if m["
     "'role'] == 'user' %}{%- if loop.first and system_message is defined %}{{- ' [INST] ' + system"
     "_message + '\\n\\n' + m['content'] + ' [/INST]' }}{%- else %}{{- ' [INST] ' + m['content'] + ' "
     "[/INST]' }}{%- endif %}{%- else %}{{- ' ' + m['content'] + eos_token }}{%- endif %}{%- endfor"
     " %}",
     {
         " [INST] Hello [/INST]",                                              /* question */
         " [INST] Hello [/INST] Hi there</s> [INST]  Who are you? \n [/INST]", /* talk */
         " [INST] Be kind\n\nHello [/INST] Hi there</s> [INST] Bye [/INST]",   /* system */
         " [INST] Hello [/INST] Hi there</s>",                                 /* answered */
     }},
    {"mistral_v3",
     FV_CHAT_MISTRAL,
     "{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content'] %}{%"
     "- set messages = messages[1:] %}{%- endif %}{{- bos_token }}{%- for m in messages %}{%- if m["
     "'role'] == 'user' %}{%- if loop.first and system_message is defined %}{{- \"[INST] \" + system_"
     "message + \"\\n\\n\" + m['content'] + \"[/INST]\" }}{%- else %}{{- \"[INST] \" + m['content'] + \"[/IN"
     "ST]\" }}{%- endif %}{%- else %}{{- ' ' + m['content']|trim + eos_token }}{%- endif %}{%- endfo"
     "r %}{#- [AVAILABLE_TOOLS] #}",
     {
         "[INST] Hello[/INST]",                                            /* question */
         "[INST] Hello[/INST] Hi there</s>[INST]  Who are you? \n[/INST]", /* talk */
         "[INST] Be kind\n\nHello[/INST] Hi there</s>[INST] Bye[/INST]",   /* system */
         "[INST] Hello[/INST] Hi there</s>",                               /* answered */
     }},
    {"mistral_tekken",
     FV_CHAT_MISTRAL,
     "{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content'] %}{%"
     "- set messages = messages[1:] %}{%- endif %}{{- bos_token }}{%- for m in messages %}{%- if m["
     "'role'] == 'user' %}{%- if loop.first and system_message is defined %}{{- \"[INST]\" + system_m"
     "essage + \"\\n\\n\" + m['content'] + \"[/INST]\" }}{%- else %}{{- \"[INST]\" + m['content'] + \"[/INST"
     "]\" }}{%- endif %}{%- else %}{{- m['content'] + eos_token }}{%- endif %}{%- endfor %}{#- [AVAI"
     "LABLE_TOOLS] #}",
     {
         "[INST]Hello[/INST]",                                          /* question */
         "[INST]Hello[/INST]Hi there</s>[INST] Who are you? \n[/INST]", /* talk */
         "[INST]Be kind\n\nHello[/INST]Hi there</s>[INST]Bye[/INST]",   /* system */
         "[INST]Hello[/INST]Hi there</s>",                              /* answered */
     }},
    {"mistral_v7",
     FV_CHAT_MISTRAL,
     "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content']"
     " + '[/INST]' }}{% elif m['role'] == 'system' %}{{ '[SYSTEM_PROMPT] ' + m['content'] + '[/SYST"
     "EM_PROMPT]' }}{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}",
     {
         "[INST] Hello[/INST]",                                                                      /* question */
         "[INST] Hello[/INST] Hi there</s>[INST]  Who are you? \n[/INST]",                           /* talk */
         "[SYSTEM_PROMPT] Be kind[/SYSTEM_PROMPT][INST] Hello[/INST] Hi there</s>[INST] Bye[/INST]", /* system */
         "[INST] Hello[/INST] Hi there</s>",                                                         /* answered */
     }},
    {"mistral_v7_tekken",
     FV_CHAT_MISTRAL,
     "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST]' + m['content'] "
     "+ '[/INST]' }}{% elif m['role'] == 'system' %}{{ '[SYSTEM_PROMPT]' + m['content'] + '[/SYSTEM"
     "_PROMPT]' }}{% else %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}",
     {
         "[INST]Hello[/INST]",                                                                   /* question */
         "[INST]Hello[/INST]Hi there</s>[INST] Who are you? \n[/INST]",                          /* talk */
         "[SYSTEM_PROMPT]Be kind[/SYSTEM_PROMPT][INST]Hello[/INST]Hi there</s>[INST]Bye[/INST]", /* system */
         "[INST]Hello[/INST]Hi there</s>",                                                       /* answered */
     }},
};
#define CASE_COUNT (sizeof CASES / sizeof *CASES)

static fv_gguf *open_template(builder *b, const char *text, const char *model) {
    put_header(b, 3, 0, (text ? 1u : 0u) + 1u);
    put_key(b, "tokenizer.ggml.model", FV_GGUF_STRING);
    put_text(b, model);
    if (text) {
        put_key(b, "tokenizer.chat_template", FV_GGUF_STRING);
        put_text(b, text);
    }
    put_data(b, 32, 0);
    fv_gguf *gguf = NULL;
    fv_message message = {{0}};
    if (fv_gguf_open_memory(&gguf, b->bytes, b->count, "test", &message) != FV_OK) fail_msg("%s", message.text);
    return gguf;
}

static bool ends_with_question(const conversation *talk) {
    return strcmp(talk->turns[talk->count - 1].role, "user") == 0;
}

static fv_text render(const chat_case *test, const fv_gguf *gguf, const conversation *talk, size_t count, size_t done) {
    fv_text text = {0};
    conversation part = *talk;
    part.count = count;
    assert_int_equal(fv_chat_render(test->family, gguf, part.turns, count, done, ends_with_question(&part), &text),
                     FV_OK);
    return text;
}

static void the_family_is_recognised(void **state) {
    (void)state;
    builder *b = malloc(sizeof *b);
    assert_non_null(b);
    for (size_t i = 0; i < CASE_COUNT; i++) {
        fv_gguf *gguf = open_template(b, CASES[i].template_text, "llama");
        fv_chat_family family = FV_CHAT_NONE;
        assert_int_equal(fv_chat_family_detect(gguf, &family, NULL), FV_OK);
        assert_int_equal(family, CASES[i].family);
        fv_gguf_close(gguf);
    }
    free(b);
}

static void whole_conversations_are_as_jinja_renders_them(void **state) {
    (void)state;
    builder *b = malloc(sizeof *b);
    assert_non_null(b);
    for (size_t i = 0; i < CASE_COUNT; i++) {
        fv_gguf *gguf = open_template(b, CASES[i].template_text, "llama");
        for (int k = 0; k < CONVERSATIONS; k++) {
            if (!CASES[i].expected[k]) continue;
            fv_text text = render(&CASES[i], gguf, &CONVERSATION[k], CONVERSATION[k].count, 0);
            if (strcmp(text.bytes, CASES[i].expected[k]) != 0)
                fail_msg("%s, conversation %d: got\n%s\nexpected\n%s", CASES[i].name, k, text.bytes,
                         CASES[i].expected[k]);
            fv_text_free(&text);
        }
        fv_gguf_close(gguf);
    }
    free(b);
}

/* What the model writes between two steps: up to and with the end token. */
static size_t answer_length(const char *text) {
    static const char *const ends[] = {"<|im_end|>", "<|eot_id|>", "<end_of_turn>", "</s>"};
    for (size_t i = 0; i < 4; i++) {
        const char *end = strstr(text, ends[i]);
        if (end) return (size_t)(end - text) + strlen(ends[i]);
    }
    return 0;
}

static void steps_give_the_same_text(void **state) {
    (void)state;
    builder *b = malloc(sizeof *b);
    assert_non_null(b);
    for (size_t i = 0; i < CASE_COUNT; i++) {
        fv_gguf *gguf = open_template(b, CASES[i].template_text, "llama");
        for (int k = TALK; k <= SYSTEM; k++) {
            const conversation *talk = &CONVERSATION[k];
            if (!CASES[i].expected[k]) continue;
            fv_text whole = render(&CASES[i], gguf, talk, talk->count, 0);
            fv_text begin = render(&CASES[i], gguf, talk, talk->count - 2, 0);
            fv_text rest = render(&CASES[i], gguf, talk, talk->count, talk->count - 1);
            assert_memory_equal(whole.bytes, begin.bytes, begin.length);
            size_t answer = answer_length(whole.bytes + begin.length);
            assert_true(answer > 0);
            assert_string_equal(whole.bytes + begin.length + answer, rest.bytes);
            fv_text_free(&whole), fv_text_free(&begin), fv_text_free(&rest);
        }
        fv_gguf_close(gguf);
    }
    free(b);
}

static void a_system_turn_may_be_rendered_first(void **state) {
    (void)state;
    builder *b = malloc(sizeof *b);
    assert_non_null(b);
    for (size_t i = 0; i < CASE_COUNT; i++) {
        const conversation *talk = &CONVERSATION[SYSTEM];
        if (!CASES[i].expected[SYSTEM]) continue;
        fv_gguf *gguf = open_template(b, CASES[i].template_text, "llama");
        fv_text whole = render(&CASES[i], gguf, talk, 2, 0), begin = {0}, rest = render(&CASES[i], gguf, talk, 2, 1);
        assert_int_equal(fv_chat_render(CASES[i].family, gguf, talk->turns, 1, 0, false, &begin), FV_OK);
        if (begin.length) assert_memory_equal(whole.bytes, begin.bytes, begin.length);
        assert_string_equal(whole.bytes + begin.length, rest.bytes);
        fv_text_free(&whole), fv_text_free(&begin), fv_text_free(&rest);
        fv_gguf_close(gguf);
    }
    free(b);
}

static void unknown_templates_are_refused(void **state) {
    (void)state;
    static const char *const unknown[] = {"", "{{ 'Human: ' + messages[0].content }}", "<|assistant|>",
                                          "'<|user|>' 'ASSISTANT:'", "<|im_start|><end_of_utterance>"};
    builder *b = malloc(sizeof *b);
    assert_non_null(b);
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        fv_gguf *gguf = open_template(b, unknown[i], "llama");
        fv_chat_family family = FV_CHAT_GEMMA;
        fv_message message = {{0}};
        assert_int_equal(fv_chat_family_detect(gguf, &family, &message), FV_ERROR_UNSUPPORTED);
        assert_int_equal(family, FV_CHAT_GEMMA);
        assert_non_null(strstr(message.text, "name one of: chatml llama3 mistral gemma"));
        fv_gguf_close(gguf);
    }
    fv_gguf *gguf = open_template(b, NULL, "llama");
    fv_chat_family family = FV_CHAT_GEMMA;
    assert_int_equal(fv_chat_family_detect(gguf, &family, NULL), FV_OK);
    assert_int_equal(family, FV_CHAT_NONE);
    fv_gguf_close(gguf);
    free(b);
}

static void names_are_known(void **state) {
    (void)state;
    fv_chat_family family = FV_CHAT_NONE;
    fv_message message = {{0}};
    assert_int_equal(fv_chat_family_from_name("llama3", &family, NULL), FV_OK);
    assert_int_equal(family, FV_CHAT_LLAMA3);
    assert_int_equal(fv_chat_family_from_name("alpaca", &family, &message), FV_ERROR_ARGUMENT);
    assert_non_null(strstr(message.text, "chatml llama3 mistral gemma"));
    assert_int_equal(fv_chat_family_from_name(NULL, &family, NULL), FV_ERROR_ARGUMENT);
}

/* Without a template the vocabulary decides the spacing. */
static void mistral_without_a_template(void **state) {
    (void)state;
    builder *b = malloc(sizeof *b);
    assert_non_null(b);
    static const char *const models[] = {"llama", "gpt2"}, *const expected[] = {"[INST] Hello[/INST]",
                                                                                "[INST]Hello[/INST]"};
    for (int i = 0; i < 2; i++) {
        fv_gguf *gguf = open_template(b, NULL, models[i]);
        fv_text text = {0};
        assert_int_equal(fv_chat_render(FV_CHAT_MISTRAL, gguf, CONVERSATION[QUESTION].turns, 1, 0, true, &text), FV_OK);
        assert_string_equal(text.bytes, expected[i]);
        fv_text_free(&text);
        fv_gguf_close(gguf);
    }
    free(b);
}

/* Gemma's templates put the system text as it is before the first question, which they trim. */
static void gemma_trims_questions_only(void **state) {
    (void)state;
    const fv_chat_turn turns[] = {{"system", " Be kind \n"}, {"user", " Hello \n"}};
    fv_text text = {0};
    assert_int_equal(fv_chat_render(FV_CHAT_GEMMA, NULL, turns, 2, 0, true, &text), FV_OK);
    assert_string_equal(text.bytes, "<start_of_turn>user\n Be kind \n\n\nHello<end_of_turn>\n<start_of_turn>model\n");
    fv_text_free(&text);
}

/* Mistral's v3 trims what the model has said, with a Tekken vocabulary it does not. */
static void mistral_trims_answers_by_version(void **state) {
    (void)state;
    static const char *const models[] = {"llama", "gpt2"};
    static const char *const expected[] = {"[INST] Hi[/INST] There</s>", "[INST]Hi[/INST] There \n</s>"};
    const fv_chat_turn turns[] = {{"user", "Hi"}, {"assistant", " There \n"}};
    builder *b = malloc(sizeof *b);
    assert_non_null(b);
    for (int i = 0; i < 2; i++) {
        fv_gguf *gguf = open_template(b, NULL, models[i]);
        fv_text text = {0};
        assert_int_equal(fv_chat_render(FV_CHAT_MISTRAL, gguf, turns, 2, 0, false, &text), FV_OK);
        assert_string_equal(text.bytes, expected[i]);
        fv_text_free(&text);
        fv_gguf_close(gguf);
    }
    free(b);
}

static void impossible_orders_are_refused(void **state) {
    (void)state;
    static const conversation wrong[] = {
        {2, {{"user", "a"}, {"user", "b"}}},
        {2, {{"user", "a"}, {"system", "b"}}},
        {1, {{"assistant", "a"}}},
        {1, {{"tool", "a"}}},
        {1, {{NULL, "a"}}},
        {1, {{"user", NULL}}},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        fv_text text = {0};
        assert_int_equal(fv_chat_render(FV_CHAT_MISTRAL, NULL, wrong[i].turns, wrong[i].count, 0, false, &text),
                         FV_ERROR_ARGUMENT);
        assert_int_equal(fv_chat_render(FV_CHAT_GEMMA, NULL, wrong[i].turns, wrong[i].count, 0, false, &text),
                         FV_ERROR_ARGUMENT);
        assert_int_equal(fv_chat_render(FV_CHAT_CHATML, NULL, wrong[i].turns, wrong[i].count, 0, false, &text),
                         i < 3 ? FV_OK : FV_ERROR_ARGUMENT);
        fv_text_free(&text);
    }
    fv_text text = {0};
    const fv_chat_turn answer[] = {{"user", "a"}, {"assistant", "b"}};
    assert_int_equal(fv_chat_render(FV_CHAT_GEMMA, NULL, answer, 2, 0, true, &text), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_chat_render(FV_CHAT_GEMMA, NULL, answer, 2, 3, false, &text), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_chat_render(FV_CHAT_NONE, NULL, answer, 2, 0, false, &text), FV_ERROR_ARGUMENT);
    assert_int_equal(text.length, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_family_is_recognised),
        cmocka_unit_test(whole_conversations_are_as_jinja_renders_them),
        cmocka_unit_test(steps_give_the_same_text),
        cmocka_unit_test(a_system_turn_may_be_rendered_first),
        cmocka_unit_test(unknown_templates_are_refused),
        cmocka_unit_test(names_are_known),
        cmocka_unit_test(mistral_without_a_template),
        cmocka_unit_test(impossible_orders_are_refused),
        cmocka_unit_test(gemma_trims_questions_only),
        cmocka_unit_test(mistral_trims_answers_by_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
