/* stage_split.c - which stage has which layers: by dynamic programming over ends of stages. */
#include "fovea/stage.h"
#include "llm/divided.h"
#include "llm/llm.h"
#include "llm/session_shape.h"
#include "platform/array.h"
#include <inttypes.h>
#include <stdlib.h>

void fv_stage_layers(const uint32_t *layers, uint32_t index, fv_layer_range *range) {
    uint32_t first = 0;
    for (uint32_t i = 0; i < index; i++) first += layers[i];
    *range = (fv_layer_range){first, layers[index]};
}

/* --- bytes ------------------------------------------------------------------------------------------------------ */

static uint64_t weight_bytes(const fv_weight *weight) {
    return weight->data ? (uint64_t)weight->rows * fv_weight_row_bytes(weight->type, weight->columns) : 0;
}

static uint64_t layer_weights(const fv_llm *llm, uint32_t layer) {
    const fv_layer_weights *w = &llm->loaded.weights.layers[layer];
    const fv_weight *const all[] = {
        &w->attention_norm,      &w->query,       &w->key,        &w->value,      &w->output,
        &w->query_bias,          &w->key_bias,    &w->value_bias, &w->query_norm, &w->key_norm,
        &w->attention_post_norm, &w->feed_norm,   &w->gate,       &w->up,         &w->down,
        &w->feed_post_norm,      &w->output_bias, &w->gate_bias,  &w->up_bias,    &w->down_bias};
    uint64_t bytes = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) bytes += weight_bytes(all[i]);
    return bytes;
}

/* Embedding and vocabulary, which may be one. */
static uint64_t table_weights(const fv_llm *llm) {
    const fv_model_weights *w = &llm->loaded.weights;
    return weight_bytes(&w->embedding) + (w->output.data == w->embedding.data ? 0 : weight_bytes(&w->output));
}

/* What the first stage holds beside its layers: the vocabulary's matrix, and for each token tables of the tokenizer, a
 * logit and what samplers note. An embedding of its own stays in the file, and only rows that texts have are read. */
static uint64_t front_bytes(const fv_llm *llm) {
    const uint64_t token_bytes = 100;
    return weight_bytes(&llm->loaded.weights.output) + token_bytes * llm->loaded.config.vocabulary;
}

/* Sums before each layer: [layers + 1]. */
typedef struct layer_sums {
    uint64_t *weights, *caches; /* caches: of a full context */
    uint64_t tables, front;
    uint64_t first_work; /* bytes of weights that the first stage reads beside its layers' */
    uint32_t layers;
} layer_sums;

static fv_status sums_make(layer_sums *sums, const fv_llm *llm, const fv_session_config *config, fv_message *message) {
    fv_model_config shape;
    fv_status status = fv_session_shape_make(&shape, llm, config, 1, message);
    if (status != FV_OK) return status;
    *sums = (layer_sums){.layers = shape.layers, .tables = table_weights(llm), .front = front_bytes(llm)};
    sums->weights = fv_array_new((size_t)shape.layers + 1, sizeof *sums->weights);
    sums->caches = fv_array_new((size_t)shape.layers + 1, sizeof *sums->caches);
    if (!sums->weights || !sums->caches)
        status = fv_message_set(message, FV_ERROR_MEMORY, "no memory to divide layers");
    for (uint32_t i = 0; i < shape.layers && status == FV_OK; i++) {
        const fv_session_layers one = {{i, 1}, 1, fv_llm_ranks(llm)};
        fv_session_memory memory;
        size_t scratch = 0;
        status = fv_session_memory_of(&shape, &one, 1, &memory, &scratch, message);
        if (status != FV_OK) break;
        sums->weights[i + 1] = sums->weights[i] + layer_weights(llm, i);
        sums->caches[i + 1] = sums->caches[i] + memory.cache_bytes;
    }
    return status;
}

/* A context is filled to so many quarters. */
enum { EMPTY = 0, QUARTER = 1, FULL = 4 };

/* Weights and caches of layers first..end-1. */
static uint64_t layers_bytes(const layer_sums *sums, uint32_t first, uint32_t end, uint32_t quarters) {
    return sums->weights[end] - sums->weights[first] + (sums->caches[end] - sums->caches[first]) / FULL * quarters;
}

static uint64_t largest_layer(const layer_sums *sums, uint32_t quarters) {
    uint64_t largest = 0;
    for (uint32_t i = 0; i < sums->layers; i++) {
        uint64_t bytes = layers_bytes(sums, i, i + 1, quarters);
        if (bytes > largest) largest = bytes;
    }
    return largest;
}

static void sums_free(layer_sums *sums) {
    free(sums->weights);
    free(sums->caches);
}

static fv_status llm_check(const fv_llm *llm, fv_message *message) {
    if (llm->loaded.range.count == llm->loaded.config.layers) return FV_OK;
    return fv_message_set(message, FV_ERROR_ARGUMENT, "%s: layers are divided before they are opened apart",
                          fv_gguf_path(llm->gguf));
}

fv_status fv_stage_bytes_plan(const fv_llm *llm, const fv_session_config *config, const fv_layer_range *range,
                              fv_stage_bytes *bytes, fv_message *message) {
    if (!llm || !config || !range || !bytes)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is missing");
    layer_sums sums = {0};
    fv_status status = llm_check(llm, message);
    if (status == FV_OK) status = sums_make(&sums, llm, config, message);
    if (status == FV_OK && (range->first > sums.layers || range->count > sums.layers - range->first))
        status = fv_message_set(message, FV_ERROR_ARGUMENT, "the model has %" PRIu32 " layers", sums.layers);
    if (status == FV_OK) {
        uint32_t first = range->first, end = first + range->count;
        uint64_t weights = sums.weights[end] - sums.weights[first];
        *bytes = (fv_stage_bytes){.weights = weights + (first == 0 ? sums.tables : 0),
                                  .cache = sums.caches[end] - sums.caches[first],
                                  .largest_layer = largest_layer(&sums, FULL),
                                  .all = layers_bytes(&sums, 0, sums.layers, FULL) + sums.tables};
    }
    sums_free(&sums);
    return status;
}

/* --- dividing --------------------------------------------------------------------------------------------------- */

/* Ways to divide the first layers over the first stages: what the largest stage has at best, and the last one's layers
 * there, both [stages + 1][layers + 1]. */
typedef struct split_table {
    uint64_t *cost;
    uint32_t *last;
} split_table;

/* What a stage may hold where the context is as full as `quarters` says, and where it is full. */
typedef struct split_limit {
    uint32_t quarters;
    uint64_t then, full;
} split_limit;

static uint64_t fair_share(const layer_sums *sums, uint32_t stages, uint32_t quarters) {
    uint64_t all = layers_bytes(sums, 0, sums->layers, quarters) + sums->tables;
    return all / stages + largest_layer(sums, quarters) + FV_STAGE_SLACK / stages;
}

static uint64_t held_bytes(const layer_sums *sums, uint32_t first, uint32_t end, uint32_t quarters) {
    return layers_bytes(sums, first, end, quarters) + (first == 0 ? sums->front : 0);
}

/* Of layers first..end-1 in one stage: bytes of weights that it reads, or none where it holds more than it may. limit:
 * NULL: all that it holds of a full context. */
static uint64_t stage_cost(const layer_sums *sums, uint32_t first, uint32_t end, const split_limit *limit) {
    uint64_t full = held_bytes(sums, first, end, FULL);
    if (!limit) return full;
    bool fits = full <= limit->full && held_bytes(sums, first, end, limit->quarters) <= limit->then;
    uint64_t work = sums->weights[end] - sums->weights[first] + (first == 0 ? sums->first_work : 0);
    return fits ? work : UINT64_MAX;
}

/* false: there is no way. Of several best ways the one with most layers in later stages: the first has the vocabulary.
 */
static bool table_fill(split_table *table, const layer_sums *sums, uint32_t stages, const split_limit *limit) {
    size_t width = (size_t)sums->layers + 1;
    for (size_t end = 0; end < width; end++) table->cost[end] = end ? UINT64_MAX : 0;
    for (uint32_t s = 1; s <= stages; s++)
        for (uint32_t end = 0; end < width; end++) {
            uint64_t *best = &table->cost[s * width + end];
            *best = UINT64_MAX;
            for (uint32_t count = 1; count <= end; count++) {
                uint64_t before = table->cost[(s - 1) * width + end - count];
                uint64_t own = stage_cost(sums, end - count, end, limit), larger = own > before ? own : before;
                if (larger > *best || larger == UINT64_MAX) continue;
                *best = larger;
                table->last[s * width + end] = count;
            }
        }
    return table->cost[stages * width + sums->layers] < UINT64_MAX;
}

static fv_status sums_divide(const layer_sums *sums, uint32_t stages, uint32_t *layers, fv_message *message) {
    size_t width = (size_t)sums->layers + 1, cells = ((size_t)stages + 1) * width;
    split_table table = {fv_array_new(cells, sizeof *table.cost), fv_array_new(cells, sizeof *table.last)};
    bool good = table.cost && table.last, done = !good;
    static const uint32_t fills[] = {EMPTY, QUARTER, FULL};
    for (size_t i = 0; i < sizeof fills / sizeof *fills && !done; i++) {
        const split_limit limit = {fills[i], fair_share(sums, stages, fills[i]), fair_share(sums, stages, FULL)};
        done = table_fill(&table, sums, stages, &limit);
    }
    if (!done) (void)table_fill(&table, sums, stages, NULL);
    for (uint32_t s = stages, end = sums->layers; good && s > 0; end -= layers[--s])
        layers[s - 1] = table.last[s * width + end];
    free(table.cost);
    free(table.last);
    return good ? FV_OK : fv_message_set(message, FV_ERROR_MEMORY, "no memory to divide layers");
}

fv_status fv_stage_split(const fv_llm *llm, const fv_session_config *config, uint32_t stages, fv_stage_work work,
                         uint32_t *layers, fv_message *message) {
    if (!llm || !config || !layers || (work != FV_STAGE_PROMPTS && work != FV_STAGE_ANSWERS))
        return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is missing");
    layer_sums sums = {0};
    fv_status status = llm_check(llm, message);
    if (status == FV_OK && (stages < 1 || stages > llm->loaded.config.layers))
        status = fv_message_set(message, FV_ERROR_ARGUMENT,
                                "%" PRIu32 " layers can't be divided over %" PRIu32 " processes: each has at least one",
                                llm->loaded.config.layers, stages);
    if (status == FV_OK) status = sums_make(&sums, llm, config, message);
    if (work == FV_STAGE_ANSWERS) sums.first_work = weight_bytes(&llm->loaded.weights.output);
    if (status == FV_OK) status = sums_divide(&sums, stages, layers, message);
    sums_free(&sums);
    return status;
}

fv_status fv_stage_split_parse(const char *text, uint32_t model_layers, uint32_t stages, uint32_t *layers,
                               fv_message *message) {
    if (!text || !layers) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is missing");
    uint64_t sum = 0;
    uint32_t *made = fv_array_new(stages, sizeof *made), count = 0;
    if (!made) return fv_message_set(message, FV_ERROR_MEMORY, "no memory for a list of %" PRIu32 " numbers", stages);
    const char *at = text;
    bool good = true, more = true;
    while (good && more) {
        char *end = NULL;
        unsigned long value = *at >= '0' && *at <= '9' ? strtoul(at, &end, 10) : 0;
        good = value > 0 && value <= model_layers && count < stages;
        if (!good) break;
        made[count++] = (uint32_t)value;
        sum += value;
        more = *end == ',';
        good = more || *end == 0;
        at = end + 1;
    }
    good = good && count == stages && sum == model_layers;
    for (uint32_t i = 0; good && i < stages; i++) layers[i] = made[i];
    free(made);
    return good
               ? FV_OK
               : fv_message_set(message, FV_ERROR_ARGUMENT,
                                "\"%s\": wanted are %" PRIu32 " numbers above 0 with commas between them, one for each "
                                "process, which add up to the model's %" PRIu32 " layers",
                                text, stages, model_layers);
}
