/* pretokenizer.c - the regular expressions of the pre-tokenizers, as scanners written by hand.
 * A scanner returns where the piece that starts at `begin` ends (> begin); what lies at `end` does not exist for it.
 * A pre-tokenizer is a list of them: each cuts the pieces of the one before. The expressions are those of llama.cpp,
 * in ECMAScript's reading: alternatives from left to right, the first that fits wins. */
#include "text/pretokenizer.h"
#include "text/glyph_scan.h"
#include "text/scan_chameleon.h"
#include "text/scan_deepseek.h"
#include "text/scan_scripts.h"
#include "text/scan_words.h"
#include <string.h>

#define STAGES_MAX 6

struct fv_pretokenizer {
    const char *name;
    bool ignores_merges, adds_bos, lacks_bos;
    fv_scan *stages[STAGES_MAX];
};

/* The scanners below look for something rare: what lies between two finds is a piece too. */

/* [\r\n] */
static size_t scan_newline(const fv_glyph *glyphs, size_t begin, size_t end) {
    if (is_newline(fv_glyph_code(glyphs[begin]))) return begin + 1;
    while (begin < end && !is_newline(fv_glyph_code(glyphs[begin]))) begin++;
    return begin;
}

/* [^\n]+|[\n]+ */
static size_t scan_line_ends(const fv_glyph *glyphs, size_t begin, size_t end) {
    bool wanted = fv_glyph_code(glyphs[begin]) == '\n';
    while (begin < end && (fv_glyph_code(glyphs[begin]) == '\n') == wanted) begin++;
    return begin;
}

/* \p{N} */
static size_t scan_digit(const fv_glyph *glyphs, size_t begin, size_t end) {
    if (fv_glyph_class(glyphs[begin]) & NUMBER) return begin + 1;
    return skip_classes(glyphs, begin, end, ~(uint32_t)NUMBER);
}

/* \p{N}+ */
static size_t scan_number(const fv_glyph *glyphs, size_t begin, size_t end) {
    if (fv_glyph_class(glyphs[begin]) & NUMBER) return skip_classes(glyphs, begin, end, NUMBER);
    return skip_classes(glyphs, begin, end, ~(uint32_t)NUMBER);
}

/* [0-9][0-9][0-9] */
static bool has_three_digits(const fv_glyph *glyphs, size_t at, size_t end) {
    for (size_t i = at; i < at + 3; i++) {
        uint32_t code = code_at(glyphs, i, end);
        if (code < '0' || code > '9') return false;
    }
    return true;
}

static size_t scan_three_digits(const fv_glyph *glyphs, size_t begin, size_t end) {
    if (has_three_digits(glyphs, begin, end)) return begin + 3;
    size_t at = begin + 1;
    while (at < end && !has_three_digits(glyphs, at, end)) at++;
    return at;
}

static bool is_punctuation(fv_glyph glyph, const char *more) {
    if (fv_glyph_class(glyph) & PUNCTUATION) return true;
    uint32_t code = fv_glyph_code(glyph);
    return code > 0 && code < 128 && strchr(more, (int)code);
}

static size_t scan_punctuation_and(const fv_glyph *glyphs, size_t begin, size_t end, const char *more) {
    bool wanted = is_punctuation(glyphs[begin], more);
    while (begin < end && is_punctuation(glyphs[begin], more) == wanted) begin++;
    return begin;
}

/* [\p{P}$+<=>^~|]+ */
static size_t scan_punctuation(const fv_glyph *glyphs, size_t begin, size_t end) {
    return scan_punctuation_and(glyphs, begin, end, "$+<=>^~|");
}

/* [\p{P}$+<=>^~|`]+ */
static size_t scan_punctuation_falcon(const fv_glyph *glyphs, size_t begin, size_t end) {
    return scan_punctuation_and(glyphs, begin, end, "$+<=>^~|`");
}

/* \s?C+ for a set of classes C */
static bool has_spaced(const fv_glyph *glyphs, size_t at, size_t end, uint32_t classes) {
    uint32_t class = class_at(glyphs, at, end);
    return (class & classes) || ((class & SPACE) && (class_at(glyphs, at + 1, end) & classes));
}

static size_t scan_spaced(const fv_glyph *glyphs, size_t begin, size_t end, uint32_t classes) {
    if (has_spaced(glyphs, begin, end, classes)) return skip_classes(glyphs, begin + 1, end, classes);
    size_t at = begin + 1;
    while (at < end && !has_spaced(glyphs, at, end, classes)) at++;
    return at;
}

/* \s?\p{L}+ */
static size_t scan_spaced_letters(const fv_glyph *glyphs, size_t begin, size_t end) {
    return scan_spaced(glyphs, begin, end, LETTER);
}

/* \s?\p{P}+ */
static size_t scan_spaced_punctuation(const fv_glyph *glyphs, size_t begin, size_t end) {
    return scan_spaced(glyphs, begin, end, PUNCTUATION);
}

/*  ?[^(\s|.,!?…。，、।۔،)]+ */
static bool is_bloom_word(const fv_glyph *glyphs, size_t at, size_t end) {
    static const uint32_t apart[] = {'(',    '|',    '.',    ',',    '!',    '?',    ')',
                                     0x2026, 0x3002, 0xFF0C, 0x3001, 0x0964, 0x06D4, 0x060C};
    if (at >= end || (class_at(glyphs, at, end) & SPACE)) return false;
    for (size_t i = 0; i < sizeof apart / sizeof *apart; i++)
        if (code_at(glyphs, at, end) == apart[i]) return false;
    return true;
}

static bool has_bloom_word(const fv_glyph *glyphs, size_t at, size_t end) {
    return is_bloom_word(glyphs, at, end) || (code_at(glyphs, at, end) == ' ' && is_bloom_word(glyphs, at + 1, end));
}

static size_t scan_bloom(const fv_glyph *glyphs, size_t begin, size_t end) {
    size_t at = begin + 1;
    if (has_bloom_word(glyphs, begin, end))
        while (is_bloom_word(glyphs, at, end)) at++;
    else
        while (at < end && !has_bloom_word(glyphs, at, end)) at++;
    return at;
}

/* [一-龥ࠀ-一가-퟿]+ : U+0800..U+9FA5 and U+AC00..U+D7FF, where llama.cpp has taken the spaces out before */
static bool is_east_asian(fv_glyph glyph) {
    uint32_t code = fv_glyph_code(glyph);
    if (fv_glyph_class(glyph) & SPACE) return false;
    return (code >= 0x0800 && code <= 0x9FA5) || (code >= 0xAC00 && code <= 0xD7FF);
}

static size_t scan_east_asian(const fv_glyph *glyphs, size_t begin, size_t end) {
    bool wanted = is_east_asian(glyphs[begin]);
    while (begin < end && is_east_asian(glyphs[begin]) == wanted) begin++;
    return begin;
}

#define DEFAULT_STAGES .stages = {scan_punctuation, fv_scan_gpt2, scan_number, scan_three_digits}
#define FALCON_STAGES .stages = {scan_punctuation_falcon, fv_scan_gpt2, scan_three_digits}
#define GPT2_STAGES .stages = {fv_scan_gpt2}
#define SMOLLM_STAGES .stages = {scan_digit, fv_scan_gpt2}
#define LLAMA3_STAGES .stages = {fv_scan_llama3}
#define QWEN2_STAGES .stages = {fv_scan_qwen2}
#define QWEN35_STAGES .stages = {fv_scan_qwen35}
#define TEKKEN_STAGES .stages = {fv_scan_tekken}
#define SEED_CODER_STAGES .stages = {fv_scan_seed_coder}
#define BLOOM_STAGES .stages = {scan_bloom}
#define VIKING_STAGES .stages = {scan_bloom, scan_digit}
#define GPT4O_STAGES .stages = {fv_scan_gpt4o}
#define DEEPSEEK_CODER_STAGES \
    .stages = {scan_newline, scan_spaced_letters, scan_spaced_punctuation, scan_east_asian, scan_digit}
#define DEEPSEEK_LLM_STAGES \
    .stages = {scan_newline,        fv_scan_cased_letters, fv_scan_wide_punctuation, \
               fv_scan_last_spaces, scan_east_asian,       scan_number}
#define DEEPSEEK_V3_STAGES .stages = {fv_scan_three_numbers, fv_scan_cjk_kana, fv_scan_deepseek_v3}
#define SPARK_STAGES .stages = {fv_scan_three_numbers, fv_scan_cjk_kana, fv_scan_spark, scan_digit}
#define TINY_AYA_STAGES .stages = {fv_scan_thousands, fv_scan_tiny_aya}
#define AFMOE_STAGES .stages = {fv_scan_thousands, fv_scan_afmoe_scripts, fv_scan_deepseek_v3}
#define CHAMELEON_STAGES \
    .stages = {fv_scan_sentinel, fv_scan_image_code, fv_scan_indentation, scan_digit, fv_scan_each_sign, fv_scan_gpt2}
#define LLAMA3_TRAITS .ignores_merges = true, .adds_bos = true

static const fv_pretokenizer known[] = {
    {.name = "default", DEFAULT_STAGES},
    {.name = "gpt-2", GPT2_STAGES},
    {.name = "phi-2", GPT2_STAGES},
    {.name = "mpt", GPT2_STAGES},
    {.name = "olmo", GPT2_STAGES},
    {.name = "jais", GPT2_STAGES},
    {.name = "gigachat", GPT2_STAGES},
    {.name = "a.x-4.0", GPT2_STAGES},
    {.name = "mellum", GPT2_STAGES},
    {.name = "exaone4", GPT2_STAGES},
    {.name = "trillion", GPT2_STAGES},
    {.name = "granite-docling", GPT2_STAGES},
    {.name = "jina-es", GPT2_STAGES},
    {.name = "jina-de", GPT2_STAGES},
    {.name = "jina-v2-es", GPT2_STAGES},
    {.name = "jina-v2-de", GPT2_STAGES},
    {.name = "modern-bert", GPT2_STAGES},
    {.name = "smollm", SMOLLM_STAGES},
    {.name = "starcoder", SMOLLM_STAGES},
    {.name = "refact", SMOLLM_STAGES},
    {.name = "command-r", SMOLLM_STAGES},
    {.name = "codeshell", SMOLLM_STAGES},
    {.name = "exaone", SMOLLM_STAGES},
    {.name = "minerva-7b", SMOLLM_STAGES},
    {.name = "mellum2", SMOLLM_STAGES},
    {.name = "llama-bpe", LLAMA3_TRAITS, LLAMA3_STAGES},
    {.name = "llama3", LLAMA3_TRAITS, LLAMA3_STAGES},
    {.name = "llama-v3", LLAMA3_TRAITS, LLAMA3_STAGES},
    {.name = "falcon3", LLAMA3_TRAITS, LLAMA3_STAGES},
    {.name = "falcon-h1", LLAMA3_TRAITS, LLAMA3_STAGES},
    {.name = "pixtral", LLAMA3_TRAITS, LLAMA3_STAGES},
    {.name = "midm-2.0", LLAMA3_TRAITS, LLAMA3_STAGES},
    {.name = "lfm2", LLAMA3_TRAITS, LLAMA3_STAGES},
    {.name = "jina-v5-nano", LLAMA3_TRAITS, LLAMA3_STAGES},
    {.name = "dbrx", LLAMA3_STAGES},
    {.name = "smaug-bpe", LLAMA3_STAGES},
    {.name = "chatglm-bpe", .lacks_bos = true, LLAMA3_STAGES},
    {.name = "glm4", .lacks_bos = true, .ignores_merges = true, LLAMA3_STAGES},
    {.name = "glm5", .lacks_bos = true, .ignores_merges = true, LLAMA3_STAGES},
    {.name = "qwen2", QWEN2_STAGES},
    {.name = "deepseek-r1-qwen", QWEN2_STAGES},
    {.name = "stablelm2", QWEN2_STAGES},
    {.name = "hunyuan", QWEN2_STAGES},
    {.name = "megrez", QWEN2_STAGES},
    {.name = "kormo", QWEN2_STAGES},
    {.name = "f2llmv2", QWEN2_STAGES},
    {.name = "solar-open", QWEN2_STAGES},
    {.name = "grok-2", QWEN2_STAGES},
    {.name = "bailingmoe", QWEN2_STAGES},
    {.name = "bailingmoe2", QWEN2_STAGES},
    {.name = "llada-moe", QWEN2_STAGES},
    {.name = "laguna", .stages = {scan_line_ends, fv_scan_qwen2}},
    {.name = "ufakzeka", .stages = {fv_scan_ufakzeka}},
    {.name = "minicpm5", .ignores_merges = true, .stages = {fv_scan_three_numbers, fv_scan_minicpm5}},
    {.name = "jais-2", .stages = {fv_scan_jais2}},
    {.name = "exaone-moe", .stages = {fv_scan_exaone_moe}},
    {.name = "qwen35", QWEN35_STAGES},
    {.name = "seed-coder", SEED_CODER_STAGES},
    {.name = "bloom", BLOOM_STAGES},
    {.name = "gpt3-finnish", BLOOM_STAGES},
    {.name = "poro-chat", BLOOM_STAGES},
    {.name = "viking", VIKING_STAGES},
    {.name = "falcon", FALCON_STAGES},
    {.name = "deepseek-coder", DEEPSEEK_CODER_STAGES},
    {.name = "deepseek-llm", DEEPSEEK_LLM_STAGES},
    {.name = "deepseek-v3", DEEPSEEK_V3_STAGES},
    {.name = "hunyuan-dense", DEEPSEEK_V3_STAGES},
    {.name = "joyai-llm", DEEPSEEK_V3_STAGES},
    {.name = "hy_v4", DEEPSEEK_V3_STAGES},
    {.name = "spark2_5", SPARK_STAGES},
    {.name = "tekken", LLAMA3_TRAITS, TEKKEN_STAGES},
    {.name = "gpt-4o", GPT4O_STAGES},
    {.name = "llama4", GPT4O_STAGES},
    {.name = "kanana2", GPT4O_STAGES},
    {.name = "talkie", GPT4O_STAGES},
    {.name = "minimax-m2", GPT4O_STAGES},
    {.name = "granite-embed-multi-97m", .ignores_merges = true, .stages = {fv_scan_granite_embed}},
    {.name = "kimi-k2", .stages = {fv_scan_kimi_k2}},
    {.name = "youtu", .ignores_merges = true, .stages = {fv_scan_youtu_scripts, fv_scan_youtu}},
    {.name = "tiny_aya", TINY_AYA_STAGES},
    {.name = "cohere2moe", TINY_AYA_STAGES},
    {.name = "afmoe", AFMOE_STAGES},
    {.name = "superbpe", .stages = {scan_number, fv_scan_superbpe}},
    {.name = "chameleon", .adds_bos = true, CHAMELEON_STAGES},
};
#define KNOWN_COUNT (sizeof known / sizeof known[0])

const fv_pretokenizer *fv_pretokenizer_find(const char *name, size_t length) {
    if (length == 0) return &known[0];
    for (size_t i = 0; i < KNOWN_COUNT; i++)
        if (strlen(known[i].name) == length && memcmp(known[i].name, name, length) == 0) return &known[i];
    return NULL;
}

bool fv_pretokenizer_ignores_merges(const fv_pretokenizer *pretokenizer) { return pretokenizer->ignores_merges; }
bool fv_pretokenizer_adds_bos(const fv_pretokenizer *pretokenizer) { return pretokenizer->adds_bos; }
bool fv_pretokenizer_lacks_bos(const fv_pretokenizer *pretokenizer) { return pretokenizer->lacks_bos; }

/* Depth first, so that no list of pieces is ever kept. */
static fv_status run_stages(fv_scan *const *stages, size_t left, const fv_glyph *glyphs, size_t count,
                            fv_word_sink *sink, void *context) {
    if (left == 0 || !stages[0]) return sink(context, glyphs, count);
    fv_status status = FV_OK;
    for (size_t begin = 0, piece_end; begin < count && status == FV_OK; begin = piece_end) {
        piece_end = stages[0](glyphs, begin, count);
        status = run_stages(stages + 1, left - 1, glyphs + begin, piece_end - begin, sink, context);
    }
    return status;
}

fv_status fv_pretokenizer_run(const fv_pretokenizer *pretokenizer, const fv_glyph *glyphs, size_t count,
                              fv_word_sink *sink, void *context) {
    if (count == 0) return FV_OK;
    return run_stages(pretokenizer->stages, STAGES_MAX, glyphs, count, sink, context);
}
