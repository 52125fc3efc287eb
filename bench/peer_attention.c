/* peer_attention.c - the attention core beside ggml's FLASH_ATTN_EXT in one process: the same keys and values, caches
 * of many layers visited in turn on both sides, round by round. Prints one JSON object. Built only where the peer is
 * (cmake -DFV_PEER=DIR after tools/peer_build.sh DIR); bench/attention.py runs it over shapes. */
#include "fovea/machine.h"
#include "fovea/measure/attention_bench.h"
#include "fovea/peaks.h"
#include "fovea/policy_text.h"
#include "fovea/pool.h"
#include "fovea/report_sum.h"
#include <getopt.h>
#include <ggml-cpu.h>
#include <ggml.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HOT_VISITS = 4 }; /* of a round, for decode: a prefill is not bound by memory */

typedef struct peer_options {
    uint32_t heads, kv_heads, head_dim, layers, tokens, threads, rounds, batch;
    double memory_gb, seconds;
    bool decode, step;
    uint32_t kv_type; /* fv_element */
    const char *attention, *write;
} peer_options;

static const char usage[] =
    "usage: peer_attention [flags]    the attention core beside ggml's FLASH_ATTN_EXT\n"
    "  --heads N      query heads (9)              --kv-heads N   KV heads (3)\n"
    "  --head-dim N   elements of a head, a multiple of 32 (64)\n"
    "  --layers N     caches at most (30)          --tokens N     in each cache (8192)\n"
    "  --memory GB    fewer layers if both sides' caches need more (8)\n"
    "  --pass P       prefill: all positions, --batch a call; decode: the last one (decode)\n"
    "  --batch N      positions a call of a prefill (512)\n"
    "  --kv-type T    f32, f16, bf16, q8_0, q4_0 (f16)\n"
    "  --attention P  fovea's policy, see fovea/policy_text.h (dense)\n"
    "  -t N           threads (1)                  -r N           rounds after the first, which warms up (7)\n"
    "  --seconds N    no further round after so many seconds and 3 rounds (60)\n"
    "  --step         fovea's side alone: a round for each line on standard input, answered by nanoseconds\n"
    "  --write FILE   writes query, keys, values, out of layer 0 as f32\n";

static int fail(const char *what, const char *why) {
    fprintf(stderr, "peer_attention: %s%s%s\n", what, why ? ": " : "", why ? why : "");
    return EXIT_FAILURE;
}

/* ---- flags ---- */

enum peer_flag {
    HEADS = 256,
    KV_HEADS,
    HEAD_DIM,
    LAYERS,
    TOKENS,
    MEMORY,
    PASS,
    BATCH,
    KV_TYPE,
    ATTENTION,
    SECONDS,
    STEP,
    WRITE
};

static bool read_count(const char *text, uint32_t most, uint32_t *count) {
    char *end;
    long value = strtol(text, &end, 10);
    if (end == text || *end || value < 1 || value > (long)most) return false;
    *count = (uint32_t)value;
    return true;
}

static bool read_real(const char *text, double *value) {
    char *end;
    *value = strtod(text, &end);
    return end != text && !*end && *value >= 0 && *value <= 1e6;
}

static bool read_type(const char *text, uint32_t *type) {
#define ELEMENT_NAME(NAME, name) #name,
    static const char *const names[] = {FV_ELEMENT_LIST(ELEMENT_NAME)};
#undef ELEMENT_NAME
    for (*type = 0; *type < FV_ELEMENT_COUNT; (*type)++)
        if (strcmp(text, names[*type]) == 0) return true;
    return false;
}

static bool set_flag(peer_options *options, int flag, const char *text) {
    switch (flag) {
    case HEADS:
        return read_count(text, 4096, &options->heads);
    case KV_HEADS:
        return read_count(text, 1024, &options->kv_heads);
    case HEAD_DIM:
        return read_count(text, 1024, &options->head_dim);
    case LAYERS:
        return read_count(text, 4096, &options->layers);
    case TOKENS:
        return read_count(text, 16777216, &options->tokens);
    case MEMORY:
        return read_real(text, &options->memory_gb);
    case PASS:
        options->decode = strcmp(text, "decode") == 0;
        return options->decode || strcmp(text, "prefill") == 0;
    case BATCH:
        return read_count(text, 65536, &options->batch) && options->batch > 1;
    case KV_TYPE:
        return read_type(text, &options->kv_type);
    case ATTENTION:
        options->attention = text;
        return true;
    case 't':
        return read_count(text, 1024, &options->threads);
    case 'r':
        return read_count(text, 1000, &options->rounds);
    case SECONDS:
        return read_real(text, &options->seconds);
    case STEP:
        return options->step = true;
    case WRITE:
        options->write = text;
        return true;
    default:
        return false;
    }
}

static bool read_flags(peer_options *options, int argc, char **argv) {
    static const struct option flags[] = {{"heads", 1, NULL, HEADS},       {"kv-heads", 1, NULL, KV_HEADS},
                                          {"head-dim", 1, NULL, HEAD_DIM}, {"layers", 1, NULL, LAYERS},
                                          {"tokens", 1, NULL, TOKENS},     {"memory", 1, NULL, MEMORY},
                                          {"pass", 1, NULL, PASS},         {"batch", 1, NULL, BATCH},
                                          {"kv-type", 1, NULL, KV_TYPE},   {"attention", 1, NULL, ATTENTION},
                                          {"threads", 1, NULL, 't'},       {"rounds", 1, NULL, 'r'},
                                          {"seconds", 1, NULL, SECONDS},   {"step", 0, NULL, STEP},
                                          {"write", 1, NULL, WRITE},       {NULL, 0, NULL, 0}};
    for (int flag; (flag = getopt_long(argc, argv, "t:r:", flags, NULL)) != -1;)
        if (!set_flag(options, flag, optarg)) return false;
    return optind == argc && options->heads % options->kv_heads == 0 && options->head_dim % 32 == 0;
}

/* ---- ggml's side ---- */

typedef struct peer_side {
    const fv_attention_bench *bench;
    fv_attention_bench_shape shape; /* of `bench` */
    uint32_t rows;                  /* of a pass */
    enum ggml_type type;
    struct ggml_context *tensors;
    struct ggml_tensor **keys, **values; /* [layers], [head_dim][kv_heads][tokens] */
    size_t cache_bytes;                  /* of one layer, K or V */
    struct ggml_tensor **masks;          /* [calls of a pass] */
    float *out;
    struct ggml_cgraph **passes; /* [layers] */
    struct ggml_cplan plan;      /* the same for all */
    struct ggml_threadpool *threads;
} peer_side;

/* In huge pages where the system gives them, as fovea's caches. */
static void *memory_take(size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return NULL;
#if defined(MADV_HUGEPAGE)
    (void)madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    return memory;
}

static size_t peer_layer_bytes(const fv_attention_bench_shape *shape, enum ggml_type type) {
    return ggml_row_size(type, (int64_t)shape->head_dim * shape->kv_heads) * shape->tokens;
}

static struct ggml_tensor *peer_cache(peer_side *peer, uint32_t layer, bool values, float *rows) {
    const fv_attention_bench_shape *shape = &peer->shape;
    size_t width = (size_t)shape->kv_heads * shape->head_dim;
    size_t row_bytes = ggml_row_size(peer->type, (int64_t)width);
    struct ggml_tensor *cache =
        ggml_new_tensor_3d(peer->tensors, peer->type, shape->head_dim, shape->kv_heads, shape->tokens);
    unsigned char *data = cache->data = memory_take(peer->cache_bytes);
    if (!data) return NULL;
    for (uint32_t done = 0; done < shape->tokens; done += FV_ATTENTION_BENCH_BLOCK) {
        uint32_t left = shape->tokens - done,
                 tokens = left < FV_ATTENTION_BENCH_BLOCK ? left : FV_ATTENTION_BENCH_BLOCK;
        fv_attention_bench_data(layer, values, done / FV_ATTENTION_BENCH_BLOCK, width, rows);
        if (peer->type == GGML_TYPE_F32)
            memcpy(data + done * row_bytes, rows, tokens * row_bytes);
        else
            ggml_quantize_chunk(peer->type, rows, data + done * row_bytes, 0, tokens, (int64_t)width, NULL);
    }
    return cache;
}

static uint32_t peer_calls(const peer_side *peer) { return (peer->rows + peer->shape.batch - 1) / peer->shape.batch; }

/* A position sees itself and what is before it. Decode sees all; llama.cpp hands in a mask there, too. */
static struct ggml_tensor *peer_mask(peer_side *peer, uint32_t first, uint32_t count) {
    size_t seen = first + count;
    struct ggml_tensor *mask = ggml_new_tensor_2d(peer->tensors, GGML_TYPE_F16, (int64_t)seen, count);
    ggml_fp16_t *data = mask->data = malloc(seen * count * sizeof *data);
    const ggml_fp16_t zero = ggml_fp32_to_fp16(0.0f), never = ggml_fp32_to_fp16(-INFINITY);
    for (size_t i = 0; data && i < count; i++)
        for (size_t t = 0; t < seen; t++) data[i * seen + t] = t <= first + i ? zero : never;
    return data ? mask : NULL;
}

/* Positions of call number `call`. */
static void peer_rows(const peer_side *peer, uint32_t call, uint32_t *first, uint32_t *count) {
    uint32_t done = call * peer->shape.batch, left = peer->rows - done;
    *first = peer->shape.tokens - peer->rows + done;
    *count = left < peer->shape.batch ? left : peer->shape.batch;
}

/* One call: its positions over all before them, with the views that llama.cpp makes. */
static void peer_node(peer_side *peer, struct ggml_cgraph *graph, uint32_t layer, uint32_t call) {
    const fv_attention_bench_shape *shape = &peer->shape;
    struct ggml_context *context = peer->tensors;
    uint32_t first, count;
    peer_rows(peer, call, &first, &count);
    size_t offset = (size_t)call * shape->batch * shape->heads * shape->head_dim;
    struct ggml_tensor *query = ggml_new_tensor_3d(context, GGML_TYPE_F32, shape->head_dim, shape->heads, count);
    struct ggml_tensor *keys = peer->keys[layer], *values = peer->values[layer];
    query->data = (void *)(uintptr_t)(fv_attention_bench_query(peer->bench) + offset); /* ggml only reads it */
    keys = ggml_view_3d(context, keys, shape->head_dim, shape->kv_heads, first + count, keys->nb[1], keys->nb[2], 0);
    values =
        ggml_view_3d(context, values, shape->head_dim, shape->kv_heads, first + count, values->nb[1], values->nb[2], 0);
    struct ggml_tensor *out = ggml_flash_attn_ext(
        context, ggml_permute(context, query, 0, 2, 1, 3), ggml_permute(context, keys, 0, 2, 1, 3),
        ggml_permute(context, values, 0, 2, 1, 3), peer->masks[call], 1.0f / sqrtf((float)shape->head_dim), 0.0f, 0.0f);
    out->data = peer->out + offset;
    ggml_build_forward_expand(graph, out);
}

static bool peer_take(peer_side *peer, size_t calls, size_t layers) {
    struct ggml_init_params parameters = {.mem_size = (layers * 8 + 4) * calls * (ggml_tensor_overhead() + 64) +
                                                      layers * ggml_graph_overhead_custom(calls * 16 + 64, false) +
                                                      (1 << 20),
                                          .no_alloc = true};
    peer->tensors = ggml_init(parameters);
    peer->keys = calloc(layers, sizeof *peer->keys);
    peer->values = calloc(layers, sizeof *peer->values);
    peer->passes = calloc(layers, sizeof *peer->passes);
    peer->masks = calloc(calls, sizeof *peer->masks);
    peer->out = calloc((size_t)peer->rows * peer->shape.heads * peer->shape.head_dim, sizeof *peer->out);
    return peer->tensors && peer->keys && peer->values && peer->passes && peer->masks && peer->out;
}

static bool peer_fill(peer_side *peer, uint32_t calls) {
    const fv_attention_bench_shape *shape = &peer->shape;
    float *rows = malloc(FV_ATTENTION_BENCH_BLOCK * (size_t)shape->kv_heads * shape->head_dim * sizeof *rows);
    bool good = rows != NULL;
    for (uint32_t call = 0; good && call < calls; call++) {
        uint32_t first, count;
        peer_rows(peer, call, &first, &count);
        good = (peer->masks[call] = peer_mask(peer, first, count)) != NULL;
    }
    for (uint32_t i = 0; good && i < shape->layers; i++) {
        peer->keys[i] = peer_cache(peer, i, false, rows);
        peer->values[i] = peer_cache(peer, i, true, rows);
        good = peer->keys[i] && peer->values[i];
    }
    free(rows);
    return good;
}

/* false: no memory. */
static bool peer_open(peer_side *peer, const fv_attention_bench *bench, const fv_attention_bench_shape *shape,
                      enum ggml_type type, int threads) {
    *peer = (peer_side){.bench = bench,
                        .shape = *shape,
                        .rows = fv_attention_bench_rows(bench),
                        .type = type,
                        .cache_bytes = peer_layer_bytes(shape, type)};
    uint32_t calls = peer_calls(peer);
    if (!peer_take(peer, calls, shape->layers) || !peer_fill(peer, calls)) return false;
    struct ggml_threadpool_params pool = ggml_threadpool_params_default(threads);
    peer->threads = ggml_threadpool_new(&pool);
    for (uint32_t layer = 0; layer < shape->layers; layer++) {
        peer->passes[layer] = ggml_new_graph_custom(peer->tensors, calls * 16 + 64, false);
        for (uint32_t call = 0; call < calls; call++) peer_node(peer, peer->passes[layer], layer, call);
    }
    peer->plan = ggml_graph_plan(peer->passes[0], threads, peer->threads);
    peer->plan.work_data = malloc(peer->plan.work_size + 64);
    return peer->plan.work_data != NULL;
}

static uint64_t peer_visit(peer_side *peer, uint32_t layer) {
    uint64_t start_ns = fv_machine_clock_ns();
    ggml_graph_compute(peer->passes[layer], &peer->plan);
    return fv_machine_clock_ns() - start_ns;
}

/* ---- both sides ---- */

/* Nanoseconds of a layer's pass. */
typedef struct samples {
    uint64_t *ns;
    size_t count;
} samples;

typedef struct side_samples {
    samples cold, hot; /* all layers in turn; one layer again and again */
} side_samples;

typedef struct paired {
    const peer_options *options;
    fv_policy policy;
    fv_pool *pool;
    fv_attention_bench_shape shape;
    fv_attention_bench *bench;
    peer_side peer;
    fv_report report;
    fv_peaks peaks;
    side_samples ours, theirs;
    size_t rounds;
} paired;

static void sample_add(samples *list, uint64_t ns) {
    if (list) list->ns[list->count++] = ns;
}

static fv_status our_visit(paired *pair, uint32_t layer, samples *list, fv_report *report) {
    uint64_t ns = 0;
    fv_status status = fv_attention_bench_visit(pair->bench, layer, report, &ns);
    if (status == FV_OK) sample_add(list, ns);
    return status;
}

/* All layers; then the first one again and again: after one visit it is in the processor's caches, as far as it fits.
 */
static fv_status our_round(paired *pair, side_samples *kept, fv_report *report) {
    fv_status status = FV_OK;
    for (uint32_t layer = 0; layer < pair->shape.layers && status == FV_OK; layer++)
        status = our_visit(pair, layer, kept ? &kept->cold : NULL, report);
    for (int i = 0; i <= HOT_VISITS && fv_attention_bench_rows(pair->bench) == 1 && status == FV_OK; i++)
        status = our_visit(pair, 0, kept && i > 0 ? &kept->hot : NULL, NULL);
    return status;
}

static void their_round(paired *pair, side_samples *kept) {
    for (uint32_t layer = 0; layer < pair->shape.layers; layer++)
        sample_add(kept ? &kept->cold : NULL, peer_visit(&pair->peer, layer));
    for (int i = 0; i <= HOT_VISITS && fv_attention_bench_rows(pair->bench) == 1; i++)
        sample_add(kept && i > 0 ? &kept->hot : NULL, peer_visit(&pair->peer, 0));
}

static bool samples_take(paired *pair) {
    samples *lists[4] = {&pair->ours.cold, &pair->theirs.cold, &pair->ours.hot, &pair->theirs.hot};
    size_t rounds = pair->options->rounds;
    for (size_t i = 0; i < 4; i++) {
        lists[i]->ns = calloc(rounds * (i < 2 ? pair->shape.layers : HOT_VISITS), sizeof *lists[i]->ns);
        if (!lists[i]->ns) return false;
    }
    return true;
}

static int run_rounds(paired *pair) {
    uint64_t start_ns = fv_machine_clock_ns();
    pair->report = (fv_report){.struct_bytes = sizeof(fv_report)};
    if (!samples_take(pair)) return fail("no memory for the samples", NULL);
    fv_status status = our_round(pair, NULL, NULL);
    their_round(pair, NULL);
    for (uint32_t i = 0; i < pair->options->rounds && status == FV_OK; i++) {
        double passed = (double)(fv_machine_clock_ns() - start_ns) * 1e-9;
        if (i >= 3 && passed > pair->options->seconds) break;
        status = our_round(pair, &pair->ours, &pair->report);
        their_round(pair, &pair->theirs);
        pair->rounds++;
    }
    return status == FV_OK ? EXIT_SUCCESS : fail("error", fv_status_text(status));
}

/* For a peer that lives in another process (bench/torch_sdpa.py): it says when. */
static int step_rounds(paired *pair) {
    char line[64];
    printf("ready %" PRIu32 "\n", pair->shape.layers);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        for (uint32_t layer = 0; layer < pair->shape.layers; layer++) {
            uint64_t ns;
            fv_status status = fv_attention_bench_visit(pair->bench, layer, NULL, &ns);
            if (status != FV_OK) return fail("error", fv_status_text(status));
            printf("%" PRIu64 " ", ns);
        }
        printf("\n");
        fflush(stdout);
    }
    return EXIT_SUCCESS;
}

static bool write_block(FILE *file, const fv_attention_bench_shape *shape, bool values, float *rows) {
    size_t width = (size_t)shape->kv_heads * shape->head_dim;
    bool good = true;
    for (uint32_t done = 0; done < shape->tokens && good; done += FV_ATTENTION_BENCH_BLOCK) {
        size_t left = shape->tokens - done, tokens = left < FV_ATTENTION_BENCH_BLOCK ? left : FV_ATTENTION_BENCH_BLOCK;
        fv_attention_bench_data(0, values, done / FV_ATTENTION_BENCH_BLOCK, width, rows);
        good = fwrite(rows, sizeof *rows * width, tokens, file) == tokens;
    }
    return good;
}

/* Layer 0: query and out [rows][heads][head_dim], keys and values [tokens][kv_heads][head_dim]. */
static int write_data(paired *pair) {
    const fv_attention_bench_shape *shape = &pair->shape;
    size_t values = (size_t)fv_attention_bench_rows(pair->bench) * shape->heads * shape->head_dim;
    uint64_t ns;
    fv_status status = fv_attention_bench_visit(pair->bench, 0, NULL, &ns);
    if (status != FV_OK) return fail("error", fv_status_text(status));
    float *rows = malloc(FV_ATTENTION_BENCH_BLOCK * (size_t)shape->kv_heads * shape->head_dim * sizeof *rows);
    FILE *file = rows ? fopen(pair->options->write, "wb") : NULL;
    bool good = file && fwrite(fv_attention_bench_query(pair->bench), sizeof(float), values, file) == values &&
                write_block(file, shape, false, rows) && write_block(file, shape, true, rows) &&
                fwrite(fv_attention_bench_out(pair->bench), sizeof(float), values, file) == values;
    if (file && fclose(file) != 0) good = false;
    free(rows);
    return good ? EXIT_SUCCESS : fail(pair->options->write, "could not be written");
}

/* ---- results ---- */

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void print_times(const char *side, samples *list) {
    qsort(list->ns, list->count, sizeof *list->ns, compare);
    if (list->count == 0)
        printf(", \"%s_min_ns\": null, \"%s_median_ns\": null", side, side);
    else
        printf(", \"%s_min_ns\": %" PRIu64 ", \"%s_median_ns\": %" PRIu64, side, list->ns[0], side,
               list->ns[list->count / 2]);
}

static void print_real(const char *key, double value) {
    if (isfinite(value))
        printf(", \"%s\": %.12g", key, value);
    else
        printf(", \"%s\": null", key);
}

/* Of the layer that both sides computed last. */
static double largest_difference(const paired *pair) {
    size_t values = (size_t)fv_attention_bench_rows(pair->bench) * pair->shape.heads * pair->shape.head_dim;
    const float *out = fv_attention_bench_out(pair->bench);
    double most = 0;
    for (size_t i = 0; i < values; i++) most = fmax(most, fabs((double)out[i] - (double)pair->peer.out[i]));
    return most;
}

/* A policy's text has nothing that JSON would have to escape. */
static void print_shape(const paired *pair) {
#define ELEMENT_NAME(NAME, name) #name,
    static const char *const types[] = {FV_ELEMENT_LIST(ELEMENT_NAME)};
#undef ELEMENT_NAME
    const fv_attention_bench_shape *shape = &pair->shape;
    printf("{\"isa\": \"%s\", \"threads\": %u, \"heads\": %u, \"kv_heads\": %u, \"head_dim\": %u, \"tokens\": %u",
           fv_isa_name(fv_attention_bench_isa(pair->bench)), pair->options->threads, shape->heads, shape->kv_heads,
           shape->head_dim, shape->tokens);
    printf(", \"pass\": \"%s\", \"kv_type\": \"%s\", \"layers\": %u, \"attention\": \"%s\", \"rounds\": %zu",
           pair->options->decode ? "decode" : "prefill", types[shape->key_type], shape->layers,
           pair->options->attention, pair->rounds);
}

static int print_results(paired *pair, fv_isa limit) {
    const fv_attention_bench_shape *shape = &pair->shape;
    double calls = (double)pair->rounds * shape->layers, bytes = (double)pair->report.bytes_read / calls;
    double once = fv_attention_bench_once(pair->bench, bytes);
    fv_status status = fv_peaks_measure(&pair->peaks, limit, once * shape->layers, fv_pool_parallel(pair->pool));
    if (status != FV_OK) return fail("error", fv_status_text(status));
    double keys = (double)pair->report.keys_read / calls * (double)(shape->heads / shape->kv_heads);
    fv_peak_work work = {.f32_operations = 4 * keys * shape->head_dim, .bytes = once};
    const char *limit_name;
    print_shape(pair);
    print_real("density", fv_report_density(&pair->report));
    print_times("fovea", &pair->ours.cold);
    print_times("peer", &pair->theirs.cold);
    print_times("fovea_hot", &pair->ours.hot);
    print_times("peer_hot", &pair->theirs.hot);
    double ns = (double)pair->ours.cold.ns[0]; /* sorted: the best, as the peaks are best ones */
    print_real("max_difference", largest_difference(pair));
    print_real("gflops", work.f32_operations / ns);
    print_real("peak_gflops", pair->peaks.f32_gflops);
    print_real("gb_per_s", bytes / ns);
    print_real("peak_gb_per_s", pair->peaks.gb_per_s);
    double share = fv_peaks_share(&pair->peaks, &work, ns, &limit_name);
    printf(", \"limit\": \"%s\"", limit_name);
    print_real("limit_share", share);
    return printf("}\n") > 0 && fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* As many layers as fit: both sides hold the same tokens in about the same bytes. */
static uint32_t layers_that_fit(const peer_options *options, const fv_attention_bench_shape *shape,
                                enum ggml_type type) {
    double layer = 2.0 * (options->step ? 1.1 : 2.1) * (double)peer_layer_bytes(shape, type);
    double fit = options->memory_gb * 1e9 / layer;
    return fit < 1 ? 1 : fit < (double)options->layers ? (uint32_t)fit : options->layers;
}

static int run_pair(paired *pair, fv_isa limit) {
    static const enum ggml_type types[FV_ELEMENT_COUNT] = {[FV_ELEMENT_F32] = GGML_TYPE_F32,
                                                           [FV_ELEMENT_F16] = GGML_TYPE_F16,
                                                           [FV_ELEMENT_BF16] = GGML_TYPE_BF16,
                                                           [FV_ELEMENT_Q8_0] = GGML_TYPE_Q8_0,
                                                           [FV_ELEMENT_Q4_0] = GGML_TYPE_Q4_0};
    const peer_options *options = pair->options;
    fv_attention_bench_shape shape = {.heads = options->heads,
                                      .kv_heads = options->kv_heads,
                                      .head_dim = options->head_dim,
                                      .tokens = options->tokens,
                                      .key_type = options->kv_type,
                                      .value_type = options->kv_type,
                                      .batch = options->decode ? 1 : options->batch};
    shape.layers = layers_that_fit(options, &shape, types[options->kv_type]);
    pair->shape = shape;
    fv_message message = {""};
    fv_status status = fv_pool_open(&pair->pool, options->threads, &message);
    if (status != FV_OK) return fail("error", message.text);
    status = fv_attention_bench_open(&pair->bench, &shape, &pair->policy, fv_pool_parallel(pair->pool), limit);
    if (status != FV_OK) return fail("error", fv_status_text(status));
    int result = options->write ? write_data(pair) : EXIT_SUCCESS;
    if (result == EXIT_SUCCESS && options->step) return step_rounds(pair);
    if (result == EXIT_SUCCESS &&
        !peer_open(&pair->peer, pair->bench, &pair->shape, types[options->kv_type], (int)options->threads))
        result = fail("no memory for the peer's side", NULL);
    if (result == EXIT_SUCCESS) result = run_rounds(pair);
    return result == EXIT_SUCCESS ? print_results(pair, limit) : result;
}

int main(int argc, char **argv) {
    static paired pair; /* large; what it holds is given back by the end of the process */
    peer_options options = {.heads = 9,
                            .kv_heads = 3,
                            .head_dim = 64,
                            .layers = 30,
                            .tokens = 8192,
                            .threads = 1,
                            .rounds = 7,
                            .batch = 512,
                            .memory_gb = 8,
                            .seconds = 60,
                            .decode = true,
                            .kv_type = FV_ELEMENT_F16,
                            .attention = "dense"};
    fv_message message = {""};
    fv_isa limit, reached;
    pair.options = &options;
    if (!read_flags(&options, argc, argv)) {
        fputs(usage, stderr);
        return 2;
    }
    if (fv_policy_parse(&pair.policy, options.attention, &message) != FV_OK) return fail("--attention", message.text);
    fv_status status = fv_machine_isa(&limit, &reached, &message);
    return status == FV_OK ? run_pair(&pair, limit) : fail("error", message.text);
}
