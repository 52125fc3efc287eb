/* bench_plan.c - reads lists as llama-bench takes them. */
#include "bench_plan.h"
#include "attention_option.h"
#include "fovea/words.h"
#include <stdlib.h>
#include <string.h>

static int read_numbers(const cli_texts *texts, const char *flag, int64_t low, int64_t high, int64_t standard,
                        bench_numbers *list) {
    for (size_t i = 0; i < texts->count; i++)
        if (!fv_words_numbers(texts->items[i], list->values, &list->count, BENCH_VALUES_MAX))
            return cli_usage_error("bench", "%s takes at most %d whole numbers (1,2 or 1-8 or 128-1024*2), not '%s'",
                                   flag, BENCH_VALUES_MAX, texts->items[i]);
    if (list->count == 0) list->values[list->count++] = standard;
    for (size_t i = 0; i < list->count; i++)
        if (texts->count > 0 && (list->values[i] < low || list->values[i] > high))
            return cli_usage_error("bench", "%s takes whole numbers from %lld to %lld, not %lld", flag, (long long)low,
                                   (long long)high, (long long)list->values[i]);
    return CLI_GO_ON;
}

static int read_types(const cli_texts *texts, const char *flag, bench_numbers *list) {
    for (size_t i = 0; i < texts->count; i++)
        for (const char *word = texts->items[i];; word++) {
            size_t length = strcspn(word, ",");
            int type = fv_words_find(CLI_TYPE_WORDS, word, length);
            if (type < 0 || list->count == BENCH_VALUES_MAX)
                return cli_usage_error("bench", "%s takes one of " CLI_TYPE_WORDS ", not '%.*s'", flag, (int)length,
                                       word);
            list->values[list->count++] = cli_cache_type((uint32_t)type);
            word += length;
            if (!*word) break;
        }
    if (list->count == 0) list->values[list->count++] = cli_cache_type(CLI_TYPE_AUTO);
    return CLI_GO_ON;
}

static void add_size(bench_plan *plan, int64_t prompt, int64_t generated) {
    plan->sizes[plan->size_count++] = (struct bench_size){(uint32_t)prompt, (uint32_t)generated};
}

static int read_sizes(const bench_options *options, int64_t most, bench_plan *plan) {
    bench_numbers prompts = {.count = 0}, generated = {.count = 0};
    int result = read_numbers(&options->prompts, "-p", 0, most, 512, &prompts);
    if (result == CLI_GO_ON) result = read_numbers(&options->generated, "-n", 0, most, 128, &generated);
    for (size_t i = 0; i < prompts.count; i++) add_size(plan, prompts.values[i], 0);
    for (size_t i = 0; i < generated.count; i++) add_size(plan, 0, generated.values[i]);
    for (size_t i = 0; i < options->pairs.count && result == CLI_GO_ON; i++) {
        int64_t pair[2];
        size_t count = 0;
        if (fv_words_numbers(options->pairs.items[i], pair, &count, 2) && count == 2)
            add_size(plan, pair[0], pair[1]);
        else
            result =
                cli_usage_error("bench", "-pg takes two whole numbers (512,128), not '%s'", options->pairs.items[i]);
    }
    return result;
}

/* Texts cut at their commas, in a copy. */
static int cut_texts(const cli_texts *given, const char *flag, cli_texts *cut, char **copy) {
    size_t bytes = 1;
    for (size_t i = 0; i < given->count; i++) bytes += strlen(given->items[i]) + 1;
    char *cursor = *copy = malloc(bytes);
    if (!cursor) return cli_fail("no memory for the lists");
    for (size_t i = 0; i < given->count; i++) {
        size_t length = strlen(given->items[i]);
        memcpy(cursor, given->items[i], length + 1);
        for (char *end = cursor + length; cursor <= end; cursor += strlen(cursor) + 1) {
            cursor[strcspn(cursor, ",")] = 0;
            if (cut->count == CLI_TEXTS_MOST || !*cursor)
                return cli_usage_error("bench", "%s takes 1 to %d of them, separated by commas", flag, CLI_TEXTS_MOST);
            cut->items[cut->count++] = cursor;
        }
    }
    return CLI_GO_ON;
}

/* A file whose name has a comma can't be benched: that is llama-bench's rule. */
static int read_models(const bench_options *options, bench_plan *plan) {
    const char *from_env = getenv("LLAMA_ARG_MODEL");
    cli_texts given = options->models;
    if (given.count == 0 && from_env && from_env[0]) given.items[given.count++] = from_env;
    if (given.count == 0) return cli_need_model("bench", NULL);
    return cut_texts(&given, "-m", &plan->models, &plan->model_copy);
}

static int read_masks(const bench_options *options, bench_plan *plan) {
    cli_texts given = options->masks;
    if (given.count == 0) given.items[given.count++] = BENCH_NO_MASK;
    int result = cut_texts(&given, "-C", &plan->masks, &plan->mask_copy);
    fv_pool_config config;
    cli_thread_options one = options->model.placement;
    for (size_t i = 0; i < plan->masks.count && result == CLI_GO_ON; i++) {
        one.mask = plan->masks.items[i];
        result = cli_pool_config(&config, "bench", 0, &one);
    }
    return result;
}

/* What -embd 1 measures is another thing: a model without its product with the vocabulary. */
static int read_embeddings(const bench_options *options) {
    bench_numbers list = {.count = 0};
    int result = read_numbers(&options->embeddings, "-embd", 0, 1, 0, &list);
    for (size_t i = 0; i < list.count && result == CLI_GO_ON; i++)
        if (list.values[i]) result = cli_usage_error("bench", "-embd 1: this version has no embeddings");
    return result;
}

static int read_policies(const bench_options *options, bench_plan *plan) {
    plan->attention = options->attention;
    if (plan->attention.count == 0) plan->attention.items[plan->attention.count++] = "dense";
    int result = CLI_GO_ON;
    for (size_t i = 0; i < plan->attention.count && result == CLI_GO_ON; i++)
        result = cli_policy_read("bench", plan->attention.items[i], &plan->policies[i]);
    return result;
}

int bench_plan_read(const bench_options *options, bench_plan *plan) {
    const int64_t most = 1 << 24; /* tokens: no model reads more, and sums stay small */
    int result = read_policies(options, plan);
    if (result == CLI_GO_ON) result = read_sizes(options, most, plan);
    if (result == CLI_GO_ON) result = read_numbers(&options->depths, "-d", 0, most, 0, &plan->axes[BENCH_DEPTH]);
    if (result == CLI_GO_ON) result = read_numbers(&options->threads, "-t", 1, 1024, -1, &plan->axes[BENCH_THREADS]);
    if (result == CLI_GO_ON) result = read_numbers(&options->batches, "-b", 1, 1 << 20, 2048, &plan->axes[BENCH_BATCH]);
    if (result == CLI_GO_ON)
        result = read_numbers(&options->micro_batches, "-ub", 1, 65536, 512, &plan->axes[BENCH_MICRO_BATCH]);
    if (result == CLI_GO_ON) result = read_types(&options->key_types, "-ctk", &plan->axes[BENCH_KEY]);
    if (result == CLI_GO_ON) result = read_types(&options->value_types, "-ctv", &plan->axes[BENCH_VALUE]);
    if (result == CLI_GO_ON)
        result = read_numbers(&options->stricts, "--cpu-strict", 0, 1, 0, &plan->axes[BENCH_STRICT]);
    if (result == CLI_GO_ON) result = read_numbers(&options->polls, "--poll", 0, 100, 50, &plan->axes[BENCH_POLL]);
    if (result == CLI_GO_ON) result = read_embeddings(options);
    if (result == CLI_GO_ON) result = read_masks(options, plan);
    if (result == CLI_GO_ON) result = read_models(options, plan);
    plan->axes[BENCH_MODEL].count = plan->models.count;
    plan->axes[BENCH_MASK].count = plan->masks.count;
    plan->axes[BENCH_POLICY].count = plan->attention.count;
    return result;
}

void bench_plan_free(bench_plan *plan) {
    free(plan->model_copy);
    free(plan->mask_copy);
}
