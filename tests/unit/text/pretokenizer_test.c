/* pretokenizer_test.c - the pieces of each pre-tokenizer by themselves, worked out by hand from the expressions that
 * stand beside its scanner: ids of a small vocabulary cannot tell most of them apart. */
#include "text/pretokenizer.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TEXT_MOST = 256 };

typedef struct pieces {
    char text[2 * TEXT_MOST];
    size_t length;
} pieces;

/* Pieces with a bar between them. */
static fv_status add_piece(void *context, const fv_glyph *word, size_t count) {
    pieces *all = context;
    assert_true(count > 0);
    if (all->length) all->text[all->length++] = '|';
    for (size_t i = 0; i < count; i++) all->length += fv_utf8_write(fv_glyph_code(word[i]), all->text + all->length);
    assert_true(all->length < TEXT_MOST);
    return FV_OK;
}

static void expect_pieces(const char *name, const char *text, const char *wanted) {
    fv_glyph glyphs[TEXT_MOST];
    size_t count = 0;
    pieces got = {.length = 0};
    const fv_pretokenizer *pretokenizer = fv_pretokenizer_find(name, strlen(name));
    assert_non_null(pretokenizer);
    for (size_t at = 0, length = strlen(text); at < length; count++) {
        uint32_t code;
        at += fv_utf8_read(text + at, length - at, &code);
        glyphs[count] = code | (fv_glyph)fv_unicode_class_of(code) << 24;
    }
    assert_int_equal(fv_pretokenizer_run(pretokenizer, glyphs, count, add_piece, &got), FV_OK);
    got.text[got.length] = 0;
    if (strcmp(got.text, wanted) != 0) fail_msg("%s: '%s' for '%s', expected '%s'", name, got.text, text, wanted);
}

/* The families, each by one of its names. */
enum { DEFAULT, GPT2, SMOLLM, LLAMA3, QWEN2, QWEN35, TEKKEN, GPT4O, FALCON, DEEPSEEK, FAMILIES };
static const char *const names[FAMILIES] = {"default", "gpt-2",  "smollm", "llama-bpe", "qwen2",
                                            "qwen35",  "tekken", "gpt-4o", "falcon",    "deepseek-coder"};

#define ACUTE "\xCC\x81" /* U+0301, a mark */

typedef struct text_case {
    const char *text;
    const char *wanted[FAMILIES];
} text_case;

static const text_case cases[] = {
    {"don't I'M we'LL",
     {[DEFAULT] = "don|'|t| I|'|M| we|'|LL",
      [GPT2] = "don|'t| I|'|M| we|'|LL",
      [SMOLLM] = "don|'t| I|'|M| we|'|LL",
      [LLAMA3] = "don|'t| I|'M| we|'LL",
      [QWEN2] = "don|'t| I|'M| we|'LL",
      [QWEN35] = "don|'t| I|'M| we|'LL",
      [TEKKEN] = "don|'t| I|'M| we|'LL",
      [GPT4O] = "don't| I'M| we'LL",
      [FALCON] = "don|'|t| I|'|M| we|'|LL",
      [DEEPSEEK] = "don|'|t| I|'|M| we|'|LL"}},
    {"they've 'retro it'd'm x'lx",
     {[GPT2] = "they|'ve| '|retro| it|'d|'m| x|'|lx",
      [LLAMA3] = "they|'ve| '|retro| it|'d|'m| x|'lx",
      [TEKKEN] = "they|'ve| '|retro| it|'d|'m| x|'lx",
      [GPT4O] = "they've| '|retro| it'd|'m| x|'lx"}},
    {"e" ACUTE "x " ACUTE "y",
     {[GPT2] = "e|" ACUTE "|x| " ACUTE "|y",
      [LLAMA3] = "e|" ACUTE "x| " ACUTE "|y",
      [QWEN2] = "e|" ACUTE "x| " ACUTE "|y",
      [QWEN35] = "e" ACUTE "x| " ACUTE "y",
      [TEKKEN] = "e|" ACUTE "x| " ACUTE "|y",
      [GPT4O] = "e|" ACUTE "x| " ACUTE "|y"}},
    {"ab12345 6",
     {[DEFAULT] = "ab|123|45| |6",
      [GPT2] = "ab|12345| 6",
      [SMOLLM] = "ab|1|2|3|4|5| |6",
      [LLAMA3] = "ab|123|45| |6",
      [QWEN2] = "ab|1|2|3|4|5| |6",
      [QWEN35] = "ab|1|2|3|4|5| |6",
      [TEKKEN] = "ab|1|2|3|4|5| |6",
      [GPT4O] = "ab|123|45| |6",
      [FALCON] = "ab|123|45| 6",
      [DEEPSEEK] = "ab|1|2|3|4|5| |6"}},
    {"HelloWorld ABCdef abcDEF A",
     {[GPT2] = "HelloWorld| ABCdef| abcDEF| A",
      [LLAMA3] = "HelloWorld| ABCdef| abcDEF| A",
      [QWEN2] = "HelloWorld| ABCdef| abcDEF| A",
      [TEKKEN] = "Hello|World| ABCdef| abc|DEF| A",
      [GPT4O] = "Hello|World| ABCdef| abc|DEF| A"}},
    {"a:/\n/b $x",
     {[GPT2] = "a|:/|\n|/|b| $|x",
      [LLAMA3] = "a|:/\n|/b| $|x",
      [QWEN2] = "a|:/\n|/b| $|x",
      [TEKKEN] = "a|:/\n/|b| $|x",
      [GPT4O] = "a|:/\n/|b| $|x"}},
    {"a  b \n c\r\n  d  ",
     {[GPT2] = "a| | b| \n| c|\r\n | d|  ",
      [LLAMA3] = "a| | b| \n| c|\r\n| | d|  ",
      [QWEN2] = "a| | b| \n| c|\r\n| | d|  ",
      [TEKKEN] = "a| | b| \n| c|\r\n| | d|  ",
      [GPT4O] = "a| | b| \n| c|\r\n| | d|  "}},
    {"x=`1`", {[DEFAULT] = "x|=|`|1|`", [GPT2] = "x|=`|1|`", [FALCON] = "x|=`|1|`"}},
    {"a b, 12\n\xE4\xBD\xA0\xE5\xA5\xBDx!",
     {[GPT2] = "a| b|,| 12|\n|\xE4\xBD\xA0\xE5\xA5\xBDx|!",
      [DEEPSEEK] = "a| b|,| |1|2|\n|\xE4\xBD\xA0\xE5\xA5\xBD|x|!"}},
};

static void each_family_cuts_as_its_expression_says(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t f = 0; f < FAMILIES; f++)
            if (cases[i].wanted[f]) expect_pieces(names[f], cases[i].text, cases[i].wanted[f]);
}

/* Names of one cut each. */
static void rarer_cuts(void **state) {
    (void)state;
    expect_pieces("qwen2", "it's +=\n\n12 {}\n x", "it|'s| +=\n\n|1|2| {}\n| x");
    expect_pieces("seed-coder", "it's +=\n\n12 {}\n x", "it|'s| +=|\n\n|1|2| {}|\n| x");
    expect_pieces("seed-coder", "a'LL //\r\nb", "a|'LL| //|\r\n|b");
    expect_pieces("poro-chat", "Hei, maailma 123!? (x|y)  z", "Hei|,| maailma| 123|!? (|x|||y|) | z");
    expect_pieces("bloom", "a\xE3\x80\x82 b\tc-d'e", "a|\xE3\x80\x82| b|\t|c-d'e");
    expect_pieces("gpt3-finnish", " .a", " .|a");
    expect_pieces("viking", "ab12 34", "ab|1|2| |3|4");
}

static void deepseeks_cuts(void **state) {
    (void)state;
    expect_pieces("deepseek-v3",
                  "it's (x) 12345\xE6\xBC\xA2\xE3\x81\x8B"
                  "a  b",
                  "it|'s| (|x|)| |123|45|\xE6\xBC\xA2\xE3\x81\x8B|a| | b");
    expect_pieces("hunyuan-dense", "a+=\r\n\n x\a\ay\a1", "a|+=\r\n\n| x|\a|\ay|\a|1");
    expect_pieces("spark2_5", "a;\r\n\n x1234", "a|;|\r|\n|\n| x|1|2|3|4");
    expect_pieces("deepseek-llm", "a b1234 \n (c)\xE6\xBC\xA2\xE0\xA4\x85  ",
                  "a| b|1234| |\n| (|c|)|\xE6\xBC\xA2\xE0\xA4\x85|  ");
}

static void cuts_near_llamas(void **state) {
    (void)state;
    expect_pieces("bailingmoe2", "it's +=\n\n12", "it|'s| +=\n\n|1|2");
    expect_pieces("ufakzeka", "it's 12", "it|'s| |1|2");
    expect_pieces("ufakzeka", "o'Ll", "o|'Ll");
    expect_pieces("minicpm5", "it's 12345", "it|'s| |123|45");
    expect_pieces("laguna", "a+=\n\n \nb", "a|+=|\n\n| |\n|b");
    expect_pieces("jais-2", "a          b", "a|        | | b");
    expect_pieces("jais-2", "a \n   b     ", "a| \n|  | b|    | ");
    expect_pieces("exaone-moe", "to be, or 12 //\n", "to be|,| or| |1|2| //\n");
    expect_pieces("exaone-moe", "//\n\n  x y", "//\n|\n| | x y");
    expect_pieces("jina-v5-nano", "it'S 1234", "it|'S| |123|4");
    expect_pieces("modern-bert", "it'S 1234", "it|'|S| 1234");
}

#define HAN "\xE6\xBC\xA2"        /* U+6F22 */
#define COMPAT "\xEF\xA4\x80"     /* U+F900 */
#define HANGUL "\xED\x95\x9C"     /* U+D55C */
#define BOPOMOFO "\xE3\x84\x85"   /* U+3105 */
#define WIDE_COMMA "\xEF\xBC\x8C" /* U+FF0C */
#define THAI "\xE0\xB9\x84"       /* U+0E44 */
#define HALF "\xC2\xBD"           /* U+00BD, a number but no digit */

static void cuts_by_script(void **state) {
    (void)state;
    expect_pieces("kimi-k2", "it's" HAN HAN COMPAT "a x" HAN " " HAN " 12345 //\n.",
                  "it's|" HAN HAN COMPAT "|a| x|" HAN "| |" HAN "| |123|45| //\n|.");
    expect_pieces("kimi-k2", "e" ACUTE "X'LL  y", "e|" ACUTE "X'LL| | y");
    expect_pieces("youtu", "a" HAN HANGUL WIDE_COMMA BOPOMOFO "b",
                  "a|" HAN "|" HANGUL "|" WIDE_COMMA "|" BOPOMOFO "|b");
    expect_pieces("youtu", "it's e" ACUTE "x " ACUTE " " ACUTE "'m 12 !" ACUTE "/\n/x",
                  "it's| e" ACUTE "x| " ACUTE "| " ACUTE "'m| |1|2| !" ACUTE "/\n/|x");
    expect_pieces("afmoe", "a" HAN THAI HANGUL COMPAT "b, 1234", "a|" HAN THAI HANGUL COMPAT "|b|,| |1|234");
    expect_pieces("granite-embed-multi-97m", "e" ACUTE "Xab ABCdef'S 1234 " ACUTE "AB",
                  "e" ACUTE "|Xab| ABCdef'S| |123|4| " ACUTE "|AB");
}

static void digits_in_threes_from_the_right(void **state) {
    (void)state;
    expect_pieces("tiny_aya", "it's 1234567 12 123", "it's| |1|234|567| |12| |123");
    expect_pieces("cohere2moe", "e" ACUTE "1234e/\n", "e" ACUTE "|1|234|e|/\n");
    expect_pieces("afmoe", "12345" HALF "6", "1|234|5" HALF "6");
    expect_pieces("superbpe", "a b 1234567 12 123", "a b |1|234|567| |12| |123");
    expect_pieces("superbpe", "123456" HALF "7890" HALF "12", "123|456" HALF "7|890" HALF "12");
}

static void chameleons_cuts(void **state) {
    (void)state;
    expect_pieces("chameleon", "x<sentinel:12>y<sentinel:>", "x|<|sentinel|:|1|2|>|y|<|sentinel|:|>");
    expect_pieces("chameleon", "aIMGIMGABZ IMGIMGABCDEZ", "a|IMGIMGABZ| IMGIMGABCDEZ");
    expect_pieces("chameleon", "a\t\n       b +-c it's", "a|\t|\n|    |  | b| |+|-|c| it|'|s");
}

/* What a name says beside the expression: llama.cpp's table. */
static void names_carry_traits(void **state) {
    (void)state;
    static const struct {
        const char *name;
        bool ignores_merges, adds_bos, lacks_bos;
    } traits[] = {
        {"llama-bpe", true, true, false}, {"tekken", true, true, false},       {"gpt-2", false, false, false},
        {"qwen2", false, false, false},   {"chatglm-bpe", false, false, true}, {"glm4", true, false, true},
        {"minicpm5", true, false, false}, {"jina-v5-nano", true, true, false}, {"deepseek-v3", false, false, false},
        {"", false, false, false},        {"youtu", true, false, false},       {"chameleon", false, true, false},
        {"kimi-k2", false, false, false}};
    for (size_t i = 0; i < sizeof traits / sizeof *traits; i++) {
        const fv_pretokenizer *p = fv_pretokenizer_find(traits[i].name, strlen(traits[i].name));
        assert_non_null(p);
        assert_int_equal(fv_pretokenizer_ignores_merges(p), traits[i].ignores_merges);
        assert_int_equal(fv_pretokenizer_adds_bos(p), traits[i].adds_bos);
        assert_int_equal(fv_pretokenizer_lacks_bos(p), traits[i].lacks_bos);
    }
    assert_null(fv_pretokenizer_find("gpt-20", 6));
    assert_non_null(fv_pretokenizer_find("gpt-20", 5));
}

static fv_status stop_at_second(void *context, const fv_glyph *word, size_t count) {
    (void)word, (void)count;
    return ++*(int *)context < 2 ? FV_OK : FV_ERROR_MEMORY;
}

static void the_first_error_stops(void **state) {
    (void)state;
    int calls = 0;
    const fv_glyph text[3] = {'a' | (fv_glyph)FV_UNICODE_LETTER << 24, ' ' | (fv_glyph)FV_UNICODE_SPACE << 24,
                              '1' | (fv_glyph)FV_UNICODE_NUMBER << 24};
    assert_int_equal(fv_pretokenizer_run(fv_pretokenizer_find("smollm", 6), text, 3, stop_at_second, &calls),
                     FV_ERROR_MEMORY);
    assert_int_equal(calls, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_family_cuts_as_its_expression_says),
        cmocka_unit_test(rarer_cuts),
        cmocka_unit_test(deepseeks_cuts),
        cmocka_unit_test(cuts_near_llamas),
        cmocka_unit_test(cuts_by_script),
        cmocka_unit_test(digits_in_threes_from_the_right),
        cmocka_unit_test(chameleons_cuts),
        cmocka_unit_test(names_carry_traits),
        cmocka_unit_test(the_first_error_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
