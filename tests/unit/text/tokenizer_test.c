/* tokenizer_test.c - ids equal those of llama.cpp (tests/golden/tokenizer says how they were made); hostile
 * vocabularies are refused or harmless. Models under models/ are used if they are there. */
#include "fovea/tokenizer.h"
#include "support/gguf_builder.h"
#include "tokenizer_golden.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const char *const pretokenizers[] = {"default", "gpt-2",  "smollm", "llama-bpe", "qwen2",
                                            "qwen35",  "tekken", "gpt-4o", "falcon",    "deepseek-coder"};
#define PRETOKENIZERS (sizeof pretokenizers / sizeof pretokenizers[0])

/* A vocabulary over bytes that stay where they are. */
typedef struct opened {
    fv_gguf *gguf;
    fv_tokenizer *tokenizer;
    fv_text bytes;
} opened;

static opened open_bytes(fv_text bytes) {
    opened file = {.bytes = bytes};
    fv_message message = {{0}};
    if (fv_gguf_open_memory(&file.gguf, bytes.bytes, bytes.length, "tiny", &message) != FV_OK)
        fail_msg("%s", message.text);
    if (fv_tokenizer_open(&file.tokenizer, file.gguf, &message) != FV_OK) fail_msg("%s", message.text);
    return file;
}

static void close_file(opened *file) {
    fv_tokenizer_close(file->tokenizer);
    fv_gguf_close(file->gguf);
    fv_text_free(&file->bytes);
}

/* Broken UTF-8 cannot come back from BPE, and a vocabulary that writes spaces as U+2581 gives that back as a space. */
static bool comes_back(const fv_text *text) {
    for (size_t i = 0; i + 1 < text->length; i++) {
        unsigned char first = (unsigned char)text->bytes[i], second = (unsigned char)text->bytes[i + 1];
        if (first == 0xFF || first == 0xC0 || (first == 0xE2 && second == 0x96)) return false;
    }
    return true;
}

static void check_text(const char *name, const fv_tokenizer *tokenizer, bool exact, const fv_text *text,
                       const char *line, size_t length) {
    fv_tokens wanted = {0}, got = {0};
    fv_text back = {0};
    uint32_t flags = golden_append_ids(&wanted, line, length);
    assert_int_equal(fv_tokenizer_encode(tokenizer, text->bytes, text->length, flags, &got), FV_OK);
    size_t same = 0;
    while (same < got.count && same < wanted.count && got.ids[same] == wanted.ids[same]) same++;
    if (same < got.count || same < wanted.count)
        fail_msg("%s, flags %u, text '%s': %zu ids, expected %zu, the first %zu agree", name, (unsigned)flags,
                 text->bytes, got.count, wanted.count, same);
    assert_int_equal(fv_tokenizer_decode(tokenizer, got.ids, got.count, true, &back), FV_OK);
    if (flags == 0 && exact && comes_back(text)) assert_string_equal(back.bytes, text->bytes);
    fv_tokens_free(&wanted);
    fv_tokens_free(&got);
    fv_text_free(&back);
}

/* exact: the ids give the text back, whatever it is. */
static void check_golden(const char *name, const fv_tokenizer *tokenizer, bool exact) {
    char file_name[64];
    snprintf(file_name, sizeof file_name, "%s.ids", name);
    fv_text texts = golden_file("texts.txt"), ids = golden_file(file_name);
    size_t text_cursor = 0, ids_cursor = 0, length, checked = 0;
    const char *line;
    while (golden_line(&texts, &text_cursor, &line, &length)) {
        fv_text text = {0};
        golden_append_text(&text, line, length);
        for (int i = 0; i < 2; i++) {
            assert_true(golden_line(&ids, &ids_cursor, &line, &length));
            check_text(name, tokenizer, exact, &text, line, length);
            checked++;
        }
        fv_text_free(&text);
    }
    assert_true(checked > 150);
    assert_false(golden_line(&ids, &ids_cursor, &line, &length));
    fv_text_free(&texts);
    fv_text_free(&ids);
}

static void test_bpe(void **state) {
    (void)state;
    for (size_t i = 0; i < PRETOKENIZERS; i++) {
        char name[64];
        snprintf(name, sizeof name, "tiny_bpe_%s", pretokenizers[i]);
        opened file = open_bytes(golden_bpe(pretokenizers[i]));
        check_golden(name, file.tokenizer, true);
        close_file(&file);
    }
}

static void test_spm(void **state) {
    (void)state;
    opened file = open_bytes(golden_file("tiny_spm.gguf"));
    check_golden("tiny_spm", file.tokenizer, false); /* a space after each user-defined token */
    close_file(&file);
    file = open_bytes(golden_spm_without_prefix());
    check_golden("tiny_spm_no_prefix", file.tokenizer, true);
    close_file(&file);
}

static void test_space_prefix(void **state) {
    (void)state;
    static const char *const texts[] = {"Hello", " Hello", "a b", "\n", "<tool>", "<tool>x <tool>", "  x"};
    static const char *const backs[] = {"Hello", " Hello", "a b", "\n", "<tool>", "<tool> x <tool>", "   x"};
    opened file = open_bytes(golden_file("tiny_spm.gguf"));
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        fv_tokens tokens = {0};
        fv_text back = {0};
        uint32_t flags = i % 2 ? FV_TOKENIZE_ADD_SPECIAL : 0;
        assert_int_equal(fv_tokenizer_encode(file.tokenizer, texts[i], strlen(texts[i]), flags, &tokens), FV_OK);
        assert_int_equal(fv_tokenizer_decode(file.tokenizer, tokens.ids, tokens.count, false, &back), FV_OK);
        assert_string_equal(back.bytes, backs[i]);
        fv_tokens_free(&tokens);
        fv_text_free(&back);
    }
    close_file(&file);
}

/* Only if somebody put the file there: `name` in tests/golden, `path` from the root of the repository. */
static void check_model(const char *name, const char *path, bool exact) {
    char full[1024];
    snprintf(full, sizeof full, "%s/%s", FV_SOURCE_DIR, path);
    opened file = {0};
    fv_message message = {{0}};
    fv_status status = fv_gguf_open(&file.gguf, full, &message);
    if (status == FV_ERROR_FILE) {
        print_message("skip: %s is not there\n", path);
        skip();
    }
    assert_int_equal(status, FV_OK);
    if (fv_tokenizer_open(&file.tokenizer, file.gguf, &message) != FV_OK) fail_msg("%s", message.text);
    check_golden(name, file.tokenizer, exact);
    close_file(&file);
}

static void test_smollm2(void **state) {
    (void)state;
    check_model("smollm2", "models/SmolLM2-135M-Instruct.Q4_1.gguf", false); /* has no token for 21 of the bytes */
}
static void test_gemma3(void **state) {
    (void)state;
    check_model("gemma3", "models/gemma-3-270m-q4_k_m.gguf", true);
}

/* Quadratic code would need minutes. */
static void test_long_words(void **state) {
    (void)state;
    const size_t length = 500000;
    const char fills[] = {'a', ' ', '\n', '1', '<', '!'};
    char *text = malloc(length);
    assert_non_null(text);
    for (int model = 0; model < 2; model++) {
        opened file = open_bytes(model == 0 ? golden_bpe("llama-bpe") : golden_spm_without_prefix());
        for (size_t i = 0; i < sizeof fills; i++) {
            fv_tokens tokens = {0};
            fv_text back = {0};
            memset(text, fills[i], length);
            assert_int_equal(fv_tokenizer_encode(file.tokenizer, text, length, 0, &tokens), FV_OK);
            assert_int_equal(fv_tokenizer_decode(file.tokenizer, tokens.ids, tokens.count, false, &back), FV_OK);
            assert_int_equal(back.length, length);
            assert_memory_equal(back.bytes, text, length);
            fv_tokens_free(&tokens);
            fv_text_free(&back);
        }
        close_file(&file);
    }
    free(text);
}

static void test_roles(void **state) {
    (void)state;
    opened file = open_bytes(golden_bpe("gpt-2"));
    const fv_tokenizer *t = file.tokenizer;
    int32_t end = fv_tokenizer_eos(t), start = fv_tokenizer_bos(t), text_end = start - 1, user_defined = end + 3;
    assert_true(fv_tokenizer_adds_bos(t) && fv_tokenizer_adds_eos(t));
    assert_true(fv_tokenizer_is_end(t, end) && fv_tokenizer_is_end(t, text_end) && !fv_tokenizer_is_end(t, start));
    assert_false(fv_tokenizer_is_end(t, -1) || fv_tokenizer_is_end(t, fv_tokenizer_tokens(t)));
    fv_text text = {0};
    assert_int_equal(fv_tokenizer_piece(t, end, false, &text), FV_OK);
    assert_string_equal(text.bytes, "");
    assert_int_equal(fv_tokenizer_piece(t, end, true, &text), FV_OK);
    assert_int_equal(fv_tokenizer_piece(t, user_defined, false, &text), FV_OK);
    assert_string_equal(text.bytes, "<|im_end|><tool>");
    const int32_t wrong[] = {0, fv_tokenizer_tokens(t)};
    assert_int_equal(fv_tokenizer_piece(t, wrong[1], true, &text), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_tokenizer_piece(t, -1, true, &text), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_tokenizer_decode(t, wrong, 2, true, &text), FV_ERROR_ARGUMENT);
    assert_string_equal(text.bytes, "<|im_end|><tool>");
    fv_text_free(&text);
    close_file(&file);
}

static void test_arguments(void **state) {
    (void)state;
    opened file = open_bytes(golden_bpe("gpt-2"));
    fv_tokens tokens = {0};
    fv_tokenizer *none = NULL;
    assert_int_equal(fv_tokenizer_open(&none, NULL, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_tokenizer_open(NULL, file.gguf, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_tokenizer_encode(file.tokenizer, NULL, 1, 0, &tokens), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_tokenizer_encode(file.tokenizer, "", (size_t)INT32_MAX + 1, 0, &tokens), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_tokenizer_encode(file.tokenizer, NULL, 0, FV_TOKENIZE_ADD_SPECIAL, &tokens), FV_OK);
    assert_int_equal(tokens.count, 2);
    assert_int_equal(fv_tokenizer_encode(file.tokenizer, "x", 1, 0, &tokens), FV_OK);
    assert_int_equal(tokens.count, 3);
    fv_text text = {0};
    assert_int_equal(fv_tokenizer_decode(file.tokenizer, NULL, 0, false, &text), FV_OK);
    assert_string_equal(text.bytes, "");
    fv_text_free(&text);
    fv_tokens_free(&tokens);
    fv_tokenizer_close(NULL);
    close_file(&file);
}

/* A vocabulary put together by hand. Types and scores are left out where NULL. */
typedef struct handmade {
    const char *model, *pre, *name;
    const char *texts[8];
    int32_t types[8];
    float scores[8];
    size_t type_count, score_count;
    const char *merges[4];
    int32_t bos; /* 0: none given */
} handmade;

static void put_texts(builder *b, const char *key, const char *const *texts) {
    uint64_t count = 0;
    while (texts[count]) count++;
    put_array(b, key, FV_GGUF_STRING, count);
    for (uint64_t i = 0; i < count; i++) put_text(b, texts[i]);
}

static void put_name(builder *b, const char *key, const char *value) {
    put_key(b, key, FV_GGUF_STRING);
    put_text(b, value);
}

static void build_handmade(builder *b, const handmade *made) {
    put_header(b, 3, 0, 8);
    put_name(b, "tokenizer.ggml.model", made->model);
    put_name(b, "tokenizer.ggml.pre", made->pre ? made->pre : "gpt-2");
    put_name(b, "general.name", made->name ? made->name : "none");
    put_texts(b, "tokenizer.ggml.tokens", made->texts);
    put_array(b, made->type_count ? "tokenizer.ggml.token_type" : "no.types", FV_GGUF_INT32, made->type_count);
    for (size_t i = 0; i < made->type_count; i++) put_number(b, (uint32_t)made->types[i], 4);
    put_array(b, made->score_count ? "tokenizer.ggml.scores" : "no.scores", FV_GGUF_FLOAT32, made->score_count);
    for (size_t i = 0; i < made->score_count; i++) {
        uint32_t bits;
        memcpy(&bits, &made->scores[i], sizeof bits);
        put_number(b, bits, 4);
    }
    put_texts(b, made->merges[0] ? "tokenizer.ggml.merges" : "no.merges", made->merges);
    put_u32_entry(b, made->bos ? "tokenizer.ggml.bos_token_id" : "no.bos", (uint32_t)made->bos);
}

static fv_status open_handmade(const handmade *made, opened *file, fv_message *message) {
    builder b;
    build_handmade(&b, made);
    *file = (opened){0};
    assert_int_equal(fv_text_append(&file->bytes, (const char *)b.bytes, b.count), FV_OK);
    assert_int_equal(fv_gguf_open_memory(&file->gguf, file->bytes.bytes, b.count, "made", message), FV_OK);
    return fv_tokenizer_open(&file->tokenizer, file->gguf, message);
}

static void refuse(const handmade *made, fv_status status, const char *word) {
    opened file;
    fv_message message = {{0}};
    assert_int_equal(open_handmade(made, &file, &message), status);
    assert_null(file.tokenizer);
    if (!strstr(message.text, word)) fail_msg("'%s' does not say %s", message.text, word);
    assert_int_equal(fv_tokenizer_open(&file.tokenizer, file.gguf, NULL), status);
    close_file(&file);
}

static void test_refused(void **state) {
    (void)state;
    const handmade cases[] = {
        {.model = "bert", .texts = {"a"}},
        {.model = "gpt2", .pre = "nobody's", .texts = {"a"}, .merges = {"a b"}},
        {.model = "gpt2", .texts = {"a"}},
        {.model = "llama", .texts = {NULL}},
        {.model = "llama", .texts = {"a", "b"}, .type_count = 1},
        {.model = "llama", .texts = {"a", "b"}, .score_count = 1},
        {.model = "", .texts = {"a"}},
    };
    const char *const words[] = {"bert", "nobody's", "merges", "tokens", "token_type", "scores", "missing"};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        refuse(&cases[i], i < 2 ? FV_ERROR_UNSUPPORTED : FV_ERROR_CORRUPT, words[i]);
}

static void check_encode(const handmade *made, const char *text, uint32_t flags, const char *ids) {
    opened file;
    fv_message message = {{0}};
    if (open_handmade(made, &file, &message) != FV_OK) fail_msg("%s", message.text);
    fv_tokens tokens = {0};
    assert_int_equal(fv_tokenizer_encode(file.tokenizer, text, strlen(text), flags, &tokens), FV_OK);
    char got[256] = "";
    for (size_t i = 0; i < tokens.count; i++) snprintf(got + strlen(got), 16, i ? " %d" : "%d", (int)tokens.ids[i]);
    assert_string_equal(got, ids);
    fv_tokens_free(&tokens);
    close_file(&file);
}

/* What no sane file has, and no sane program may stumble over. */
static void test_odd(void **state) {
    (void)state;
    /* no byte tokens at all: what is no token leaves none; an empty token is never found */
    const handmade bare = {.model = "llama", .texts = {"", "a", "\xE2\x96\x81"}};
    check_encode(&bare, "a b", 0, "2 1 2");
    /* merges with parts that are no tokens, without a space, listed twice */
    const handmade merges = {.model = "gpt2", .texts = {"a", "b", "ab"}, .merges = {"a c", "ab", "a b", "a b"}};
    check_encode(&merges, "abcab", 0, "2 2");
    /* of two listings the first gives the rank: by the second one "b c" would come first */
    const handmade twice = {.model = "gpt2", .texts = {"a", "b", "c", "ab", "bc"}, .merges = {"a b", "b c", "a b"}};
    check_encode(&twice, "abc", 0, "3 2");
    /* ids out of range are ignored: bos becomes the default, which is out of range too */
    const handmade range = {.model = "gpt2", .texts = {"a", "b"}, .merges = {"a b"}, .bos = 77};
    check_encode(&range, "ab", FV_TOKENIZE_ADD_SPECIAL, "0 1");
    /* of tokens with one text the first has it, also among those that are special; the others are written out */
    const handmade doubled = {.model = "gpt2",
                              .texts = {"a", "<x>", "<x>", "<x>y", "a", "<x>y"},
                              .types = {1, 1, 3, 3, 1, 3},
                              .type_count = 6,
                              .merges = {"a b"}};
    check_encode(&doubled, "a<x>a<x>ya", FV_TOKENIZE_PARSE_SPECIAL, "0 2 0 3 0");
    check_encode(&doubled, "aa", 0, "0 0");
    /* special tokens: the longer one wins, wherever it begins; equal ones from the left */
    const handmade nested = {.model = "gpt2",
                             .texts = {"a", "<b", "b<c>", "<b<", "aa"},
                             .types = {1, 3, 3, 4, 4},
                             .type_count = 5,
                             .merges = {"a b"}};
    check_encode(&nested, "<b<c>", FV_TOKENIZE_PARSE_SPECIAL, "2");
    check_encode(&nested, "<b<", FV_TOKENIZE_PARSE_SPECIAL, "3");
    check_encode(&nested, "<b<c>", 0, "3");
    check_encode(&nested, "aaa", 0, "4 0");
    /* where a longer one was taken first, a shorter one that begins at the same place still fits before it */
    const handmade crossing = {.model = "gpt2",
                               .texts = {"a", "ab", "abc", "cdef"},
                               .types = {1, 4, 4, 4},
                               .type_count = 4,
                               .merges = {"a b"}};
    check_encode(&crossing, "abcdef", 0, "1 3");
    /* a score that is no number is the worst, a negative zero is a zero: equal scores from the left */
    const handmade scored = {
        .model = "llama", .texts = {"a", "b", "c", "ab", "bc"}, .scores = {0, 0, 0, NAN, -1}, .score_count = 5};
    check_encode(&scored, "abc", 0, "0 4");
    const handmade zeros = {
        .model = "llama", .texts = {"a", "b", "c", "ab", "bc"}, .scores = {0, 0, 0, -0.0f, 0}, .score_count = 5};
    check_encode(&zeros, "abc", 0, "3 2");
    /* Phi-3's special tokens swallow the white space after them, but not each other */
    const handmade phi = {
        .model = "llama", .name = "My PHI-3", .texts = {"<x>", "\n", "a"}, .types = {3, 4, 1}, .type_count = 3};
    check_encode(&phi, "<x> \n \na", FV_TOKENIZE_PARSE_SPECIAL, "0 2");
}

static void check_end(const handmade *made, int32_t id, bool ends) {
    opened file;
    assert_int_equal(open_handmade(made, &file, NULL), FV_OK);
    assert_int_equal(fv_tokenizer_is_end(file.tokenizer, id), ends);
    close_file(&file);
}

static void test_ends(void **state) {
    (void)state;
    const handmade plain = {.model = "llama", .texts = {"<unk>", "<s>", "</s>", "<|end|>", "<PAD>", "x"}};
    check_end(&plain, 2, true);
    check_end(&plain, 3, true);
    check_end(&plain, 4, true);
    check_end(&plain, 5, false);
    const handmade harmony = {.model = "llama", .texts = {"x", "y", "<|return|>", "<|end|>", "<|call|>"}};
    check_end(&harmony, 2, true);
    check_end(&harmony, 3, false);
    const handmade strike = {.model = "llama", .texts = {"x", "y", "z", "</s>", "<|tool_response>"}};
    check_end(&strike, 3, false);
    check_end(&strike, 4, true);
}

static void test_utf8_complete(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t length, complete;
    } cases[] = {{"", 0, 0},
                 {"a", 1, 1},
                 {"\xC3", 1, 0},
                 {"a\xC3\xA9", 3, 3},
                 {"\xE2\x82", 2, 0},
                 {"\xE2\x82\xAC", 3, 3},
                 {"\xF0\x9F\x98", 3, 0},
                 {"\xF0\x9F\x98\x80", 4, 4},
                 {"x\xF0\x9F", 3, 1},
                 {"\x80\x80", 2, 2},
                 {"\xC0", 1, 1},
                 {"\xED\xA0", 2, 2},
                 {"\xE0\x80", 2, 2},
                 {"\xF4\x90", 2, 2},
                 {"\xFF", 1, 1},
                 {"\x80\x80\x80\x80", 4, 4},
                 {"\xC3\xA9\x80", 3, 3}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(fv_utf8_complete(cases[i].bytes, cases[i].length), cases[i].complete);
}

/* Table 3-7 of Unicode 15: every first and second byte, and cuts. */
static void test_utf8_valid(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t length, valid;
    } cases[] = {{"", 0, 0},
                 {"a\0b", 3, 3},
                 {"a\xC3\xA9", 3, 3},
                 {"a\xC3", 2, 1},
                 {"\xC1\xBF", 2, 0},
                 {"\xE0\x9F\xBF", 3, 0},
                 {"\xE0\xA0\x80", 3, 3},
                 {"\xED\x9F\xBF", 3, 3},
                 {"\xED\xA0\x80", 3, 0},
                 {"\xF0\x8F\xBF\xBF", 4, 0},
                 {"\xF0\x90\x80\x80", 4, 4},
                 {"\xF4\x8F\xBF\xBF", 4, 4},
                 {"\xF4\x90\x80\x80", 4, 0},
                 {"\xF5\x80\x80\x80", 4, 0},
                 {"ab\xE2\x82", 4, 2},
                 {"ab\xE2\x82z", 5, 2},
                 {"\x80", 1, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(fv_utf8_valid(cases[i].bytes, cases[i].length), cases[i].valid);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8_valid),    cmocka_unit_test(test_bpe),     cmocka_unit_test(test_spm),
        cmocka_unit_test(test_space_prefix),  cmocka_unit_test(test_smollm2), cmocka_unit_test(test_gemma3),
        cmocka_unit_test(test_long_words),    cmocka_unit_test(test_roles),   cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_refused),       cmocka_unit_test(test_odd),     cmocka_unit_test(test_ends),
        cmocka_unit_test(test_utf8_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
